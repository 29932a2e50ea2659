"""Grading of predictions made elsewhere: the same comparison that a batch uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ramify.answers.checkers import DEFAULT_CHECK, Check
from ramify.answers.extract import extract_answer
from ramify.errors import BadInput, BadRecord, UsageError
from ramify.statistics import wilson

from ..store.formats import Format, Record, read_records
from ..store.grading import grade, read_prediction
from ..store.inputs import check_mapping, read_values

PREDICTION_FIELDS: dict[str, tuple[str, ...]] = {
    "id": ("id", "unique_id", "problem_id"),
    "prediction": ("prediction", "pred", "response", "output", "completion"),
    "answer": ("gold", "answer", "expected", "solution"),
    "check": ("check",),
}
"""Fields of a prediction, and the names under which they are looked for if no mapping says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Graded:
    """One prediction: `answer` is what was read from it (None: nothing), `correct` None without a gold answer."""

    id: str
    answer: str | None
    gold: str | None
    correct: bool | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class GradeReport:
    """So many predictions, those with an answer, those with a gold answer, and those that are right."""

    predictions: int
    answered: int
    graded: int
    correct: int

    @property
    def accuracy(self) -> float | None:
        """Share of right ones among the graded, None with nothing graded."""
        return self.correct / self.graded if self.graded else None

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of the accuracy."""
        return wilson(self.correct, self.graded)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        counts = {name: getattr(self, name) for name in self.__slots__}
        return {**counts, "accuracy": self.accuracy, "accuracy_interval": list(self.interval)}


def grade_records(
    source: str | Path,
    *,
    mapping: Mapping[str, str] | None = None,
    form: Format | None = None,
    gold: Mapping[str, str | None] | None = None,
    checks: Mapping[str, Check] | None = None,
    on_bad: Callable[[BadRecord], None] | None = None,
) -> Iterator[Graded]:
    """Yield the graded predictions of a file, "-" for stdin, in order.

    The fields are id, prediction, answer (the gold one) and check, found by their usual names or by `mapping`. The
    items of a batch are understood too. From a longer prediction the last marked answer counts. `gold` has gold
    answers by id and takes the place of those in the file; `checks` has their checkers by id, without which a field
    `check` of the file counts, and else mathematics. Bad records go to `on_bad`.

    Raises:
        BadInput: after all others, if there are bad records and `on_bad` is None.
        UsageError: if the file cannot be read, or the mapping is wrong.
    """
    mapping = check_mapping(mapping or {}, PREDICTION_FIELDS)
    bad = list[BadRecord]()
    for number, record in enumerate(read_records(source, form), start=1):
        made = record if isinstance(record, BadRecord) else _graded(record, mapping, number, gold, checks)
        if isinstance(made, Graded):
            yield made
        elif on_bad is None:
            bad.append(made)
        else:
            on_bad(made)
    if bad:
        raise BadInput("stdin" if str(source) == "-" else str(source), bad)


def count(graded: list[Graded]) -> GradeReport:
    """Return the totals."""
    return GradeReport(
        predictions=len(graded),
        answered=sum(each.answer is not None for each in graded),
        graded=sum(each.correct is not None for each in graded),
        correct=sum(each.correct is True for each in graded),
    )


def _graded(
    record: Record,
    mapping: Mapping[str, str],
    number: int,
    gold: Mapping[str, str | None] | None,
    checks: Mapping[str, Check] | None,
) -> Graded | BadRecord:
    if "prediction" not in mapping and "answer" not in mapping and _is_item(record):
        mapping = {**mapping, "prediction": "answer", "answer": "gold"}
    try:
        values = read_values(record, PREDICTION_FIELDS, mapping)
    except ValueError as error:
        return BadRecord(record.line, str(error))
    names = record.values
    if values["prediction"] is None and not any(name in names for name in _prediction_columns(mapping)):
        looked = ", ".join(PREDICTION_FIELDS["prediction"])
        return BadRecord(record.line, f"it has no prediction (looked for {looked}; use --map prediction=COLUMN)")
    label = (values["id"] or "").strip() or str(number)
    if gold is not None and label not in gold:
        return BadRecord(record.line, f"its id {label!r} is not among the gold answers")
    right = values["answer"] if gold is None else gold[label]
    if right is not None:
        right = extract_answer(right) or right.strip() or None
    answer = read_prediction(values["prediction"])
    check = (checks or {}).get(label, values["check"] or DEFAULT_CHECK)
    try:
        return Graded(id=label, answer=answer, gold=right, correct=grade(answer, right, check))
    except UsageError as error:
        return BadRecord(record.line, str(error))


def _is_item(record: Record) -> bool:
    """Tell whether a record is a row of items.jsonl, whose `answer` is the prediction."""
    there = record.values.keys()
    return {"gold", "answer"} <= there and not there & set(PREDICTION_FIELDS["prediction"])


def _prediction_columns(mapping: Mapping[str, str]) -> tuple[str, ...]:
    return (mapping["prediction"],) if "prediction" in mapping else PREDICTION_FIELDS["prediction"]
