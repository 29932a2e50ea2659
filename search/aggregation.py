"""How the scores of a path's steps become one score of the path."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum, auto
from math import fsum, prod

from ramify.errors import SearchError


class Aggregation(StrEnum):
    """Which number stands for a path of scored steps; the REBASE paper allocates and votes by the last."""

    LAST = auto()
    """Score of the last step, which a process reward model gives for the whole prefix."""
    MIN = auto()
    """The weakest step's score."""
    PRODUCT = auto()
    """Product of all scores: every doubtful step lowers it, so longer paths score lower."""
    MEAN = auto()
    """Arithmetic mean of all scores."""


def aggregate(scores: Sequence[float], how: Aggregation = Aggregation.LAST) -> float:
    """Return one score for a path from its steps' scores, first step first; raises SearchError if there are none."""
    if not len(scores):
        raise SearchError("a path without scored steps has no score; score its steps first")
    match Aggregation(how):
        case Aggregation.LAST:
            return scores[-1]
        case Aggregation.MIN:
            return min(scores)
        case Aggregation.PRODUCT:
            return prod(scores)
        case Aggregation.MEAN:
            return fsum(scores) / len(scores)
