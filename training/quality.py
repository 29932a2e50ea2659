"""Quality of a reward from paths with scores: AUC, preference, calibration, first errors, and the reliability plot."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ramify.plots import drawing, new_figure, require_matplotlib, save_figure
from ramify.statistics import auc, auc_within

from .evaluation import ScoredPath

BINS = 10
"""Equal bins of the score."""
LAST_STEP = 6
"""Step from which on the calibration by steps has one entry."""
THRESHOLDS = 400
"""Most thresholds that are tried."""
INCHES = (5.0, 5.0)
"""Width and height of the reliability plot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationBin:
    """A bin of scores from `low` up to `high`: their mean, the mean of the true values, and their number."""

    low: float
    high: float
    score: float
    value: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreCalibration:
    """Calibration of scores: their distance from true values.

    `error` is the expected calibration error (Guo et al., arXiv 1706.04599, eq. 3), `brier` the mean squared
    difference (Brier 1950), `bins` the ones with scores, `score` and `value` the means of all.
    """

    error: float
    brier: float
    score: float
    value: float
    bins: tuple[CalibrationBin, ...]
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GradedPath:
    """The scores of a path's steps, and the number, from 0, of its first wrong step; None if all are right."""

    problem: str
    scores: tuple[float, ...]
    first_error: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstError:
    """Shares of paths whose first error a threshold finds (ProcessBench, arXiv 2412.06559).

    `accuracy_wrong` is the share of the `wrong` paths whose first error is found, `accuracy_right` that of the
    `right` paths in which none is seen; `f1` is their harmonic mean. A share of no paths is None, and so is `f1`.
    """

    threshold: float
    accuracy_wrong: float | None
    accuracy_right: float | None
    f1: float | None
    wrong: int
    right: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Quality of a reward: how well its scores tell right from wrong, over `paths` of `problems`.

    `auc_steps` compares all right steps with all wrong ones, `auc_steps_within` those of one problem after equally many
    steps, which does not depend on the difficulty of problems; both are None where steps cannot be checked.
    `auc_paths` compares the last scores of right and wrong paths. `pairs` has, for each problem with both, the number
    of pairs of a right and a wrong path that the right one wins, and the number of pairs; `prefers_right` is the share
    of all. `calibration` is that of all scores against the chance of a right answer, `by_step` that after the first
    step, the second one and so on; its last entry has all steps from the LAST_STEP-th on. `first_error` is measured on
    the problems on which its threshold was not chosen; None where steps cannot be checked.
    """

    problems: int
    paths: int
    steps: int
    right_paths: int
    auc_steps: float | None
    auc_steps_within: float | None
    auc_paths: float | None
    prefers_right: float | None
    pairs: dict[str, tuple[float, int]]
    calibration: ScoreCalibration | None
    by_step: tuple[ScoreCalibration, ...]
    first_error: FirstError | None


def quality(paths: Sequence[ScoredPath], *, threshold: float | None = None, seed: int = 0) -> Quality:
    """Return all figures; `threshold` None chooses it on a half of the problems, drawn by `seed`."""
    ends = _ends(paths)
    pairs = preference(ends)
    counted = sum(count for _, count in pairs.values())
    return Quality(
        problems=len(ends),
        paths=len(paths),
        steps=sum(len(path.steps) for path in paths),
        right_paths=sum(path.right for path in paths),
        auc_steps=auc(*_sides(paths)),
        auc_steps_within=_within(paths),
        auc_paths=auc(*([path.scores[-1] for path in paths if path.right is side] for side in (True, False))),
        prefers_right=sum(wins for wins, _ in pairs.values()) / counted if counted else None,
        pairs=pairs,
        calibration=score_calibration(
            [score for path in paths for score in path.scores], [value for path in paths for value in path.values]
        ),
        by_step=_by_step(paths),
        first_error=_first_error(paths, threshold, seed),
    )


def score_calibration(scores: Sequence[float], values: Sequence[float]) -> ScoreCalibration | None:
    """Compare scores with true values, both in [0, 1] and in the same order; None without any."""
    if not scores:
        return None
    bins: dict[int, list[tuple[float, float]]] = {}
    for score, value in zip(scores, values, strict=True):
        bins.setdefault(min(int(score * BINS), BINS - 1), []).append((score, value))
    found = tuple(
        CalibrationBin(
            low=number / BINS,
            high=(number + 1) / BINS,
            score=sum(score for score, _ in pairs) / len(pairs),
            value=sum(value for _, value in pairs) / len(pairs),
            count=len(pairs),
        )
        for number, pairs in sorted(bins.items())
    )
    return ScoreCalibration(
        error=sum(abs(each.score - each.value) * each.count for each in found) / len(scores),
        brier=sum((score - value) ** 2 for score, value in zip(scores, values, strict=True)) / len(scores),
        score=sum(scores) / len(scores),
        value=sum(values) / len(values),
        bins=found,
        count=len(scores),
    )


def preference(problems: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> dict[str, tuple[float, int]]:
    """Return, for each problem with both, the pairs of a right and a wrong path that the right one wins, and all pairs.

    `problems` has the scores of the right paths and those of the wrong ones. A tie is half a win.
    """
    found: dict[str, tuple[float, int]] = {}
    for problem, (right, wrong) in problems.items():
        share = auc(right, wrong)
        if share is not None:
            pairs = len(right) * len(wrong)
            found[problem] = share * pairs, pairs
    return found


def first_error(paths: Iterable[GradedPath], threshold: float) -> FirstError:
    """Return how often the first score below `threshold` marks the first wrong step."""
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


def best_threshold(paths: Sequence[GradedPath]) -> float:
    """Return the threshold with the highest F1, the lowest of several; 0.5 without an F1."""
    scores = sorted({score for path in paths for score in path.scores})
    # Just above a score, so that this one falls below; of many scores only THRESHOLDS are tried.
    tried = [score + 1e-9 for score in scores[:: max(1, len(scores) // THRESHOLDS)]]
    ranked = [(found, threshold) for threshold in tried if (found := first_error(paths, threshold).f1) is not None]
    return max(ranked, key=lambda each: (each[0], -each[1]))[1] if ranked else 0.5


def draw_reliability(calibrations: Mapping[str, ScoreCalibration], path: Path) -> None:
    """Draw the mean true value against the mean score of each bin, a line for each reward; dots grow with the count.

    Raises:
        UsageError: if matplotlib is not installed, or the file cannot be written.
    """
    require_matplotlib("the reliability plot needs")
    with drawing():
        canvas = new_figure(*INCHES)
        _draw_reliability(canvas.add_subplot(), calibrations)
        save_figure(canvas, path)


def _ends(paths: Iterable[ScoredPath]) -> dict[str, tuple[list[float], list[float]]]:
    """Return the last scores of right and of wrong paths, by problem."""
    found: dict[str, tuple[list[float], list[float]]] = {}
    for path in paths:
        found.setdefault(path.problem, ([], []))[not path.right].append(path.scores[-1])
    return found


def _sides(paths: Iterable[ScoredPath], *, only: int | None = None) -> tuple[list[float], list[float]]:
    """Return the scores of right and of wrong steps, of all or of those at one place."""
    sides: tuple[list[float], list[float]] = ([], [])
    for path in paths:
        for number, (score, good) in enumerate(zip(path.scores, path.good or (), strict=False)):
            if only is None or number == only:
                sides[not good].append(score)
    return sides


def _within(paths: Iterable[ScoredPath]) -> float | None:
    """Return the AUC over steps of one problem after equally many steps."""
    by_problem: dict[str, list[ScoredPath]] = {}
    for path in paths:
        by_problem.setdefault(path.problem, []).append(path)
    return auc_within(
        _sides(own, only=number)
        for own in by_problem.values()
        for number in range(max(len(path.scores) for path in own))
    )


def _by_step(paths: Sequence[ScoredPath]) -> tuple[ScoreCalibration, ...]:
    """Return the calibration after each step; those from the LAST_STEP-th on are one."""
    scores: dict[int, list[float]] = {}
    values: dict[int, list[float]] = {}
    for path in paths:
        for number, (score, value) in enumerate(zip(path.scores, path.values, strict=True), start=1):
            place = min(number, LAST_STEP)
            scores.setdefault(place, []).append(score)
            values.setdefault(place, []).append(value)
    found = (score_calibration(scores[place], values[place]) for place in sorted(scores))
    return tuple(each for each in found if each is not None)


def _first_error(paths: Sequence[ScoredPath], threshold: float | None, seed: int) -> FirstError | None:
    known = [
        GradedPath(problem=path.problem, scores=path.scores, first_error=path.first_error)
        for path in paths
        if path.good is not None
    ]
    if not known:
        return None
    if threshold is not None:
        return first_error(known, threshold)
    problems = sorted({path.problem for path in known})
    random.Random(seed).shuffle(problems)
    choosing = set(problems[: len(problems) // 2])
    chosen = best_threshold([path for path in known if path.problem in choosing])
    return first_error([path for path in known if path.problem not in choosing], chosen)


def _draw_reliability(axes: Any, calibrations: Mapping[str, ScoreCalibration]) -> None:
    axes.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1)
    for name, each in calibrations.items():
        x, y = [found.score for found in each.bins], [found.value for found in each.bins]
        sizes = [20 + 180 * found.count / each.count for found in each.bins]
        (line,) = axes.plot(x, y, label=f"{name} (error {each.error:.3f}, Brier {each.brier:.3f})")
        axes.scatter(x, y, s=sizes, color=line.get_color())
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="score", ylabel="chance of a right answer", title="Reliability")
    axes.legend(fontsize="small")
    axes.grid(visible=True, alpha=0.3)
