"""`ramify grade`: grading of predictions made elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from ..files import exporting
from . import terminal
from .batch import INPUT_FORMATS, note_bad
from .option_types import FieldMap

if TYPE_CHECKING:
    from ramify.batch.grading import GradedPrediction, GradeReport


@click.command(
    epilog="Columns are found by their usual names: prediction, pred, response, output or completion; gold, answer, "
    "expected or solution; id. The items.jsonl of a batch is understood as it is."
)
@click.argument("source", metavar="FILE")
@click.option(
    "--map",
    "mapping",
    type=FieldMap(),
    multiple=True,
    metavar="FIELD=COLUMN",
    help="Which column holds a field (id, prediction, answer), such as prediction=output; may be repeated.",
)
@click.option("--gold", metavar="FILE", help="Problems with the gold answers, matched by id.")
@click.option("--format", "form", type=click.Choice(INPUT_FORMATS), help="Of FILE.  [default: by its name]")
@click.option("--skip-bad", is_flag=True, help="Leave bad records out, with a note for each.")
@click.option("--write", "-w", type=click.Path(path_type=Path), help="File for one JSON line per prediction.")
@click.option("--json", "as_json", is_flag=True, help="Write the totals as one JSON object.")
def grade(
    source: str,
    mapping: tuple[tuple[str, str], ...],
    gold: str | None,
    form: Any,
    skip_bad: bool,
    write: Path | None,
    as_json: bool,
) -> None:
    """Grade the predictions in FILE (.jsonl, .csv, .tsv or .parquet, or - for stdin) against their gold answers."""
    from ramify.batch.grading import count_grades, grade_records
    from ramify.batch.store.inputs import read_stated_problems

    stated = [] if gold is None else list(read_stated_problems(gold))
    known = [problem for problem, _ in stated]
    records = grade_records(
        source,
        mapping=dict(mapping),
        form=form,
        gold=None if gold is None else {each.id: each.answer for each in known},
        checks={problem.id: problem.check for problem, has_check in stated if has_check},
        questions={each.id: each.question for each in known},
        on_bad=note_bad if skip_bad else None,
    )
    graded = list(records)
    if write is not None:
        _write(write, graded)
    report = count_grades(graded)
    if not report.graded:
        raise UsageError(f"{source} has no gold answers", "name their column with --map answer=COLUMN, or use --gold")
    if as_json:
        terminal.write_json(report.to_dict())
    else:
        terminal.write(_line(report))


def _line(report: GradeReport) -> str:
    low, high = report.interval
    line = f"{report.correct} of {report.graded} correct, {report.accuracy:.1%} (95 % interval {low:.1%} to {high:.1%})"
    missing = report.predictions - report.answered
    return f"{line}; {missing} without an answer" if missing else line


def _write(path: Path, graded: list[GradedPrediction]) -> None:
    try:
        with exporting(path) as file:
            for each in graded:
                file.write(json.dumps(each.to_dict(), ensure_ascii=True).encode() + b"\n")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", "choose another --write") from error
