"""Whatever the model writes, no limit is exceeded and the books balance."""

from __future__ import annotations

from random import Random
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ramify
from ramify.engine.engine import Engine
from ramify.engine.testing import ScriptedModel
from ramify.reward.testing import ScriptedReward
from ramify.search.budget import Budget
from ramify.search.node import FinishReason, NodeState
from ramify.search.stopping import StopReason
from ramify.search.strategies.rebase import Rebase
from ramify.search.strategies.sampling import BestOfN, Greedy, MajorityVote, WeightedVote
from ramify.solution import Solution

STRATEGIES = [
    Greedy(),
    MajorityVote(width=5),
    WeightedVote(width=5),
    BestOfN(width=5),
    Rebase(width=5),
    Rebase(width=12),
]


def model(seed: int) -> ScriptedModel:
    """A model whose steps have random lengths and whose paths end at random."""

    def write(question: str, path: tuple[int, ...]) -> str:
        random = Random(f"{seed}:{path}")
        words = "word " * random.randint(1, 30)
        return f"{words}the answer is {random.randint(1, 3)}." if random.random() < 0.3 else f"{words}\n"

    return ScriptedModel(write)


def solve(seed: int, budget: Budget, strategy: object) -> Solution:
    reward = ScriptedReward(lambda question, path: Random(f"{seed}:{path}").random())

    async def run() -> Solution:
        async with Engine(model(seed), reward) as engine:
            return await engine.solve("one two three", strategy=strategy, budget=budget)

    return anyio.run(run)


limits = st.builds(
    Budget,
    generated_tokens=st.none() | st.integers(1, 400),
    total_tokens=st.none() | st.integers(20, 900),
    flops=st.none() | st.floats(1e8, 1e9),
    nodes=st.none() | st.integers(1, 40),
)


@settings(max_examples=120, deadline=None)
@given(seed=st.integers(0, 10_000), budget=limits, strategy=st.sampled_from(STRATEGIES))
def test_no_limit_is_exceeded(seed: int, budget: Budget, strategy: object) -> None:
    solution = solve(seed, budget, strategy)
    usage, tree = solution.usage, solution.tree
    assert tree is not None
    assert usage.policy.generated_tokens == tree.generated_tokens == sum(node.token_count for node in tree)
    assert usage.policy.generated_tokens <= (budget.generated_tokens or 10**9)
    assert usage.total_tokens <= (budget.total_tokens or 10**9)
    assert usage.flops <= (budget.flops or 1e30)
    assert len(tree) - 1 <= (budget.nodes or 10**9)
    assert tree.pending_count == 0
    assert all(node.state is not NodeState.OPEN or tree.children(node.id) for node in tree if node.parent is not None)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), strategy=st.sampled_from(STRATEGIES))
def test_the_same_seed_gives_the_same_solution(seed: int, strategy: object) -> None:
    first, second = (solve(seed, Budget(generated_tokens=300), strategy) for _ in range(2))
    assert first.tree is not None and second.tree is not None
    assert first.tree.to_dict() == second.tree.to_dict()
    assert first.answer == second.answer


def six_steps(question: str, path: tuple[int, ...]) -> str:
    return "The answer is 7." if len(path) == 6 else "a step of five words\n"


@pytest.mark.parametrize("strategy", [ramify.MCTS(width=8), ramify.ABMCTS(width=8)], ids=lambda each: each.name)
async def test_near_its_end_a_budget_finishes_some_paths_instead_of_cutting_all(strategy: Any) -> None:
    reward = ScriptedReward(lambda question, steps: 0.5)
    async with ramify.Engine(model=ScriptedModel(six_steps), reward=reward) as engine:
        solution = await engine.solve("q", strategy=strategy, budget=ramify.Budget(generated_tokens=220))
    tree = solution.tree
    assert tree is not None
    assert solution.usage.policy.generated_tokens <= 220
    # About 110 tokens explore; of the rest, a path to its end takes 29 at most.
    assert sum(each.answer == "7" for each in solution.candidates) >= 3
    assert sum(node.finish_reason == "budget" for node in tree) <= 1


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), limit=st.integers(1, 300))
def test_a_greedy_path_that_ends_by_itself_is_complete_whatever_the_limit(seed: int, limit: int) -> None:
    limited = solve(seed, Budget(generated_tokens=limit), Greedy())
    ended = limited.tree is not None and any(
        node.state is NodeState.FINISHED and node.finish_reason is not FinishReason.BUDGET for node in limited.tree
    )
    assert (limited.stop_reason is StopReason.COMPLETED) == ended
