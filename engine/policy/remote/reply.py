"""Replies of a server, whole or as an event stream: texts, log probabilities, token counts, finish reasons."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, cast

from ramify.answers.thoughts import ThoughtMarks
from ramify.search.node import FinishReason

from ...runtime.decode.step_text import find_stop
from .http import Refused, Unreachable, in_words
from .server_reply import Choice, ServerUsage, StopCause, read_reply
from .step_end import StepEnd

CHARACTERS_A_TOKEN = 4
"""Length of a token in characters, assumed where a server neither counts nor lists tokens."""

SLACK = 2
"""Tokens per text that a server may count without listing them: the end-of-sequence token, or a stop string."""

SLACK_SHARE = 0.02

SERVER_THOUGHTS = ThoughtMarks("<think>", "</think>")
"""Marks of the thoughts of models behind servers: those that a server keeps apart are put between them."""

_DATA = b"data:"
_DONE = b"[DONE]"
_COMMENT = b":"
_TOLD: dict[str, StopCause] = {"word": "word", "eos": "end"}
"""Causes by llama-server's `stop_type`."""


class StreamedText:
    """One text as it arrives.

    `head` is the text that the step has already, `end` the end of steps, None to run to the end of the path; an end
    within the first `passed` characters does not count. `stop` is the pattern that ends the path, "" for none (see
    StepFormat). `text` is the new text up to the end of the step or the path, `raw` all that arrived. `listed` counts
    the tokens with log probabilities, `logprob` is their sum, None if there were none; `pieces` counts the pieces of
    text. `finish_reason` is None until the server sends one, `told` is the cause that it names. `cut` tells that an end
    was found in the text, `stopped` that it is that of the path. A thought that the server keeps apart from the text
    stands in it between its marks; no step ends in it. Without `keeps_thoughts` it is left out.
    `first_at` is when the first piece arrived (see StepResult), None before.
    """

    def __init__(
        self, head: str, end: StepEnd | None, passed: int = 0, stop: str = "", *, keeps_thoughts: bool = True
    ) -> None:
        self.text = ""
        self.raw = ""
        self.listed = 0
        self.pieces = 0
        self.logprob: float | None = None
        self.finish_reason: str | None = None
        self.told: StopCause = "unknown"
        self.cut = False
        self.stopped = False
        self._thinking = False
        self._keeps_thoughts = keeps_thoughts
        self.first_at: float | None = None
        self._head = head
        self._end = end
        self._passed = passed
        self._stop = stop
        self._half = ""

    @property
    def done(self) -> bool:
        """True if the text is complete."""
        return self.cut or self.finish_reason is not None

    def count(self) -> int:
        """Return the number of tokens that arrived: those listed, else the number of pieces."""
        return self.listed or self.pieces

    def guess(self) -> None:
        """Estimate the number of tokens from the length of the text."""
        self.pieces = -(-len(self.raw) // CHARACTERS_A_TOKEN)

    def add(self, choice: Choice) -> None:
        """Append a piece."""
        values = [] if choice.logprobs is None else choice.logprobs.values()
        known = [value for value in values if value is not None]
        text = self._with_thought(choice)
        if self.first_at is None and (text or values):
            self.first_at = time.monotonic()
        if not self.cut:
            self.listed += len(values)
            self.pieces += bool(text)
            if known:
                self.logprob = (self.logprob or 0.0) + sum(known)
            self._grow(self._whole_characters(text, last=choice.finish_reason is not None))
        if choice.finish_reason is not None:
            self.finish_reason = choice.finish_reason
            self.told = choice.told()

    def _with_thought(self, choice: Choice) -> str:
        """Return a piece with the part of a thought that the server keeps apart, between the marks of thoughts."""
        thought, text = choice.thought(), choice.written()
        if not self._keeps_thoughts:
            return text
        if thought:
            opened = self._thinking or SERVER_THOUGHTS.is_thinking(self._head + self.raw)
            thought = thought if opened else SERVER_THOUGHTS.open + thought
            self._thinking = True
        ends = self._thinking and (bool(text) or choice.finish_reason == "stop")
        if ends:
            self._thinking = False
            end = f"\n{SERVER_THOUGHTS.close}\n\n"
            self._passed = len(self._head) + len(self.raw) + len(thought) + len(end)
            text = end + text
        return thought + text

    def _whole_characters(self, text: str, *, last: bool) -> str:
        """Return text with the two halves of characters joined; a first half at its end waits for the next piece."""
        text, self._half = self._half + text, ""
        if text and not last and "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

    def _grow(self, text: str) -> None:
        if not text:
            return
        before = len(self._head) + len(self.raw)
        self.raw += text
        self.text = self.raw
        whole = self._head + self.raw
        if self._thinking:
            self._passed = len(whole)
            return
        length = None if self._end is None else self._end.find(whole, self._passed)
        at = find_stop(whole, self._stop, before, len(self._stop)) if self._stop else None
        if at is not None and (length is None or at < length):
            self._stop_at(whole, at)
        elif length is not None:
            self.text, self.cut = self.raw[: max(0, length - len(self._head))], True

    def ends_path(self, tail: str) -> bool:
        """Tell whether a stop sequence ends the path in `tail`, which is to follow the text; cuts the text there."""
        whole = self._head + self.text + tail
        at = find_stop(whole, self._stop, len(whole) - len(tail), len(self._stop)) if self._stop else None
        if at is not None:
            self._stop_at(whole, at)
        return at is not None

    def _stop_at(self, whole: str, at: int) -> None:
        self.text = whole[:at].rstrip()[len(self._head) :]
        self.cut = self.stopped = True


class ReplyParser:
    """Parses a reply of `len(texts)` choices, whole or line by line."""

    def __init__(self, texts: list[StreamedText]) -> None:
        self.texts = texts
        self.usage: ServerUsage | None = None
        self._finished = False
        self._seen = set[int]()

    def take_line(self, line: bytes) -> bool:
        """Parse a line of an event stream; return whether more lines are needed.

        Raises:
            Unreachable: if the line is no valid event, or reports a failure.
            Refused: if it reports a failure with a status code.
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
        cut = bool(self._seen) and all(self.texts[index].cut for index in self._seen)
        return not (cut and len(self._seen) == len(self.texts))

    def take_whole(self, data: bytes) -> None:
        """Parse a whole reply.

        Raises:
            Unreachable: if it is no valid reply, or reports a failure.
            Refused: if it reports a failure with a status code.
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
            for streamed in self.texts:
                streamed.guess()

    def missing(self) -> list[int]:
        """Return the indices of the choices that are missing from the reply.

        Raises:
            Unreachable: if the reply broke off before a text had ended.
        """
        whole = bool(self._seen) and all(self.texts[index].done for index in self._seen)
        broken = not self._finished and not whole
        if broken or not self._seen:
            raise Unreachable("its reply breaks off" if broken else "its reply has no text")
        return [index for index in range(len(self.texts)) if index not in self._seen]

    def _take(self, data: bytes) -> None:
        reply = read_reply(data)
        if reply.error is not None:
            raise _failure(reply.error)
        if reply.usage is not None:
            # llama-server counts each choice at its end; other servers count all choices, some of them repeatedly.
            more = not reply.choices and len(self.texts) > 1
            self.usage = self.usage + reply.usage if more and self.usage is not None else reply.usage
        for choice in reply.choices:
            if not 0 <= choice.index < len(self.texts):
                continue
            self._seen.add(choice.index)
            streamed = self.texts[choice.index]
            streamed.add(choice)
            if reply.detail is not None and choice.finish_reason is not None and streamed.told == "unknown":
                streamed.told = _TOLD.get(reply.detail.stop_type or "", "unknown")


def _failure(error: Any) -> Refused | Unreachable:
    """Return the failure that a server reports inside a reply with status 200."""
    code = cast("dict[str, Any]", error).get("code") if isinstance(error, dict) else None
    if isinstance(code, int) and code >= 400:
        return Refused(code, in_words(error))
    return Unreachable(f"it reports: {in_words(error)}")


def charged_tokens(texts: Sequence[StreamedText], usage: ServerUsage | None) -> list[int]:
    """Return the tokens of each text to charge: the server's count, but no fewer than arrived."""
    counts = [streamed.count() for streamed in texts]
    more = 0 if usage is None else usage.completion_tokens - sum(counts)
    if more <= 0 or not counts:
        return counts
    each, rest = divmod(more, len(counts))
    return [count + each + (place < rest) for place, count in enumerate(counts)]


def miscounted(texts: Sequence[StreamedText], usage: ServerUsage | None) -> bool:
    """Return whether the server's count contradicts the text that arrived.

    The numbers of listed and counted tokens have to agree within SLACK; without listed tokens there cannot be more
    pieces than counted tokens.
    """
    if usage is None or any(streamed.cut for streamed in texts):
        return False
    slack = SLACK * len(texts) + SLACK_SHARE * usage.completion_tokens
    if all(streamed.listed for streamed in texts):
        return abs(usage.completion_tokens - sum(streamed.listed for streamed in texts)) > slack
    return sum(streamed.count() for streamed in texts) > usage.completion_tokens + slack


def stopped_before_start(streamed: StreamedText, head: str, stops: tuple[str, ...]) -> bool:
    """Return whether a stop string in the leading white space ended a step before it began."""
    stopped = streamed.finish_reason == "stop" and not streamed.cut and streamed.told != "end"
    return bool(stops) and stopped and not (head + streamed.text).strip()


def finish_reason_of(
    streamed: StreamedText,
    end: StepEnd | None,
    *,
    stops: tuple[str, ...],
    out_of_room: bool,
    has_answer: Callable[[], bool],
) -> tuple[FinishReason, str]:
    """Return the finish reason of a text, and the text to append to it.

    `stops` are the stop strings of the request, `out_of_room` tells whether all allowed tokens were generated. If the
    server does not tell a stop string from the end-of-sequence token, it is the latter if there is an answer now
    (`has_answer`), else the former.
    """
    if streamed.cut:
        return (FinishReason.EOS if streamed.stopped else FinishReason.STEP), ""
    if streamed.finish_reason == "length":
        return (FinishReason.LENGTH if out_of_room else FinishReason.CONTEXT), ""
    by_stop = streamed.finish_reason == "stop" and streamed.told != "end"
    if end is None or not stops or not by_stop or (streamed.told == "unknown" and has_answer()):
        return FinishReason.EOS, ""
    return FinishReason.STEP, end.tail
