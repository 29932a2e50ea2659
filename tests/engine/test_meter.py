"""Budgets are never exceeded, always explained, and leave enough to finish a path."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramify.engine.control.grants import Grant
from ramify.engine.control.meter import Meter
from ramify.engine.runtime.messages import StepResult
from ramify.errors import BudgetError
from ramify.reward.protocol import ScoreUsage
from ramify.search.budget import Budget, TokenPrice
from ramify.search.node import FinishReason
from ramify.search.stopping import StopReason

TINY = 1e-9


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def metered(budget: Budget, price: TokenPrice | None = None, clock: Clock | None = None, **options: Any) -> Meter:
    """A meter whose run has begun."""
    meter = Meter(budget, price, clock=clock or Clock(), **options)
    meter.start()
    return meter


def result(node: int, tokens: int, **options: Any) -> StepResult:
    fields: dict[str, Any] = {"text": "", "tokens": (), "logprob": None, "finish_reason": FinishReason.STEP}
    return StepResult(child=node, generated_tokens=tokens, **{**fields, **options})


class Steps:
    """Writes and settles the steps of grants, and counts what a reward model reads of them, by price."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.numbers = count(1)
        self.read = 0.0
        self.in_flight = dict[Grant, list[int]]()

    def begin(self, grant: Grant) -> Grant:
        nodes = [next(self.numbers) for _ in range(grant.children)]
        self.meter.begin(grant, nodes)
        self.in_flight[grant] = nodes
        return grant

    def write(self, grant: Grant, *tokens: int, **options: Any) -> list[int]:
        nodes = self.in_flight[grant]
        done = [nodes.pop(0) for _ in tokens]
        for node, each in zip(done, tokens, strict=True):
            self.meter.written(result(node, each, **options))
        return done

    def settle(self, *nodes: int, tokens: int = 0) -> None:
        price = self.meter.price
        self.read += tokens * price.reward_tokens_per_generated + len(nodes) * price.reward_tokens_per_node
        self.meter.scored(ScoreUsage(evaluated_tokens=int(self.read)))
        for node in nodes:
            self.meter.settle(node)

    def finish(self, grant: Grant, *tokens: int, **options: Any) -> None:
        """Begin, write and settle in one go."""
        if grant not in self.in_flight:
            self.begin(grant)
        self.settle(*self.write(grant, *tokens, **options), tokens=sum(tokens))


def test_flops_cannot_be_limited_without_a_price() -> None:
    with pytest.raises(BudgetError, match="FLOPs are limited but the model's size is unknown"):
        Meter(Budget(flops=1e9))
    with pytest.raises(BudgetError, match="FLOPs are limited but the model's size is unknown"):
        Meter(Budget()).change(Budget(flops=1e9))


def test_without_limits_everything_is_granted() -> None:
    meter = metered(Budget())
    grant = meter.reserve(1000, 256)
    assert (grant.children, grant.tokens, grant.limit) == (1000, 256_000, None)
    assert meter.exhausted() is None and meter.seconds_left() is None and meter.progress() == 0.0


def test_an_eighth_is_withheld_until_a_path_finishes() -> None:
    meter = metered(Budget(generated_tokens=1600))
    first = meter.reserve(20, 100)
    assert (first.children, first.tokens, first.limit) == (20, 1400, StopReason.BUDGET_GENERATED_TOKENS)
    Steps(meter).finish(first, *[70] * 20)
    assert meter.exhausted() is StopReason.BUDGET_GENERATED_TOKENS
    assert meter.reserve(1, 10).children == 0
    meter.note_finished()
    assert meter.exhausted() is None
    assert meter.reserve(20, 100).tokens == 200


def test_the_withheld_part_finishes_a_path_and_nothing_else() -> None:
    meter = metered(Budget(generated_tokens=1600, nodes=21))
    steps = Steps(meter)
    steps.finish(meter.reserve(20, 100), *[70] * 20)
    finish = meter.reserve_finish(1024)
    assert (finish.children, finish.tokens) == (1, 200)
    steps.finish(finish, 50)
    meter.note_finished()
    assert meter.reserve(1, 10).children == 0


