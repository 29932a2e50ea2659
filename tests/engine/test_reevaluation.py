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


Case = tuple[int, Strategy, ramify.Budget, int]
"""Number of a problem, strategy, limits and seed."""


def check(cases: list[Case]) -> list[Solution]:
    """Search with models that are loaded once; neither may evaluate a token again."""

    async def run() -> list[Solution]:
        async with ramify.Engine("demo-m", isolation="thread", threads=1) as engine:
            return [
                await engine.solve(question(problem), strategy=strategy, budget=budget, seed=seed, max_path_tokens=120)
                for problem, strategy, budget, seed in cases
            ]

    solutions = anyio.run(run)
    for case, usage in zip(cases, (each.usage for each in solutions), strict=True):
        assert (usage.policy.reevaluated_tokens, usage.reward.reevaluated_tokens) == (0, 0), case
    return solutions


def question(number: int) -> ramify.Problem:
    return ramify.generate_problems(steps=(2, 4), count=1, seed=number)[0]


CASES = st.tuples(st.integers(0, 50), st.sampled_from(STRATEGIES), LIMITS, st.integers(0, 50))


@settings(max_examples=4, deadline=None)
@given(cases=st.lists(CASES, min_size=6, max_size=6))
def test_no_limit_has_a_token_evaluated_again(cases: list[Case]) -> None:
    check(cases)


def test_a_path_that_is_finished_from_a_step_above_the_last_ones_costs_its_own_tokens_alone() -> None:
    limit = ramify.Budget(flops=2e9)
    found = check([(5, each, limit, 3) for each in STRATEGIES[:3]])
    assert {each.stop_reason for each in found} == {"budget_flops"}


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
