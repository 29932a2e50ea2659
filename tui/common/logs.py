"""Lines of the log, and redirection of stdout and stderr while the screen has the terminal."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import IO, TextIO

KEPT_LINES = 2000
"""Number of lines that are kept."""


class LogLines(logging.Handler):
    """The newest lines of the log and of `redirected`, the file to which stdout and stderr lead; None for none.

    `count` grows with every line, so that a reader can tell what is new.
    """

    def __init__(self, redirected: IO[bytes] | None = None) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S"))
        self.count = 0
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._redirected = redirected
        self._read_bytes = 0
        self._partial = b""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        for line in self.format(record).splitlines():
            self._add(line)

    def lines(self) -> list[str]:
        """Return the newest lines, oldest first."""
        self._read_redirected()
        return list(self._lines)

    def finish(self) -> None:
        """Read the rest of the redirected output, before its file is closed."""
        self._read_redirected()
        self._redirected = None

    def _add(self, line: str) -> None:
        self._lines.append(line)
        self.count += 1

    def _read_redirected(self) -> None:
        if self._redirected is None:
            return
        data = os.pread(self._redirected.fileno(), 1 << 20, self._read_bytes)
        self._read_bytes += len(data)
        *whole, self._partial = (self._partial + data).split(b"\n")
        for line in whole:
            if line.strip():
                self._add(line.decode("utf-8", "replace").rstrip())


@contextmanager
def own_terminal() -> Generator[LogLines]:
    """Let only the screen write to the terminal during the block: file descriptors 1 and 2 lead to a file.

    Native code writes to them directly, which would damage the screen; and code that closes or redirects them would
    silence the screen too. The screen writes to `sys.__stderr__` and asks `sys.__stdout__` for the size of the
    terminal, so both get a descriptor of their own.
    """
    saved = os.dup(1), os.dup(2)
    old = sys.__stdout__, sys.__stderr__
    screen = os.fdopen(os.dup(2 if os.isatty(2) else 1), "w", encoding="utf-8", errors="replace")
    with tempfile.NamedTemporaryFile() as output, _closing(screen), _logging_to(LogLines(output)) as lines:
        # Appending, because each of the two descriptors has a position of its own in the file.
        append = os.open(output.name, os.O_WRONLY | os.O_APPEND)
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
def _closing(screen: TextIO) -> Generator[None]:
    """Close the screen's stream after the block; text that a closed terminal does not take is lost."""
    try:
        yield
    finally:
        with suppress(OSError):
            screen.close()


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
