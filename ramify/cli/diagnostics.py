"""Stderr belongs to this module: progress, notes and errors. Decoration only on a terminal that wants it."""

from __future__ import annotations

import os
import shutil
import sys

CLEAR_LINE = "\r\x1b[K"
RED, DIM = "31", "2"


def is_interactive() -> bool:
    """Tell whether stderr is a terminal on which a line can be rewritten."""
    try:
        return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    except (AttributeError, ValueError):
        return False


def say(line: str, *, style: str = "") -> None:
    """Write a line; `style` is an ANSI style, used on terminals unless NO_COLOR is set."""
    _write(f"{_styled(line, style)}\n")


def note(line: str) -> None:
    """Write a line about something that the user may not expect."""
    say(f"note: {line}")


def error(line: str) -> None:
    """Write what went wrong."""
    _write(f"{_styled('error:', RED)} {line}\n")


class StatusLine:
    """One line on a terminal that is rewritten in place."""

    def __init__(self) -> None:
        self._shown = False

    def show(self, text: str) -> None:
        """Show `text`, cut to the terminal's width, in place of what was shown."""
        width = max(20, shutil.get_terminal_size().columns - 1)
        _write(CLEAR_LINE + (text if len(text) <= width else text[: width - 1] + "…"))
        self._shown = True

    def clear(self) -> None:
        """Remove the line."""
        if self._shown:
            _write(CLEAR_LINE)
        self._shown = False


def _styled(text: str, style: str) -> str:
    if not style or os.environ.get("NO_COLOR") or not is_interactive():
        return text
    return f"\x1b[{style}m{text}\x1b[0m"


def _write(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (OSError, ValueError):
        return  # Nobody reads stderr; there is nowhere left to say so.
