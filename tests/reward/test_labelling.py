"""Step labels: values, what they cost, and files that survive being cut."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ramify.answers.kinds import AnswerKind
from ramify.cli.reward_label import loss_lines
from ramify.conversation import Conversation
from ramify.engine.policy.prompts.step_formats import STEP_FORMATS, split_steps
from ramify.engine.run_setup import answers_of
from ramify.errors import LockHeld, UsageError
from ramify.files import lock
from ramify.problem import Problem
from ramify.sampling_params import USUAL_SAMPLING, SamplingParams
from ramify.testing import ScriptedModel
from ramify.training.label_files import Labelling, label_problems, read_labels
from ramify.training.labelling import LabelCost, LabelledSolution, Labeller, LabelLosses, LabelPlan
from ramify.training.preflight import Forecast, duration

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
    "other",
    [
        Problem(id="0", question="How many others?", answer="7"),
        Problem(id="0", question="How many 0?", answer="8"),
        Problem(id="0", question="How many 0?", answer="7", system="Be brief."),
        Problem(id="0", question="How many 0?", answer="7", check="exact"),
    ],
)
async def test_other_problems_of_the_same_ids_are_not_taken_for_labelled(tmp_path: Path, other: Problem) -> None:
    out = tmp_path / "l.jsonl"
    await run(out)
    before = out.read_text("utf-8")
    with pytest.raises(UsageError, match="labels of another problem with the id 0"):
        await label_problems(ScriptedModel(script), [other], out, PLAN)
    assert out.read_text("utf-8") == before


async def test_files_from_before_are_gone_on_with_where_the_questions_agree(tmp_path: Path) -> None:
    out, notes = tmp_path / "l.jsonl", tmp_path / "l.jsonl.progress"
    await run(out)
    new = ("settings", "files", "problem")
    rows = [json.loads(line) for line in notes.read_text("utf-8").splitlines()]
    old = [{name: value for name, value in row.items() if name not in new} for row in rows]
    notes.write_text("".join(json.dumps(row) + "\n" for row in old))
    assert (await run(out)).found == 4
    assert json.loads(notes.read_text("utf-8").splitlines()[0]) == rows[0]
    other = Problem(id="0", question="How many others?", answer="7")
    with pytest.raises(UsageError, match="labels of another problem with the id 0"):
        await label_problems(ScriptedModel(script), [other], out, PLAN)


async def test_labels_of_another_file_of_the_same_name_are_not_added_to(tmp_path: Path) -> None:
    out, notes = tmp_path / "l.jsonl", tmp_path / "l.jsonl.progress"
    await run(out)
    lines = notes.read_text("utf-8").splitlines(keepends=True)
    head = json.loads(lines[0])
    assert head["files"] == {"model": None} and "step_format" in head["settings"]
    notes.write_text(json.dumps({**head, "files": {"model": "a" * 64}}) + "\n" + "".join(lines[1:]))
    with pytest.raises(UsageError, match=r"other settings \(files\.model was aaa"):
        await run(out)


async def test_a_labelling_that_is_at_work_keeps_others_from_its_file(tmp_path: Path) -> None:
    out = tmp_path / "l.jsonl"
    seen = list[str]()

    def watch(state: Labelling) -> None:
        with pytest.raises(LockHeld), lock(tmp_path / "l.jsonl.lock"):
            pass
        seen.append("held")

    await label_problems(ScriptedModel(script), PROBLEMS, out, PLAN, on_problem=watch)
    assert seen == ["held"] * 4
    before = out.read_text("utf-8")
    with (
        lock(tmp_path / "l.jsonl.lock"),
        pytest.raises(UsageError, match=r"another labelling writes .*l\.jsonl \(.* process \d+\)"),
    ):
        await run(out)
    assert out.read_text("utf-8") == before


class Conversing(ScriptedModel):
    """A model that keeps what it was told."""

    takes_conversations = True

    def __init__(self) -> None:
        super().__init__(script)
        self.told: list[str | Conversation] = []

    async def open_as(self, question: str | Conversation, kind: AnswerKind) -> Any:
        self.told.append(question)
        return await self.open(Conversation.of(question).question)


async def test_a_problem_is_told_with_its_conversation(tmp_path: Path) -> None:
    turns = [
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "How many?"},
    ]
    problem = Problem(id="p", messages=turns, answer="7", system="Be brief.", examples=[("One?", "1")])
    model = Conversing()
    await label_problems(model, [problem], tmp_path / "l.jsonl", PLAN)
    assert model.told == [problem.conversation]
    assert {row.question for row in read_labels(tmp_path / "l.jsonl")} == {problem.transcript}
    with pytest.raises(UsageError, match="takes one question alone"):
        await label_problems(ScriptedModel(script), [problem], tmp_path / "other.jsonl", PLAN)


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


class Rambling(ScriptedModel):
    """A model whose paths do not end with their first answer."""

    ends_at_answer = False


def uneven(question: str, path: tuple[int, ...]) -> str:
    """Solution 0 ends, 1 never does, 2 has no answer, 3 is empty, and 4 goes on after its answer."""
    return {0: "The answer is 7.", 2: "No idea.", 3: "", 4: "The answer is 7. \n"}.get(path[0], "and so on\n")


@pytest.mark.parametrize("rollouts", [0, 1])
async def test_solutions_without_labels_are_counted_by_reason(rollouts: int) -> None:
    plan = LabelPlan(solutions=5, rollouts=rollouts, max_path_tokens=12)
    labeller = Labeller(PROBLEM, await Rambling(uneven).open("?"), plan, ends_at_answer=False)
    rows = await labeller.label()
    assert labeller.losses == LabelLosses(length=1, empty=1, unanswered=1)
    assert labeller.losses.lost == 2
    # A path that a limit ends has its last answer, as in a search.
    assert sorted(row.values[-1] for row in rows) == [0.0, 1.0, 1.0]


async def test_a_solution_of_too_many_steps_is_counted() -> None:
    plan = LabelPlan(solutions=1, rollouts=1)
    labeller = Labeller(PROBLEM, await ScriptedModel(lambda question, path: "on\n").open("?"), plan)
    assert await labeller.label() == []
    assert labeller.losses == LabelLosses(steps=1)


async def test_steps_and_rollouts_share_the_limit_of_a_path() -> None:
    longest: list[int] = []

    class Noting(ScriptedModel):
        def step(self, question: str, path: tuple[int, ...]) -> Any:
            return super().step(question, path)

    session = await Noting(script).open("?")
    expand = session.expand

    async def noted(requests: Any, **options: Any) -> None:
        longest.extend(request.max_tokens + len(request.prefix.split()) for request in requests)
        await expand(requests, **options)

    session.expand = noted  # type: ignore[method-assign]
    await Labeller(PROBLEM, session, LabelPlan(solutions=1, rollouts=1, max_path_tokens=30)).label()
    assert max(longest) <= 30


async def test_the_models_own_sampling_is_used_where_none_is_given() -> None:
    session = await ScriptedModel(script).open("?")
    plan = LabelPlan(solutions=1, sampling=SamplingParams(top_k=5))
    labeller = Labeller(PROBLEM, session, plan, sampling=USUAL_SAMPLING)
    seen: list[Any] = []
    expand = session.expand

    async def noted(requests: Any, **options: Any) -> None:
        seen.extend(request.sampling for request in requests)
        await expand(requests, **options)

    session.expand = noted  # type: ignore[method-assign]
    await labeller.label()
    assert seen == [replace(USUAL_SAMPLING, top_k=5)]


async def test_losses_are_those_of_all_problems_after_a_cut(tmp_path: Path) -> None:
    out = tmp_path / "l.jsonl"
    whole = await label_problems(Rambling(uneven), PROBLEMS, out, LabelPlan(solutions=5, max_path_tokens=12))
    assert whole.losses == LabelLosses(length=4, empty=4, unanswered=4)
    again = await label_problems(Rambling(uneven), PROBLEMS, out, LabelPlan(solutions=5, max_path_tokens=12))
    assert (again.losses, again.labelled) == (whole.losses, 0)


def test_losses_are_told_by_reason() -> None:
    losses = LabelLosses(length=7, context=1, steps=2, empty=3, balance=4, unanswered=5)
    told = loss_lines(losses, 40, LabelPlan(max_path_tokens=256))
    assert told[0] == "7 of 40 solutions had no answer after 256 tokens (raise --max-path-tokens): no labels"
    assert len(told) == 6 and loss_lines(LabelLosses(), 40, LabelPlan()) == []


def test_a_forecast_is_told_once_from_the_first_problems() -> None:
    forecast = Forecast(total=10, first=2)
    assert forecast.tell(1, 100, 10.0) is None
    told = forecast.tell(2, 200, 20.0)
    assert told == "by the first 2 problems (10 tokens/s) the other 8 take about 800 tokens, 80 s"
    assert forecast.tell(3, 300, 30.0) is None
    assert Forecast(total=2, first=2).tell(2, 200, 20.0) is None
    assert [duration(seconds) for seconds in (0, 119, 600, 36_000)] == ["1 s", "119 s", "10 min", "10.0 h"]


async def test_the_last_number_counts_where_no_solution_marks_its_answer() -> None:
    def unmarked(question: str, path: tuple[int, ...]) -> str:
        return f"So there are {7 if path[0] else 8} of them."

    rows = await label_with(Rambling(unmarked), PROBLEM, LabelPlan(solutions=2))
    assert [row.values for row in rows] == [(0.0,), (1.0,)]
    choice = replace(PROBLEM, question="A) one B) two", answer="B")
    rows = await label_with(
        Rambling(lambda question, path: "Answer: B"), choice, LabelPlan(solutions=1, answer="choice")
    )
    assert [row.values for row in rows] == [(1.0,)]


async def label_with(policy: ScriptedModel, problem: Problem, plan: LabelPlan) -> list[LabelledSolution]:
    answers, ends_at_answer = answers_of(policy, problem, plan.answer)
    session = await policy.open(problem.question)
    return await Labeller(problem, session, plan, answers=answers, ends_at_answer=ends_at_answer).label()
