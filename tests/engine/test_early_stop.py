"""Early stopping in whole runs."""

from __future__ import annotations

import json

import pytest

import ramify
from ramify.errors import SearchError
from ramify.search.node import NodeState, PruneReason
from ramify.stopping import CannotBeOvertaken
from ramify.testing import ScriptedModel, ScriptedReward


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
