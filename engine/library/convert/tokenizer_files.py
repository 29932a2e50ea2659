"""What is read of a checkpoint's tokenizer.json and tokenizer_config.json."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, Field, field_validator


class MergeModel(BaseModel):
    """The table of pieces: `vocab` by text, and `merges` in their order, as two pieces each."""

    type: str = ""
    vocab: dict[str, int] = Field(default_factory=dict)
    merges: list[tuple[str, str]] = Field(default_factory=list[tuple[str, str]])
    byte_fallback: bool | None = False
    unk_token: str | None = None

    @field_validator("merges", mode="before")
    @classmethod
    def _split_texts(cls, merges: list[Any]) -> list[Any]:
        return [each.split(" ", 1) if isinstance(each, str) else each for each in merges]

    @field_validator("vocab", mode="before")
    @classmethod
    def _only_tables(cls, vocab: Any) -> Any:
        # Kinds of models that are refused later have lists here.
        return {} if isinstance(vocab, list) else vocab


class AddedToken(BaseModel):
    """A token that stands beside the table."""

    id: int
    content: str
    special: bool = False


class Part(BaseModel):
    """A normaliser or a splitter, perhaps of several parts."""

    type: str = ""
    normalizers: list[Part] = Field(default_factory=list["Part"])
    pretokenizers: list[Part] = Field(default_factory=list["Part"])
    pattern: dict[str, str] | None = None
    prepend_scheme: str | None = None

    def parts(self) -> Iterator[Part]:
        """Yield the simple parts in order."""
        inner = [*self.normalizers, *self.pretokenizers]
        if not inner:
            yield self
        for each in inner:
            yield from each.parts()


class TokenizerFile(BaseModel):
    """tokenizer.json."""

    model: MergeModel
    added_tokens: list[AddedToken] = Field(default_factory=list[AddedToken])
    normalizer: Part | None = None
    pre_tokenizer: Part | None = None


class NamedToken(BaseModel):
    """A token in tokenizer_config.json that is more than its text."""

    content: str


class TokenizerConfig(BaseModel):
    """tokenizer_config.json; a field that it does not mention is not in `model_fields_set`."""

    bos_token: str | NamedToken | None = None
    eos_token: str | NamedToken | None = None
    pad_token: str | NamedToken | None = None
    chat_template: Any = None

    def text(self, role: str) -> str | None:
        """Return the text of the token in a role ("bos", "eos", "pad"), None if there is none."""
        token: str | NamedToken | None = getattr(self, f"{role}_token")
        return token.content if isinstance(token, NamedToken) else token
