"""A second model where the first is not sure: who decides, what it costs, and what happens when it is away."""

from __future__ import annotations

import io
import json
import sys

import pytest

from ramify import Engine, MajorityVote, UsageError, generate_problems
from ramify.batch import BatchConfig, RunFolderError, run_batch
from ramify.batch.executors.local import LocalExecutor, SearchRequest
from ramify.cli import main
from ramify.config import RunConfig
from ramify.engine.ensembles.fallback import Fallback, LateEngine, fallback_note
from ramify.engine.library.catalog import list_bundled
from ramify.errors import ModelUnreachable
from ramify.problem import Problem
from ramify.testing import ScriptedModel

FALLBACK = Fallback(model="large", confidence=0.9)
SURE, UNSURE = Problem("a", "sure", "7"), Problem("b", "unsure", "1")
PATH_TOKENS = 5
NOWHERE = "openai:http://127.0.0.1:9/v1#large"


def small(question: str, path: tuple[int, ...]) -> str:
    """Sure questions get one answer, unsure ones two, silent ones none."""
    return "Hm." if question == "silent" else f"The answer is {7 if question == 'sure' else path[0] % 2}."


def large(question: str, path: tuple[int, ...]) -> str:
    return "Well." if question == "beyond" else "The answer is 1."


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def opened(script=small) -> Engine:
    return Engine(model=ScriptedModel(script, name="small"), reward=None)


def late(script=large, **options) -> LateEngine:
    return LateEngine(lambda: Engine(model=ScriptedModel(script, name="large"), reward=None), **options)


def away(**options) -> LateEngine:
    def make() -> Engine:
        raise ModelUnreachable("no server answers")

    return LateEngine(make, **options)


def request(problem: Problem) -> SearchRequest:
    return SearchRequest(problem=problem, strategy=MajorityVote(width=4), run=RunConfig())


async def test_the_second_model_is_asked_only_where_the_first_leaves_doubt():
    usages = []
    async with opened() as engine, LocalExecutor(engine, FALLBACK, late()) as searcher:
        sure = await searcher.search(request(SURE), usages.append)
        unsure = await searcher.search(request(UNSURE), usages.append)
    assert (sure.answer, sure.model["policy"], sure.usage.policy.generated_tokens) == ("7", "small", 4 * PATH_TOKENS)
    assert sure.model["fallback"] | {"certainty": None} == {
        "model": "large", "asked": False, "decided": False, "certainty": None, "note": None
    }  # fmt: skip
    assert (unsure.answer, unsure.model["policy"]) == ("1", "large")
    assert unsure.usage.policy.generated_tokens == 8 * PATH_TOKENS
    assert (unsure.model["fallback"]["asked"], unsure.model["fallback"]["decided"]) == (True, True)
    assert unsure.model["fallback"]["certainty"] < 0.9 < sure.model["fallback"]["certainty"]
    assert usages[-1].policy.generated_tokens == 8 * PATH_TOKENS


async def test_a_second_model_without_an_answer_does_not_decide():
    beyond = Problem("c", "beyond")
    async with opened() as engine, LocalExecutor(engine, FALLBACK, late()) as searcher:
        solution = await searcher.search(request(beyond), lambda usage: None)
    assert (solution.answer, solution.model["policy"]) == ("0", "small")
    assert (solution.model["fallback"]["asked"], solution.model["fallback"]["decided"]) == (True, False)


async def test_one_that_cannot_be_reached_leaves_the_first_answer_with_a_note():
    async with opened() as engine, LocalExecutor(engine, FALLBACK, away()) as searcher:
        solution = await searcher.search(request(UNSURE), lambda usage: None)
        assert solution.answer == "0"
        assert fallback_note(solution) == (
            "large could not be asked (no server answers), so the answer is the first model's"
        )
        with pytest.raises(ModelUnreachable, match="no server answers"):
            await searcher.search(request(Problem("c", "silent")), lambda usage: None)


