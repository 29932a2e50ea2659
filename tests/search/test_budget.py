"""Budgets are never exceeded, always explained, and leave enough to finish a path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramify.search import Budget, BudgetError, BudgetMeter, Grant, Spent, StopReason, TokenPrice

TINY = 1e-9


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


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
    assert (alone.total_per_generated, alone.flops_per_generated, alone.flops_per_node) == (1.0, 200.0, 0.0)
    both = TokenPrice.of(100, 1000, reward_tokens_per_generated=1.5, reward_tokens_per_node=2)
    assert both.cost(3, 10) == Spent(generated_tokens=10, total_tokens=31, flops=2 * (1000 + 21 * 1000), nodes=3)
    with pytest.raises(BudgetError, match=r"price total_per_generated is 0\.5"):
        TokenPrice(total_per_generated=0.5)


def test_flops_cannot_be_limited_without_a_price() -> None:
    with pytest.raises(BudgetError, match="FLOPs are limited but the model's size is unknown"):
        BudgetMeter(Budget(flops=1e9))


def test_without_limits_everything_is_granted() -> None:
    meter = BudgetMeter(Budget())
    grant = meter.reserve(1000, 256)
    assert (grant.children, grant.tokens) == (1000, 256_000)
    assert meter.exhausted() is None and meter.deadline() is None and meter.progress() == 0.0
    assert meter.describe() == "no limit" and meter.remaining().nodes is None


def test_an_eighth_is_withheld_until_a_path_finishes() -> None:
    meter = BudgetMeter(Budget(generated_tokens=1600))
    first = meter.reserve(20, 100)
    assert (first.children, first.tokens) == (20, 1400)
    meter.settle(first, generated_tokens=1400)
    assert meter.exhausted() is StopReason.BUDGET_GENERATED_TOKENS
    assert meter.reserve(1, 10).children == 0
    meter.note_finished()
    assert meter.exhausted() is None
    assert meter.reserve(20, 100).tokens == 200


def test_the_withheld_part_finishes_a_path_and_nothing_else() -> None:
    meter = BudgetMeter(Budget(generated_tokens=1600, nodes=21))
    meter.settle(meter.reserve(20, 100), generated_tokens=1400)
    finish = meter.reserve_finish(1024)
    assert (finish.children, finish.tokens) == (1, 200)
    meter.settle(finish, generated_tokens=50)
    meter.note_finished()
    assert meter.reserve(1, 10).children == 0


@pytest.mark.parametrize(("limit", "withheld"), [(1600, 200), (512, 64), (400, 64), (100, 50), (1, 0.5)])
def test_small_budgets_withhold_at_least_a_step_but_at_most_half(limit: int, withheld: float) -> None:
    assert BudgetMeter(Budget(generated_tokens=limit)).withheld("generated_tokens") == withheld


def test_even_the_smallest_budget_can_try_to_finish_from_the_question() -> None:
    meter = BudgetMeter(Budget(nodes=1))
    assert meter.exhausted() is StopReason.BUDGET_NODES
    assert meter.reserve_finish(64).children == 1


def test_prompts_are_paid_first() -> None:
    meter = BudgetMeter(Budget(total_tokens=200, generated_tokens=150), TokenPrice(total_per_generated=2.0))
    meter.charge(total_tokens=150)
    assert meter.withheld("total_tokens") == 25
    assert meter.reserve(4, 50).tokens == 12
    meter.charge(total_tokens=100)
    assert meter.exhausted() is StopReason.BUDGET_TOTAL_TOKENS
    assert meter.remaining().total_tokens == 0


def test_what_steps_do_not_need_is_free_again_as_soon_as_they_end() -> None:
    meter = BudgetMeter(Budget(generated_tokens=1000))
    meter.note_finished()
    group = meter.reserve(4, 250)
    assert group.tokens == 1000 and meter.reserve(1, 100).children == 0
    meter.settle(group, children=1, generated_tokens=50)
    assert meter.reserve(1, 500).tokens == 200
    meter.settle(group, generated_tokens=750)
    with pytest.raises(BudgetError, match="1 steps of grant 0 cannot be settled; 0 are outstanding"):
        meter.settle(group, children=1, generated_tokens=1)


def test_a_cancelled_grant_costs_nothing() -> None:
    meter = BudgetMeter(Budget(generated_tokens=100, nodes=3))
    grant = meter.reserve(2, 25)
    meter.cancel(grant)
    meter.cancel(grant)
    assert meter.spent.nodes == 0
    assert meter.reserve(2, 25) == Grant(1, 2, grant.tokens, 25)


def test_a_step_in_flight_is_not_yet_exhaustion() -> None:
    meter = BudgetMeter(Budget(generated_tokens=1000))
    grant = meter.reserve(10, 100)
    assert meter.reserve(1, 100).children == 0
    assert meter.exhausted() is None
    meter.settle(grant, generated_tokens=grant.tokens)
    assert meter.exhausted() is StopReason.BUDGET_GENERATED_TOKENS


def test_time_is_read_from_the_clock_given() -> None:
    clock = Clock()
    meter = BudgetMeter(Budget(seconds=8), clock=clock)
    assert meter.deadline() == 107.0
    clock.now = 107.0
    assert meter.exhausted() is StopReason.BUDGET_SECONDS
    assert meter.reserve(1, 10).children == 0
    assert meter.reserve_finish(10).children == 1
    assert meter.deadline() == 108.0
    clock.now = 109.5
    assert meter.reserve_finish(10).children == 0
    assert meter.remaining().seconds == 0 and meter.spent.seconds == 9.5


def test_a_resumed_run_goes_on_counting() -> None:
    clock = Clock()
    before = Spent(generated_tokens=90, total_tokens=300, flops=5.0, seconds=6.0, nodes=4)
    meter = BudgetMeter(Budget(generated_tokens=100, seconds=10), clock=clock, spent=before)
    meter.note_finished()
    clock.now += 1
    assert meter.spent == Spent(generated_tokens=90, total_tokens=300, flops=5.0, seconds=7.0, nodes=4)
    assert meter.reserve(5, 100).tokens == 10
    assert meter.describe() == "90 of 100 generated tokens, 7 of 10 s"
    assert meter.progress() == 0.9


def test_the_first_limit_in_order_is_named() -> None:
    clock = Clock()
    meter = BudgetMeter(Budget(generated_tokens=8, nodes=1, seconds=1), clock=clock)
    clock.now += 5
    assert meter.exhausted() is StopReason.BUDGET_SECONDS
    meter.note_finished()
    meter.charge(generated_tokens=8)
    assert meter.exhausted() is StopReason.BUDGET_GENERATED_TOKENS
    assert StopReason.BUDGET_SECONDS.is_budget and not StopReason.USER.is_budget


def test_a_step_is_not_started_for_less_than_it_is_worth() -> None:
    meter = BudgetMeter(Budget(generated_tokens=100), min_step_tokens=30)
    meter.note_finished()
    assert meter.reserve(10, 50).children == 3
    assert BudgetMeter(Budget(generated_tokens=40), min_step_tokens=30).reserve(1, 50).children == 0


limits = st.fixed_dictionaries(
    {},
    optional={
        "generated_tokens": st.integers(1, 3000),
        "total_tokens": st.integers(1, 6000),
        "flops": st.floats(1.0, 1e7),
        "nodes": st.integers(1, 40),
    },
)
prices = st.builds(
    TokenPrice,
    total_per_generated=st.sampled_from([1.0, 1.3, 2.0]),
    flops_per_generated=st.sampled_from([1.0, 333.3, 4e3]),
    total_per_node=st.sampled_from([0.0, 0.7, 3.0]),
    flops_per_node=st.sampled_from([0.0, 100.1]),
)


@settings(max_examples=200, deadline=None)
@given(given_limits=limits, price=prices, minimum=st.integers(1, 20), data=st.data())
def test_no_limit_is_ever_exceeded_whatever_is_in_flight(
    given_limits: dict[str, Any], price: TokenPrice, minimum: int, data: st.DataObject
) -> None:
    budget = Budget(**given_limits)
    meter = BudgetMeter(budget, price, min_step_tokens=minimum)
    flying: dict[int, tuple[Grant, int, int]] = {}

    def settle(key: int) -> None:
        grant, children, tokens = flying.pop(key)
        count = data.draw(st.integers(1, children))
        used = data.draw(st.integers(0, min(tokens, count * grant.max_step_tokens)))
        meter.settle(grant, children=count, generated_tokens=used)
        if count < children:
            flying[key] = (grant, children - count, tokens - used)

    for _ in range(data.draw(st.integers(1, 25))):
        action = data.draw(st.sampled_from(["reserve"] * 4 + ["settle"] * 4 + ["cancel", "finished", "finish"]))
        step = data.draw(st.integers(minimum, 300))
        if action in ("reserve", "finish"):
            wanted = data.draw(st.integers(1, 16))
            reason = meter.exhausted()
            grant = meter.reserve(wanted, step) if action == "reserve" else meter.reserve_finish(step)
            assert 0 <= grant.children <= wanted
            assert grant.children * minimum <= grant.tokens <= grant.children * step
            if action == "reserve" and reason is not None:
                assert grant.children == 0
            if grant.children:
                flying[grant.id] = (grant, grant.children, grant.tokens)
        elif action == "finished":
            meter.note_finished()
        elif flying:
            key = data.draw(st.sampled_from(sorted(flying)))
            if action == "cancel":
                meter.cancel(flying.pop(key)[0])
            else:
                settle(key)
        for name, limit in given_limits.items():
            assert getattr(meter.spent, name) <= limit * (1 + TINY)
    while flying:
        settle(min(flying))
    for name, limit in given_limits.items():
        assert getattr(meter.spent, name) <= limit * (1 + TINY)
    finishing = meter.reserve_finish(1000)
    assert finishing.children == 1 or meter.exhausted() is not None


@settings(deadline=None)
@given(given_limits=limits, price=prices, data=st.data())
def test_a_run_goes_on_until_a_limit_is_named(
    given_limits: dict[str, Any], price: TokenPrice, data: st.DataObject
) -> None:
    meter = BudgetMeter(Budget(**given_limits), price)
    for _ in range(500):
        grant = meter.reserve(8, 64)
        if not grant.children:
            reason = meter.exhausted()
            assert reason is not None and reason.removeprefix("budget_") in given_limits
            return
        assert meter.exhausted() is None
        meter.settle(grant, generated_tokens=data.draw(st.integers(grant.tokens // 2, grant.tokens)))
        if data.draw(st.booleans()):
            meter.note_finished()
    assert not given_limits or meter.progress() < 1


def test_fewer_are_granted_where_each_needs_more_than_there_is() -> None:
    meter = BudgetMeter(Budget(generated_tokens=1000))
    meter.note_finished()
    assert meter.reserve(8, 500, worth_tokens=300).children == 3


def test_one_is_granted_where_there_is_less_than_it_needs() -> None:
    meter = BudgetMeter(Budget(generated_tokens=100))
    meter.note_finished()
    assert meter.reserve(8, 500, worth_tokens=300).children == 1


def test_what_they_need_matters_only_where_tokens_are_limited() -> None:
    assert BudgetMeter(Budget(nodes=5)).reserve(4, 500, worth_tokens=10_000).children == 4
