"""Fits of scaling curves, and choices among settings that are judged on other problems than they were made on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
EXPONENTS = np.arange(0.05, 3.0001, 0.05)
"""Exponents that are tried in the fit of a saturating curve."""


def crossfit(candidates: Sequence[Array]) -> tuple[Array, list[int]]:
    """Return the best candidate's figures on each problem, chosen on the other half of them, and both choices.

    Without halves, the luckiest of many candidates would win. Ties go to the earlier candidate. The halves
    are the problems at even places and those at odd places.
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
    """A saturating curve: accuracy(N) = limit - gap x N^-exponent."""

    limit: float
    gap: float
    exponent: float

    def at(self, width: float) -> float:
        """Return the fitted accuracy."""
        return self.limit - self.gap * width**-self.exponent


def fit_saturation(widths: Sequence[int], accuracies: Array) -> Saturation | None:
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


def fit_line(x: Array, y: Array) -> tuple[float, float] | None:
    """Return slope and offset of a least-squares line; None if all x are the same."""
    spread = x - x.mean()
    if not float(spread @ spread) > 1e-12:
        return None
    slope = float(spread @ (y - y.mean()) / (spread @ spread))
    return slope, float(y.mean() - slope * x.mean())
