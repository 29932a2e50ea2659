"""Files of records: JSON lines, CSV and Parquet, read into plain dictionaries with the line that each came from."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, cast, get_args

from ramify.errors import BadRecord, UsageError

Format = Literal["jsonl", "csv", "tsv", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)
STDIN = "-"

_SUFFIXES: dict[str, Format] = {".csv": "csv", ".tsv": "tsv", ".parquet": "parquet", ".pq": "parquet"}
_MOST_CELL_CHARACTERS = 16 << 20


@dataclass(frozen=True, slots=True)
class Record:
    """One record as the file has it."""

    line: int
    values: dict[str, Any]


def read_records(source: str | Path, form: Format | None = None) -> Iterator[Record | BadRecord]:
    """Yield the records of a file, or of stdin for "-", in order; blank lines are left out.

    `form` None means what the file's ending says, else JSON lines.

    Raises:
        UsageError: if the file cannot be opened, is no such file at all, or needs a package that is not installed.
    """
    name = str(source)
    form = form or _SUFFIXES.get(Path(name).suffix.lower(), "jsonl")
    if form == "parquet":
        return _parquet(name)
    data = _bytes(name)
    if form == "jsonl":
        return _json_lines(data)
    return _separated(data, name, "\t" if form == "tsv" else ",")


def _bytes(name: str) -> bytes:
    if name == STDIN:
        return sys.stdin.buffer.read()
    try:
        return Path(name).expanduser().read_bytes()
    except OSError as error:
        raise UsageError(f"{name} cannot be read ({error.strerror})", "check the path") from error


def _json_lines(data: bytes) -> Iterator[Record | BadRecord]:
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            value: Any = json.loads(line.decode("utf-8"))
        except UnicodeDecodeError:
            yield BadRecord(number, "it is not UTF-8 text")
        except ValueError as error:
            yield BadRecord(number, f"it is not JSON ({error})")
        except RecursionError:
            yield BadRecord(number, "it is nested too deeply")
        else:
            if isinstance(value, dict):
                yield Record(number, cast("dict[str, Any]", value))
            else:
                yield BadRecord(number, "it is not a JSON object")


def _separated(data: bytes, name: str, separator: str) -> Iterator[Record | BadRecord]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UsageError(f"{name} is not UTF-8 text (line {line})", "save it as UTF-8") from error
    csv.field_size_limit(_MOST_CELL_CHARACTERS)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    head = next(rows, None)
    if head is None:
        return
    line = rows.line_num + 1
    while True:
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield BadRecord(line, f"it is not CSV ({error})")
            return
        if len(cells) == len(head):
            yield Record(line, dict(zip(head, cells, strict=True)))
        elif cells:
            yield BadRecord(line, f"it has {len(cells)} columns and the heading has {len(head)}")
        line = rows.line_num + 1


def _parquet(name: str) -> Iterator[Record | BadRecord]:
    try:
        parquet: Any = import_module("pyarrow.parquet")
    except ImportError as error:
        raise UsageError("Parquet files need pyarrow", "pip install 'ramify[parquet]'") from error
    try:
        file = parquet.ParquetFile(io.BytesIO(_bytes(STDIN)) if name == STDIN else Path(name).expanduser())
        number = 0
        for batch in file.iter_batches():
            for values in batch.to_pylist():
                number += 1
                yield Record(number, values)
    except (OSError, ValueError) as error:
        raise UsageError(f"{name} cannot be read as Parquet ({error})", "check the file") from error
