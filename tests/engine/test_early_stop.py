"""Early stopping in whole runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

import ramify
from ramify.engine.runtime.messages import StepRequest, StepResult
from ramify.engine.testing import ScriptedSession
from ramify.errors import SearchError
from ramify.search.node import NodeState, PruneReason
from ramify.stopping import CannotBeOvertaken, PathConfidence
from ramify.testing import ScriptedModel, ScriptedReward, ScriptedStep


def unanimous(question: str, path: tuple[int, ...]) -> str:
    """Paths of one step more each, so that they finish one after the other."""
    return "The answer is 7." if len(path) > path[0] else "on\n"


async def test_a_run_stops_when_its_rule_says_so() -> None:
    async with ramify.Engine(model=ScriptedModel(unanimous), reward=None) as engine:
        solution = await engine.solve("q", strategy=ramify.MajorityVote(width=12), stop="beta:0.95")
    assert (solution.answer, solution.stop_reason) == ("7", "early_stop")
    assert solution.stop is not None
    assert (solution.stop.rule, solution.stop.detail["posterior"]) == ("beta", 1 - 1 / 32)
    assert len(solution.candidates) == 4
    assert solution.tree is not None
    assert {node.prune_reason for node in solution.tree if node.state is NodeState.PRUNED} == {PruneReason.STOPPED}
    data = json.loads(json.dumps(solution.to_dict()))
    assert ramify.Solution.from_dict(data).stop == solution.stop


async def test_a_stopped_run_can_go_on() -> None:
    strategy = ramify.MajorityVote(width=9)
    async with ramify.Engine(model=ScriptedModel(unanimous), reward=None) as engine:
        part = await engine.solve("q", strategy=strategy, stop=CannotBeOvertaken())
        rest = await engine.solve("q", strategy=strategy, tree=part.tree)
    assert len(part.candidates) == 5
    assert len(rest.candidates) == 9
    assert rest.answer == part.answer


async def test_a_rule_that_never_fires_changes_nothing() -> None:
    async with ramify.Engine(model=ScriptedModel(unanimous), reward=None) as engine:
        solution = await engine.solve("q", strategy=ramify.MajorityVote(width=3), stop="score:1.0")
    assert (solution.stop_reason, solution.stop, len(solution.candidates)) == ("completed", None, 3)


async def test_cut_paths_say_why() -> None:
    class Cutter:
        name = "cutter"

        def __call__(self, tree: ramify.SearchTree) -> list[int]:
            return [leaf.id for leaf in tree.open_leaves() if leaf.path[:1] == (1,)]

    async with ramify.Engine(model=ScriptedModel(unanimous), reward=None) as engine:
        solution = await engine.solve("q", strategy=ramify.MajorityVote(width=3), cut=Cutter())
    assert solution.tree is not None
    cut = [node.path for node in solution.tree if node.prune_reason is PruneReason.CONFIDENCE]
    assert cut == [(1,)]
    assert len(solution.candidates) == 2


async def test_with_a_reward_the_posterior_stops() -> None:
    reward = ScriptedReward(lambda question, steps: 0.9)
    async with ramify.Engine(model=ScriptedModel(unanimous), reward=reward) as engine:
        solution = await engine.solve("q", strategy=ramify.WeightedVote(width=8), stop="posterior:0.95")
    assert solution.stop_reason == "early_stop"
    # With one answer given and one not: 0.9 against 0.1, then 0.99 to 0.01.
    assert len(solution.candidates) == 2


async def test_an_unknown_rule_is_said() -> None:
    async with ramify.Engine(model=ScriptedModel(unanimous), reward=None) as engine:
        with pytest.raises(SearchError, match="did you mean 'beta'"):
            await engine.solve("q", stop="betta")


@pytest.mark.parametrize("broken", [5, 6])
async def test_a_program_that_is_not_known_to_work_ends_no_search(broken: int) -> None:
    """Programs that fail count only while there are no others, so they lead nothing for good."""

    def script(_: str, path: tuple[int, ...]) -> ScriptedStep:
        last = len(path) > path[0]
        program = "def f(x): retrun x" if path[0] < broken else f"def f(x): return x + {path[0]} - {path[0]}"
        return ScriptedStep(text=f"```python\n{program}\n```" if last else "on\n", end=last)

    question = "Write f(x), which returns x.\nassert f(1) == 1"
    async with ramify.Engine(model=ScriptedModel(script), reward=None) as engine:
        solution = await engine.solve(question, strategy=ramify.MajorityVote(width=8), answer="program", stop="lead")
    assert solution.answer is not None and "retrun" not in solution.answer


async def test_programs_that_work_end_a_search() -> None:
    def script(_: str, path: tuple[int, ...]) -> ScriptedStep:
        last = len(path) > path[0]
        return ScriptedStep(text="```python\ndef f(x): return x\n```" if last else "on\n", end=last)

    question = "Write f(x), which returns x.\nassert f(1) == 1"
    async with ramify.Engine(model=ScriptedModel(script), reward=None) as engine:
        solution = await engine.solve(question, strategy=ramify.MajorityVote(width=12), answer="program", stop="lead")
    assert solution.stop_reason == "early_stop" and len(solution.candidates) < 12


class LateOnesUnlikely(ScriptedSession):
    """The tokens of the paths from the fifth on are less likely."""

    async def expand(self, requests: Sequence[StepRequest], **options: Any) -> None:
        late = {each.child for each in requests if each.path[0] >= 4}

        def give(result: StepResult) -> None:
            factor = 5 if result.child in late else 1
            on_result(replace(result, logprob=result.logprob * factor))

        on_result = options.pop("on_result")
        await super().expand(requests, on_result=give, **options)


class LateOnesUnlikelyModel(ScriptedModel):
    async def open(self, question: str) -> ScriptedSession:
        return LateOnesUnlikely(self, question)


@pytest.mark.parametrize("strategy", [ramify.MajorityVote(width=8), ramify.WeightedVote(width=8)])
async def test_whole_paths_are_not_cut_while_they_wait_for_their_scores(strategy: ramify.Strategy) -> None:
    model = LateOnesUnlikelyModel(lambda _, path: f"The answer is {path[0] // 4}.")
    async with ramify.Engine(model=model, reward=ScriptedReward(lambda *_: 0.5)) as engine:
        solution = await engine.solve("q", strategy=strategy, cut=PathConfidence())
    assert len(solution.candidates) == 8
