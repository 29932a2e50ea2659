"""Gain of votes and searches by a reward over the majority vote, and the verdict on the reward in one sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ramify.statistics import bootstrap_ratio, mcnemar, paired_difference, wilson

from .evaluation import SEARCH, EvaluatedProblem
from .quality import Quality

LEAST_PROBLEMS = 5
"""Problems with right and wrong solutions below which an interval says nothing."""
SIGNIFICANCE = 0.05
MAJORITY = "majority"

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchGain:
    """Accuracy and cost of one way to choose an answer; `reward` is None for the majority vote.

    `interval` is Wilson's. `versus_majority` and `versus_other` are differences on the same problems with their
    bootstrap interval and McNemar's exact p-value; the latter is to the same method with the reward compared with.
    `generated_tokens` and `reward_tokens` are means over the problems.
    """

    method: str
    reward: str | None
    problems: int
    accuracy: float
    interval: Interval
    versus_majority: tuple[float, float, float, float] | None
    versus_other: tuple[float, float, float, float] | None
    generated_tokens: float
    reward_tokens: float


def gains(outcomes: Mapping[str, Sequence[EvaluatedProblem]]) -> list[SearchGain]:
    """Return the rows of the search gain; `outcomes` are by reward, that under test first, then that compared with."""
    names = list(outcomes)
    own = outcomes[names[0]]
    plain = [each.correct[MAJORITY] for each in own]
    rows = [_gain(MAJORITY, None, own, None, None)]
    for name, found in outcomes.items():
        for method in [each for each in found[0].correct if each != MAJORITY]:
            other = None
            if name == names[0] and len(names) > 1:
                other = [each.correct[method] for each in outcomes[names[1]]]
            rows.append(_gain(method, name, found, plain, other))
    return rows


def _gain(
    method: str,
    reward: str | None,
    outcomes: Sequence[EvaluatedProblem],
    plain: Sequence[bool] | None,
    other: Sequence[bool] | None,
) -> SearchGain:
    correct = [each.correct[method] for each in outcomes]
    usages = [each.usage[method] for each in outcomes]
    return SearchGain(
        method=method,
        reward=reward,
        problems=len(correct),
        accuracy=sum(correct) / len(correct),
        interval=wilson(sum(correct), len(correct)),
        versus_majority=None if plain is None else paired(correct, plain),
        versus_other=None if other is None else paired(correct, other),
        generated_tokens=sum(each.policy.generated_tokens for each in usages) / len(usages),
        reward_tokens=sum(each.reward.evaluated_tokens for each in usages) / len(usages),
    )


def paired(left: Sequence[bool], right: Sequence[bool]) -> tuple[float, float, float, float]:
    """Return the mean of left - right, its 95 % bootstrap interval over problems, and McNemar's p-value."""
    found = paired_difference(left, right)
    wins = sum(a and not b for a, b in zip(left, right, strict=True))
    losses = sum(b and not a for a, b in zip(left, right, strict=True))
    return found.value, found.low, found.high, mcnemar(wins, losses)


def share_interval(pairs: Sequence[tuple[float, int]]) -> Interval | None:
    """Return the 95 % bootstrap interval of wins over pairs, with whole problems resampled; None without any."""
    if not pairs:
        return None
    found = bootstrap_ratio([wins for wins, _ in pairs], [count for _, count in pairs])
    return found.low, found.high


def quality_facts(quality: Quality) -> dict[str, Any]:
    """Return a reward's figures in plain JSON types."""
    facts = asdict(quality)
    pairs = list(facts.pop("pairs").values())
    facts["pairs"] = sum(count for _, count in pairs)
    facts["prefers_right_interval"] = share_interval(pairs)
    return facts


def verdict(reward: str, quality: Quality, rows: Sequence[SearchGain]) -> str:
    """Return one sentence: whether the reward prefers right solutions, and whether it is better than the majority.

    `rows` are those of `gains`, none if no problem was solved. REBASE counts if it ran, else the weighted vote.
    """
    return f"{_preference(reward, quality)}{_advantage(reward, rows)}."


def _preference(reward: str, quality: Quality) -> str:
    pairs = list(quality.pairs.values())
    count, share = sum(number for _, number in pairs), quality.prefers_right
    interval = share_interval(pairs)
    if share is None or interval is None:
        return (
            f"whether {reward} prefers right solutions cannot be told: no problem has both right and wrong ones "
            f"({quality.right_paths} of {quality.paths} finished paths are right)"
        )
    low, high = interval
    figures = (
        f"the right one scores higher in {share:.0%} of {count} pairs on {len(pairs)} "
        f"problem{'s' * (len(pairs) != 1)} [{low:.0%}, {high:.0%}]"
    )
    if len(pairs) < LEAST_PROBLEMS:
        return f"too few problems have right and wrong solutions to say whether {reward} prefers right ones: {figures}"
    if low > 0.5:
        return f"{reward} prefers right solutions: {figures}"
    if high < 0.5:
        return f"{reward} prefers wrong solutions: {figures}"
    return f"{reward} is not shown to prefer right solutions: {figures}"


def _advantage(reward: str, rows: Sequence[SearchGain]) -> str:
    own = {row.method: row for row in rows if row.reward == reward}
    row = own.get(SEARCH, own.get("weighted"))
    plain = next((each for each in rows if each.method == MAJORITY), None)
    if row is None or plain is None or row.versus_majority is None:
        return ""
    difference, low, high, chance = row.versus_majority
    if low > 0 and chance < SIGNIFICANCE:
        word = "is better than"
    elif high < 0 and chance < SIGNIFICANCE:
        word = "is worse than"
    else:
        word = "is not shown to be better than"
    name = "REBASE" if row.method == SEARCH else "the weighted vote"
    return (
        f"; {name} with it {word} the majority vote ({row.accuracy:.0%} against {plain.accuracy:.0%} of "
        f"{row.problems} problems right, {difference * 100:+.0f} points [{low * 100:+.0f}, {high * 100:+.0f}])"
    )
