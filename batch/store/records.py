"""Records of JSON lines, CSV, TSV and Parquet files, one in memory at a time."""

from __future__ import annotations

import csv
import gzip
import io
import re
import sys
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Literal, cast

from ramify.errors import BadRecord, MalformedText, UsageError
from ramify.files import user_path
from ramify.json_text import read_json

Format = Literal["jsonl", "csv", "tsv", "parquet"]
STDIN = "-"
"""Name of the source that stands for stdin."""

_SUFFIXES: dict[str, Format] = {".csv": "csv", ".tsv": "tsv", ".parquet": "parquet", ".pq": "parquet"}
LONGEST_RECORD = 16 << 20
"""Most bytes of a record in a text file: of a line of JSON, or of a CSV row with all its lines."""
_ROWS_AT_A_TIME = 1000
"""Rows of a Parquet file that are in memory together."""
_COMPRESSED = ".gz"
_LONE_RETURN = re.compile(r"(?<=\r)(?!\n)")


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a file: the line on which it begins, and its values by column."""

    line: int
    values: dict[str, Any]


def read_records(source: str | Path, form: Format | None = None) -> Iterator[Record | BadRecord]:
    """Yield the records of a file, or of stdin for "-", in order; blank lines are left out.

    `form` None means the format of the file's suffix, JSON lines if that is unknown; text files may be compressed with
    gzip (`.gz`). Only one record is in memory at a
    time, of Parquet files some rows.

    Raises:
        UsageError: if the file cannot be read, has another format, has a record of more than LONGEST_RECORD bytes, or
            needs a package that is not installed.
    """
    name = str(source)
    form = form or _SUFFIXES.get(Path(name.removesuffix(_COMPRESSED)).suffix.lower(), "jsonl")
    if form == "parquet":
        yield from _parquet(name)
        return
    with _opened(name) as stream:
        if form == "jsonl":
            yield from _json_lines(stream, name)
        else:
            yield from _separated(stream, name, "\t" if form == "tsv" else ",")


def source_name(source: str | Path) -> str:
    """Return the name of a source in messages."""
    return "stdin" if str(source) == STDIN else str(source)


@contextmanager
def _opened(name: str) -> Generator[IO[bytes]]:
    if name == STDIN:
        yield sys.stdin.buffer
        return
    try:
        with user_path(name).open("rb") as stream:
            if name.endswith(_COMPRESSED):
                with gzip.GzipFile(fileobj=stream) as plain:
                    yield cast("IO[bytes]", plain)
            else:
                yield stream
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UsageError(f"{name} is no whole gzip file ({error})", "check the file") from error
    except OSError as error:
        raise UsageError(f"{name} cannot be read ({error.strerror})", "check the path") from error
    except ValueError as error:
        raise UsageError(f"{name!r} cannot be the path of a file", "check the path") from error


class _Lines:
    """Lines of a file with their ends, without a byte order mark; `end_record` begins a new record.

    Raises:
        UsageError: on reading, if a record has more than LONGEST_RECORD bytes.
    """

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self._stream, self._name = stream, name
        self._begun = 1
        self._bytes = 0
        self.number = 0

    def __iter__(self) -> Iterator[bytes]:
        while line := self._stream.readline(LONGEST_RECORD - self._bytes + 1):
            self.number += 1
            self._bytes += len(line)
            if self._bytes > LONGEST_RECORD:
                where = f"line {self._begun} of {source_name(self._name)}"
                raise UsageError(
                    f"the record at {where} is longer than {LONGEST_RECORD:,} bytes",
                    "shorten it, or leave it out of the file",
                )
            yield line.removeprefix(b"\xef\xbb\xbf") if self.number == 1 else line

    def end_record(self) -> None:
        self._begun, self._bytes = self.number + 1, 0


def _json_lines(stream: IO[bytes], name: str) -> Iterator[Record | BadRecord]:
    lines = _Lines(stream, name)
    for line in lines:
        lines.end_record()
        if not line.strip():
            continue
        try:
            value: Any = read_json(line, lenient=True)
        except MalformedText as error:
            yield BadRecord(lines.number, error.message)
            continue
        if isinstance(value, dict):
            yield Record(lines.number, cast("dict[str, Any]", value))
        else:
            yield BadRecord(lines.number, "it is not a JSON object")


def _separated(stream: IO[bytes], name: str, separator: str) -> Iterator[Record | BadRecord]:
    lines = _Lines(stream, name)
    csv.field_size_limit(LONGEST_RECORD)
    rows = csv.reader(_decoded(lines, name), delimiter=separator, strict=True)
    head: list[str] | None = None
    while True:
        line = rows.line_num + 1
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield BadRecord(line, _no_row(error, line, rows.line_num))
            if head is None:
                return  # Without the heading no row has columns.
            lines.end_record()
            continue
        lines.end_record()
        if not cells or (len(cells) == 1 and not cells[0].strip()):
            continue  # A blank line.
        if head is None:
            head = cells
        elif len(cells) == len(head):
            yield Record(line, dict(zip(head, cells, strict=True)))
        else:
            yield BadRecord(line, f"it has {len(cells)} columns and the heading has {len(head)}")


def _no_row(error: csv.Error, first: int, last: int) -> str:
    """Return why a row that was read from line `first` to `last` is none."""
    if last <= first:
        return f"it is not CSV ({error})"
    return f"lines {first} to {last} are one record that is not CSV ({error}), as if a quote was not closed"


def _decoded(lines: _Lines, name: str) -> Iterator[str]:
    for line in lines:
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UsageError(f"{name} is not UTF-8 text (line {lines.number})", "save it as UTF-8") from error
        yield from _LONE_RETURN.split(text) if "\r" in text.removesuffix("\r\n") else (text,)


def _parquet(name: str) -> Iterator[Record | BadRecord]:
    try:
        parquet: Any = import_module("pyarrow.parquet")
    except ImportError as error:
        raise UsageError("Parquet files need pyarrow", "pip install 'ramify[parquet]'") from error
    try:
        file = parquet.ParquetFile(io.BytesIO(sys.stdin.buffer.read()) if name == STDIN else user_path(name))
        number = 0
        for batch in file.iter_batches(batch_size=_ROWS_AT_A_TIME):
            for values in batch.to_pylist():
                number += 1
                yield Record(number, values)
    except (OSError, ValueError) as error:
        raise UsageError(f"{name} cannot be read as Parquet ({error})", "check the file") from error
