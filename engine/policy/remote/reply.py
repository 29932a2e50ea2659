"""What a server writes: whole replies, or event streams whose text grows."""

from __future__ import annotations

from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .http import Refused, Unreachable, in_words
from .stops import StepEnd

Told = Literal["word", "end", "unknown"]
"""What a server says ended a text that was not too long: a stop string, the end-of-sequence token, or nothing."""

CHARACTERS_A_TOKEN = 4
"""How long a token is taken to be where a server neither counts nor lists them."""

_DATA = b"data:"
_DONE = b"[DONE]"
_TOLD: dict[str, Told] = {"word": "word", "eos": "end"}
"""What llama-server's words for it mean."""


class _Cached(BaseModel):
    cached_tokens: int | None = None


class ServerUsage(BaseModel):
    """Tokens as the server counts them, of all choices of a request together."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
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
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class _Listed(BaseModel):
    token: str = ""
    logprob: float | None = None


class _Logprobs(BaseModel):
    content: list[_Listed] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None

    def values(self) -> list[float | None]:
        """Return the log probabilities of the tokens, in both forms of the protocol."""
        if self.content is not None:
            return [each.logprob for each in self.content]
        return list(self.token_logprobs or [])


class _Choice(BaseModel):
    index: int = 0
    text: str | None = None
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

    def has_hidden_text(self) -> bool:
        """Return whether the server kept a part of the text apart."""
        inner = self.delta or self.message
        return inner is not None and bool(inner.reasoning_content or inner.reasoning)

    def told(self) -> Told:
        """Return what ended the text, as vLLM, SGLang or nobody says."""
        for name in ("stop_reason", "matched_stop"):
            if name in self.model_fields_set:
                value = getattr(self, name)
                if isinstance(value, str):
                    return "word"
                return "end" if isinstance(value, int) or name == "stop_reason" else "unknown"
        return "unknown"


class _Detail(BaseModel):
    stop_type: str | None = None


class _Reply(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    choices: list[_Choice] = []
    usage: ServerUsage | None = None
    error: Any = None
    detail: _Detail | None = Field(default=None, alias="__verbose")


class Draft:
    """One text as it comes in.

    `head` is what the step holds already and `end` where it ends, None to write on to the end. `text` is new text, up
    to where the step ends, and `raw` all that came. `listed` counts the tokens whose log probabilities came, and
    `logprob` sums these, None if there were none. `pieces` counts the pieces in which text came. `finish_reason` is
    None as long as there is none, and `told` says what ended the text. `cut` tells that the step's end was found in the
    text, `hidden` that the server kept thoughts apart.
    """

    def __init__(self, head: str, end: StepEnd | None) -> None:
        self.text = ""
        self.raw = ""
        self.listed = 0
        self.pieces = 0
        self.logprob: float | None = None
        self.finish_reason: str | None = None
        self.told: Told = "unknown"
        self.cut = False
        self.hidden = False
        self._head = head
        self._end = end

    @property
    def done(self) -> bool:
        """True if no more is to come."""
        return self.cut or self.finish_reason is not None

    def count(self) -> int:
        """Return how many tokens came: those listed, else as many as there were pieces."""
        return self.listed or self.pieces

    def guess(self) -> None:
        """Guess the number of tokens from the length of the text."""
        self.pieces = -(-len(self.raw) // CHARACTERS_A_TOKEN)

    def add(self, choice: _Choice) -> None:
        """Take in what came."""
        values = [] if choice.logprobs is None else choice.logprobs.values()
        known = [value for value in values if value is not None]
        text = choice.written()
        self.hidden = self.hidden or choice.has_hidden_text()
        if not self.cut:
            self.listed += len(values)
            self.pieces += bool(text)
            if known:
                self.logprob = (self.logprob or 0.0) + sum(known)
            self._grow(text)
        if choice.finish_reason is not None:
            self.finish_reason = choice.finish_reason
            self.told = choice.told()

    def _grow(self, text: str) -> None:
        if not text:
            return
        self.raw += text
        self.text = self.raw
        length = None if self._end is None else self._end.find(self._head + self.raw)
        if length is not None:
            self.text, self.cut = self.raw[: max(0, length - len(self._head))], True


class Reading:
    """Takes in a reply of `len(drafts)` choices, line by line or whole."""

    def __init__(self, drafts: list[Draft]) -> None:
        self.drafts = drafts
        self.usage: ServerUsage | None = None
        self._finished = False
        self._seen = set[int]()

    def take_line(self, line: bytes) -> bool:
        """Take a line of an event stream; return whether more is wanted.

        Raises:
            Unreachable: if it is not what such a server sends, or it reports a failure.
        """
        if not line.startswith(_DATA):
            return True
        data = line[len(_DATA) :].strip()
        if data == _DONE:
            self._finished = True
            return False
        self._take(data)
        cut = bool(self._seen) and all(self.drafts[index].cut for index in self._seen)
        return not (cut and len(self._seen) == len(self.drafts))

    def take_whole(self, data: bytes) -> None:
        """Take a whole reply.

        Raises:
            Unreachable: if it is not what such a server sends.
        """
        self._take(data)
        self._finished = True
        if self.usage is None:
            for draft in self.drafts:
                draft.guess()

    def missing(self) -> list[int]:
        """Return the choices of which nothing came.

        Raises:
            Unreachable: if the reply broke off before a text had ended.
        """
        whole = bool(self._seen) and all(self.drafts[index].done for index in self._seen)
        broken = not self._finished and not whole
        if broken or not self._seen:
            raise Unreachable("its reply breaks off" if broken else "its reply has no text")
        return [index for index in range(len(self.drafts)) if index not in self._seen]

    def _take(self, data: bytes) -> None:
        try:
            reply = _Reply.model_validate_json(data)
        except ValidationError:
            raise Unreachable("it does not answer as an OpenAI-compatible server does") from None
        if reply.error is not None:
            raise _failure(reply.error)
        if reply.usage is not None:
            # llama-server counts each choice by itself, at its end; others count all of them, some as they go.
            more = not reply.choices and len(self.drafts) > 1
            self.usage = self.usage + reply.usage if more and self.usage is not None else reply.usage
        for choice in reply.choices:
            if not 0 <= choice.index < len(self.drafts):
                continue
            self._seen.add(choice.index)
            draft = self.drafts[choice.index]
            draft.add(choice)
            if reply.detail is not None and choice.finish_reason is not None and draft.told == "unknown":
                draft.told = _TOLD.get(reply.detail.stop_type or "", "unknown")


def _failure(error: Any) -> Refused | Unreachable:
    """Return the failure that a server reports inside a reply."""
    code = cast("dict[str, Any]", error).get("code") if isinstance(error, dict) else None
    if isinstance(code, int) and code >= 400:
        return Refused(code, in_words(error))
    return Unreachable(f"it reports: {in_words(error)}")
