"""JSON lines that survive anything: a line that was appended is on disk, and a torn last one is as if never written."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from ramify.errors import RunFolderError


def read_journal(path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield the rows of a file with the position after each; a missing file has none, a torn last line is left out.

    Raises:
        RunFolderError: if a line before the last is no row, or the file cannot be read.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    except OSError as error:
        raise RunFolderError(f"{path} cannot be read ({error.strerror})", "check the folder") from error
    position = 0
    broken: int | None = None
    with file:
        for number, line in enumerate(file, start=1):
            if broken is not None:
                raise RunFolderError(
                    f"{path} line {broken} is damaged", "remove that line; its item will be done again"
                )
            if not line.endswith(b"\n"):
                # What comes after it, if anything, is its own rest, which another process is writing.
                return
            row = _row(line)
            if row is None:
                broken = number
                continue
            position += len(line)
            yield row, position


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None  # pyright: ignore[reportUnknownVariableType]


class Journal:
    """A file of JSON lines open for appending; one writer only. Use it with `with`.

    Raises:
        RunFolderError: on entering and appending, if the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = -1
        self._end = 0

    def __enter__(self) -> Journal:
        for _, position in read_journal(self.path):
            self._end = position
        try:
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
            os.ftruncate(self._file, self._end)
            sync_folder(self.path.parent)
        except OSError as error:
            self._close()
            raise RunFolderError.not_written(self.path, error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one row; it is on disk when this returns, and not at all if it raises."""
        line = (json.dumps(row, ensure_ascii=True) + "\n").encode()
        try:
            written = 0
            while written < len(line):
                written += os.pwrite(self._file, line[written:], self._end + written)
            os.fsync(self._file)
        except OSError as error:
            os.ftruncate(self._file, self._end)
            raise RunFolderError.not_written(self.path, error) from error
        self._end += len(line)

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = -1


def write_whole(path: Path, text: str) -> None:
    """Replace a file by `text`, whole or not at all.

    Raises:
        RunFolderError: if it cannot be written.
    """
    fresh = path.with_name(f".{path.name}.new")
    try:
        with fresh.open("w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise RunFolderError.not_written(path, error) from error


def sync_folder(folder: Path) -> None:
    """Have the names of a folder's files on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
