"""Input files of a batch: records of JSON lines, CSV and Parquet files, and the problems in them."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, cast, get_args

from ramify.answers.checkers import DEFAULT_CHECK, make_checker
from ramify.answers.extract import extract_answer
from ramify.errors import BadInput, BadRecord, UsageError
from ramify.files import user_path
from ramify.problem import Problem
from ramify.text import shorten

Format = Literal["jsonl", "csv", "tsv", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)
STDIN = "-"
"""Name of the source that stands for stdin."""

_SUFFIXES: dict[str, Format] = {".csv": "csv", ".tsv": "tsv", ".parquet": "parquet", ".pq": "parquet"}
_COLUMNS_SHOWN = 12
"""Columns that a message about a missing one lists."""
_LONGEST_CELL = 16 << 20
"""Most characters of a CSV cell."""
PROBLEM_FIELDS: dict[str, tuple[str, ...]] = {
    "id": ("id", "unique_id", "problem_id"),
    "question": ("question", "problem", "prompt"),
    "answer": ("answer", "gold", "expected"),
    "solution": ("solution",),
    "check": ("check",),
}
"""Fields of a problem, and the column names that are tried for each without a mapping."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a file: the line on which it begins, and its values by column."""

    line: int
    values: dict[str, Any]


def read_records(source: str | Path, form: Format | None = None) -> Iterator[Record | BadRecord]:
    """Yield the records of a file, or of stdin for "-", in order; blank lines are left out.

    `form` None means the format of the file's suffix, JSON lines if that is unknown.

    Raises:
        UsageError: if the file cannot be read, has another format, or needs a package that is not installed.
    """
    name = str(source)
    form = form or _SUFFIXES.get(Path(name).suffix.lower(), "jsonl")
    if form == "parquet":
        return _parquet(name)
    data = _bytes(name)
    if form == "jsonl":
        return _json_lines(data)
    return _separated(data, name, "\t" if form == "tsv" else ",")


def read_problems(
    source: str | Path,
    *,
    mapping: Mapping[str, str] | None = None,
    form: Format | None = None,
    on_bad: Callable[[BadRecord], None] | None = None,
) -> list[Problem]:
    """Read problems from JSON lines, CSV or Parquet; `source` "-" is stdin.

    Reads GSM8K (`question`, `answer` with `#### gold`), MATH (`problem`, `answer` or a boxed `solution`) and the
    output of `ramify problems`. `mapping` names the column of a field, such as {"question": "prompt"}, or several to
    be joined by spaces, such as {"question": "Body,Question"}; fields are id, question, answer, solution and check (the
    name of a checker). A record without an id gets its number as id; a number that is NaN is none; all other columns
    become metadata.
    `form` None means the format of the file's suffix. Each bad record is given to `on_bad` and left out.

    Raises:
        BadInput: if there are bad records and `on_bad` is None.
        UsageError: if the file cannot be read, or the mapping is wrong.
    """
    mapping = check_mapping(mapping or {}, PROBLEM_FIELDS)
    problems = list[Problem]()
    bad = list[BadRecord]()
    lines: dict[str, int] = {}
    for number, record in enumerate(read_records(source, form), start=1):
        made = record if isinstance(record, BadRecord) else _problem(record, mapping, number)
        if isinstance(made, Problem):
            line = record.line
            if made.id in lines:
                made = BadRecord(line, f"its id {made.id!r} is that of line {lines[made.id]}")
            else:
                lines[made.id] = line
        if isinstance(made, Problem):
            problems.append(made)
        elif on_bad is None:
            bad.append(made)
        else:
            on_bad(made)
    if bad:
        raise BadInput(_name(source), bad)
    return problems


def check_mapping(mapping: Mapping[str, str], known: Iterable[str]) -> Mapping[str, str]:
    """Return the mapping of fields to columns; `known` are the fields that exist.

    Raises:
        UsageError: if it names a field that does not exist.
    """
    for field in mapping:
        if field not in known:
            raise UsageError(f"--map has no field {field!r}", f"the fields are {', '.join(known)}")
    return mapping


