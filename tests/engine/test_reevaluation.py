"""No token is evaluated again where a limit ends a search and the best unfinished path is finished."""

from __future__ import annotations

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ramify
from ramify.engine.control.node_ends import Releases
from ramify.search.node import FinishReason
from ramify.search.strategy import Strategy
from ramify.search.tree import ROOT, SearchTree
from ramify.solution import Solution

STRATEGIES = [
    ramify.Rebase(width=8),
    ramify.BeamSearch(width=8),
    ramify.DVTS(width=8),
    ramify.MCTS(width=8),
    ramify.ParticleFilter(width=8),
    ramify.BestOfN(width=4),
    ramify.MajorityVote(width=4),
]
LIMITS = st.one_of(
    st.builds(ramify.Budget, flops=st.floats(5e8, 4e9)),
    st.builds(ramify.Budget, generated_tokens=st.integers(20, 300)),
    st.builds(ramify.Budget, nodes=st.integers(4, 40)),
)


def solve(problem: int, strategy: Strategy, budget: ramify.Budget, seed: int) -> Solution:
    question = ramify.generate_problems(steps=(2, 4), count=1, seed=problem)[0]

    async def run() -> Solution:
        async with ramify.Engine("demo-m", isolation="thread", threads=1) as engine:
            return await engine.solve(question, strategy=strategy, budget=budget, seed=seed, max_path_tokens=120)

    return anyio.run(run)


def check(solution: Solution) -> None:
    usage = solution.usage
    assert usage.policy.reevaluated_tokens == usage.reward.reevaluated_tokens == 0


@settings(max_examples=25, deadline=None)
@given(problem=st.integers(0, 50), strategy=st.sampled_from(STRATEGIES), budget=LIMITS, seed=st.integers(0, 50))
def test_no_limit_has_a_token_evaluated_again(
    problem: int, strategy: Strategy, budget: ramify.Budget, seed: int
) -> None:
    check(solve(problem, strategy, budget, seed))


def test_a_path_that_is_finished_from_a_step_above_the_last_ones_costs_its_own_tokens_alone() -> None:
    solution = solve(5, ramify.Rebase(width=8), ramify.Budget(flops=2e9), 3)
    assert solution.stop_reason == "budget_flops"
    check(solution)


def grown(scores: dict[int, float]) -> SearchTree:
    """A tree of steps below the question, in the order of their ids."""
    tree = SearchTree()
    for score in scores.values():
        node = tree.add_pending(ROOT)
        tree.complete(node.id, "step\n", (1,), 0.0, FinishReason.STEP, token_count=1)
        tree.score(node.id, score)
    return tree


@pytest.mark.parametrize(("scores", "kept"), [({1: 0.2, 2: 0.9, 3: 0.5}, 2), ({1: 0.9, 2: 0.2}, 1), ({1: 0.1}, 1)])
def test_the_best_open_step_is_kept_until_there_is_an_answer(scores: dict[int, float], kept: int) -> None:
    tree = grown(scores)
    releases = Releases(tree)
    for node in scores:
        releases.add_but_best(tree.node(node))
    assert releases.reserve == kept
    assert sorted(releases.take()) == sorted(set(scores) - {kept})
    releases.give_up_reserve()
    assert (releases.take(), releases.reserve) == ([kept], None)
    releases.give_up_reserve()
    assert releases.take() == []


def test_a_kept_step_that_is_pruned_is_freed_once() -> None:
    tree = grown({1: 0.5, 2: 0.9})
    releases = Releases(tree)
    releases.add_but_best(tree.node(2))
    releases.add(2)
    releases.add_but_best(tree.node(1))
    assert (releases.take(), releases.reserve) == ([2], 1)
