"""A run that was cut by its budget or by hand goes on from its saved tree and ends like one that never was."""

from __future__ import annotations

import json
from typing import Any

import pytest

import ramify
from ramify.events import NodesDispatched
from ramify.search.node import PruneReason
from ramify.testing import ScriptedModel, ScriptedReward


def outcome(tree: ramify.SearchTree | None) -> dict[tuple[int, ...], Any]:
    assert tree is not None
    return {node.path: (node.state, node.prune_reason, node.score, node.answer, node.text) for node in tree}


def saved(solution: ramify.Solution) -> ramify.SearchTree:
    assert solution.tree is not None
    return ramify.SearchTree.from_dict(json.loads(json.dumps(solution.tree.to_dict())))


def wander(question: str, path: tuple[int, ...]) -> str:
    return f"The answer is {sum(path) % 3}." if len(path) > 2 + path[0] % 2 else f"step {'ab' * path[-1]} {path}\n"


STRATEGIES = [
    ramify.Greedy(),
    ramify.MajorityVote(width=5),
    ramify.WeightedVote(width=4),
    ramify.Rebase(width=6),
    ramify.BeamSearch(width=6, children=2),
    ramify.ParticleFilter(width=5),
]


async def cut_after(engine: ramify.Engine, rounds: int, problem: Any, **options: Any) -> ramify.Solution:
    """Run a number of rounds, then stop in the middle of the next."""
    async with engine.run(problem, **options) as run:
        added = 0
        async for event in run:
            added += isinstance(event, NodesDispatched)
            if added > rounds:
                run.stop()
        return await run.result()


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda each: each.name)
async def test_a_stopped_run_ends_like_one_that_was_not(strategy: Any) -> None:
    reward = ScriptedReward(lambda question, steps: (sum(map(len, steps)) * 37 % 100) / 100)
    async with ramify.Engine(model=ScriptedModel(wander, delay_s=0.001), reward=reward) as engine:
        whole = await engine.solve("q", strategy=strategy)
        for rounds in range(6):
            part = await cut_after(engine, rounds, "q", strategy=strategy)
            rest = await engine.solve("q", strategy=strategy, tree=saved(part))
            assert outcome(rest.tree) == outcome(whole.tree), rounds
            assert rest.answer == whole.answer


@pytest.mark.parametrize("strategy", STRATEGIES[:3], ids=lambda each: each.name)
async def test_chains_that_ran_out_of_budget_end_like_those_that_did_not(strategy: Any) -> None:
    reward = ScriptedReward(lambda question, steps: (sum(map(len, steps)) * 37 % 100) / 100)
    async with ramify.Engine(model=ScriptedModel(wander), reward=reward) as engine:
        whole = await engine.solve("q", strategy=strategy)
        for nodes in range(2, len(outcome(whole.tree)) - 1):
            part = await engine.solve("q", strategy=strategy, budget=ramify.Budget(nodes=nodes))
            rest = await engine.solve("q", strategy=strategy, tree=saved(part))
            assert outcome(rest.tree) == outcome(whole.tree), nodes


@pytest.mark.parametrize("strategy", [ramify.Rebase(width=8), ramify.MajorityVote(width=8)], ids=lambda each: each.name)
async def test_on_the_bundled_model(strategy: Any) -> None:
    problem = ramify.generate_problems(steps=(4, 4), count=1, seed=12)[0]
    async with ramify.Engine(isolation="thread") as engine:
        part = await cut_after(engine, 2, problem, strategy=strategy, seed=3)
        rest = await engine.solve(problem, strategy=strategy, seed=3, tree=saved(part))
    assert part.stop_reason == "user"
    before, after = outcome(part.tree), outcome(rest.tree)
    whole = {path: node for path, node in before.items() if node[1] not in (PruneReason.STOPPED, PruneReason.BUDGET)}
    assert 1 < len(whole) < len(after)
    # What follows may differ from an uncut run's where a draw was close: batches of other shapes round differently.
    assert {path: after[path][-1] for path in whole} == {path: node[-1] for path, node in whole.items()}
    assert rest.stop_reason == "completed"
    assert len(rest.candidates) == 8
    assert rest.tree is not None
    # What the first run wrote is not paid again, but for steps that its end cut short.
    kept = sum(node.token_count for node in rest.tree if node.path in whole)
    assert rest.usage.policy.generated_tokens <= rest.tree.generated_tokens - kept


async def test_a_finished_run_has_nothing_to_go_on_with() -> None:
    async with ramify.Engine(model=ScriptedModel(wander), reward=None) as engine:
        whole = await engine.solve("q", strategy=ramify.MajorityVote(width=3))
        again = await engine.solve("q", strategy=ramify.MajorityVote(width=3), tree=saved(whole))
    assert again.answer == whole.answer
    assert again.usage.policy.generated_tokens == 0


async def test_a_finished_run_goes_on_with_a_greater_width() -> None:
    async with ramify.Engine(model=ScriptedModel(wander), reward=None) as engine:
        small = await engine.solve("q", strategy=ramify.MajorityVote(width=3))
        large = await engine.solve("q", strategy=ramify.MajorityVote(width=6), tree=saved(small))
        whole = await engine.solve("q", strategy=ramify.MajorityVote(width=6))
    assert outcome(large.tree) == outcome(whole.tree)


async def test_a_strategy_that_needs_scores_refuses_a_tree_without_them() -> None:
    reward = ScriptedReward(lambda question, steps: 0.5)
    async with ramify.Engine(model=ScriptedModel(wander), reward=reward) as engine:
        votes = await engine.solve("q", strategy=ramify.MajorityVote(width=3))
        with pytest.raises(ramify.UsageError, match="have no scores, which the strategy rebase needs"):
            await engine.solve("q", strategy=ramify.Rebase(width=6), tree=saved(votes))
        scored = await engine.solve("q", strategy=ramify.WeightedVote(width=3))
        more = await engine.solve("q", strategy=ramify.WeightedVote(width=6), tree=saved(scored))
    assert len(more.candidates) == 6
