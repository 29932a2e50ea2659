"""The figures of a reward from paths with scores; pure functions."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ramify.statistics import auc

from .evaluation import ScoredPath
from .measures import Calibration, FirstError, Graded, best_threshold, calibration, first_error, preference


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """How well a reward's scores tell right from wrong, over `paths` with `steps` steps of `problems` problems.

    `auc_steps` compares all right steps with all wrong ones, `auc_steps_within` those of one problem after equally many
    steps, which does not see how hard problems are; both are None where steps cannot be checked. `auc_paths` compares
    the last scores of right and wrong paths. `pairs` has, for each problem with both, how many pairs of a right and a
    wrong path the right one wins, and how many pairs there are; `prefers_right` is the share of all. `calibration` is
    that of all scores against the chance of a right answer. `first_error` is measured on the problems on which its
    threshold was not chosen; None where steps cannot be checked.
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
    calibration: Calibration | None
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
        calibration=calibration(
            [score for path in paths for score in path.scores], [value for path in paths for value in path.values]
        ),
        first_error=_first_error(paths, threshold, seed),
    )


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


def _within(paths: Sequence[ScoredPath]) -> float | None:
    wins, pairs = 0.0, 0
    by_problem: dict[str, list[ScoredPath]] = {}
    for path in paths:
        by_problem.setdefault(path.problem, []).append(path)
    for own in by_problem.values():
        for number in range(max(len(path.scores) for path in own)):
            right, wrong = _sides(own, only=number)
            share = auc(right, wrong)
            if share is not None:
                wins += share * len(right) * len(wrong)
                pairs += len(right) * len(wrong)
    return wins / pairs if pairs else None


def _first_error(paths: Sequence[ScoredPath], threshold: float | None, seed: int) -> FirstError | None:
    known = [
        Graded(problem=path.problem, scores=path.scores, first_error=path.first_error)
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
