"""REBASE's allocation: worked examples, properties over all scores, and bugs of other implementations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramify.errors import AllocationError
from ramify.search.allocation import (
    RoundingRule,
    allocate,
    independent_rounding_allocation,
    largest_remainder_allocation,
    rebase_allocation,
)

Rule = Callable[[Sequence[float], int, float], list[int]]
EXACT: list[Rule] = [rebase_allocation, largest_remainder_allocation]
ALL: list[Rule] = [*EXACT, independent_rounding_allocation]
scores = st.lists(st.integers(0, 1000).map(lambda n: n / 1000), min_size=1, max_size=40)
distinct = st.lists(st.integers(0, 1000).map(lambda n: n / 1000), min_size=1, max_size=40, unique=True)
widths = st.integers(0, 300)
temperatures = st.sampled_from([1e-6, 0.01, 0.05, 0.1, 0.2, 1.0, 100.0])
exact_rules = pytest.mark.parametrize("rule", EXACT)


@pytest.mark.parametrize(
    ("given_scores", "width", "temperature", "expected"),
    [
        ([0.7], 5, 0.1, [5]),
        ([0.5] * 4, 16, 0.1, [4, 4, 4, 4]),
        ([0.5] * 3, 4, 0.1, [1, 1, 2]),
        ([0.5] * 5, 3, 0.1, [0, 0, 1, 1, 1]),
        # 16 / (1 + e^-1) = 11.70 rounded up, the rest to the other.
        ([0.9, 0.8], 16, 0.1, [12, 4]),
        ([0.8, 0.9], 16, 0.1, [4, 12]),
        # Weights 1, e^-1, e^-4: 8 / 1.3862 = 5.77 -> 6; 2 * 0.3679 / 0.3862 = 1.905 -> 2; 0 is left.
        ([0.5, 0.9, 0.8], 8, 0.1, [0, 6, 2]),
        # Twice the temperature of the paper: weights 1, 0.6065, 0.1353: 4.59 -> 5; 3 * 0.8176 = 2.45 -> 3.
        ([0.5, 0.9, 0.8], 8, 0.2, [0, 5, 3]),
        ([1.0, 0.0], 7, 0.05, [7, 0]),
        ([1.0, 0.0], 7, 1e-6, [7, 0]),
        ([0.3, 0.6], 0, 0.1, [0, 0]),
        ([-1000.0, 1000.0], 3, 0.1, [0, 3]),
    ],
)
def test_worked_examples(given_scores: list[float], width: int, temperature: float, expected: list[int]) -> None:
    assert rebase_allocation(given_scores, width, temperature) == expected


def test_the_temperature_of_the_paper_is_the_default() -> None:
    assert rebase_allocation([0.9, 0.8], 16) == rebase_allocation([0.9, 0.8], 16, 0.1)


def test_each_rule_on_the_same_scores() -> None:
    given_scores = [0.9, 0.8, 0.7]  # shares of 10: 6.65, 2.45, 0.90
    assert allocate(given_scores, 10, 0.1, RoundingRule.CEIL) == [7, 3, 0]
    assert allocate(given_scores, 10, 0.1, RoundingRule.LARGEST_REMAINDER) == [7, 2, 1]
    assert allocate(given_scores, 10, 0.1, RoundingRule.PAPER) == [7, 2, 1]


def test_only_independent_rounding_misses_the_width() -> None:
    sixteen_equal = [0.5] * 16
    assert sum(independent_rounding_allocation(sixteen_equal, 8, 0.1)) == 0
    assert sum(independent_rounding_allocation([0.5] * 3, 5, 0.1)) == 6
    assert rebase_allocation(sixteen_equal, 8) == [0] * 8 + [1] * 8
    assert largest_remainder_allocation(sixteen_equal, 8) == [0] * 8 + [1] * 8


def test_equal_scores_never_drift_over_the_width() -> None:
    for count in range(1, 65):
        for width in range(0, 65):
            shares = rebase_allocation([0.1 + 0.2] * count, width)
            assert sum(shares) == width
            assert max(shares) - min(shares) <= 1
            assert shares == sorted(shares)


def test_a_share_that_is_whole_but_for_float_error_is_not_rounded_up() -> None:
    # After the best, 25 equal candidates share 25: float sums of their weights make that 1.0000000000000002 each.
    assert rebase_allocation([0.9] + [0.7] * 25, 33) == [8] + [1] * 25


@exact_rules
@given(given_scores=scores, width=widths, temperature=temperatures)
def test_the_sum_is_the_width_and_no_share_is_negative(
    rule: Rule, given_scores: list[float], width: int, temperature: float
) -> None:
    shares = rule(given_scores, width, temperature)
    assert sum(shares) == width
    assert min(shares) >= 0
    assert len(shares) == len(given_scores)


@exact_rules
@given(
    given_scores=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20),
    width=widths,
    temperature=st.floats(1e-6, 1e6),
)
def test_the_sum_is_the_width_at_any_scale(
    rule: Rule, given_scores: list[float], width: int, temperature: float
) -> None:
    assert sum(rule(given_scores, width, temperature)) == width


@given(given_scores=scores, width=widths, temperature=temperatures)
def test_a_higher_score_never_gets_less(given_scores: list[float], width: int, temperature: float) -> None:
    for rule in ALL:
        shares = rule(given_scores, width, temperature)
        ranked = sorted(range(len(shares)), key=lambda index: (given_scores[index], shares[index]))
        for lower, higher in pairwise(ranked):
            assert shares[lower] <= shares[higher]


@given(given_scores=distinct, width=widths, temperature=temperatures, data=st.data())
def test_distinct_scores_get_their_share_wherever_they_stand(
    given_scores: list[float], width: int, temperature: float, data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(given_scores))
    for rule in ALL:
        expected = dict(zip(given_scores, rule(given_scores, width, temperature), strict=True))
        assert rule(shuffled, width, temperature) == [expected[score] for score in shuffled]


@pytest.mark.parametrize("rule", ALL)
@pytest.mark.parametrize(
    ("given_scores", "width", "temperature", "message"),
    [
        ([], 4, 0.1, "there are no scores"),
        ([0.1, float("nan")], 4, 0.1, "score 1 is nan"),
        ([float("inf")], 4, 0.1, "score 0 is inf"),
        ([0.1], -1, 0.1, "the width is -1"),
        ([0.1], 1.5, 0.1, "the width is 1.5"),
        ([0.1], 4, 0.0, "the temperature is 0.0"),
        ([0.1], 4, -1.0, "the temperature is -1.0"),
        ([0.1], 4, float("nan"), "the temperature is nan"),
    ],
)
def test_what_cannot_be_allocated_is_refused(
    rule: Rule, given_scores: list[float], width: int, temperature: float, message: str
) -> None:
    with pytest.raises(AllocationError, match=message):
        rule(given_scores, width, temperature)
