"""Check of a reward model on solutions with a known first error: AUC of steps, and warnings on its format."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ramify.errors import RewardContextExceeded
from ramify.reward.protocol import RewardModel, ScoredStep, ScoreUsage
from ramify.statistics import auc, auc_within

FLAT = 1e-3
"""A smaller range of all scores means that they tell nothing apart."""

DRIFT = 2e-2
"""Largest difference of a score when the same path is read in one pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckCase:
    """A solution; `first_error` is the number, from 0, of its first wrong step, None if all are right."""

    question: str
    steps: tuple[str, ...]
    first_error: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepQuality:
    """Scores after `number` steps, of prefixes without an error (right) and with one (wrong).

    `auc` is the chance that one of the former scores higher than one of the latter, None if either is missing.
    """

    number: int
    right: int
    wrong: int
    mean_right: float | None
    mean_wrong: float | None
    auc: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """Result of a check.

    `auc_within` is the AUC over pairs of the same problem after the same number of steps, which does not depend on the
    difficulty of problems. `usage` is the cost of the scores, `full_tokens` the cost if each path were read anew.
    `warnings` are sentences about likely mistakes.
    """

    reward: str
    cases: int
    auc: float | None
    auc_within: float | None
    steps: list[StepQuality]
    usage: ScoreUsage
    full_tokens: int
    seconds: float
    warnings: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True)
class _ScoredCase:
    case: CheckCase
    scores: list[float]
    usage: ScoreUsage
    drift: float


async def check_reward(reward: RewardModel, cases: Sequence[CheckCase]) -> CheckReport:
    """Score all steps of the cases one after the other, as a search does, and compare right with wrong prefixes.

    Raises:
        RewardError: if steps cannot be scored for another reason than their length.
    """
    started_s = time.monotonic()
    scored: list[_ScoredCase] = []
    too_long = 0
    for case in cases:
        try:
            scored.append(await _score(reward, case))
        except RewardContextExceeded:
            too_long += 1
    steps = [_quality(number, scored) for number in range(max((len(each.scores) for each in scored), default=0))]
    right, wrong = _sides(scored)
    usage = sum((each.usage for each in scored), ScoreUsage())
    return CheckReport(
        reward=reward.name,
        cases=len(cases),
        auc=auc(right, wrong),
        auc_within=_within(scored),
        steps=steps,
        usage=usage,
        full_tokens=usage.evaluated_tokens + usage.cached_tokens,
        seconds=time.monotonic() - started_s,
        warnings=list(_warnings(scored, right, wrong, too_long, len(cases))),
    )


async def _score(reward: RewardModel, case: CheckCase) -> _ScoredCase:
    session = await reward.open(case.question)
    try:
        scores: list[float] = []
        for number in range(1, len(case.steps) + 1):
            path = case.steps[:number]
            scores += await session.score([ScoredStep(node=number, parent=number - 1 or None, path=path)])
        usage = session.usage
    finally:
        await session.close()
    session = await reward.open(case.question)
    try:
        last = ScoredStep(node=len(case.steps), parent=None, path=case.steps)
        whole = (await session.score([last]))[0]
    finally:
        await session.close()
    return _ScoredCase(case, scores, usage, abs(whole - scores[-1]))


def _quality(number: int, scored: Iterable[_ScoredCase]) -> StepQuality:
    right, wrong = _sides(scored, only=number)
    return StepQuality(
        number=number + 1,
        right=len(right),
        wrong=len(wrong),
        mean_right=_mean(right),
        mean_wrong=_mean(wrong),
        auc=auc(right, wrong),
    )


def _sides(scored: Iterable[_ScoredCase], *, only: int | None = None) -> tuple[list[float], list[float]]:
    """Return the scores of prefixes without and with an error, of all lengths or of one."""
    right: list[float] = []
    wrong: list[float] = []
    for each in scored:
        for number, score in enumerate(each.scores):
            if only is None or number == only:
                error = each.case.first_error
                (wrong if error is not None and number >= error else right).append(score)
    return right, wrong


def _within(scored: Iterable[_ScoredCase]) -> float | None:
    """Return the AUC over pairs of one problem after equally many steps; None without such a pair."""
    by_question: dict[str, list[_ScoredCase]] = {}
    for each in scored:
        by_question.setdefault(each.case.question, []).append(each)
    return auc_within(
        _sides(own, only=number)
        for own in by_question.values()
        for number in range(max(len(each.scores) for each in own))
    )


def _warnings(
    scored: Sequence[_ScoredCase], right: list[float], wrong: list[float], too_long: int, cases: int
) -> Iterable[str]:
    scores = [*right, *wrong]
    if too_long:
        yield f"{too_long} of {cases} solutions are longer than the reward model can read"
    if scores and max(scores) - min(scores) < FLAT:
        yield "all scores are the same; the place where the score is read, or the format, is wrong"
        return
    within = _within(scored)
    value = auc(right, wrong) if within is None else within
    if value is not None and value < 0.4:
        yield f"wrong steps score higher than right ones (AUC {value:.2f}); good and bad may have changed places"
    elif value is not None and value < 0.6:
        yield f"right and wrong steps score alike (AUC {value:.2f}); the format or the model does not suit the task"
    drift = max((each.drift for each in scored), default=0.0)
    if drift > DRIFT and math.isfinite(drift):
        yield f"a path scores {drift:.3f} apart in one pass and step by step; steps may be cut in another way"


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
