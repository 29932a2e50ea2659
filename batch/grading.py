"""Grading of answers against gold answers: those of a batch, and predictions that were made elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ramify.answers.checkers import DEFAULT_CHECK, PYTHON_TESTS, Check
from ramify.answers.extract import extract_answer
from ramify.answers.grader import Grader
from ramify.answers.kinds import code_in
from ramify.errors import BadInput, BadRecord, UsageError
from ramify.statistics import wilson

from .store.inputs import check_mapping, read_values
from .store.records import Format, Record, read_records
from .store.rows import FAILED

PREDICTION_FIELDS: dict[str, tuple[str, ...]] = {
    "id": ("id", "unique_id", "problem_id", "task_id"),
    "prediction": ("prediction", "pred", "response", "output", "completion"),
    "answer": ("gold", "answer", "expected", "solution"),
    "check": ("check",),
}
"""Fields of a prediction, and the column names that are tried for each without a mapping."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GradedPrediction:
    """One graded prediction: its extracted `answer` (None: there is none), `correct` None without a gold answer."""

    id: str
    answer: str | None
    gold: str | None
    correct: bool | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class GradeReport:
    """Totals: predictions, those with an answer, those with a gold answer, and those that are right."""

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


def grade(
    answer: str | None, gold: str | None, check: Check = DEFAULT_CHECK, *, question: str | None = None
) -> bool | None:
    """Return whether an answer is right: None without a gold answer, False without an answer. May take seconds.

    A gold answer that is the text of one of the question's options is its letter as well.

    Raises:
        UsageError: if there is no such checker, or it cannot compare with the gold answer.
    """
    grader = Grader(gold or "", check, question=question)
    return grader.right(answer) if (gold or "").strip() else None


async def grade_beside(
    answer: str | None, gold: str | None, check: Check = DEFAULT_CHECK, *, question: str | None = None
) -> bool | None:
    """Return the result of `grade` without blocking the event loop.

    Raises:
        UsageError: as `grade`.
    """
    grader = Grader(gold or "", check, question=question)
    return await grader.judge(answer) if (gold or "").strip() else None


def read_prediction(text: str | None) -> str | None:
    """Return the answer in a text: the last marked one, else the whole text; None if the text is None or empty."""
    if text is None or not text.strip():
        return None
    return extract_answer(text) or text.strip()


def grade_records(
    source: str | Path,
    *,
    mapping: Mapping[str, str] | None = None,
    form: Format | None = None,
    gold: Mapping[str, str | None] | None = None,
    checks: Mapping[str, Check] | None = None,
    questions: Mapping[str, str] | None = None,
    on_bad: Callable[[BadRecord], None] | None = None,
) -> Iterator[GradedPrediction]:
    """Yield the graded predictions of a file, "-" for stdin, in order.

    The fields are id, prediction, answer (the gold one) and check, found by their usual names or by `mapping`. The
    items of a batch are read too. In a longer prediction the last marked answer counts. `gold` holds gold answers by
    id in place of those in the file, None to take these; `checks` holds checkers by id. Without one, the field `check`
    of the record counts, and else mathematical equality. `questions` holds the questions by id, with which those of a
    batch's items have to agree. Bad records go to `on_bad`.

    Raises:
        BadInput: after all others, if there are bad records and `on_bad` is None.
        UsageError: if the file cannot be read, or the mapping is wrong.
    """
    mapping = check_mapping(mapping or {}, PREDICTION_FIELDS)
    bad = list[BadRecord]()
    known = _Known(gold, checks or {}, questions or {})
    for number, record in enumerate(read_records(source, form), start=1):
        made = record if isinstance(record, BadRecord) else _graded(record, mapping, number, known)
        if isinstance(made, GradedPrediction):
            yield made
        elif on_bad is None:
            bad.append(made)
        else:
            on_bad(made)
    if bad:
        raise BadInput("stdin" if str(source) == "-" else str(source), bad)


def count_grades(graded: list[GradedPrediction]) -> GradeReport:
    """Return the totals."""
    return GradeReport(
        predictions=len(graded),
        answered=sum(each.answer is not None for each in graded),
        graded=sum(each.correct is not None for each in graded),
        correct=sum(each.correct is True for each in graded),
    )


@dataclass(frozen=True, slots=True)
class _Known:
    """Gold answers, checkers and questions by id; `gold` None means the gold answers of the file."""

    gold: Mapping[str, str | None] | None
    checks: Mapping[str, Check]
    questions: Mapping[str, str]


def _graded(record: Record, mapping: Mapping[str, str], number: int, known: _Known) -> GradedPrediction | BadRecord:
    is_item = "prediction" not in mapping and "answer" not in mapping and _is_item(record)
    if is_item and record.values.get("status") == FAILED:
        # As in the report of a run: a search that failed has given no answer to grade.
        failed = str(record.values.get("id") or number)
        return GradedPrediction(id=failed, answer=None, gold=None, correct=None)
    if is_item:
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
    if known.gold is not None and label not in known.gold:
        return BadRecord(record.line, f"its id {label!r} is not among the gold answers")
    if is_item and known.questions.get(label, names.get("question")) != names.get("question"):
        return BadRecord(record.line, f"its id {label!r} is that of another question among the gold answers")
    right = values["answer"] if known.gold is None else known.gold[label]
    asked = names.get("question")
    asked = asked if isinstance(asked, str) else known.questions.get(label)
    check = known.checks.get(label, values["check"] or DEFAULT_CHECK)
    if right is not None and check != PYTHON_TESTS:
        right = extract_answer(right) or right.strip() or None
    predicted = values["prediction"]
    answer = (code_in(predicted or "") or predicted) if check == PYTHON_TESTS else read_prediction(predicted)
    try:
        return GradedPrediction(
            id=label, answer=answer, gold=right, correct=grade(answer, right, check, question=asked)
        )
    except UsageError as error:
        return BadRecord(record.line, str(error))


def _is_item(record: Record) -> bool:
    """Return whether a record is a row of items.jsonl, whose `answer` is the prediction."""
    there = record.values.keys()
    return {"gold", "answer"} <= there and not there & set(PREDICTION_FIELDS["prediction"])


def _prediction_columns(mapping: Mapping[str, str]) -> tuple[str, ...]:
    return (mapping["prediction"],) if "prediction" in mapping else PREDICTION_FIELDS["prediction"]
