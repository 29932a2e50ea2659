"""Journals: files of JSON lines that one writer appends to, and that outlive a crash of the machine."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from .errors import DamagedJournal, MalformedText
from .files import open_guarded, open_regular, sync
from .json_text import read_json

LONGEST_ROW = 256 << 20
"""Most bytes of a journal's line; a longer one counts as damaged."""


def read_journal(path: Path, *, strict: bool = False) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield the JSON objects in a file of JSON lines, each with the position after it in bytes.

    A missing file has none. A last line without its end is left out, and one that is no JSON object too, unless
    `strict`: a crash of the machine can leave such lines.

    Raises:
        DamagedJournal: if another line is no JSON object.
        OSError: if the file cannot be read.
    """
    try:
        file = open_regular(path)
    except FileNotFoundError:
        return
    position = 0
    damaged: int | None = None
    with file:
        for number, line in enumerate(iter(lambda: file.readline(LONGEST_ROW), b""), start=1):
            if damaged is not None:
                raise DamagedJournal(path, damaged)
            if len(line) == LONGEST_ROW:
                raise DamagedJournal(path, number)
            if not line.endswith(b"\n"):
                # If lines follow, another process is writing this one now.
                return
            row = _row(line)
            if row is None and strict:
                raise DamagedJournal(path, number)
            if row is None:
                damaged = number
                continue
            position += len(line)
            yield row, position


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = read_json(line, lenient=True)
    except MalformedText:
        return None
    return row if isinstance(row, dict) else None  # pyright: ignore[reportUnknownVariableType]


class Journal:
    """A file of JSON lines for one writer, open between `__enter__` and `__exit__`; a torn last line is cut off.

    Raises:
        OSError: on entering and appending, if the file cannot be read or written.
        DamagedJournal: on entering, if a line before the last is no JSON object.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = -1
        self._end = 0

    def __enter__(self) -> Journal:
        self._end = 0
        for _, position in read_journal(self.path):
            self._end = position
        try:
            self._file = open_guarded(self.path, os.O_WRONLY)
            os.ftruncate(self._file, self._end)
            sync(self.path.parent)
        except OSError:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def append(self, *rows: Mapping[str, Any]) -> None:
        """Write rows; all of them are on the disk when this returns, and none if it raises."""
        data = "".join(json.dumps(row, ensure_ascii=True) + "\n" for row in rows).encode()
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(self._file, data[written:], self._end + written)
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, self._end)
            raise
        self._end += len(data)

    def close(self) -> None:
        """Close the file; does nothing if it is not open."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1
