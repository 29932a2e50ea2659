"""Texts in the making: whole replies, or event streams whose text grows."""

from __future__ import annotations

from typing import Any, cast

from .http import Refused, Unreachable, in_words
from .server_reply import Choice, ServerUsage, Told, read_reply
from .stops import StepEnd

CHARACTERS_A_TOKEN = 4
"""How long a token is taken to be where a server neither counts nor lists them."""

_DATA = b"data:"
_DONE = b"[DONE]"
_COMMENT = b":"
_TOLD: dict[str, Told] = {"word": "word", "eos": "end"}
"""What llama-server's words for it mean."""


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
        self._half = ""

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

    def add(self, choice: Choice) -> None:
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
            self._grow(self._whole_characters(text, last=choice.finish_reason is not None))
        if choice.finish_reason is not None:
            self.finish_reason = choice.finish_reason
            self.told = choice.told()

    def _whole_characters(self, text: str, *, last: bool) -> str:
        """Return text with the two halves of characters joined; a first half at its end waits for the next piece."""
        text, self._half = self._half + text, ""
        if text and not last and "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

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
        if not data or data.startswith(_COMMENT):
            return True
        self._take(data)
        cut = bool(self._seen) and all(self.drafts[index].cut for index in self._seen)
        return not (cut and len(self._seen) == len(self.drafts))

    def take_whole(self, data: bytes) -> None:
        """Take a whole reply.

        Raises:
            Unreachable: if it is not what such a server sends.
        """
        if data.lstrip().startswith(_DATA):
            # A stream that is not called one.
            for line in data.splitlines():
                if not self.take_line(line):
                    break
        else:
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
        reply = read_reply(data)
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
