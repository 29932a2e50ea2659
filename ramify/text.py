"""Texts for messages: durations, and the known word that a wrong one was meant to be."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def duration_text(seconds: float) -> str:
    """Return a time in words, such as `3.2 s`, `45 s`, `1 min 20 s` or `2 h 05 min`; what would be 0 is left out."""
    if seconds < 59.5:
        tenths = round(seconds, 1)
        return f"{tenths:.1f} s" if tenths < 10 and tenths % 1 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if minutes else f"{hours} h"


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the known word nearest to `word`, or the list of known words."""
    choices = sorted(str(each) for each in known)
    matches = get_close_matches(word.lower(), choices, n=1, cutoff=0.5)
    return f"; did you mean {matches[0]!r}?" if matches else f"; choose one of: {', '.join(choices)}"
