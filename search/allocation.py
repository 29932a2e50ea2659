"""Allocation of a width among scored candidates by REBASE (Wu et al., arXiv 2408.00724, eq. 1).

    W_j = Round( B * exp(R_j / T) / sum_k exp(R_k / T) )

With B the width left, R_j the reward of candidate j and T the balance temperature. The paper's independent rounding
does not add up to B and can give every candidate 0 (16 equal scores, B = 8), so the default rounds one after the
other, best first, and always spends exactly B.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum, auto
from itertools import accumulate
from math import ceil, exp, floor, isfinite

from ramify.errors import AllocationError

EPSILON = 1e-9
"""Subtracted before rounding up, so that a share that is whole but for float error is not rounded up."""


class RoundingRule(StrEnum):
    """Rounding of real-valued shares of the width to whole numbers of children."""

    CEIL = auto()
    """Best first, each share rounded up from the rest of the width; favours high scores, adds up to the width."""
    LARGEST_REMAINDER = auto()
    """Round down, then one more each for the largest remainders; adds up to the width."""
    PAPER = auto()
    """Round each on its own; the sum may differ from the width and may be 0."""


def allocate(scores: Sequence[float], width: int, temperature: float, rounding: RoundingRule) -> list[int]:
    """Return the number of children of each candidate, in input order, by the given rounding rule."""
    return _RULES[rounding](scores, width, temperature)


def rebase_allocation(scores: Sequence[float], width: int, temperature: float = 0.1) -> list[int]:
    """Share `width` children among candidates by their scores; the result is in input order and adds up to `width`.

    Candidates are taken by score descending, ties to the later index. Each gets the remaining width times its
    weight over the remaining weight, rounded up; weights are exp(score / temperature), so a lower `temperature`
    favours the best more strongly. Computed in float64.

    Raises:
        AllocationError: for no scores, a score that is not finite, a negative width or a temperature that is not a
            positive number.
    """
    order, weights = _ranked(scores, width, temperature)
    # Summing from the smallest weight up keeps each tail sum exact where subtracting would let it drift to 0.
    tails = list(accumulate(reversed(weights)))[::-1]
    shares, remaining = [0] * len(scores), width
    for index, weight, tail in zip(order, weights, tails, strict=True):
        if remaining == 0:
            break
        shares[index] = min(remaining, max(0, ceil(remaining * (weight / tail) - EPSILON)))
        remaining -= shares[index]
    return shares


def largest_remainder_allocation(scores: Sequence[float], width: int, temperature: float = 0.1) -> list[int]:
    """Share `width` by rounding down and giving the rest to the largest remainders; adds up to `width`.

    Equal remainders go to the higher score, then to the later index. Arguments and errors as `rebase_allocation`.
    """
    order, weights = _ranked(scores, width, temperature)
    total = sum(reversed(weights))
    quotas = [width * (weight / total) for weight in weights]
    shares = [floor(quota + EPSILON) for quota in quotas]
    by_remainder = sorted(range(len(order)), key=lambda rank: (-round(quotas[rank] - shares[rank], 9), rank))
    for rank in by_remainder[: width - sum(shares)]:
        shares[rank] += 1
    return _unranked(order, shares)


def independent_rounding_allocation(scores: Sequence[float], width: int, temperature: float = 0.1) -> list[int]:
    """Round each share on its own, as eq. 1 of the paper reads; the sum may differ from `width` and may be 0.

    Halves go to the even neighbour (Python's and NumPy's rounding; the paper does not say). Arguments and errors as
    `rebase_allocation`.
    """
    order, weights = _ranked(scores, width, temperature)
    total = sum(reversed(weights))
    return _unranked(order, [round(width * (weight / total)) for weight in weights])


_RULES = {
    RoundingRule.CEIL: rebase_allocation,
    RoundingRule.LARGEST_REMAINDER: largest_remainder_allocation,
    RoundingRule.PAPER: independent_rounding_allocation,
}


def _ranked(scores: Sequence[float], width: int, temperature: float) -> tuple[list[int], list[float]]:
    """Return indexes, best first and ties to the later one, and their weights with the best scaled to 1."""
    if not len(scores):
        raise AllocationError("there are no scores to allocate a width to; give at least one")
    for index, score in enumerate(scores):
        if not isfinite(score):
            raise AllocationError(f"score {index} is {score}; give finite numbers")
    if width < 0 or width != int(width):
        raise AllocationError(f"the width is {width}; give a whole number of 0 or more")
    if not (isfinite(temperature) and temperature > 0):
        raise AllocationError(f"the temperature is {temperature}; give a finite number above 0")
    order = sorted(range(len(scores)), key=lambda index: (-scores[index], -index))
    best = scores[order[0]]
    return order, [exp((scores[index] - best) / temperature) for index in order]


def _unranked(order: Sequence[int], ranked: Sequence[int]) -> list[int]:
    shares = [0] * len(order)
    for index, share in zip(order, ranked, strict=True):
        shares[index] = share
    return shares
