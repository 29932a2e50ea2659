"""Problems in input files: the columns of their fields, and what makes a record bad."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ramify.answers.checkers import DEFAULT_CHECK, PYTHON_TESTS, make_checker
from ramify.answers.extract import extract_answer
from ramify.errors import ArgumentError, BadInput, BadRecord, MalformedText, UsageError
from ramify.json_text import read_json
from ramify.problem import Problem
from ramify.text import shorten

from .records import Format, Record, read_records, source_name

_COLUMNS_SHOWN = 12
"""Columns that a message about a missing one lists."""
_COMPLETE = "Complete this Python function. Reply with the whole function in one block of code."
PROBLEM_FIELDS: dict[str, tuple[str, ...]] = {
    "id": ("id", "unique_id", "problem_id", "task_id"),
    "question": ("question", "problem", "prompt"),
    "answer": ("answer", "gold", "expected"),
    "solution": ("solution",),
    "check": ("check",),
}
"""Fields of a problem, and the column names that are tried for each without a mapping."""
TEST_FIELDS: dict[str, tuple[str, ...]] = {
    "tests": ("tests", "test", "test_list"),
    "setup": ("test_setup_code", "test_imports"),
    "entry_point": ("entry_point",),
}
"""Fields of a problem with tests, and the column names that are tried for each without a mapping."""
CONVERSATION_FIELDS = ("messages", "system", "examples")
"""Fields of a problem that are no plain text, each in the column of its name without a mapping."""


def read_problems(
    source: str | Path,
    *,
    mapping: Mapping[str, str] | None = None,
    form: Format | None = None,
    on_bad: Callable[[BadRecord], None] | None = None,
) -> list[Problem]:
    """Read problems from JSON lines, CSV or Parquet; `source` "-" is stdin.

    Reads GSM8K (`question`, `answer` with `#### gold`), MATH (`problem`, `answer` or a boxed `solution`), HumanEval
    (`prompt`, `test`, `entry_point`), MBPP (`prompt`, `test_list`) and the output of `ramify problems`.

    `mapping` names the column of a field, such as {"question": "prompt"}, or several to be joined by spaces, such as
    {"question": "Body,Question"}. Fields are id, question, answer, solution and check (the name of a checker); tests,
    setup and entry_point of a problem whose answer is a program (see `ramify.answers.programs.gold_tests`); and the
    parts of a conversation: messages where there is no question, system and examples (see `Problem`; in CSV as JSON).
    A record without an id gets its number as id; a number that is NaN is none; all other columns become metadata.
    `form` None means the format of the file's suffix. Each bad record is given to `on_bad` and left out.

    Raises:
        BadInput: if there are bad records and `on_bad` is None.
        UsageError: if the file cannot be read, or the mapping is wrong.
    """
    return [problem for problem, _ in read_stated_problems(source, mapping=mapping, form=form, on_bad=on_bad)]


def read_stated_problems(
    source: str | Path,
    *,
    mapping: Mapping[str, str] | None = None,
    form: Format | None = None,
    on_bad: Callable[[BadRecord], None] | None = None,
) -> Iterator[tuple[Problem, bool]]:
    """Yield the problems of a file as `read_problems`, each with whether its record states how it is checked.

    Raises:
        BadInput: after all others, if there are bad records and `on_bad` is None.
        UsageError: if the file cannot be read, or the mapping does not fit.
    """
    columns = check_mapping(mapping or {}, (*PROBLEM_FIELDS, *TEST_FIELDS, *CONVERSATION_FIELDS))
    own_column = {name: column for name, column in columns.items() if name == "check"}
    for problem, record in _read_problems(source, columns, form, on_bad):
        own = read_values(record, {"check": PROBLEM_FIELDS["check"]}, own_column)["check"]
        yield problem, bool(own) or problem.check == PYTHON_TESTS


def _read_problems(
    source: str | Path,
    mapping: Mapping[str, str],
    form: Format | None,
    on_bad: Callable[[BadRecord], None] | None,
) -> Iterator[tuple[Problem, Record]]:
    bad = list[BadRecord]()
    lines: dict[str, int] = {}
    for number, record in enumerate(read_records(source, form), start=1):
        made = record if isinstance(record, BadRecord) else _problem(record, mapping, number)
        if isinstance(record, Record) and isinstance(made, Problem):
            line = lines.setdefault(made.id, record.line)
            if line == record.line:
                yield made, record
                continue
            made = BadRecord(record.line, f"its id {made.id!r} is that of line {line}")
        assert isinstance(made, BadRecord)
        if on_bad is None:
            bad.append(made)
        else:
            on_bad(made)
    if bad:
        raise BadInput(source_name(source), bad)


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
    told = _told(record, values, mapping)
    if question is None and told.get("messages"):
        pass
    elif question is None:
        names = ", ".join(PROBLEM_FIELDS["question"])
        reason = f"it has no question (looked for {names}; use --map question=COLUMN); {_known_columns(record)}"
        return BadRecord(record.line, reason)
    elif not question.strip():
        return BadRecord(record.line, "its question is empty")
    answer, solution = values["answer"], values["solution"]
    try:
        tests = _tests(record, values, mapping)
        check = make_checker(values["check"] or (DEFAULT_CHECK if tests is None else PYTHON_TESTS)).name
    except (UsageError, ValueError) as error:
        return BadRecord(record.line, str(error))
    if check == PYTHON_TESTS:
        answer = answer if tests is None else tests.gold
        question = question if tests is None else tests.question
    elif answer is not None and "####" in answer:
        answer, solution = extract_answer(answer), answer
        if answer is None:
            return BadRecord(record.line, "there is nothing after #### in its answer")
    elif answer is None and solution is not None:
        answer = extract_answer(solution)
    used = {column for columns in _columns(record, PROBLEM_FIELDS, mapping).values() for column in columns}
    used |= {mapping.get(field, field) for field in told}
    used |= set() if tests is None else tests.columns
    try:
        return Problem(
            id=(values["id"] or "").strip() or str(number),
            question=question or "",
            answer=(answer or "").strip() or None,
            solution=solution,
            metadata={key: value for key, value in record.values.items() if key not in used},
            check=check,
            **told,
        )
    except ArgumentError as error:
        return BadRecord(record.line, error.message)


@dataclass(frozen=True, slots=True)
class _Tests:
    """The tests of a record as a gold answer, the question that goes with them, and the columns of both."""

    gold: str
    question: str | None
    columns: set[str]


def _tests(record: Record, values: Mapping[str, str | None], mapping: Mapping[str, str]) -> _Tests | None:
    """Return the tests of a record, None if it has none.

    A column that may be meant otherwise holds tests where the check is theirs or a function is named beside it.

    Raises:
        ValueError: if a mapped column is missing, or a value is no text.
    """
    plain = {name: _joined(value) for name, value in record.values.items()}
    columns = _columns(record, TEST_FIELDS, mapping)
    found = read_values(Record(record.line, plain), TEST_FIELDS, mapping)
    tests, function = found["tests"], found["entry_point"]
    sure = function or "tests" in mapping or values["check"] == PYTHON_TESTS or columns["tests"] == ("test_list",)
    if tests is None or not sure or values["check"] not in (None, PYTHON_TESTS):
        return None
    from ramify.answers.programs import gold_tests

    question, setup = values["question"], found["setup"] or ""
    if function and question is not None and re.search(rf"^(?:async )?def {re.escape(function)}\(", question, re.M):
        setup = f"{setup}\n{question}".lstrip("\n")
        question = f"{_COMPLETE}\n\n```python\n{question.strip()}\n```"
    calls = function if function and re.search(r"^def check\(", tests, re.M) else None
    used = {name for names in columns.values() for name in names}
    return _Tests(gold_tests(tests, setup=setup, entry_point=calls), question, used)


def _joined(value: Any) -> Any:
    """Return the lines of a list of texts, anything else as it is."""
    if not isinstance(value, list):
        return value
    lines = cast("list[Any]", value)
    return "\n".join(lines) if lines and all(isinstance(each, str) for each in lines) else lines


def _told(record: Record, values: Mapping[str, str | None], mapping: Mapping[str, str]) -> dict[str, Any]:
    """Return the parts of a conversation that a record holds, in cells of text as JSON.

    A field that is not mapped is metadata if it has another type, as messages are beside a question.
    """
    found = dict[str, Any]()
    for field in CONVERSATION_FIELDS:
        value = record.values.get(mapping.get(field, field))
        if isinstance(value, str) and field != "system":
            with suppress(MalformedText):
                value = read_json(value)
        fits = isinstance(value, str if field == "system" else list)
        if field == "messages":
            fits = fits and values["question"] is None
        if (fits or field in mapping) and value is not None and value != "":
            found[field] = value
    return found


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
