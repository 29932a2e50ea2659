"""Text of a step that is being generated: ends of step, path and thought, and blocks that stay whole."""

from __future__ import annotations

import codecs
import logging
import re
from copy import copy
from functools import lru_cache
from importlib import import_module
from typing import Any

from ramify.sampling_params import StepFormat, ThoughtSteps
from ramify.search.node import FinishReason

_MARKS = re.compile(
    r"^[ \t]*(?P<fence>```|~~~)|(?P<dollars>\$\$)|(?P<open>\\\[)|(?P<close>\\\])"
    r"|\\begin\{(?P<begin>[^{}\n]*)\}|\\end\{(?P<end>[^{}\n]*)\}",
    re.MULTILINE,
)
_MARK_TEXTS = ("```", "~~~", "$$", "\\[", "\\begin{")
_HEADING = re.compile(
    r"\s*(?:#{1,6}[ \t][^\n]*|\*\*[^\n]+\*\*:?|(?:\*\*)?Step[ \t]+\d+[.:]?(?:\*\*)?:?|-{3,}|\*{3,})"
    r"(?:[ \t]*\n\s*|[ \t]*\Z)"
)
"""A line that stands above its text: a Markdown heading, a bold line, "Step 1:" alone, or a rule."""


_LINE_END = re.compile(r"\n\s*\Z")
_SENTENCE_END = re.compile(r"(?:(?:[^\d\s.]\.+|[!?…。！？])[\"')\]*]*|\n)\s*\Z")
_NOT_SPACE = re.compile(r"\S")

_FROM_LAST_BREAK = (r"\n", r"\n\s*\n", r"\nStep \d+:")
"""Patterns whose match in a text that goes on can only begin at the last line break of the text before without one."""

PATTERN_LIMIT_S = 0.1
"""Seconds of processor time for one search with a pattern that a person wrote."""
_MOST_TIMEOUTS = 5

_log = logging.getLogger(__name__)
_compiled = lru_cache(maxsize=64)(re.compile)


class TimedPattern:
    """A regular expression of the library `regex`, whose searches have a time limit.

    A search that takes longer finds nothing. After five of them the pattern is given up: it never matches again.
    """

    def __init__(self, pattern: str) -> None:
        # The library has no type annotations. Imported here, since only patterns that a person wrote need it.
        regex: Any = import_module("regex")
        self._pattern = regex.compile(pattern)
        self._timeouts = 0

    def search(self, text: str, start: int = 0) -> re.Match[str] | None:
        """Return the first match from `start` on, None if none was found in time."""
        if self._timeouts >= _MOST_TIMEOUTS:
            return None
        try:
            return self._pattern.search(text, start, timeout=PATTERN_LIMIT_S)
        except TimeoutError:
            self._timeouts += 1
            if self._timeouts == _MOST_TIMEOUTS:
                _log.warning(
                    "the step pattern %r took longer than %g s %d times; it ends no more steps, simplify it",
                    self._pattern.pattern[:100],
                    PATTERN_LIMIT_S,
                    _MOST_TIMEOUTS,
                )
            return None


_timed = lru_cache(maxsize=16)(TimedPattern)


def step_pattern(format: StepFormat) -> re.Pattern[str] | TimedPattern:
    """Return the pattern that ends a step, for searches; a person's own has a time limit."""
    return _timed(format.pattern) if format.custom else _compiled(format.pattern)


def open_block(text: str, opened: str = "") -> str:
    """Return the mark that ends the code fence or the display math in which `text` ends, "" outside of both.

    `opened` is that of the text before.
    """
    if not opened and not any(mark in text for mark in _MARK_TEXTS):
        return ""
    for match in _MARKS.finditer(text):
        kind, mark = match.lastgroup, match.group()
        if opened:
            if (match.group(kind or 0) if kind == "fence" else mark) == opened:
                opened = ""
        elif kind == "fence":
            opened = match.group("fence")
        elif kind == "dollars":
            opened = mark
        elif kind == "open":
            opened = "\\]"
        elif kind == "begin":
            opened = f"\\end{{{match.group('begin')}}}"
    return opened


class _WholeBlocks:
    """Finds places in a growing part of a step's text that are neither in a block nor after a heading alone.

    The step begins at `begin` of the text, and its first character that is no space is at `lead`.
    """

    def __init__(self, text: str, lead: int, opened: str, begin: int = 0) -> None:
        self.text, self._opened = text, opened
        self._read, self._body = begin, lead
        self._below_headings = False

    def may_end(self, at: int) -> bool:
        """Tell whether the step may end at a place; each place asked for lies beyond the one before."""
        self._opened, self._read = open_block(self.text[self._read : at], self._opened), at
        while not self._below_headings and (heading := _HEADING.match(self.text, self._body, at)):
            self._body = heading.end()
        first = _NOT_SPACE.search(self.text, self._body, at)
        if first is None:
            return False
        # A line that was read to its end and is no heading never becomes one.
        self._below_headings = self._below_headings or self.text.find("\n", first.start(), at) >= 0
        return not self._opened


