"""Stdout belongs to this module: results and nothing else."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any

STDOUT, STDERR = 1, 2


class OutputClosed(Exception):
    """Raised when whoever read stdout has gone, as `head` does when it has seen enough."""


def write(text: str) -> None:
    """Write `text` and a newline.

    Raises:
        OutputClosed: if nobody reads any more.
    """
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_the_rest()
        raise OutputClosed from None


def write_json(value: Any, *, indent: int | None = None) -> None:
    """Write one JSON value; on one line without `indent`."""
    write(json.dumps(value, ensure_ascii=False, indent=indent))


def write_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write rows in aligned columns below their headings."""
    widths = [max(len(cell) for cell in column) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@contextmanager
def owned_stdout() -> Generator[None]:
    """For the block, let only `write` reach stdout; what native code writes to its descriptor goes to stderr."""
    if not _is_real():
        yield
        return
    sys.stdout.flush()
    kept = os.dup(STDOUT)
    os.dup2(STDERR, STDOUT)
    try:
        # Lone surrogates, from bytes in the arguments that are no text, come out as JSON would escape them.
        stream = os.fdopen(kept, "w", encoding=sys.stdout.encoding, errors="backslashreplace", closefd=False)
        with stream, redirect_stdout(stream):
            yield
    finally:
        os.dup2(kept, STDOUT)
        os.close(kept)


def _is_real() -> bool:
    try:
        return sys.stdout.fileno() == STDOUT
    except (AttributeError, OSError, ValueError):
        return False


def _discard_the_rest() -> None:
    """Point stdout at nothing, so that what is buffered does not raise again while the interpreter ends."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):
        return
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, descriptor)
    os.close(nothing)
