"""Limits are checked when they are set, and prices foresee what both models evaluate."""

from __future__ import annotations

from typing import Any

import pytest

from ramify.errors import BudgetError
from ramify.search.budget import Budget, TokenPrice


@pytest.mark.parametrize("name", ["generated_tokens", "total_tokens", "flops", "seconds", "nodes"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), True, "9"])
def test_a_limit_must_be_a_number_above_zero(name: str, value: Any) -> None:
    with pytest.raises(BudgetError, match=f"the budget's {name} is .*; give a number above 0, or None for no limit"):
        Budget(**{name: value})


def test_counts_are_whole() -> None:
    with pytest.raises(BudgetError, match=r"nodes is 2\.5; give a whole number"):
        Budget(nodes=2.5)  # pyright: ignore[reportArgumentType]


def test_a_budget_describes_itself_and_survives_its_dictionary() -> None:
    budget = Budget(generated_tokens=4096, flops=2.5e12, seconds=1.5)
    assert budget.describe() == "4096 generated tokens, 2.5e+12 FLOPs, 1.5 s"
    assert Budget.from_dict(budget.to_dict()) == budget
    assert Budget().describe() == "no limit" and Budget().is_unlimited and not budget.is_unlimited
    with pytest.raises(BudgetError, match="no limit 'token'; did you mean"):
        Budget.from_dict({"token": 3})


def test_prices_count_the_reward_model() -> None:
    alone = TokenPrice.of(100)
    assert not alone.reads
    assert (alone.step("generated_tokens"), alone.step("total_tokens"), alone.step("flops")) == (
        (1, 0),
        (1, 0),
        (200, 0),
    )
    both = TokenPrice(policy_flops=200, reward_flops=2000, reward_tokens_per_generated=1.5, reward_tokens_per_node=2)
    assert both.reads
    assert (both.step("generated_tokens"), both.step("total_tokens")) == ((1, 0), (2.5, 2))
    assert both.step("flops") == (200 + 1.5 * 2000, 2 * 2000)
    assert TokenPrice.of(100, 0) == TokenPrice(
        policy_flops=200, reward_tokens_per_generated=1, reward_tokens_per_node=1
    )
    assert TokenPrice.of(100, 1000) == TokenPrice(
        policy_flops=200, reward_flops=2000, reward_tokens_per_generated=1, reward_tokens_per_node=1
    )
    with pytest.raises(BudgetError, match=r"price reward_tokens_per_node is -1"):
        TokenPrice(reward_tokens_per_node=-1)
