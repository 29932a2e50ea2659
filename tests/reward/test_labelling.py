"""Step labels: values, what they cost, and files that survive being cut."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ramify.engine.policy.prompts.step_formats import STEP_FORMATS, split_steps
from ramify.errors import UsageError
from ramify.problem import Problem
from ramify.testing import ScriptedModel
from ramify.training.label_files import Labelling, label_problems, read_labels
from ramify.training.labelling import LabelCost, LabelledSolution, Labeller, LabelPlan

PARAGRAPHS = STEP_FORMATS["blank-line"]
PROBLEM = Problem(id="p", question="How many?", answer="7")


def script(question: str, path: tuple[int, ...]) -> str:
    """Solution 0 is right; solution 1 errs in its third step, and nothing that follows from there is right."""
    wrong = path[:3] == (1, 0, 0)
    if len(path) == 5:
        return f"The answer is {8 if wrong else 7}."
    return f"step {len(path)} of {path[0]} {'bad' if wrong else 'ok'}\n"


async def label(plan: LabelPlan, problem: Problem = PROBLEM) -> tuple[list[LabelledSolution], LabelCost]:
    labeller = Labeller(problem, await ScriptedModel(script).open(problem.question), plan)
    return await labeller.label(), labeller.cost


async def test_soft_labels_are_shares_of_all_continuations() -> None:
    rows, cost = await label(LabelPlan(solutions=2, rollouts=2))
    assert rows[0].values == (1.0,) * 5 and rows[0].first_error is None
    # Of three continuations, the solution's own is the wrong one.
    assert rows[1].values == pytest.approx((2 / 3, 2 / 3, 0, 0, 0))
    assert rows[1].first_error == 2
    assert (cost.rollouts, cost.all_rollouts) == (16, 16)


async def test_hard_labels_stop_at_the_first_right_rollout() -> None:
    rows, cost = await label(LabelPlan(solutions=2, rollouts=2, mode="hard"))
    assert [row.values for row in rows] == [(1, 1, 1, 1, 1), (1, 1, 0, 0, 0)]
    # None from the right solution, one from each good prefix of the other, two from each bad one.
    assert (cost.rollouts, cost.all_rollouts) == (6, 16)


async def test_the_search_finds_the_same_first_error_with_fewer_rollouts() -> None:
    rows, cost = await label(LabelPlan(solutions=2, rollouts=2, mode="search"))
    assert [row.values for row in rows] == [(1, 1, 1, 1, 1), (1, 1, 0, 0, 0)]
    # One right one from two steps, then two wrong ones from three.
    assert cost.rollouts == 3


async def test_a_solution_that_errs_at_once_and_one_that_errs_at_the_end() -> None:
    def errs(at: int) -> Any:
        def write(question: str, path: tuple[int, ...]) -> str:
            wrong = path[: at + 1] == (0,) * (at + 1)
            return f"The answer is {8 if wrong else 7}." if len(path) == 5 else f"step {path} {wrong}\n"

        return write

    for at in range(5):
        session = await ScriptedModel(errs(at)).open("?")
        plan = LabelPlan(solutions=1, rollouts=1, mode="search")
        (row,) = await Labeller(PROBLEM, session, plan).label()
        assert row.first_error == at


async def test_hard_labels_without_rollouts_come_from_the_solutions_alone() -> None:
    rows, cost = await label(LabelPlan(solutions=2, mode="hard"))
    assert [row.values for row in rows] == [(1, 1, 1, 1, 1), (0, 0, 0, 0, 0)]
    assert cost.rollouts == 0


async def test_shared_prefixes_are_counted_against_reading_them_anew() -> None:
    _, cost = await label(LabelPlan(solutions=2, rollouts=1))
    # A step has 5 scripted tokens, and so has the answer with its end; a rollout from step n writes the rest.
    solution, question = 5 * 5, 2
    rollouts = [solution - 5 * start for start in (1, 2, 3, 4)] * 2
    assert cost.generated_tokens == 2 * solution + sum(rollouts)
    assert cost.evaluated_tokens == cost.generated_tokens + question
    anew = sum(question + 5 * start for start in (1, 2, 3, 4)) * 2
    assert cost.unshared_tokens == cost.generated_tokens + 2 * question + anew


async def test_solutions_that_repeat_are_one_row_with_their_number() -> None:
    def few(question: str, path: tuple[int, ...]) -> str:
        return f"The answer is {8 if path[0] == 3 else 7}."

    rows = await Labeller(PROBLEM, await ScriptedModel(few).open("?"), LabelPlan(solutions=6)).label()
    assert [(row.values, row.count) for row in rows] == [((1.0,), 5), ((0.0,), 1)]
    balanced = LabelPlan(solutions=6, balance=True)
    rows = await Labeller(PROBLEM, await ScriptedModel(few).open("?"), balanced).label()
    assert [row.count for row in rows] == [1, 1]


async def test_balance_keeps_as_many_of_each_kind() -> None:
    def mostly_right(question: str, path: tuple[int, ...]) -> str:
        return f"The answer is {8 if path[0] == 3 else 7}." if len(path) == 2 else f"start {path}\n"

    session = await ScriptedModel(mostly_right).open("?")
    plan = LabelPlan(solutions=6, balance=True)
    rows = await Labeller(PROBLEM, session, plan).label()
    assert sorted(row.values[-1] for row in rows) == [0.0, 1.0]
    session = await ScriptedModel(mostly_right).open("?")
    assert await Labeller(replace(PROBLEM, answer="9"), session, plan).label() == []


async def test_the_problems_checker_says_what_is_right() -> None:
    rows, _ = await label(LabelPlan(solutions=2), replace(PROBLEM, answer="7.0", check="exact"))
    assert {row.values[-1] for row in rows} == {0.0}
    rows, _ = await label(
        LabelPlan(solutions=2), replace(PROBLEM, answer="x", check=lambda answer, gold: answer == "8")
    )
    assert [row.values[-1] for row in rows] == [0.0, 1.0]


async def test_whole_solutions_are_cut_into_steps_as_a_search_would() -> None:
    session = await ScriptedModel(lambda question, path: "One.\n\nTwo.\nThree.\n\nThe answer is 7.").open("?")
    labeller = Labeller(PROBLEM, session, LabelPlan(solutions=1), split=lambda text: split_steps(text, PARAGRAPHS))
    (row,) = await labeller.label()
    assert row.steps == ("One.\n\n", "Two.\nThree.\n\n", "The answer is 7.")
    assert row.values == (1.0,) * 3


def test_a_search_needs_rollouts() -> None:
    with pytest.raises(UsageError, match="needs rollouts"):
        LabelPlan(mode="search")


PROBLEMS = [Problem(id=str(number), question=f"How many {number}?", answer="7") for number in range(4)]
PLAN = LabelPlan(solutions=2, rollouts=1, parallel=1)


async def run(out: Path, **changes: Any) -> Labelling:
    return await label_problems(ScriptedModel(script), PROBLEMS, out, replace(PLAN, **changes))


async def test_a_labelling_that_was_cut_goes_on_and_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    expected = await run(whole)

    def stop(state: Labelling) -> None:
        if state.labelled == 2:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await label_problems(ScriptedModel(script), PROBLEMS, cut, PLAN, on_problem=stop)
    # The next problem's rows had begun to be written.
    with cut.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"id": "2", "question": "?", "steps": ["a"], "values": [1.0]}) + '\n{"id": "2", "qu')
    with cut.with_name("cut.jsonl.progress").open("a", encoding="utf-8") as file:
        file.write('{"id": "2", "ro')
    state = await run(cut)
    assert (state.labelled, state.found) == (2, 2)
    assert cut.read_text("utf-8") == whole.read_text("utf-8")
    assert (state.cost, state.rows) == (expected.cost, expected.rows)
    again = await run(cut)
    assert (again.labelled, again.found, again.cost) == (0, 4, expected.cost)


async def test_problems_without_any_solution_are_not_done_twice(tmp_path: Path) -> None:
    await run(tmp_path / "l.jsonl", solutions=1, balance=True)
    assert list(read_labels(tmp_path / "l.jsonl")) == []
    assert (await run(tmp_path / "l.jsonl", solutions=1, balance=True)).found == 4


async def test_other_settings_do_not_go_into_the_same_file(tmp_path: Path) -> None:
    await run(tmp_path / "l.jsonl")
    before = (tmp_path / "l.jsonl").read_text("utf-8")
    with pytest.raises(UsageError, match="other settings"):
        await run(tmp_path / "l.jsonl", rollouts=2)
    assert (tmp_path / "l.jsonl").read_text("utf-8") == before
    assert (await run(tmp_path / "l.jsonl", parallel=3)).found == 4


async def test_a_file_without_notes_is_gone_on_with(tmp_path: Path) -> None:
    out = tmp_path / "l.jsonl"
    await run(out)
    rows = out.read_text("utf-8").splitlines(keepends=True)
    out.with_name("l.jsonl.progress").unlink()
    out.write_text("".join(rows[:2]) + rows[2][:10], "utf-8")
    state = await run(out)
    assert (state.found, state.labelled) == (1, 3)
    assert out.read_text("utf-8") == "".join(rows)


async def test_what_is_no_file_of_labels_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "l.jsonl"
    out.write_text("something else\n", "utf-8")
    with pytest.raises(UsageError, match="cannot be gone on with"):
        await run(out)
    assert out.read_text("utf-8") == "something else\n"


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (Problem(id="1", question="?"), "has no answer"),
        (Problem(id="1", question="?", answer="7", check="guess"), "there is no checker 'guess'"),
        (Problem(id="0", question="?", answer="7"), "two problems have the id 0"),
    ],
)
async def test_problems_that_cannot_be_labelled(tmp_path: Path, problem: Problem, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        await label_problems(ScriptedModel(script), [PROBLEMS[0], problem], tmp_path / "l.jsonl", PLAN)
    assert not (tmp_path / "l.jsonl").exists()
