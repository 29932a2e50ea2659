"""Bootstrap over problems, choices that are not judged on what they were made on, and the fit of a saturating curve."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
DRAWS = 2000
EXPONENTS = np.arange(0.05, 3.0001, 0.05)
"""Exponents that are tried in the fit of a saturating curve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A value with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"

    def to_dict(self) -> dict[str, float]:
        """Return plain JSON types."""
        return {"value": self.value, "low": self.low, "high": self.high}


@lru_cache(maxsize=4)
def resamples(count: int, draws: int = DRAWS) -> npt.NDArray[np.intp]:
    """Return `draws` resamples of `count` problems, as places; always the same ones."""
    return np.random.default_rng(0).integers(0, count, (draws, count))


def mean(values: Array) -> Estimate:
    """Return the mean over problems, with its percentile interval (Efron 1979)."""
    return _estimate(float(values.mean()), values[resamples(len(values))].mean(axis=1))


def ratio(above: Array, below: Array) -> Estimate:
    """Return the ratio of two means over the same problems."""
    places = resamples(len(above))
    return _estimate(float(above.mean() / below.mean()), above[places].mean(axis=1) / below[places].mean(axis=1))


def statistic(count: int, value: Callable[[npt.NDArray[np.intp]], float | None], draws: int = 400) -> Estimate | None:
    """Return any figure of a set of problems; None if it does not exist for them all.

    `value` gets the places of the problems. Resamples for which it is None are left out; if that is more than half of
    them there is no interval, and infinite bounds say so.
    """
    whole = value(np.arange(count))
    if whole is None:
        return None
    found = [each for places in resamples(count, draws) if (each := value(places)) is not None]
    if len(found) < draws / 2:
        return Estimate(value=whole, low=-np.inf, high=np.inf)
    return _estimate(whole, np.asarray(found))


def crossfit(candidates: Sequence[Array]) -> tuple[Array, list[int]]:
    """Return what the best candidate has on each problem, chosen on the other half of them, and both choices.

    The better of many by luck would win otherwise. Ties go to the earlier candidate. Problems are halved by whether
    their place is even.
    """
    stack = np.stack(candidates)
    result = np.empty(stack.shape[1])
    chosen = list[int]()
    for own in (0, 1):
        other = stack[:, 1 - own :: 2]
        # A single problem leaves nothing to choose on.
        best = int(np.argmax(other.mean(axis=1))) if other.shape[1] else 0
        result[own::2] = stack[best, own::2]
        chosen.append(best)
    return result, chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class Saturation:
    """accuracy(N) = limit - gap x N^-exponent."""

    limit: float
    gap: float
    exponent: float

    def at(self, width: float) -> float:
        """Return the fitted accuracy."""
        return self.limit - self.gap * width**-self.exponent


def saturation(widths: Sequence[int], accuracies: Array) -> Saturation | None:
    """Fit a saturating curve by least squares, the exponent from a grid; None with fewer than four widths."""
    if len(widths) < 4:
        return None
    best: tuple[float, Saturation] | None = None
    for exponent in EXPONENTS:
        falling = np.asarray(widths, dtype=np.float64) ** -exponent
        centred = falling - falling.mean()
        gap = max(0.0, -float(centred @ accuracies / (centred @ centred)))
        limit = min(1.0, float(accuracies.mean() + gap * falling.mean()))
        fit = Saturation(limit=limit, gap=gap, exponent=float(exponent))
        error = float(((limit - gap * falling - accuracies) ** 2).sum())
        if best is None or error < best[0] - 1e-12:
            best = error, fit
    return None if best is None else best[1]


def line(x: Array, y: Array) -> tuple[float, float] | None:
    """Return slope and offset of a least-squares line; None if all x are the same."""
    spread = x - x.mean()
    if not float(spread @ spread) > 1e-12:
        return None
    slope = float(spread @ (y - y.mean()) / (spread @ spread))
    return slope, float(y.mean() - slope * x.mean())


def _estimate(value: float, draws: Any) -> Estimate:
    low, high = np.quantile(draws, [0.025, 0.975])
    return Estimate(value=value, low=float(low), high=float(high))