async def test_one_that_goes_away_in_mid_search_costs_what_it_cost_and_rests():
    tries = []

    def leaves(question: str, path: tuple[int, ...]) -> str:
        tries.append(path)
        if len(tries) == 3:
            raise ModelUnreachable("the server has gone")
        return large(question, path)

    clock = Clock()
    async with opened() as engine, LocalExecutor(engine, FALLBACK, late(leaves, clock=clock)) as searcher:
        solution = await searcher.search(request(UNSURE), lambda usage: None)
        assert (solution.answer, solution.usage.policy.generated_tokens) == ("0", 6 * PATH_TOKENS)
        resting = await searcher.search(request(UNSURE), lambda usage: None)
        assert "the server has gone" in str(fallback_note(resting)) and len(tries) == 3
        clock.now_s += 100
        again = await searcher.search(request(UNSURE), lambda usage: None)
    assert (again.answer, fallback_note(again)) == ("1", None)


async def test_one_that_could_not_be_opened_is_tried_again_after_a_rest():
    clock, made = Clock(), []

    def make() -> Engine:
        made.append(clock.now_s)
        if len(made) == 1:
            raise ModelUnreachable("not yet")
        return Engine(model=ScriptedModel(large), reward=None)

    async with LateEngine(make, retry_after_s=60, clock=clock) as engine:
        assert isinstance(await engine.get(), ModelUnreachable)
        assert isinstance(await engine.get(), ModelUnreachable)
        clock.now_s = 61
        assert isinstance(await engine.get(), Engine)
        assert isinstance(await engine.get(), Engine)
    assert made == [0, 61]


@pytest.mark.parametrize("confidence", [0, 1.5])
def test_a_confidence_has_to_be_a_share(confidence):
    with pytest.raises(UsageError, match="the confidence is"):
        Fallback(model="large", confidence=confidence)


@pytest.fixture
def bundled() -> None:
    if {"demo-s", "demo-m"} - {entry.name for entry in list_bundled()}:
        pytest.skip("the bundled models are not in this checkout")


async def test_rows_say_who_decided_and_the_pair_is_part_of_the_configuration(bundled, rows, tmp_path):
    problems = generate_problems(steps=(2, 4), count=8, seed=7)
    settings = {"model": "demo-s", "reward": None, "strategy": MajorityVote(width=4)}
    pair = BatchConfig(**settings, fallback=Fallback(model="demo-m"))
    report = await run_batch(problems, tmp_path, pair)
    found = rows(tmp_path)
    asked = [row for row in found if row["model"]["fallback"]["asked"]]
    assert (report.done, report.failed) == (8, 0)
    assert 0 < len(asked) < 8
    for row in found:
        assert row["model"]["policy"] == ("demo-m" if row["model"]["fallback"]["decided"] else "demo-s")
        assert (row["model"]["fallback"]["certainty"] < 0.95) == row["model"]["fallback"]["asked"]
    assert json.loads((tmp_path / "manifest.json").read_text())["fallback"]["name"] == "demo-m"
    with pytest.raises(RunFolderError, match=r"fallback\.confidence was 0\.95 and is now 0\.5"):
        await run_batch(problems, tmp_path, BatchConfig(**settings, fallback=Fallback(model="demo-m", confidence=0.5)))
    with pytest.raises(RunFolderError, match="fallback was"):
        await run_batch(problems, tmp_path, BatchConfig(**settings))


def test_solve_asks_the_second_model_and_counts_both(bundled, capsys, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    problem = generate_problems(steps=(6, 6), count=1, seed=7)[0]
    asks = ("solve", problem.question, "--no-save", "--json", "-s", "majority", "-w", "4", "-m")
    assert main([*asks, "demo-s", "--fallback", "demo-m", "--fallback-confidence", "1"]) == 0
    first = capsys.readouterr()
    together = json.loads(first.out)
    tokens = []
    for name in ("demo-s", "demo-m"):
        main([*asks, name])
        tokens.append(json.loads(capsys.readouterr().out)["usage"]["policy"]["prompt_tokens"])
    assert together["model"]["fallback"]["decided"] and together["model"]["policy"] == "demo-m"
    assert together["usage"]["policy"]["prompt_tokens"] == sum(tokens)
    assert "note: demo-s left doubt" in first.err


def test_the_options_of_solve_are_checked_before_anything_is_loaded(bundled, capsys):
    assert main(["solve", "add 1", "--fallback-confidence", "0.5"]) == 2
    assert "add --fallback" in capsys.readouterr().err
    assert main(["solve", "add 1", "--fallback", "demo-x"]) == 3
    assert "there is no model 'demo-x'" in capsys.readouterr().err
