"""Where the question comes from: the arguments, stdin, or both."""

from __future__ import annotations

import os
import select
import stat
import sys
from collections.abc import Sequence

import click

from . import diagnostics

PATIENCE_S = 1.0
"""How long stdin may stay silent when there is a question in the arguments already."""
STDIN_MARK = "-"


def read_question(words: Sequence[str]) -> str:
    """Return the question: what stdin holds and the arguments, joined by a blank line.

    Without arguments stdin is waited for. With arguments a silent stdin is left alone after PATIENCE_S, because a
    pipe that nobody writes to or closes is common where programs start programs; `-` among the arguments waits.

    Raises:
        click.UsageError: if there is no question, or stdin is not text.
    """
    argument = " ".join(word for word in words if word != STDIN_MARK).strip()
    wanted = not words or STDIN_MARK in words
    parts = [_stdin(wanted=wanted).strip(), argument]
    question = "\n\n".join(part for part in parts if part)
    if not question:
        raise click.UsageError(
            "the question is empty" if words else 'there is no question, try: ramify "What is 3 + 4?"'
        )
    return question


def _stdin(*, wanted: bool) -> str:
    try:
        descriptor = sys.stdin.fileno()
        terminal = sys.stdin.isatty()
    except (AttributeError, OSError, ValueError):
        # Closed, or replaced by something that is no file and so need not be waited for.
        return "" if sys.stdin is None or sys.stdin.closed else sys.stdin.read()  # pyright: ignore[reportUnnecessaryComparison]
    if terminal or not (wanted or _speaks(descriptor)):
        return ""
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise click.UsageError("stdin is not UTF-8 text") from None
    except OSError:
        return ""


def _speaks(descriptor: int) -> bool:
    """Tell whether stdin has something to say, or has ended."""
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:
        return False
    if stat.S_ISREG(mode):
        return True
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        return False
    ready, _, _ = select.select([descriptor], [], [], PATIENCE_S)
    if not ready:
        diagnostics.note("nothing came on stdin, so the question is the argument alone; add - to wait for stdin")
    return bool(ready)