def read_values(
    record: Record, fields: Mapping[str, tuple[str, ...]], mapping: Mapping[str, str]
) -> dict[str, str | None]:
    """Return the record's text for each field, None where it has none; texts of several columns are joined by spaces.

    Raises:
        ValueError: if a mapped column is missing, or a value is neither text nor a number.
    """
    found: dict[str, str | None] = {}
    for field, columns in _columns(record, fields, mapping).items():
        texts = [text for text in (_text(record.values[name], name) for name in columns) if text is not None]
        joined = texts if len(columns) == 1 else [text.strip() for text in texts if text.strip()]
        found[field] = " ".join(joined) if joined else None
    return found


def _columns(
    record: Record, fields: Mapping[str, tuple[str, ...]], mapping: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """Return the columns of each field: those that the mapping names, separated by commas, else the first usual one.

    Raises:
        ValueError: if a mapped column is missing.
    """
    found: dict[str, tuple[str, ...]] = {}
    for field, names in fields.items():
        named = mapping.get(field)
        if named is None:
            found[field] = tuple(name for name in names if name in record.values)[:1]
            continue
        columns = (named,) if named in record.values else tuple(each.strip() for each in named.split(","))
        for column in columns:
            if column not in record.values:
                raise ValueError(f"it has no column {column!r}; {_known_columns(record)}")
        found[field] = columns
    return found


def _known_columns(record: Record) -> str:
    names = [shorten(str(name), 40) for name in record.values]
    more = f" and {len(names) - _COLUMNS_SHOWN} more" if len(names) > _COLUMNS_SHOWN else ""
    return f"its columns are {', '.join(names[:_COLUMNS_SHOWN])}{more}" if names else "it has no columns"


def _problem(record: Record, mapping: Mapping[str, str], number: int) -> Problem | BadRecord:
    try:
        values = read_values(record, PROBLEM_FIELDS, mapping)
    except ValueError as error:
        return BadRecord(record.line, str(error))
    question = values["question"]
    if question is None:
        names = ", ".join(PROBLEM_FIELDS["question"])
        reason = f"it has no question (looked for {names}; use --map question=COLUMN); {_known_columns(record)}"
        return BadRecord(record.line, reason)
    if not question.strip():
        return BadRecord(record.line, "its question is empty")
    try:
        check = make_checker(values["check"] or DEFAULT_CHECK).name
    except UsageError as error:
        return BadRecord(record.line, str(error))
    answer, solution = values["answer"], values["solution"]
    if answer is not None and "####" in answer:
        answer, solution = extract_answer(answer), answer
        if answer is None:
            return BadRecord(record.line, "there is nothing after #### in its answer")
    elif answer is None and solution is not None:
        answer = extract_answer(solution)
    used = {column for columns in _columns(record, PROBLEM_FIELDS, mapping).values() for column in columns}
    return Problem(
        id=(values["id"] or "").strip() or str(number),
        question=question,
        answer=(answer or "").strip() or None,
        solution=solution,
        metadata={key: value for key, value in record.values.items() if key not in used},
        check=check,
    )


def _text(value: Any, column: str) -> str | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"its {column} is neither text nor a number")
    text = str(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"its {column} holds half a character") from None
    return text


def _name(source: str | Path) -> str:
    return "stdin" if str(source) == "-" else str(source)


def _bytes(name: str) -> bytes:
    if name == STDIN:
        return sys.stdin.buffer.read()
    try:
        return user_path(name).read_bytes()
    except OSError as error:
        raise UsageError(f"{name} cannot be read ({error.strerror})", "check the path") from error
    except ValueError as error:
        raise UsageError(f"{name!r} cannot be the path of a file", "check the path") from error


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
    csv.field_size_limit(_LONGEST_CELL)
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
        file = parquet.ParquetFile(io.BytesIO(_bytes(STDIN)) if name == STDIN else user_path(name))
        number = 0
        for batch in file.iter_batches():
            for values in batch.to_pylist():
                number += 1
                yield Record(number, values)
    except (OSError, ValueError) as error:
        raise UsageError(f"{name} cannot be read as Parquet ({error})", "check the file") from error
