from __future__ import annotations

import numpy as np
import pytest

from ramify.scaling.fits import crossfit, fit_line, fit_saturation
from ramify.statistics import bootstrap_mean, bootstrap_ratio, bootstrap_statistic


def test_the_fit_finds_the_curve_that_the_points_are_on() -> None:
    widths = [1, 2, 4, 8, 16, 32, 64, 128]
    fit = fit_saturation(widths, np.array([0.7 - 0.4 * width**-0.6 for width in widths]))
    assert fit is not None
    assert (fit.limit, fit.gap, fit.exponent) == pytest.approx((0.7, 0.4, 0.6), abs=1e-6)
    assert fit.at(128) == pytest.approx(0.7 - 0.4 * 128**-0.6)


def test_falling_accuracy_is_no_gap_and_three_widths_are_too_few() -> None:
    fit = fit_saturation([1, 2, 4, 8], np.array([0.8, 0.7, 0.6, 0.5]))
    assert fit is not None and fit.gap == 0 and fit.limit == pytest.approx(0.65)
    assert fit_saturation([1, 2, 4], np.array([0.1, 0.2, 0.3])) is None


def test_the_best_of_many_by_luck_does_not_win() -> None:
    boards = np.random.default_rng(1).integers(0, 2, (40, 200, 40)).astype(float)
    assert boards.mean(axis=2).max(axis=1).mean() > 0.65
    assert abs(np.mean([crossfit(list(board))[0].mean() for board in boards]) - 0.5) < 0.05
    draws = boards[0]
    assert crossfit(list(draws))[1][0] == int(draws[:, 1::2].mean(axis=1).argmax())
    truly = np.ones(40)
    assert crossfit([*draws, truly])[0].tolist() == truly.tolist()


def test_bands_hold_what_they_should() -> None:
    values = np.random.default_rng(2).normal(0.3, 1.0, 400)
    band = bootstrap_mean(values)
    assert band.low < 0.3 < band.high and band.high - band.low == pytest.approx(4 / 20, rel=0.1)
    halved = bootstrap_ratio(values**2, 2 * values**2)
    assert (halved.value, halved.low, halved.high) == pytest.approx((0.5, 0.5, 0.5))


def test_a_figure_that_mostly_does_not_exist_has_no_band() -> None:
    whole = np.arange(20)
    found = bootstrap_statistic(20, lambda places: 1.0 if len(places) == 20 and (places == whole).all() else None)
    assert found is not None and (found.low, found.high) == (-np.inf, np.inf)
    assert bootstrap_statistic(20, lambda places: None) is None


def test_a_line_needs_two_different_places() -> None:
    assert fit_line(np.array([1.0, 2.0, 4.0]), np.array([3.0, 5.0, 9.0])) == pytest.approx((2.0, 1.0))
    assert fit_line(np.array([2.0, 2.0]), np.array([3.0, 5.0])) is None
