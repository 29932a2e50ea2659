"""A Hugging Face checkpoint on disk: its configuration, its tokenizer and its tensors."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import BaseModel, Field, ValidationError, field_validator

from ramify.errors import ModelLoadError, UsageError
from ramify.json_text import read_json

from .safetensors import Array, SafetensorsFile

Described = TypeVar("Described", bound=BaseModel)

WRAPPER = "pretrained_model."
"""Prefix of the names of the model's own tensors under a wrapper with a value head."""


class MergeModel(BaseModel):
    """The vocabulary: ids by piece in `vocab`, and `merges` in order, as pairs of pieces."""

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
        # Unigram models, which are refused later, have a list here.
        return {} if isinstance(vocab, list) else vocab


class AddedToken(BaseModel):
    """A token outside the merge table."""

    id: int
    content: str
    special: bool = False


class Part(BaseModel):
    """A normaliser or a splitter, possibly a sequence of several."""

    type: str = ""
    normalizers: list[Part] = Field(default_factory=list["Part"])
    pretokenizers: list[Part] = Field(default_factory=list["Part"])
    pattern: dict[str, str] | None = None
    prepend_scheme: str | None = None

    def parts(self) -> Iterator[Part]:
        """Yield the elements of a sequence in order, recursively."""
        inner = [*self.normalizers, *self.pretokenizers]
        if not inner:
            yield self
        for each in inner:
            yield from each.parts()


class TokenizerFile(BaseModel):
    """Contents of tokenizer.json."""

    model: MergeModel
    added_tokens: list[AddedToken] = Field(default_factory=list[AddedToken])
    normalizer: Part | None = None
    pre_tokenizer: Part | None = None


class NamedToken(BaseModel):
    """A token in tokenizer_config.json that is an object."""

    content: str


class TokenizerConfig(BaseModel):
    """Contents of tokenizer_config.json; fields that it lacks are not in `model_fields_set`."""

    bos_token: str | NamedToken | None = None
    eos_token: str | NamedToken | None = None
    pad_token: str | NamedToken | None = None
    chat_template: Any = None

    def text(self, role: str) -> str | None:
        """Return the text of the token in a role ("bos", "eos", "pad"), None if there is none."""
        token: str | NamedToken | None = getattr(self, f"{role}_token")
        return token.content if isinstance(token, NamedToken) else token


class Checkpoint:
    """A folder with `config.json`, `tokenizer.json` and safetensors files.

    Raises:
        UsageError: if the folder or one of these is missing.
        ModelLoadError: if one of them cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise UsageError(f"there is no folder {folder}", "download the model's repository and pass its folder")
        self.folder = folder
        self.config = self._json("config.json")
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            raise UsageError(
                f"{folder} has no .safetensors file", "download the model in the safetensors format, or convert it"
            )
        self._files = {_plain(name): (file, name) for file in map(SafetensorsFile, files) for name in file.names}

    @property
    def names(self) -> list[str]:
        """Names of all tensors, without a wrapper's prefix."""
        return list(self._files)

    @property
    def architecture(self) -> str:
        """Name of the class that the checkpoint was saved from, "" if it is unknown."""
        return str((self.config.get("architectures") or [""])[0])

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor."""
        file, inner = self._files[name]
        return file.shape(inner)

    def tensor(self, name: str) -> Array:
        """Return a tensor."""
        file, inner = self._files[name]
        return file.tensor(inner)

    def parameter_count(self) -> int:
        """Number of weights in all tensors."""
        return sum(math.prod(self.shape(name)) for name in self.names)

    @cached_property
    def tokenizer(self) -> TokenizerFile:
        """Contents of `tokenizer.json`."""
        return self._validated("tokenizer.json", TokenizerFile)

    @cached_property
    def tokenizer_config(self) -> TokenizerConfig:
        """Contents of `tokenizer_config.json`, empty if there is none."""
        if not (self.folder / "tokenizer_config.json").exists():
            return TokenizerConfig()
        return self._validated("tokenizer_config.json", TokenizerConfig)

    @cached_property
    def chat_template(self) -> str | None:
        """The default chat template, None without one."""
        beside = self.folder / "chat_template.jinja"
        if beside.exists():
            return beside.read_text("utf-8")
        template = self.tokenizer_config.chat_template
        return template if isinstance(template, str) else None

    def _validated(self, name: str, kind: type[Described]) -> Described:
        try:
            return kind.model_validate(self._json(name))
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"]))
            raise ModelLoadError(
                f"{self.folder / name} is not as expected ({where}: {error.errors()[0]['msg']})", "download it again"
            ) from error

    def _json(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        try:
            return cast("dict[str, Any]", read_json(path.read_bytes(), lenient=True))
        except FileNotFoundError as error:
            raise UsageError(f"{self.folder} has no {name}", "pass the folder of a whole model repository") from error
        except (OSError, ValueError) as error:
            raise ModelLoadError(f"{path} cannot be read ({error})", "download it again") from error


def _plain(name: str) -> str:
    return name.removeprefix(WRAPPER)
