"""Times for people."""

from __future__ import annotations


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
