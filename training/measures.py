"""How well scores fit what is true: calibration, preference within a problem, and finding the first error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ramify.statistics import auc

BINS = 10
"""Equal bins of the score for calibration."""
THRESHOLDS = 400
"""At most so many thresholds are tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Scores from `low` up to `high`: their mean, the mean of the true values, and their number."""

    low: float
    high: float
    score: float
    value: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How far scores are from true values.

    `error` is the expected calibration error (Guo et al., arXiv 1706.04599, eq. 3), `brier` the mean squared
    difference (Brier 1950), `bins` those that have scores.
    """

    error: float
    brier: float
    bins: tuple[Bin, ...]
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Graded:
    """The scores of a path's steps, and the number, from 0, of its first wrong step; None if all are right."""

    problem: str
    scores: tuple[float, ...]
    first_error: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstError:
    """How often the first step below `threshold` is the first wrong one (ProcessBench, arXiv 2412.06559).

    `accuracy_wrong` is the share of the `wrong` paths whose first error is found, `accuracy_right` that of the
    `right` paths in which none is seen; `f1` is their harmonic mean. A share of no paths is None, and so is `f1` then.
    """

    threshold: float
    accuracy_wrong: float | None
    accuracy_right: float | None
    f1: float | None
    wrong: int
    right: int


def calibration(scores: Sequence[float], values: Sequence[float]) -> Calibration | None:
    """Compare scores with true values, both in [0, 1] and in the same order; None without any."""
    if not scores:
        return None
    bins: dict[int, list[tuple[float, float]]] = {}
    for score, value in zip(scores, values, strict=True):
        bins.setdefault(min(int(score * BINS), BINS - 1), []).append((score, value))
    found = tuple(
        Bin(
            low=number / BINS,
            high=(number + 1) / BINS,
            score=sum(score for score, _ in pairs) / len(pairs),
            value=sum(value for _, value in pairs) / len(pairs),
            count=len(pairs),
        )
        for number, pairs in sorted(bins.items())
    )
    return Calibration(
        error=sum(abs(each.score - each.value) * each.count for each in found) / len(scores),
        brier=sum((score - value) ** 2 for score, value in zip(scores, values, strict=True)) / len(scores),
        bins=found,
        count=len(scores),
    )


def preference(problems: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> dict[str, tuple[float, int]]:
    """Return, of each problem with both, how many pairs of a right and a wrong path the right one wins, and all pairs.

    `problems` has the scores of the right paths and those of the wrong ones. A tie is half a win.
    """
    found: dict[str, tuple[float, int]] = {}
    for problem, (right, wrong) in problems.items():
        share = auc(right, wrong)
        if share is not None:
            pairs = len(right) * len(wrong)
            found[problem] = share * pairs, pairs
    return found


def first_error(paths: Iterable[Graded], threshold: float) -> FirstError:
    """Tell how well the first score below `threshold` marks the first wrong step."""
    wrong: list[bool] = []
    right: list[bool] = []
    for path in paths:
        seen = next((number for number, score in enumerate(path.scores) if score < threshold), None)
        (right if path.first_error is None else wrong).append(seen == path.first_error)
    found, passed = (sum(each) / len(each) if each else None for each in (wrong, right))
    f1 = None
    if found is not None and passed is not None:
        f1 = 2 * found * passed / (found + passed) if found + passed else 0.0
    return FirstError(
        threshold=threshold,
        accuracy_wrong=found,
        accuracy_right=passed,
        f1=f1,
        wrong=len(wrong),
        right=len(right),
    )


def best_threshold(paths: Sequence[Graded]) -> float:
    """Return the threshold with the highest F1, the lowest of several; 0.5 if there is none to be had."""
    scores = sorted({score for path in paths for score in path.scores})
    # Just above a score, so that it falls below; with many scores, every so-manieth.
    tried = [score + 1e-9 for score in scores[:: max(1, len(scores) // THRESHOLDS)]]
    ranked = [(found, threshold) for threshold in tried if (found := first_error(paths, threshold).f1) is not None]
    return max(ranked, key=lambda each: (each[0], -each[1]))[1] if ranked else 0.5
