"""Grader: one place tells whether an answer is right, and everything that grades asks it."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

import ramify
from ramify.answers.checkers import CHECK_NAMES, PYTHON_TESTS
from ramify.answers.grader import Grader
from ramify.batch import grade, run_batch
from ramify.batch.datasets.examples import ExampleMaker
from ramify.batch.datasets.filters import read_filters
from ramify.batch.datasets.sources import Source
from ramify.batch.datasets.writing import export
from ramify.batch.report.analysis import analyse
from ramify.batch.store.config import BatchConfig
from ramify.problem import Problem
from ramify.scaling.chains import chains_of, sample_row
from ramify.search.strategies.sampling import MajorityVote
from ramify.testing import ScriptedModel
from ramify.training.calibration import measure
from ramify.training.evaluation import evaluate

ROOT = Path(__file__).parents[2]
QUESTION = "Which planet is closest to the sun?\nA: Mars\nB: Mercury"
PLANETS = Problem(id="p", question=QUESTION, answer="Mercury")


def letters(question: str, path: tuple[int, ...]) -> str:
    """Three of four paths answer with the letter of the right option."""
    return "The answer is A." if path[0] == 3 else "The answer is B."


def surest(question: str, steps: tuple[str, ...]) -> float:
    return 0.9 if "B" in steps[-1] else 0.2


@pytest.mark.parametrize("check", [each for each in CHECK_NAMES if each != PYTHON_TESTS])
async def test_an_answer_is_graded_the_same_with_and_without_waiting(check):
    for answer in (None, "B", "A", "Mercury", "b"):
        fresh = Grader("Mercury", check, question=QUESTION)
        assert await fresh.judge(answer) == Grader("Mercury", check, question=QUESTION).right(answer)
        assert fresh.right(answer) == await fresh.judge(answer)
    assert not Grader("Mercury", check).right("B")


@pytest.mark.parametrize("check", ["math", "exact", "regex"])
def test_the_letter_of_the_gold_option_is_right(check):
    assert Grader("Mercury", check, question=QUESTION).right("B")
    assert not Grader("Mercury", check, question=QUESTION).right("A")


async def test_everything_that_grades_takes_the_letter_of_the_gold_option(tmp_path):
    strategy = MajorityVote(width=4)
    async with ramify.Engine(ScriptedModel(letters), surest) as engine:
        await run_batch([PLANETS], tmp_path / "run", BatchConfig(strategy=strategy, save_trees=True), engine=engine)
        point = await measure(engine, [PLANETS], strategy)
        solution = await engine.solve(PLANETS, strategy=strategy)
        evaluation = await evaluate(engine, [PLANETS], width=4)
    row = json.loads((tmp_path / "run" / "items.jsonl").read_text("utf-8"))
    assert row["correct"] is True and grade("B", "Mercury", question=QUESTION)
    analysis = analyse(tmp_path / "run")
    assert {each.successes for each in analysis.votes} == {1}
    assert point.outcomes == "1"
    chains = chains_of(solution.tree)
    sampled = sample_row(QUESTION, chains, PLANETS.grader().checker.same, PLANETS.grader().right)
    assert [sampled["answers"][number] for number in sampled["right"]] == ["B"]
    assert evaluation[0].correct["majority"] and sum(path.right for path in evaluation[0].paths) == 3
    export(
        [Source(str(tmp_path / "run"), trees=False)],
        ExampleMaker(kind="sft", filters=read_filters("right")),
        tmp_path / "out",
    )
    texts = (tmp_path / "out" / "data.jsonl").read_text("utf-8")
    assert "The answer is B." in texts and "The answer is A." not in texts


def test_nothing_but_answers_compares_with_gold_answers():
    found = set[str]()
    for folder in ("batch", "engine", "models", "ramify", "reward", "scaling", "search", "server", "training", "tui"):
        for path in (ROOT / folder).rglob("*.py"):
            tree = ast.parse(path.read_text("utf-8"))
            names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
            if names & {"accepts", "accepts_quickly"}:
                found.add(str(path.relative_to(ROOT)))
    # The panels compare two answers of paths, and a cached checker keeps its function.
    assert found == {"batch/report/analysis.py", "tui/state/panels.py"}
