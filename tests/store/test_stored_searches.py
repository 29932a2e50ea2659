"""Searches with a store: the same trees, answers and usage as without one, for every strategy."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

import ramify
from ramify.engine.store.rows import RowStore
from ramify.errors import UsageError
from ramify.search.registry import make_strategy, strategy_names

PROBLEM = ramify.generate_problems(steps=(2, 3), count=1, seed=5)[0]
APART = ("stored_tokens", "prefilled_tokens", "reused_tokens")
"""Counts in which a run with a store may differ from one without."""
EVALUATED = ("shared_tokens", "cached_tokens")
"""Counts that say how tokens were evaluated; of a run that evaluates only a part they differ."""


def tree_of(solution: ramify.Solution) -> dict[tuple[int, ...], tuple[object, ...]]:
    assert solution.tree is not None
    return {
        node.path: (node.text, node.tokens, node.state, node.finish_reason, node.prune_reason) for node in solution.tree
    }


def numbers_of(solution: ramify.Solution) -> list[float | None]:
    """Return the scores and log probabilities, whose last digits depend on the batches in which paths were read."""
    assert solution.tree is not None
    nodes = sorted(solution.tree, key=lambda node: node.path)
    return [value for node in nodes for value in (node.score, node.logprob)]


def counted(solution: ramify.Solution, *left_out: str) -> list[dict[str, Any]]:
    roles = (solution.usage.policy, solution.usage.reward)
    return [{name: value for name, value in asdict(role).items() if name not in left_out} for role in roles]


async def solved(store: Path | None, strategy: str, width: int, **options: Any) -> ramify.Solution:
    reward = options.pop("reward", "default")
    isolation = options.pop("isolation", "thread")
    async with ramify.Engine(reward=reward, isolation=isolation, store=store) as engine:
        chosen = make_strategy(strategy, **({} if strategy == "greedy" else {"width": width}))
        return await engine.solve(PROBLEM, strategy=chosen, seed=3, max_path_tokens=120, **options)


def check(found: ramify.Solution, plain: ramify.Solution, *apart: str) -> None:
    assert tree_of(found) == tree_of(plain)
    assert numbers_of(found) == pytest.approx(numbers_of(plain), abs=1e-3)
    assert (found.answer, found.text, found.stop_reason) == (plain.answer, plain.text, plain.stop_reason)
    assert counted(found, *APART, *apart) == counted(plain, *APART, *apart)


@pytest.mark.parametrize("strategy", sorted(strategy_names()))
async def test_a_search_with_a_store_is_the_same(tmp_path: Path, strategy: str) -> None:
    plain = await solved(None, strategy, 6)
    check(await solved(tmp_path / "one", strategy, 6), plain)
    again = await solved(tmp_path / "one", strategy, 6)
    check(again, plain)
    for role in (again.usage.policy, again.usage.reward):
        assert role.fresh_tokens == 0 and role.stored_tokens == role.evaluated_tokens == role.reused_tokens
    assert again.usage.policy.generated_tokens > 0
    # One that has a part of it from a narrower search, or from another strategy.
    await solved(tmp_path / "two", "majority" if strategy == "greedy" else strategy, 3)
    wider = await solved(tmp_path / "two", strategy, 6)
    check(wider, plain, *EVALUATED)
    await solved(tmp_path / "two", "rebase", 4)
    check(await solved(tmp_path / "two", strategy, 6), plain, *EVALUATED)


@pytest.mark.parametrize(
    "limits", [{"generated_tokens": 90}, {"total_tokens": 400}, {"flops": 2e9}, {"nodes": 12}], ids=str
)
@pytest.mark.parametrize("strategy", ["majority", "rebase"])
async def test_limits_end_a_search_with_a_store_where_they_end_it_without(
    tmp_path: Path, strategy: str, limits: dict[str, Any]
) -> None:
    budget = ramify.Budget(**limits)
    plain = await solved(None, strategy, 8, budget=budget)
    for _ in range(2):
        found = await solved(tmp_path, strategy, 8, budget=budget)
        assert tree_of(found) == tree_of(plain)
        assert found.stop_reason == plain.stop_reason
        # Tokens that are evaluated again are those of this run.
        apart = (*APART, *EVALUATED, "reevaluated_tokens", "flops")
        assert counted(found, *apart) == counted(plain, *apart)


async def test_limits_need_not_count_what_is_reused(tmp_path: Path) -> None:
    budget = ramify.Budget(generated_tokens=150)
    first = await solved(tmp_path, "majority", 24, budget=budget)
    assert first.stop_reason == "budget_generated_tokens"
    counted_again = await solved(tmp_path, "majority", 24, budget=budget)
    assert tree_of(counted_again) == tree_of(first)
    further = await solved(tmp_path, "majority", 24, budget=budget, count_reused=False)
    assert further.usage.policy.stored_tokens > 0
    assert first.tree is not None and further.tree is not None
    assert len(further.tree) > len(first.tree)
    assert further.usage.policy.generated_tokens > 150
    assert (
        further.usage.policy.fresh_tokens
        <= 150 + first.usage.policy.prompt_tokens + further.usage.policy.prefilled_tokens
    )


async def test_a_store_that_cannot_be_used_is_told_before_anything_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be used"):
        async with ramify.Engine(model="no such model", store=tmp_path / "file"):
            pass
    with pytest.raises(UsageError, match="behind servers"):
        async with ramify.Engine(model="openai:http://127.0.0.1:1#m", store=tmp_path / "store"):
            pass


async def test_a_store_that_fails_in_a_search_is_gone_without(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plain = await solved(None, "rebase", 6)
    await solved(tmp_path, "rebase", 3)
    async with ramify.Engine(isolation="thread", store=tmp_path) as engine:
        assert engine.store is not None
        engine.store._reader.close()  # pyright: ignore[reportPrivateUsage]
        found = await engine.solve(PROBLEM, strategy=ramify.Rebase(width=6), seed=3, max_path_tokens=120)
    assert tree_of(found) == tree_of(plain)
    assert len([each for each in caplog.records if each.name == "ramify.store"]) == 1


async def test_a_tree_that_goes_on_takes_steps_from_the_store(tmp_path: Path) -> None:
    whole = await solved(tmp_path, "rebase", 6)
    cut = await solved(None, "rebase", 6, budget=ramify.Budget(nodes=8))
    async with ramify.Engine(isolation="thread", store=tmp_path) as engine:
        resumed = await engine.solve(
            PROBLEM, strategy=ramify.Rebase(width=6), seed=3, max_path_tokens=120, tree=cut.tree
        )
    assert resumed.answer == whole.answer
    with RowStore(tmp_path) as store:
        assert store.info(check=True).damaged == 0
