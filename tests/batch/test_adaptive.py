"""One budget for all problems, spent in tranches, on a scripted model."""

from __future__ import annotations

import json

import anyio
import pytest

from ramify import Budget, MajorityVote, ModelCrashed, UsageError
from ramify.batch import BatchConfig, BatchControl, RunFolderError, run_batch
from ramify.config import RunConfig
from ramify.engine.ensembles.fallback import Fallback
from ramify.problem import Problem

WORDS = 20
PATH_TOKENS = WORDS + 5
"""Generated tokens of a path: words, "The answer is N." and its end; less would be too little to begin a step with."""


def split_on_odd(question: str, path: tuple[int, ...]) -> str:
    """Even questions have one answer; on odd ones it goes back and forth between two."""
    number = int(question.split()[1])
    return "so " * WORDS + f"The answer is {number if number % 2 == 0 else number + path[0] % 2}."


@pytest.fixture
def questions() -> list[Problem]:
    return [Problem(f"p{n}", f"add {n}", str(n)) for n in range(6)]


def config(paths: int, **options) -> BatchConfig:
    settings = {"strategy": MajorityVote(width=16), "parallel": 2, "allocation": "adaptive"}
    return BatchConfig(**{**settings, "budget_generated_tokens": paths * PATH_TOKENS, **options})


def samples(rows) -> dict[str, int]:
    return {row["id"]: len(row["candidates"]) for row in rows}


async def test_what_is_open_gets_more_and_the_total_is_kept(scripted, questions, rows, tmp_path):
    async with scripted(split_on_odd) as engine:
        report = await run_batch(questions, tmp_path, config(48), engine=engine)
    found = samples(rows(tmp_path))
    assert (report.stop_reason, report.done, report.failed) == ("completed", 6, 0)
    assert [found[f"p{n}"] for n in (0, 2, 4)] == [4, 4, 4]
    assert sum(found[f"p{n}"] for n in (1, 3, 5)) >= 30
    assert report.usage.policy.generated_tokens == sum(found.values()) * PATH_TOKENS <= 48 * PATH_TOKENS
    assert list((tmp_path / "parts").iterdir()) == []


async def test_samples_are_those_of_a_run_of_that_width(scripted, questions, rows, tmp_path):
    async with scripted(split_on_odd) as engine:
        await run_batch(questions, tmp_path, config(48, save_trees=True), engine=engine)
        whole = [row for row in rows(tmp_path) if len(row["candidates"]) == row["strategy"]["width"]]
        assert len(whole) >= 4
        for row in whole:
            problem = next(each for each in questions if each.id == row["id"])
            alone = await engine.solve(problem, strategy=MajorityVote(width=row["strategy"]["width"]))
            assert row["answer"] == alone.answer
            assert sorted(each["text"] for each in row["candidates"]) == sorted(each.text for each in alone.candidates)
            assert (tmp_path / "trees" / f"{row['key']}.json").is_file()


@pytest.mark.parametrize("moment", [3, 21, 40])
async def test_a_call_that_is_cut_loses_only_tranches_in_flight(scripted, questions, rows, tmp_path, moment):
    spent = []

    def watch(progress):
        spent.append(progress.generated_tokens)
        if spent[-1] >= moment * PATH_TOKENS:
            scope.cancel()

    with anyio.CancelScope() as scope:
        async with scripted(split_on_odd) as engine:
            await run_batch(questions, tmp_path, config(48), engine=engine, watch=watch)
    assert scope.cancelled_caught
    assert rows(tmp_path) == [] and list((tmp_path / "parts").iterdir())
    async with scripted(split_on_odd) as engine:
        report = await run_batch(questions, tmp_path, config(48), engine=engine)
        written = len(engine.policy.expanded)
    found = samples(rows(tmp_path))
    total = report.usage.policy.generated_tokens + report.other_usage.policy.generated_tokens
    assert (report.stop_reason, report.done) == ("completed", 6)
    assert report.usage.policy.generated_tokens == sum(found.values()) * PATH_TOKENS
    assert total <= 48 * PATH_TOKENS
    assert written <= sum(found.values()) - moment + 2 * 4
    assert len({row["key"] for row in rows(tmp_path)}) == 6


