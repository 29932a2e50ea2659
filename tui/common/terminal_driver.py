"""Driver of the terminal that outlives it: output to a terminal that was closed is dropped.

Textual's own thread that writes ends with the first error. Its queue then fills, and the program waits for a free place
in it for ever, with its models loaded.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any, TextIO, cast

from textual.driver import Driver


class EnduringOutput:
    """A text file whose errors of writing are ignored."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        """Write a text, or drop it; return its length."""
        with suppress(OSError):
            self._file.write(text)
        return len(text)

    def flush(self) -> None:
        """Write all that is buffered, or leave it."""
        with suppress(OSError):
            self._file.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def enduring(driver: type[Driver]) -> type[Driver]:
    """Return a driver whose output endures the end of its terminal; other systems keep their own driver."""
    if sys.platform == "win32":
        return driver
    from textual.drivers.linux_driver import LinuxDriver

    if driver is not LinuxDriver:
        return driver

    class TerminalDriver(LinuxDriver):
        def start_application_mode(self) -> None:
            if not isinstance(self._file, EnduringOutput):
                self._file = cast("TextIO", EnduringOutput(self._file))
            super().start_application_mode()

    return TerminalDriver
