"""The few statistics that a report needs; pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence

Z_95 = 1.959963984540054
"""The normal quantile of a two-sided 95 % interval."""
RESAMPLES = 10_000


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


def bootstrap_mean(values: Sequence[float], *, seed: int = 0, resamples: int = RESAMPLES) -> tuple[float, float]:
    """Return the 95 % percentile interval of a mean (Efron 1979); values are resampled, so give one for each unit.

    Raises:
        ValueError: without values.
    """
    import numpy as np

    if not values:
        raise ValueError("there is nothing to resample")
    data = np.asarray(values, dtype=np.float64)
    generator = np.random.default_rng(seed)
    means = np.empty(resamples)
    # A resample at a time keeps the memory at one array of the data's size.
    for number in range(resamples):
        means[number] = data[generator.integers(0, len(data), len(data))].mean()
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p-value of McNemar's test (1947): a binomial test of the discordant pairs at 1/2."""
    discordant = only_first + only_second
    if discordant == 0:
        return 1.0
    smaller = min(only_first, only_second)
    tail = sum(math.comb(discordant, count) for count in range(smaller + 1))
    # Integers divide exactly where powers of two would underflow.
    return min(1.0, 2 * tail / (1 << discordant))


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value at `share` of the sorted values, between neighbours linearly; 0.0 without values."""
    if not values:
        return 0.0
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