async def test_draining_keeps_what_there_is_and_a_finished_run_is_left_alone(scripted, questions, rows, tmp_path):
    control = BatchControl()
    async with scripted(split_on_odd) as engine:
        report = await run_batch(
            questions, tmp_path, config(48), engine=engine, control=control, watch=lambda progress: control.drain()
        )
        assert (report.stop_reason, report.done, report.pending) == ("interrupted", 0, 6)
        report = await run_batch(questions, tmp_path, config(48), engine=engine)
    assert (report.stop_reason, report.done) == ("completed", 6)
    async with scripted(lambda question, path: pytest.fail("a model was asked")) as engine:
        assert await run_batch(questions, tmp_path, config(48), engine=engine) == report


async def test_a_total_that_is_too_small_for_all_leaves_some_out(scripted, questions, rows, tmp_path):
    async with scripted(split_on_odd) as engine:
        report = await run_batch(questions, tmp_path, config(9), engine=engine)
    assert (report.stop_reason, report.failed) == ("budget", 0)
    assert 0 < report.done < 6 and report.pending == 6 - report.done
    assert report.usage.policy.generated_tokens <= 9 * PATH_TOKENS


async def test_a_bad_item_stops_nothing_and_a_crash_is_tried_again(scripted, questions, rows, tmp_path):
    crashes = [ModelCrashed("the model's worker died twice")]

    def bad(question, path):
        if question == "add 2":
            raise RuntimeError("this one cannot be written")
        if question == "add 3" and crashes:
            raise crashes.pop()
        return split_on_odd(question, path)

    async with scripted(bad) as engine:
        report = await run_batch(questions, tmp_path, config(48), engine=engine)
    assert (report.done, report.failed, report.errors) == (6, 1, {"RuntimeError": 1})
    assert {row["id"]: row["attempt"] for row in rows(tmp_path)} == {f"p{n}": 2 if n == 3 else 1 for n in range(6)}
    (lost,) = [json.loads(line) for line in (tmp_path / "attempts.jsonl").read_text().splitlines()]
    assert (lost["id"], lost["error"]["type"]) == ("p3", "ModelCrashed")


async def test_the_total_belongs_to_the_configuration(scripted, questions, tmp_path):
    async with scripted(split_on_odd) as engine:
        await run_batch(questions, tmp_path, config(48), engine=engine)
        with pytest.raises(RunFolderError, match=r"allocation\.generated_tokens was 1200 and is now 1250"):
            await run_batch(questions, tmp_path, config(50), engine=engine)
        with pytest.raises(RunFolderError, match="allocation was"):
            await run_batch(questions, tmp_path, config(48, allocation="even"), engine=engine)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"budget_generated_tokens": None}, "needs a total"),
        ({"fallback": Fallback(model="demo-m")}, "no place for a fallback"),
        ({"run": RunConfig(budget=Budget(nodes=50))}, "leave the other limits out"),
    ],
)
def test_settings_that_contradict_it_are_refused(change, message):
    with pytest.raises(UsageError, match=message):
        config(48, **change)


async def test_only_independent_samples_can_be_bought(scripted, questions, tmp_path):
    async with scripted(split_on_odd) as engine:
        with pytest.raises(UsageError, match="which greedy does not take; use the strategy majority or weighted"):
            await run_batch(questions, tmp_path, config(48, strategy="greedy"), engine=engine)


async def test_the_time_of_a_call_that_was_interrupted_counts_in_the_report(scripted, questions, tmp_path):
    control = BatchControl()

    def watch(progress):
        if progress.generated_tokens > 6 * PATH_TOKENS:
            control.drain()

    async with scripted(split_on_odd) as engine:
        first = await run_batch(questions, tmp_path, config(48), engine=engine, control=control, watch=watch)
        assert (first.stop_reason, first.done) == ("interrupted", 0)
        await anyio.sleep(0.05)
        report = await run_batch(questions, tmp_path, config(48), engine=engine)
    log = (tmp_path / "events.log").read_text()
    assert "call 1 begins" in log and "call 2 begins" in log
    attempts = [json.loads(line) for line in (tmp_path / "attempts.jsonl").read_text().splitlines()]
    assert {each["leg"] for each in attempts} == {1}
    assert report.wall_seconds >= max(each["leg_seconds"] for each in attempts) > 0
    assert report.usage.policy.generated_tokens <= 48 * PATH_TOKENS
