"""Stdout and stderr of the command line: results on the one; progress, notes and errors on the other.

Nothing else writes to them. Decoration comes only on a terminal that wants it. Models, files and servers may say
anything, so control characters never reach a terminal: stdout is cleaned where it is one, stderr always.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO, cast

import click

from ..errors import UsageError
from ..tables import text_table
from ..text import cut, printable

STDOUT, STDERR = 1, 2
CLEAR_LINE = "\r\x1b[K"
RED, DIM = "31", "2"
REDRAW_S = 0.1
"""Shortest time between two states of a line that is rewritten."""
REPEAT_S = 5.0
"""Shortest time between two lines where a line cannot be rewritten."""
_STYLE = re.compile(r"(\x1b\[[0-9;]*m)")
_WHERE = "send it to a terminal, a pipe or a file with room"


class OutputClosed(Exception):
    """Raised when the reader of stdout has gone, as `head` does when it has seen enough."""


def prepare_streams() -> None:
    """Open the standard streams that the process was started without, so that no file of ours takes their place."""
    for descriptor in range(STDERR + 1):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free descriptor is taken, which is this one.
            os.open(os.devnull, os.O_RDWR)
    if _is_real():
        cast("io.TextIOWrapper", sys.stdout).reconfigure(errors="backslashreplace")


class _CleanedStream(io.TextIOBase):
    """Stderr for text of other modules, such as warnings, log records and prompts: cleaned text.

    `stream` receives the text; None discards it.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self.stream = stream

    @property
    def encoding(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return getattr(self.stream, "encoding", None) or "utf-8"

    def write(self, text: str, /) -> int:
        _write(cleaned(text))
        return len(text)

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return is_terminal(self.stream)

    def flush(self) -> None:
        if self.stream is not None and not self.stream.closed:
            self.stream.flush()

    def fileno(self) -> int:
        return super().fileno() if self.stream is None else self.stream.fileno()


@contextmanager
def cleaned_stderr() -> Generator[None]:
    """Clean everything that the process writes to `sys.stderr` during the block."""
    if isinstance(sys.stderr, _CleanedStream):
        yield
        return
    with redirect_stderr(cast("TextIO", _CleanedStream(sys.stderr))):
        yield


def cleaned(text: str, *, styled: bool = False) -> str:
    """Return text without controls and marks that reorder; `styled` keeps the sequences that set a style alone."""
    text = text.replace("\r\n", "\n")
    if not styled:
        return printable(text)
    return "".join(part if number % 2 else printable(part) for number, part in enumerate(_STYLE.split(text)))


def write(text: str, *, styled: bool = False) -> None:
    """Write `text` and a newline; `styled` says that the text has styles of ours, which stay.

    A terminal gets it cleaned, a pipe or a file as it is.

    Raises:
        OutputClosed: if nobody reads any more.
        UsageError: if it cannot be written, as on a full disk.
    """
    if sys.stdout is None or sys.stdout.closed:  # pyright: ignore[reportUnnecessaryComparison]
        raise UsageError("stdout is closed, so the output cannot be written", _WHERE)
    if is_terminal(sys.stdout):
        text = cleaned(text, styled=styled)
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except OSError as error:
        raise _given_up(error) from None


@contextmanager
def guarded_echo() -> Generator[None]:
    """Treat a failure of click's own output in the block, such as that of a help, like one of `write`.

    Raises:
        OutputClosed, UsageError: as `write`.
    """
    try:
        yield
    except OSError as error:
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        if trace is None or trace.tb_frame.f_code is not click.echo.__code__:
            raise
        raise _given_up(error) from None


def _given_up(error: OSError) -> OutputClosed | UsageError:
    _discard_the_rest()
    if isinstance(error, BrokenPipeError):
        return OutputClosed()
    return UsageError(f"stdout cannot be written ({error.strerror})", _WHERE)


def write_json(value: Any, *, indent: int | None = None) -> None:
    """Write one JSON value; on one line without `indent`. Where stdout is not in UTF-8, all else is escaped."""
    encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "")
    write(json.dumps(value, ensure_ascii=encoding != "utf8", indent=indent))


