"""Replies of OpenAI-compatible servers as data, read as leniently as their dialects ask for."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator

from ramify.json_text import read_json

from .http import Unreachable

StopCause = Literal["word", "end", "unknown"]
"""Cause of a text's end by the server's word: a stop string, the end-of-sequence token, or not told."""


def _count(value: object) -> object:
    return 0 if value is None else value


def _without_nulls(value: object) -> object:
    if value is None:
        return []
    return [each for each in cast("list[Any]", value) if each is not None] if isinstance(value, list) else value


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _text(value: object) -> str | None:
    # Not pydantic's own check, which refuses half a character; the other half may come with the next piece.
    if isinstance(value, list):
        parts = (cast("dict[str, Any]", part) for part in cast("list[Any]", value) if isinstance(part, dict))
        return "".join(str(part.get("text") or "") for part in parts)
    return value if isinstance(value, str) else None


def _stated(value: object) -> object:
    counted = cast("dict[str, Any]", value) if isinstance(value, dict) else None
    return None if counted is not None and counted.get("completion_tokens") is None else cast("object", value)


Count = Annotated[int, BeforeValidator(_count)]
"""A number of tokens, or a place; null is 0."""
Text = Annotated[str | None, PlainValidator(_text)]
"""Text, also in several parts; it may begin or end with half a character. None if it is none."""
LogProb = Annotated[float | None, AfterValidator(_finite)]
"""A log probability, None if it is no finite number."""


class _Cached(BaseModel):
    cached_tokens: int | None = None


class ServerUsage(BaseModel):
    """Tokens as the server counts them, of all choices of a request together."""

    prompt_tokens: Count = 0
    completion_tokens: Count = 0
    prompt_tokens_details: _Cached | None = None

    def __add__(self, other: ServerUsage) -> ServerUsage:
        return ServerUsage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            prompt_tokens_details=_Cached(cached_tokens=self.cached_tokens + other.cached_tokens),
        )

    @property
    def cached_tokens(self) -> int:
        """Prompt tokens that were not evaluated again; 0 also if the server does not say."""
        details = self.prompt_tokens_details
        return 0 if details is None else min(self.prompt_tokens, details.cached_tokens or 0)


class _Content(BaseModel):
    content: Text = None
    reasoning_content: Any = None
    reasoning: Any = None


class _Listed(BaseModel):
    logprob: LogProb = None


class _Logprobs(BaseModel):
    content: list[_Listed | None] | None = None
    token_logprobs: list[LogProb] | None = None

    def values(self) -> list[float | None]:
        """Return the log probabilities of the tokens, in both forms of the protocol."""
        if self.content is not None:
            return [None if each is None else each.logprob for each in self.content]
        return list(self.token_logprobs or [])


class Choice(BaseModel):
    """One of the texts of a reply, or a piece of it."""

    index: Count = 0
    text: Text = None
    delta: _Content | None = None
    message: _Content | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    matched_stop: str | int | None = None
    logprobs: _Logprobs | None = None

    def written(self) -> str:
        """Return the text."""
        inner = self.delta or self.message
        return (inner.content if inner is not None else self.text) or ""

    def thought(self) -> str:
        """Return the part of the model's thought that the server keeps apart from the text, "" for none."""
        inner = self.delta or self.message
        if inner is None:
            return ""
        kept = (each for each in (inner.reasoning_content, inner.reasoning) if isinstance(each, str) and each)
        return next(kept, "")

    def told(self) -> StopCause:
        """Return the cause of the text's end from the field of vLLM or SGLang, "unknown" without one."""
        for name in ("stop_reason", "matched_stop"):
            if name in self.model_fields_set:
                value = getattr(self, name)
                if isinstance(value, str):
                    return "word"
                return "end" if isinstance(value, int) or name == "stop_reason" else "unknown"
        return "unknown"


class _Detail(BaseModel):
    stop_type: str | None = None


class Reply(BaseModel):
    """A whole reply, or a piece of a stream. `usage` is None also where the server does not count its tokens."""

    model_config = ConfigDict(populate_by_name=True)

    choices: Annotated[list[Choice], BeforeValidator(_without_nulls)] = []
    usage: Annotated[ServerUsage | None, BeforeValidator(_stated)] = None
    error: Any = None
    detail: _Detail | None = Field(default=None, alias="__verbose")


def read_reply(data: bytes) -> Reply:
    """Return the reply that a server wrote.

    Raises:
        Unreachable: if it is no reply of such a server.
    """
    try:
        return Reply.model_validate(read_json(data, lenient=True))
    except ValueError:
        raise Unreachable("it does not answer as an OpenAI-compatible server does") from None