def is_whole(text: str, opened: str = "") -> bool:
    """Tell whether a step may end after `text`: neither in a block nor after a heading alone."""
    return _WholeBlocks(text, len(text) - len(text.lstrip()), opened).may_end(len(text))


def _find_step_end(
    text: str, format: StepFormat, start: int, lead: int, blocks: _WholeBlocks | None
) -> tuple[int | None, int]:
    """Look from `start` on for the end of the step whose first character that is no space is at `lead`.

    Return the place where the step ends, None if it has not ended, and where the next look may start.
    """
    pattern = step_pattern(format)
    match = pattern.search(text, max(start, lead)) if lead < len(text) else None
    while match is not None:
        if blocks is None or blocks.may_end(match.start()):
            return match.end(), start
        start = match.end()
        match = pattern.search(text, start)
    return None, start


def find_end_after(text: str, format: StepFormat, begin: int) -> int | None:
    """Return where the step that begins at `begin` ends in a finished text, None if it goes on to the end."""
    if format.custom and begin:
        # A person's own pattern may look at the text before a match: it sees the step alone, as in generation.
        end = find_end_after(text[begin:], format, 0)
        return None if end is None else begin + end
    lead = _NOT_SPACE.search(text, begin)
    if lead is None:
        return None
    blocks = _WholeBlocks(text, lead.start(), "", begin) if format.whole_blocks else None
    return _find_step_end(text, format, begin, lead.start(), blocks)[0]


def find_stop(text: str, stop: str, start: int = 0, longest: int = 0) -> int | None:
    """Return where the path ends in `text`, None if no stop sequence ends beyond `start`.

    A sequence begins in the line of `start` or after it, or has no more than `longest` characters.
    """
    begin = max(0, min(text.rfind("\n", 0, start) + 1, start - longest))
    match = _compiled(stop, re.MULTILINE).search(text, begin)
    if match is None:
        return None
    return match.start("stop" if match.groupdict().get("stop") is not None else 0)


class _Call:
    """Call of a tool in a growing text, between one of some pairs of marks.

    `close` is the text that ends the call in which the text before left off, "" outside of calls.
    """

    def __init__(self, marks: tuple[tuple[str, str], ...], close: str = "") -> None:
        self._marks = marks
        self._close: str | None = close or None
        self._from = 0

    def look(self, text: str) -> bool | None:
        """Return whether a call has ended, None while one is open; each text begins with the one before."""
        if self._close is None:
            found = _first_call(text, self._marks, self._from)
            if found is None:
                self._from = max(0, len(text) - max(len(begin) for begin, _ in self._marks))
                return False
            self._from, self._close = found
        if not self._close:
            return None
        at = text.find(self._close, max(0, self._from - 1))
        if at < 0:
            self._from = max(self._from, len(text) - len(self._close))
            return None
        return True


def _first_call(text: str, marks: tuple[tuple[str, str], ...], start: int) -> tuple[int, str] | None:
    """Return the position after the first call's opening mark from `start` on, and its end mark; None without one."""
    found = [(at, at + len(begin), end) for begin, end in marks if (at := text.find(begin, start)) >= 0]
    return min(found)[1:] if found else None


def open_call(text: str, marks: tuple[tuple[str, str], ...]) -> str:
    """Return the mark that ends the call of a tool in which `text` ends, "" outside of calls."""
    at = 0
    while True:
        found = _first_call(text, marks, at)
        if found is None:
            return ""
        begun, end = found
        closed = text.find(end, begun - 1) if end else -1
        if closed < 0:
            return end
        at = closed + len(end)