def write_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write rows in aligned columns below their headings."""
    write(text_table(head, rows))


@contextmanager
def owned_stdout() -> Generator[None]:
    """Reserve stdout for `write` during the block; output of native code to its descriptor goes to stderr."""
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


def is_interactive() -> bool:
    """Tell whether stderr is a terminal on which a line can be rewritten."""
    return is_terminal(sys.stderr) and os.environ.get("TERM") != "dumb"


def is_terminal(stream: TextIO | None) -> bool:
    """Tell whether a stream is a terminal; None, or a stream that is closed, is none."""
    try:
        return stream is not None and stream.isatty()
    except (AttributeError, ValueError):
        return False


def say(line: str, *, style: str = "") -> None:
    """Write a line; `style` is an ANSI style, used on terminals unless NO_COLOR is set."""
    _write(f"{_styled(cleaned(line), style)}\n")


def note(line: str) -> None:
    """Write a line about something that the user may not expect."""
    say(f"note: {line}")


def error(line: str) -> None:
    """Write an error."""
    _write(f"{_styled('error:', RED)} {cleaned(line)}\n")


class ProgressLine:
    """Progress of a command in one line on stderr: rewritten in place on a terminal, written anew elsewhere.

    `repeat_s` is the shortest time between two lines where they are not rewritten, in seconds. `quiet` shows nothing.
    `in_place` False writes the line anew on a terminal too.
    """

    def __init__(
        self,
        *,
        quiet: bool = False,
        in_place: bool = True,
        repeat_s: float = REPEAT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.interactive = is_interactive() and not quiet
        self._quiet = quiet
        self._in_place = in_place and self.interactive
        self._period_s = REDRAW_S if self._in_place else repeat_s
        self._clock = clock
        self._last_s = clock()
        self._shown = False

    def restart(self) -> None:
        """Start the time to the next line again."""
        self._last_s = self._clock()

    def update(self, line: Callable[[], str]) -> None:
        """Show the text that `line` returns, if the last one is old enough."""
        now_s = self._clock()
        if self._quiet or now_s - self._last_s < self._period_s:
            return
        self._last_s = now_s
        if self._in_place:
            self.show(line())
        else:
            say(line())

    def show(self, text: str) -> None:
        """Show `text` at once in place of the last text, cut to the width; nothing where lines are not rewritten."""
        if self._in_place:
            _write(CLEAR_LINE + cut(text, max(20, shutil.get_terminal_size().columns - 1)))
            self._shown = True

    def say(self, line: str, *, style: str = "") -> None:
        """Write a line that stays, unless `quiet`."""
        if not self._quiet:
            self.clear()
            say(line, style=style)

    def note(self, line: str) -> None:
        """Write a line about something that the user may not expect, unless `quiet`."""
        self.say(f"note: {line}")

    def clear(self) -> None:
        """Remove the line, so that something else can be written."""
        if self._shown:
            _write(CLEAR_LINE)
        self._shown = False


def _is_real() -> bool:
    try:
        return sys.stdout.fileno() == STDOUT
    except (AttributeError, OSError, ValueError):
        return False


def _discard_the_rest() -> None:
    """Point stdout at nothing, so that buffered text does not raise again while the interpreter ends."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):
        return
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, descriptor)
    os.close(nothing)


def _styled(text: str, style: str) -> str:
    if not style or os.environ.get("NO_COLOR") or not is_interactive():
        return text
    return f"\x1b[{style}m{text}\x1b[0m"


def _write(text: str) -> None:
    stream = sys.stderr.stream if isinstance(sys.stderr, _CleanedStream) else sys.stderr
    try:
        cast("TextIO", stream).write(text)
        cast("TextIO", stream).flush()
    except (AttributeError, OSError, ValueError):
        return  # Nobody reads stderr; there is nowhere left to say so.
