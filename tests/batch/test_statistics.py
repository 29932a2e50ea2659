from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramify import statistics
from ramify.statistics import (
    Z_95,
    Estimate,
    bootstrap_mean,
    bootstrap_ratio,
    mcnemar,
    paired_difference,
    quantile,
    sign_test,
    wilson,
)


def test_wilson_by_hand():
    # p = 8/10, z^2 = 3.84146: centre (0.8 + 0.192073) / 1.384146, half width z sqrt(0.016 + 0.0096036) / 1.384146.
    low, high = wilson(8, 10)
    assert low == pytest.approx(0.716740 - 0.226577, abs=1e-5)
    assert high == pytest.approx(0.716740 + 0.226577, abs=1e-5)


def test_wilson_at_the_edges():
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(0, 10)[0] == 0.0
    assert wilson(10, 10)[1] == 1.0
    # With no success the upper end is z^2 / (n + z^2).
    assert wilson(0, 10)[1] == pytest.approx(Z_95**2 / (10 + Z_95**2))


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_and_mirrors(pair):
    successes, trials = pair
    low, high = wilson(successes, trials)
    assert 0 <= low <= successes / trials <= high <= 1
    mirrored = wilson(trials - successes, trials)
    assert mirrored == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize(
    ("first", "second", "p"),
    [(0, 0, 1.0), (5, 5, 1.0), (1, 0, 1.0), (0, 5, 2 / 32), (1, 7, 2 * (1 + 8) / 256), (2000, 2000, 1.0)],
)
def test_mcnemar_by_hand(first, second, p):
    assert mcnemar(first, second) == pytest.approx(p)
    assert mcnemar(second, first) == mcnemar(first, second)


def test_mcnemar_of_many_pairs_does_not_underflow():
    assert mcnemar(0, 1000) == pytest.approx(2 * math.exp(-1000 * math.log(2)))


def test_the_bootstrap_of_equal_values_is_that_value():
    assert bootstrap_mean([0.5] * 7, draws=50) == Estimate(value=0.5, low=0.5, high=0.5)


def test_the_bootstrap_comes_near_the_normal_interval():
    # 400 values, half of them 1: standard error 0.5 / 20 = 0.025.
    found = bootstrap_mean([0.0, 1.0] * 200, seed=1)
    assert found.low == pytest.approx(0.5 - 1.96 * 0.025, abs=0.006)
    assert found.high == pytest.approx(0.5 + 1.96 * 0.025, abs=0.006)
    assert bootstrap_mean([0.0, 1.0] * 200, seed=1) == found


def test_the_bootstrap_needs_values():
    with pytest.raises(ValueError, match="nothing to resample"):
        bootstrap_mean([])


def test_quantiles():
    assert quantile([], 0.5) == 0.0
    assert quantile([3, 1, 2], 0.5) == 2
    assert quantile([1, 2], 0.75) == 1.75
    assert quantile([4], 0.95) == 4


def test_the_sign_test_counts_the_outcomes_by_hand():
    assert sign_test(0, 0) == 1
    assert sign_test(3, 1) == 5 / 16
    assert mcnemar(3, 1) == 2 * 5 / 16


def test_a_bootstrap_gives_the_same_figures_in_blocks_as_at_once(monkeypatch):
    values = [(number * 37 % 101) / 101 for number in range(60)]
    whole = bootstrap_mean(values), bootstrap_ratio(values, values[::-1])
    monkeypatch.setattr(statistics, "_BLOCK", 1000)
    assert (bootstrap_mean(values), bootstrap_ratio(values, values[::-1])) == whole


def test_paired_values_are_of_equal_number():
    assert paired_difference([True, False], [False, False]).value == 0.5
    with pytest.raises(ValueError, match="cannot be paired"):
        paired_difference([1, 2], [1])
