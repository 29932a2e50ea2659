"""Ends of steps on a server: stop strings in place of the patterns of a step format."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ramify.sampling_params import StepFormat

from ...runtime.decode.step_text import step_pattern

_SPECIAL = re.compile(r"[.^$*+?{}\[\]|()\\]")
_NEWLINE = re.compile(r"\\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEnd:
    """The end of a step: stop strings for the server, and a pattern that is searched in the text as it arrives.

    `stops` is empty if the pattern has no fixed text. `tail` is appended to a step that a stop string ended, since
    servers leave the string out. The pattern of `format` is searched after leading white space. `keep_match` tells
    whether the match belongs to the step; otherwise only its first character does.
    """

    stops: tuple[str, ...]
    tail: str
    format: StepFormat
    keep_match: bool = True

    def find(self, text: str, passed: int = 0) -> int | None:
        """Return the length in characters of the step at the start of `text`, None if it has not ended.

        An end within the first `passed` characters does not count.
        """
        lead = len(text) - len(text.lstrip())
        match = step_pattern(self.format).search(text, max(lead, passed)) if lead < len(text) else None
        if match is None:
            return None
        return match.end() if self.keep_match else match.start() + 1


def step_end(format: StepFormat) -> StepEnd:
    """Return the end of the steps of a format on a server.

    A `step-k` step ends before the label of the next step, which is the stop string.
    """
    if format.name == "step-k":
        return StepEnd(stops=("\nStep ",), tail="\n", format=format, keep_match=False)
    if format.name == "blank-line":
        return StepEnd(stops=("\n\n",), tail="\n\n", format=format)
    literal = _literal(format.pattern)
    if literal is None:
        return StepEnd(stops=(), tail="", format=format)
    return StepEnd(stops=(literal,), tail=literal, format=format)


def ignored(end: StepEnd, text: str) -> bool:
    """Return whether a text contains a stop string, so that the server ignored it."""
    body = text.lstrip()
    return any(stop in body for stop in end.stops)


def _literal(pattern: str) -> str | None:
    """Return the text that a pattern without wildcards matches, None for any other pattern."""
    plain = _NEWLINE.sub("\n", pattern)
    return None if _SPECIAL.search(plain) else plain
