"""Text of a step that is being generated: the end of the step, the end of the path, and blocks that stay whole."""

from __future__ import annotations

import codecs
import re
from functools import lru_cache

from ramify.sampling_params import StepFormat
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
"""A line that stands above what it is about: a Markdown heading, a bold line, "Step 1:" alone, or a rule."""


compiled = lru_cache(maxsize=64)(re.compile)


def open_block(text: str, opened: str = "") -> str:
    """Return what ends the code fence or the display math in which `text` ends, "" outside of both.

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
    """Finds places in a growing part of a step's text that are neither in a block nor after a heading alone."""

    def __init__(self, text: str, lead: int, opened: str) -> None:
        self._text, self._opened = text, opened
        self._read, self._body = 0, lead

    def may_end(self, at: int) -> bool:
        """Tell whether the step may end at a place; each place asked for lies beyond the one before."""
        self._opened, self._read = open_block(self._text[self._read : at], self._opened), at
        while heading := _HEADING.match(self._text, self._body, at):
            self._body = heading.end()
        return not self._opened and bool(self._text[self._body : at].strip())


def is_whole(text: str, opened: str = "") -> bool:
    """Tell whether a step may end after `text`: neither in a block nor after a heading alone."""
    return _WholeBlocks(text, len(text) - len(text.lstrip()), opened).may_end(len(text))


def find_step_end(text: str, format: StepFormat, start: int, lead: int, opened: str = "") -> tuple[int | None, int]:
    """Look from `start` on for the end of the step that `text` begins with, of which `lead` characters are space.

    Return the length of the step, None if it has not ended, and where the next look may start.
    """
    match = compiled(format.pattern).search(text, max(start, lead)) if lead < len(text) else None
    if match is None:
        return None, start
    blocks = _WholeBlocks(text, lead, opened) if format.whole_blocks else None
    while match is not None:
        if blocks is None or blocks.may_end(match.start()):
            return match.end(), start
        start = match.end()
        match = compiled(format.pattern).search(text, start)
    return None, start


def find_stop(text: str, stop: str, start: int = 0) -> int | None:
    """Return where the path ends in `text`, None if no stop sequence begins in the line of `start` or after it."""
    match = compiled(stop, re.MULTILINE).search(text, text.rfind("\n", 0, start) + 1)
    if match is None:
        return None
    return match.start("stop" if match.groupdict().get("stop") is not None else 0)


class StepText:
    """Text of a step that is being generated, from the bytes of its tokens; a broken character becomes U+FFFD.

    `format` says where step and path end; None means only where the model ends its text. A step `to_the_end` ends with
    its path. `opened` is the block that the text before left open (see `open_block`).
    """

    def __init__(self, format: StepFormat | None, *, to_the_end: bool = False, opened: str = "") -> None:
        self._format = None if to_the_end else format
        self._pattern = None if to_the_end or format is None else compiled(format.pattern)
        self._stop = "" if format is None else format.stop
        self._opened = opened
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._whole = True
        self._searched = self._passed = 0
        self.text = ""

    def copy(self) -> StepText:
        """Return an independent copy."""
        other = StepText(self._format, opened=self._opened)
        other._stop, other._whole, other.text = self._stop, self._whole, self.text
        other._searched, other._passed = self._searched, self._passed
        other._decoder.setstate(self._decoder.getstate())
        return other

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
        if self._stop and self._cut():
            return FinishReason.EOS
        format, pattern = self._format, self._pattern
        if format is None or pattern is None:
            return None
        lead = len(self.text) - len(self.text.lstrip())
        if lead == len(self.text) or pattern.search(self.text, lead if lead > self._passed else self._passed) is None:
            return None
        end, self._passed = find_step_end(self.text, format, self._passed, lead, self._opened)
        if end is None:
            return None
        if early:
            self._passed = end
            return None
        return FinishReason.STEP

    def _cut(self) -> bool:
        """Cut the text where its path ends, if a stop sequence has come."""
        at = find_stop(self.text, self._stop, self._searched)
        self._searched = len(self.text)
        if at is None:
            return False
        self.text = self.text[:at].rstrip()
        self._decoder.reset()
        return True

    def close(self) -> str:
        """Return the whole text, an unfinished character included."""
        self.text += self._decoder.decode(b"", final=True)
        return self.text