@pytest.mark.parametrize(("limit", "withheld"), [(1600, 200), (512, 64), (400, 64), (100, 50), (1, 0.5)])
def test_small_budgets_withhold_at_least_a_step_but_at_most_half(limit: int, withheld: float) -> None:
    assert Meter(Budget(generated_tokens=limit)).withheld("generated_tokens") == withheld


def test_even_the_smallest_budget_can_try_to_finish_from_the_question() -> None:
    meter = metered(Budget(nodes=1))
    assert meter.exhausted() is StopReason.BUDGET_NODES
    assert meter.reserve_finish(64).children == 1


READING = TokenPrice(reward_tokens_per_generated=1.0)


def test_prompts_are_reserved_until_they_have_been_read() -> None:
    meter = metered(Budget(total_tokens=200, generated_tokens=150), READING)
    steps = Steps(meter)
    meter.foresee_prompts(75)
    assert meter.used("total_tokens") == 0
    assert meter.withheld("total_tokens") == 25
    grant = steps.begin(meter.reserve(4, 50))
    assert grant.tokens == 12
    # The prompt of the policy is shorter than foreseen, that of the reward model longer.
    [first] = steps.write(grant, 3, prompt_tokens=70)
    assert meter.used("total_tokens") == 73
    assert meter.reserve(4, 50).tokens == 3
    steps.read = 90.0
    steps.settle(first, tokens=3)
    assert meter.used("total_tokens") == meter.usage().total_tokens == 73 + 93
    # In flight are 9 and 3 tokens, which cost 24 with the reward model's share.
    assert meter.reserve(4, 50).tokens == 0
    meter.note_finished()
    assert meter.reserve(4, 50).tokens == (200 - 166 - 24) // 2


def test_prompts_alone_may_exhaust_a_budget() -> None:
    meter = metered(Budget(total_tokens=200), READING)
    meter.foresee_prompts(100)
    assert meter.exhausted() is StopReason.BUDGET_TOTAL_TOKENS
    assert meter.reserve(1, 10).children == meter.reserve_finish(10).children == 0


def test_what_steps_do_not_need_is_free_again_as_soon_as_they_end() -> None:
    meter = metered(Budget(generated_tokens=1000))
    steps = Steps(meter)
    meter.note_finished()
    group = steps.begin(meter.reserve(4, 250))
    assert group.tokens == 1000 and meter.reserve(1, 100).children == 0
    steps.settle(*steps.write(group, 50))
    other = meter.reserve(1, 500)
    assert other.tokens == 200
    steps.settle(*steps.write(group, 250, 250, 250))
    steps.finish(other, 0)
    assert meter.reserve(1, 500).tokens == 200


def test_a_step_stays_reserved_until_it_is_settled_whatever_is_written_of_it() -> None:
    meter = metered(Budget(generated_tokens=1000, nodes=9))
    steps = Steps(meter)
    meter.note_finished()
    group = steps.begin(meter.reserve(4, 250))
    written = steps.write(group, 50, 60)
    assert (meter.used("generated_tokens"), meter.used("nodes")) == (110, 2)
    assert meter.reserve(1, 100).children == 0
    steps.settle(*written)
    steps.settle(*written)
    assert meter.reserve(9, 500).children == 5
    assert meter.used("generated_tokens") == 110


def test_what_the_policy_will_read_is_reserved_until_it_is_written() -> None:
    meter = metered(Budget(total_tokens=500, generated_tokens=10_000))
    steps = Steps(meter)
    meter.note_finished()
    inputs = [60, 60, 60, 60]
    grant = meter.reserve(4, 100, input_tokens=inputs)
    assert (grant.children, grant.tokens, grant.limit) == (4, 260, StopReason.BUDGET_TOTAL_TOKENS)
    assert meter.reserve(1, 1).children == 0
    nodes = [1, 2, 3, 4]
    meter.begin(grant, nodes)
    for node in nodes:
        meter.written(result(node, 10, prompt_tokens=5 if node == 1 else 0, reevaluated_tokens=0 if node == 1 else 6))
        meter.settle(node)
    assert meter.used("total_tokens") == meter.usage().total_tokens == 40 + 5 + 18
    assert meter.reserve(1, 1000).tokens == 500 - 63
    # What finishes a path reads as much as a step: 150 and 64 tokens are withheld, and one step of 150 fits into 286.
    meter = metered(Budget(total_tokens=500))
    assert meter.reserve(4, 100, input_tokens=[150] * 4).children == 1
    assert meter.withheld("total_tokens") == 150 + 64
    assert steps.read == 0