class ThoughtText:
    """Finds the ends of a step in a growing text that is a thought, or may turn out to be one.

    `over` is true once the text is known to be none.
    """

    def __init__(self, steps: ThoughtSteps) -> None:
        self._steps = steps
        self._opened = steps.opened
        self._count = self._from = 0
        self.over = False

    def look(self, text: str) -> bool:
        """Tell whether the step ends with the token that was added last; each text begins with the one before."""
        self._count += 1
        steps = self._steps
        if not self._opened:
            start = text.lstrip()
            if not start.startswith(steps.open):
                self.over = not steps.open.startswith(start)
                return False
            self._opened = True
        if text.find(steps.close, self._from) >= 0:
            return True
        self._from = max(0, len(text) - len(steps.close))
        if self._count >= min(steps.sentence_from, steps.least * 3 // 2):
            return _SENTENCE_END.search(text, max(0, len(text) - 16)) is not None
        return self._count >= steps.least and _LINE_END.search(text, max(0, len(text) - 16)) is not None


class StepText:
    """Text of a step that is being generated, from the bytes of its tokens; a broken character becomes U+FFFD.

    `format` says where step and path end; None means only where the model ends its text. A step `to_the_end` ends with
    its path. `opened` is the block that the text before left open (see `open_block`), and `call` the text that ends the
    call of a tool in which it left off. `stop` is a pattern that ends the path beside that of the format, "" for none.
    `thought` says where a step in a thought ends, None outside of thoughts; no stop sequence ends the path there.

    `kept` are the bytes of the token that closes a thought if the step ends before it, b"" if not. `begun` are the
    bytes of a character that the step before was cut in; it is in the text of this step.
    """

    def __init__(
        self,
        format: StepFormat | None,
        *,
        to_the_end: bool = False,
        opened: str = "",
        stop: str = "",
        call: str = "",
        thought: ThoughtSteps | None = None,
        begun: bytes = b"",
    ) -> None:
        self._format = None if to_the_end else format
        self._pattern = None if to_the_end or format is None else step_pattern(format)
        self._stop = "|".join(filter(None, [stop, "" if format is None else format.stop]))
        self._longest_stop = len(stop)
        self._opened = opened
        self._call = _Call(format.calls, call) if format is not None and format.calls else None
        self._thought = None if thought is None else ThoughtText(thought)
        self.kept = thought.close.encode() if thought is not None and thought.keeps_on else b""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._decoder.setstate((begun, 0))
        self._whole = not begun
        self._blocks: _WholeBlocks | None = None
        self._searched = self._passed = self._unmatched = 0
        self.text = ""

    def copy(self) -> StepText:
        """Return an independent copy."""
        other = StepText(self._format, opened=self._opened)
        other._stop, other._whole, other.text = self._stop, self._whole, self.text
        other._longest_stop = self._longest_stop
        other._searched, other._passed, other._unmatched = self._searched, self._passed, self._unmatched
        other._blocks, other._call = copy(self._blocks), copy(self._call)
        other._thought, other.kept = copy(self._thought), self.kept
        other._decoder.setstate(self._decoder.getstate())
        return other

    @property
    def open_block(self) -> str:
        """Mark that ends the code fence or the display math in which the text ends, "" outside of both."""
        return open_block(self.text, self._opened)

    def add(self, piece: bytes, *, early: bool = False) -> FinishReason | None:
        """Append a token's bytes; return why the step has ended, None if it goes on.

        A step that is `early` passes over an end of a step; it may yet end at the next one.
        """
        if self._whole and piece.isascii():
            # Nearly all pieces are ASCII, which needs no incremental decoder.
            self.text += piece.decode()
        else:
            self.text += self._decoder.decode(piece)
            self._whole = not self._decoder.getstate()[0]
        if self._thought is None and self._stop and self._cut():
            return FinishReason.EOS
        if self._call is not None and (called := self._call.look(self.text)) is not False:
            return FinishReason.STEP if called else None
        if self._thought is not None:
            if self._thought.look(self.text):
                return FinishReason.STEP
            if not self._thought.over:
                return None
            self._thought = None
        format, pattern = self._format, self._pattern
        if format is None or pattern is None:
            return None
        lead = len(self.text) - len(self.text.lstrip())
        if lead == len(self.text):
            return None
        start = max(lead, self._passed, self._unmatched)
        if pattern.search(self.text, start) is None:
            if format.pattern in _FROM_LAST_BREAK:
                last = self.text.rfind("\n", start)
                self._unmatched = last if last >= 0 else len(self.text)
            return None
        if format.whole_blocks:
            self._blocks = self._blocks or _WholeBlocks(self.text, lead, self._opened)
            self._blocks.text = self.text
        end, self._passed = _find_step_end(self.text, format, max(self._passed, self._unmatched), lead, self._blocks)
        if end is None:
            return None
        if early:
            self._passed = end
            return None
        return FinishReason.STEP

    def append(self, piece: bytes) -> None:
        """Append bytes in which no step and no path ends."""
        self.text += self._decoder.decode(piece)
        self._whole = not self._decoder.getstate()[0]
        self._searched = self._passed = len(self.text)

    def _cut(self) -> bool:
        """Cut the text where its path ends, if a stop sequence has come."""
        at = find_stop(self.text, self._stop, self._searched, self._longest_stop)
        self._searched = len(self.text)
        if at is None:
            return False
        self.text = self.text[:at].rstrip()
        self._decoder.reset()
        return True

    @property
    def unfinished(self) -> bytes:
        """The first bytes of a character whose other bytes have not come, b"" for none."""
        return self._decoder.getstate()[0]

    def close(self, *, cut: bool = False) -> str:
        """Return the whole text. An unfinished character is U+FFFD, or left to the next step if this one was `cut`."""
        if not cut:
            self.text += self._decoder.decode(b"", final=True)
        return self.text
