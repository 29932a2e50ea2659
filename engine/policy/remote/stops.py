"""What ends a step on a server, which knows stop strings, where ramify has patterns."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from ramify.sampling_params import StepFormat

_SPECIAL = re.compile(r"[.^$*+?{}\[\]|()\\]")
_NEWLINE = re.compile(r"\\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEnd:
    """Where a step ends.

    `stops` are the stop strings for the server; none if the pattern has no fixed text, and then the step is cut as it
    comes in. `tail` stands at the end of a step that a stop string ended, since servers leave it out. `pattern` is
    what is looked for in the text, beyond leading space. `keep_match` tells whether what matched belongs to the step
    (else only its first character does).
    """

    stops: tuple[str, ...]
    tail: str
    pattern: str
    keep_match: bool = True

    def find(self, text: str) -> int | None:
        """Return the length of the step at the start of `text`, None if it has not ended."""
        lead = len(text) - len(text.lstrip())
        match = _compiled(self.pattern).search(text, lead) if lead < len(text) else None
        if match is None:
            return None
        return match.end() if self.keep_match else match.start() + 1


def step_end(format: StepFormat) -> StepEnd:
    """Return where a step of this format ends on a server.

    A `step-k` step ends before the next one's label here, as the label is what stops it.
    """
    if format.name == "step-k":
        return StepEnd(stops=("\nStep ",), tail="\n", pattern=format.pattern, keep_match=False)
    if format.name == "blank-line":
        return StepEnd(stops=("\n\n",), tail="\n\n", pattern=format.pattern)
    literal = _literal(format.pattern)
    if literal is None:
        return StepEnd(stops=(), tail="", pattern=format.pattern)
    return StepEnd(stops=(literal,), tail=literal, pattern=format.pattern)


def ignored(end: StepEnd, text: str) -> bool:
    """Return whether a server that was given the stop strings went on beyond one of them."""
    body = text.lstrip()
    return any(stop in body for stop in end.stops)


def _literal(pattern: str) -> str | None:
    """Return the text that a pattern without wildcards stands for, None for any other pattern."""
    plain = _NEWLINE.sub("\n", pattern)
    return None if _SPECIAL.search(plain) else plain


_compiled = lru_cache(maxsize=64)(re.compile)
