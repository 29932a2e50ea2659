"""Checkers in files: problems that name theirs, batches graded by it, and grading of predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ramify.answers.checkers import Check
from ramify.batch import BatchConfig, RunFolderError, run_batch
from ramify.batch.grading import count_grades, grade_records
from ramify.batch.report.analysis import analyse
from ramify.batch.store.folder import read_items
from ramify.batch.store.inputs import read_problems
from ramify.cli import main
from ramify.engine.engine import Engine
from ramify.errors import BadInput
from ramify.problem import Problem
from ramify.search.strategies.sampling import MajorityVote
from ramify.testing import ScriptedModel

ROWS: list[dict[str, Any]] = [
    {"id": "1", "question": "a?", "answer": "colou?r", "check": "regex"},
    {"id": "2", "question": "b?", "answer": "0.5"},
    {"id": "3", "question": "c?", "answer": "colour", "check": "exact"},
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_problems_name_their_checker(tmp_path: Path) -> None:
    problems = read_problems(write(tmp_path / "p.jsonl", ROWS))
    assert [each.check for each in problems] == ["regex", "math", "exact"]
    assert all("check" not in each.metadata for each in problems)
    with pytest.raises(BadInput, match="no checker 'guess'"):
        read_problems(write(tmp_path / "q.jsonl", [{**ROWS[0], "check": "guess"}]))


async def solve(out: Path, problems: list[Problem]) -> list[dict[str, Any]]:
    async with Engine(ScriptedModel(lambda question, path: "The answer is color"), None) as engine:
        await run_batch(problems, out, BatchConfig(strategy=MajorityVote(width=2)), engine=engine)
    return sorted(read_items(out), key=lambda row: row["index"])


async def test_a_batch_is_graded_reported_and_graded_again_by_it(tmp_path: Path) -> None:
    out = tmp_path / "out"
    problems = read_problems(write(tmp_path / "p.jsonl", ROWS))
    rows = await solve(out, problems)
    assert [row["correct"] for row in rows] == [True, False, False]
    assert [row.get("check") for row in rows] == ["regex", None, "exact"]
    everywhere = next(each for each in analyse(out).votes if each.label == "majority, all paths")
    assert (everywhere.trials, everywhere.successes) == (3, 1)
    assert count_grades(list(grade_records(out / "items.jsonl"))).correct == 1
    with pytest.raises(RunFolderError, match="another checker"):
        await solve(out, [Problem(id="1", question="a?", answer="colou?r"), *problems[1:]])


async def test_a_function_grades_and_leaves_no_name(tmp_path: Path) -> None:
    check: Check = lambda answer, gold: answer[0] == gold[0]  # noqa: E731
    rows = await solve(tmp_path / "out", [Problem(id="1", question="a?", answer="cat", check=check)])
    assert rows[0]["correct"] is True and rows[0]["check"] is None
    assert analyse(tmp_path / "out").votes == ()


def test_predictions_are_graded_by_the_checker_of_their_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gold = write(tmp_path / "p.jsonl", ROWS)
    made = write(tmp_path / "m.jsonl", [{"id": each["id"], "prediction": "color"} for each in ROWS])
    assert main(["grade", str(made), "--gold", str(gold), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["correct"] == 1
    bad = write(tmp_path / "b.jsonl", [{"prediction": "x", "gold": "(", "check": "regex"}])
    assert main(["grade", str(bad)]) == 2
    assert "is no regular expression" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("gold", "right"),
    [
        ({"id": "1", "question": "How many?", "answer": "10"}, True),
        ({"id": "1", "question": "How many?", "answer": "10", "check": "math"}, False),
        ({"id": "1", "question": "How many?", "answer": "10", "check": ""}, True),
    ],
)
def test_predictions_are_checked_as_they_say_where_the_gold_file_says_nothing(tmp_path, capsys, gold, right):
    path, made = tmp_path / "gold.jsonl", tmp_path / "made.jsonl"
    path.write_text(json.dumps(gold) + "\n")
    made.write_text('{"id": "1", "prediction": "10.4", "check": "numeric:0.1"}\n')
    assert main(["grade", str(made), "--gold", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["correct"] == int(right)
