"""Driver of the terminal that outlives it: output to a terminal that was closed is dropped.

Textual's own thread that writes ends with the first error. Its queue then fills, and the program waits for a free place
in it for ever, with its models loaded.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO, cast

from textual.driver import Driver

if TYPE_CHECKING:
    from textual.app import App


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
        def __init__(
            self, app: App[Any], *, debug: bool = False, mouse: bool = True, size: tuple[int, int] | None = None
        ) -> None:
            super().__init__(app, debug=debug, mouse=mouse, size=size)
            if self._file is not None:
                self._file = cast("TextIO", EnduringOutput(self._file))

    return TerminalDriver
