"""Log lines for the console, and a terminal that only the screen writes to."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from typing import IO

KEPT_LINES = 2000


class LogLines(logging.Handler):
    """Keeps the newest lines of the log and of what was written to `stray`, a file that stands for stdout and stderr.

    `count` grows with every line, so that a reader can tell what is new.
    """

    def __init__(self, stray: IO[bytes] | None = None) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S"))
        self.count = 0
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._stray = stray
        self._read_bytes = 0
        self._torn = b""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        for line in self.format(record).splitlines():
            self._add(line)

    def lines(self) -> list[str]:
        """Return the newest lines, oldest first."""
        self._read_stray()
        return list(self._lines)

    def finish(self) -> None:
        """Take in what the file holds, as it is about to go."""
        self._read_stray()
        self._stray = None

    def _add(self, line: str) -> None:
        self._lines.append(line)
        self.count += 1

    def _read_stray(self) -> None:
        if self._stray is None:
            return
        data = os.pread(self._stray.fileno(), 1 << 20, self._read_bytes)
        self._read_bytes += len(data)
        *whole, self._torn = (self._torn + data).split(b"\n")
        for line in whole:
            if line.strip():
                self._add(line.decode("utf-8", "replace").rstrip())


@contextmanager
def own_terminal() -> Generator[LogLines]:
    """Give the terminal to the screen alone during the block: file descriptors 1 and 2 lead to a file.

    Native code writes to them without asking, which would spoil the screen; and code that silences them would silence
    the screen too. The screen writes to `sys.__stderr__` and asks `sys.__stdout__` for the terminal's size, so both
    get a descriptor of their own.
    """
    saved = os.dup(1), os.dup(2)
    old = sys.__stdout__, sys.__stderr__
    screen = os.fdopen(os.dup(2 if os.isatty(2) else 1), "w", encoding="utf-8", errors="replace")
    with tempfile.NamedTemporaryFile() as stray, screen, _logging_to(LogLines(stray)) as lines:
        # Appending, because the two descriptors have places of their own in the file.
        append = os.open(stray.name, os.O_WRONLY | os.O_APPEND)
        sys.__stdout__ = sys.__stderr__ = screen
        for descriptor in (1, 2):
            os.dup2(append, descriptor)
        os.close(append)
        try:
            yield lines
        finally:
            lines.finish()
            sys.__stdout__, sys.__stderr__ = old
            for descriptor, original in zip((1, 2), saved, strict=True):
                os.dup2(original, descriptor)
                os.close(original)


@contextmanager
def _logging_to(lines: LogLines) -> Generator[LogLines]:
    root, ours = logging.getLogger(), logging.getLogger("ramify")
    level = ours.level
    root.addHandler(lines)
    ours.setLevel(logging.INFO)
    logging.captureWarnings(True)
    try:
        yield lines
    finally:
        logging.captureWarnings(False)
        ours.setLevel(level)
        root.removeHandler(lines)
