"""Statistics: intervals of shares, bootstrap estimates over problems, exact tests of pairs, quantiles and AUC.

All functions are pure. numpy is loaded by the bootstrap alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from .errors import ArgumentError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]
    Places = npt.NDArray[np.intp]

Z_95 = 1.959963984540054
"""The normal quantile of a two-sided 95 % interval."""
DRAWS = 2_000
"""Resamples of a bootstrap, unless a caller asks for another number."""
STATISTIC_DRAWS = 400
"""Resamples of a bootstrap of a figure that is computed anew for each of them."""
_BLOCK = 1 << 20
"""Most places that are drawn at once; resamples that fit into one block are kept for the next call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A value with its 95 % interval; infinite bounds say that there is none."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"

    def to_dict(self) -> dict[str, float]:
        """Return plain JSON types."""
        return {"value": self.value, "low": self.low, "high": self.high}


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Return the 95 % score interval of a share (Wilson 1927, eq. for p with z); (0, 1) without trials."""
    if trials == 0:
        return 0.0, 1.0
    share, weight = successes / trials, Z_95**2 / trials
    centre = (share + weight / 2) / (1 + weight)
    half = Z_95 * math.sqrt(share * (1 - share) / trials + weight / (4 * trials)) / (1 + weight)
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == trials else centre + half
    return low, high


def bootstrap_mean(values: Sequence[float] | Array, *, draws: int = DRAWS, seed: int = 0) -> Estimate:
    """Return the mean with its percentile interval (Efron 1979); values are resampled, so give one for each problem.

    Raises:
        ArgumentError: without values.
    """
    import numpy as np

    data = np.asarray(values, dtype=np.float64)
    means = [data[places].mean(axis=1) for places in _resamples(len(data), draws, seed)]
    return _estimate(float(data.mean()), np.concatenate(means))


def bootstrap_ratio(
    above: Sequence[float] | Array, below: Sequence[float] | Array, *, draws: int = DRAWS, seed: int = 0
) -> Estimate:
    """Return the ratio of two sums over the same problems, which are resampled together.

    Raises:
        ArgumentError: without values.
    """
    import numpy as np

    top, bottom = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    ratios = [top[places].sum(axis=1) / bottom[places].sum(axis=1) for places in _resamples(len(top), draws, seed)]
    return _estimate(float(top.sum() / bottom.sum()), np.concatenate(ratios))


def bootstrap_statistic(
    count: int, statistic: Callable[[Places], float | None], *, draws: int = STATISTIC_DRAWS
) -> Estimate | None:
    """Return any figure of `count` problems; None if it does not exist for all of them.

    `statistic` gets the places of the problems. Resamples for which it is None are left out; if these are more than
    half, the bounds are infinite.

    Raises:
        ArgumentError: if there are no problems.
    """
    import numpy as np

    whole = statistic(np.arange(count))
    if whole is None:
        return None
    resampled = (places for block in _resamples(count, draws, 0) for places in block)
    found = [each for places in resampled if (each := statistic(places)) is not None]
    if len(found) < draws / 2:
        return Estimate(value=whole, low=-math.inf, high=math.inf)
    return _estimate(whole, np.asarray(found))


def paired_difference(
    left: Sequence[float] | Array, right: Sequence[float] | Array, *, draws: int = DRAWS, seed: int = 0
) -> Estimate:
    """Return the mean of left - right over the same problems, with its paired bootstrap interval.

    Raises:
        ArgumentError: without values, or if the numbers of values differ.
    """
    import numpy as np

    if len(left) != len(right):
        raise ArgumentError(f"{len(left)} values cannot be paired with {len(right)}")
    differences = np.asarray(left, dtype=np.float64) - np.asarray(right, dtype=np.float64)
    return bootstrap_mean(differences, draws=draws, seed=seed)


def sign_test(wins: int, losses: int) -> float:
    """Return the exact one-sided p-value of the sign test: the chance of so many wins or more if both were as good."""
    decided = wins + losses
    # Integers divide exactly where powers of two would underflow.
    return sum(math.comb(decided, count) for count in range(wins, decided + 1)) / (1 << decided)


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p-value of McNemar's test (1947): a sign test of the discordant pairs."""
    return min(1.0, 2 * sign_test(max(only_first, only_second), min(only_first, only_second)))


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value at `share` of the sorted values, interpolated linearly; 0.0 without values."""
    if not values:
        return 0.0
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def auc(right: Sequence[float], wrong: Sequence[float]) -> float | None:
    """Return the chance that a value of `right` is above one of `wrong`, ties counting half; None without a pair."""
    if not right or not wrong:
        return None
    ranked = sorted([(value, 1) for value in right] + [(value, 0) for value in wrong])
    below, wins, at = 0, 0.0, 0
    while at < len(ranked):
        end = at
        while end < len(ranked) and ranked[end][0] == ranked[at][0]:
            end += 1
        good = sum(side for _, side in ranked[at:end])
        bad = end - at - good
        wins += good * (below + bad / 2)
        below += bad
        at = end
    return wins / (len(right) * len(wrong))


def auc_within(groups: Iterable[tuple[Sequence[float], Sequence[float]]]) -> float | None:
    """Return the AUC over pairs of values of one group; None without a pair. Groups hold right and wrong values."""
    wins, pairs = 0.0, 0
    for right, wrong in groups:
        share = auc(right, wrong)
        if share is not None:
            wins += share * len(right) * len(wrong)
            pairs += len(right) * len(wrong)
    return wins / pairs if pairs else None


def _resamples(count: int, draws: int, seed: int) -> Iterator[Places]:
    """Yield blocks of resamples [rows, count] as places of units; the same arguments give the same ones."""
    import numpy as np

    if count == 0:
        raise ArgumentError("there is nothing to resample")
    if count * draws <= _BLOCK:
        yield _kept_resamples(count, draws, seed)
        return
    generator, rows = np.random.default_rng(seed), max(1, _BLOCK // count)
    for start in range(0, draws, rows):
        yield generator.integers(0, count, (min(rows, draws - start), count))


@lru_cache(maxsize=4)
def _kept_resamples(count: int, draws: int, seed: int) -> Places:
    import numpy as np

    return np.random.default_rng(seed).integers(0, count, (draws, count))


def _estimate(value: float, draws: Array) -> Estimate:
    import numpy as np

    low, high = np.quantile(draws, [0.025, 0.975])
    return Estimate(value=value, low=float(low), high=float(high))
