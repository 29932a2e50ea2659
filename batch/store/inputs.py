"""Problems from files: which field of a record is the question, which the gold answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ramify.answers.checkers import DEFAULT_CHECK, make_checker
from ramify.answers.extract import extract_answer
from ramify.errors import BadInput, BadRecord, UsageError
from ramify.problem import Problem

from .formats import Format, Record, read_records

__all__ = ["check_mapping", "read_problems", "read_values"]

PROBLEM_FIELDS: dict[str, tuple[str, ...]] = {
    "id": ("id", "unique_id", "problem_id"),
    "question": ("question", "problem", "prompt"),
    "answer": ("answer", "gold", "expected"),
    "solution": ("solution",),
    "check": ("check",),
}
"""Fields of a problem, and the names under which they are looked for if no mapping says otherwise."""


def read_problems(
    source: str | Path,
    *,
    mapping: Mapping[str, str] | None = None,
    form: Format | None = None,
    on_bad: Callable[[BadRecord], None] | None = None,
) -> list[Problem]:
    """Read problems from JSON lines, CSV or Parquet; `source` "-" is stdin.

    Understands GSM8K (`question`, `answer` with `#### gold`), MATH (`problem`, `answer` or a boxed `solution`) and
    what `ramify problems` writes. `mapping` names the column of a field, such as {"question": "prompt"}; fields are
    id, question, answer, solution and check (the name of a checker). A record without an id gets its number as id;
    other columns become metadata.
    `form` None means what the file's ending says. Each bad record is given to `on_bad` and left out.

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
    """Return the mapping.

    Raises:
        UsageError: if it maps a field that does not exist.
    """
    for field in mapping:
        if field not in known:
            raise UsageError(f"--map has no field {field!r}", f"the fields are {', '.join(known)}")
    return mapping


def read_values(
    record: Record, fields: Mapping[str, tuple[str, ...]], mapping: Mapping[str, str]
) -> dict[str, str | None]:
    """Return the record's text under each field, None where it has none.

    Raises:
        ValueError: if a mapped column is missing or a value is no text and no number.
    """
    found: dict[str, str | None] = {}
    for field, names in fields.items():
        column = mapping.get(field) or next((name for name in names if name in record.values), None)
        if column is not None and column not in record.values:
            raise ValueError(f"it has no column {column!r}")
        found[field] = None if column is None else _text(record.values[column], column)
    return found


def _problem(record: Record, mapping: Mapping[str, str], number: int) -> Problem | BadRecord:
    try:
        values = read_values(record, PROBLEM_FIELDS, mapping)
    except ValueError as error:
        return BadRecord(record.line, str(error))
    question = values["question"]
    if question is None:
        names = ", ".join(PROBLEM_FIELDS["question"])
        return BadRecord(record.line, f"it has no question (looked for {names}; use --map question=COLUMN)")
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
    used = set(mapping.values()) | {name for names in PROBLEM_FIELDS.values() for name in names}
    return Problem(
        id=(values["id"] or "").strip() or str(number),
        question=question,
        answer=(answer or "").strip() or None,
        solution=solution,
        metadata={key: value for key, value in record.values.items() if key not in used},
        check=check,
    )


def _text(value: Any, column: str) -> str | None:
    if value is None:
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