def test_a_step_in_flight_is_not_yet_exhaustion() -> None:
    meter = metered(Budget(generated_tokens=1000))
    steps = Steps(meter)
    grant = meter.reserve(10, 100)
    assert meter.reserve(1, 100).children == 0
    assert meter.exhausted() is None
    steps.finish(grant, *[grant.tokens // 10] * 9, grant.tokens - 9 * (grant.tokens // 10))
    assert meter.exhausted() is StopReason.BUDGET_GENERATED_TOKENS


def test_the_limit_that_cut_a_step_is_told() -> None:
    meter = metered(Budget(generated_tokens=100, total_tokens=90))
    steps = Steps(meter)
    meter.note_finished()
    steps.finish(meter.reserve(2, 20), 20, 20)
    assert meter.cut_by is None
    steps.finish(meter.reserve(1, 80), 50, finish_reason=FinishReason.BUDGET)
    assert meter.cut_by is StopReason.BUDGET_TOTAL_TOKENS


def test_time_is_read_from_the_clock_given() -> None:
    clock = Clock()
    meter = Meter(Budget(seconds=8), clock=clock)
    clock.now = 150.0
    assert meter.seconds == meter.usage().seconds == 0.0
    meter.start()
    assert meter.seconds_left() == 7.0
    clock.now = 157.0
    assert meter.exhausted() is StopReason.BUDGET_SECONDS
    assert meter.reserve(1, 10).children == 0
    assert meter.reserve_finish(10).children == 1
    assert meter.seconds_left() == 1.0
    clock.now = 159.5
    assert meter.reserve_finish(10).children == 0
    assert meter.seconds_left() == 0.0 and meter.usage().seconds == 9.5
    meter.stop()
    clock.now = 170.0
    assert meter.used("seconds") == meter.usage().seconds == 9.5


def test_the_first_limit_in_order_is_named() -> None:
    clock = Clock()
    meter = metered(Budget(generated_tokens=8, nodes=1, seconds=1), clock=clock)
    clock.now += 5
    assert meter.exhausted() is StopReason.BUDGET_SECONDS
    meter.note_finished()
    meter.written(result(1, 8))
    assert meter.exhausted() is StopReason.BUDGET_GENERATED_TOKENS
    assert StopReason.BUDGET_SECONDS.is_budget and not StopReason.USER.is_budget


def test_a_step_is_not_started_for_less_than_it_is_worth() -> None:
    meter = metered(Budget(generated_tokens=100), min_step_tokens=30)
    meter.note_finished()
    assert meter.reserve(10, 50).children == 3
    assert metered(Budget(generated_tokens=40), min_step_tokens=30).reserve(1, 50).children == 0


def test_progress_is_the_share_of_the_tightest_limit() -> None:
    meter = metered(Budget(generated_tokens=100, total_tokens=400, nodes=20))
    meter.written(result(1, 30, prompt_tokens=10))
    assert meter.progress() == 0.3
    meter.written(result(2, 0, reevaluated_tokens=200))
    assert meter.progress() == meter.usage().total_tokens / 400 == 0.6


def test_limits_may_change_on_the_way() -> None:
    meter = metered(Budget(generated_tokens=100))
    steps = Steps(meter)
    meter.note_finished()
    grant = steps.begin(meter.reserve(1, 100))
    meter.change(Budget(generated_tokens=130, nodes=2))
    assert meter.reserve(5, 100).tokens == 30
    steps.finish(grant, 40)
    assert meter.reserve(5, 100).children == 0


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
    policy_flops=st.sampled_from([1.0, 333.3, 4e3]),
    reward_flops=st.sampled_from([0.0, 100.1]),
    reward_tokens_per_generated=st.sampled_from([0.0, 0.3, 1.0]),
    reward_tokens_per_node=st.sampled_from([0.0, 0.7, 3.0]),
)


@settings(max_examples=100, deadline=None)
@given(given_limits=limits, price=prices, minimum=st.integers(1, 20), data=st.data())
def test_no_limit_is_ever_exceeded_whatever_is_in_flight(
    given_limits: dict[str, Any], price: TokenPrice, minimum: int, data: st.DataObject
) -> None:
    meter = metered(Budget(**given_limits), price, min_step_tokens=minimum)
    steps = Steps(meter)
    flying: list[tuple[Grant, int]] = []
    unread: list[tuple[int, int]] = []

    def write(place: int) -> None:
        grant, tokens = flying.pop(place)
        left = len(steps.in_flight[grant])
        number = data.draw(st.integers(1, left))
        used = 0
        for _ in range(number):
            each = data.draw(st.integers(0, min(tokens - used, grant.max_step_tokens)))
            used += each
            unread.extend((node, each) for node in steps.write(grant, each))
        if number < left:
            flying.append((grant, tokens - used))

    def score() -> None:
        done = [unread.pop() for _ in range(data.draw(st.integers(1, len(unread))))]
        steps.settle(*(node for node, _ in done), tokens=sum(tokens for _, tokens in done))

    for _ in range(data.draw(st.integers(1, 25))):
        action = data.draw(st.sampled_from(["reserve"] * 4 + ["write"] * 4 + ["score"] * 2 + ["finished", "finish"]))
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
                flying.append((steps.begin(grant), grant.tokens))
        elif action == "finished":
            meter.note_finished()
        elif action == "score" and unread:
            score()
        elif flying:
            write(data.draw(st.integers(0, len(flying) - 1)))
        for name, limit in given_limits.items():
            assert meter.used(name) <= limit * (1 + TINY)
    while flying:
        write(0)
    while unread:
        score()
    for name, limit in given_limits.items():
        assert meter.used(name) <= limit * (1 + TINY)
    finishing = meter.reserve_finish(1000)
    assert finishing.children == 1 or meter.exhausted() is not None


@settings(deadline=None)
@given(given_limits=limits, price=prices, seed=st.integers(0, 2**32))
def test_a_run_goes_on_until_a_limit_is_named(given_limits: dict[str, Any], price: TokenPrice, seed: int) -> None:
    meter = metered(Budget(**given_limits), price)
    # Drawing each number by hypothesis takes most of the test's time.
    draw = random.Random(seed)
    steps = Steps(meter)
    for _ in range(500):
        grant = meter.reserve(8, 64)
        if not grant.children:
            reason = meter.exhausted()
            assert reason is not None and reason.removeprefix("budget_") in given_limits
            return
        assert meter.exhausted() is None
        used = draw.choice([grant.tokens // 2, grant.tokens, draw.randint(grant.tokens // 2, grant.tokens)])
        each, rest = divmod(used, grant.children)
        steps.finish(grant, *[each + (place < rest) for place in range(grant.children)])
        if draw.random() < 0.5:
            meter.note_finished()
    assert not given_limits or meter.progress() < 1


def test_fewer_are_granted_where_each_needs_more_than_there_is() -> None:
    meter = metered(Budget(generated_tokens=1000))
    meter.note_finished()
    assert meter.reserve(8, 500, expected_tokens=300).children == 3


def test_one_is_granted_where_there_is_less_than_it_needs() -> None:
    meter = metered(Budget(generated_tokens=100))
    meter.note_finished()
    assert meter.reserve(8, 500, expected_tokens=300).children == 1


def test_what_they_need_matters_only_where_tokens_are_limited() -> None:
    assert metered(Budget(nodes=5)).reserve(4, 500, expected_tokens=10_000).children == 4


@pytest.mark.parametrize(
    ("told", "first_s"),
    [
        ([None, None], 5.0),
        ([102.0, None], 2.0),
        ([103.0, 101.0], 1.0),
        ([103.0, 104.0], 3.0),
        ([99.0], 0.0),
        ([999.0], 5.0),
    ],
)
def test_the_time_to_the_first_token_is_the_earliest_that_a_step_tells(told: list[float | None], first_s: float):
    clock = Clock()
    meter = metered(Budget(), clock=clock)
    meter.written(result(1, 0))
    assert meter.usage().time_to_first_token_s is None
    for node, at in enumerate(told, start=2):
        clock.now += 5.0
        meter.written(result(node, 3, first_token_at=at))
    assert meter.usage().time_to_first_token_s == first_s
