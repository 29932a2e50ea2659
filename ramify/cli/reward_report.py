"""What `ramify reward eval` reports: figures with their intervals, as JSON and as tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from . import output

if TYPE_CHECKING:
    from ramify.training.evaluation import Outcome
    from ramify.training.quality import Quality

MAJORITY = "majority"

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """One way to choose an answer. `reward` is None for the majority, which has none.

    `interval` is Wilson's. `versus_majority` and `versus_other` are differences on the same problems with their
    bootstrap interval and McNemar's exact p-value; the latter is to the same method with the reward compared with.
    Tokens are means a problem.
    """

    method: str
    reward: str | None
    accuracy: float
    interval: Interval
    versus_majority: tuple[float, float, float, float] | None
    versus_other: tuple[float, float, float, float] | None
    generated_tokens: float
    reward_tokens: float


def gains(outcomes: Mapping[str, Sequence[Outcome]]) -> list[Gain]:
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
    outcomes: Sequence[Outcome],
    plain: Sequence[bool] | None,
    other: Sequence[bool] | None,
) -> Gain:
    from ..statistics import wilson

    correct = [each.correct[method] for each in outcomes]
    usages = [each.usage[method] for each in outcomes]
    return Gain(
        method=method,
        reward=reward,
        accuracy=sum(correct) / len(correct),
        interval=wilson(sum(correct), len(correct)),
        versus_majority=None if plain is None else paired(correct, plain),
        versus_other=None if other is None else paired(correct, other),
        generated_tokens=sum(each.policy.generated_tokens for each in usages) / len(usages),
        reward_tokens=sum(each.reward.evaluated_tokens for each in usages) / len(usages),
    )


def paired(left: Sequence[bool], right: Sequence[bool]) -> tuple[float, float, float, float]:
    """Return the mean of left - right, its 95 % bootstrap interval over problems, and McNemar's p-value."""
    from ..statistics import mcnemar, paired_difference

    found = paired_difference(left, right)
    wins = sum(a and not b for a, b in zip(left, right, strict=True))
    losses = sum(b and not a for a, b in zip(left, right, strict=True))
    return found.value, found.low, found.high, mcnemar(wins, losses)


def share_interval(pairs: Sequence[tuple[float, int]]) -> Interval | None:
    """Return the 95 % bootstrap interval of wins over pairs, with whole problems resampled; None without any."""
    from ..statistics import bootstrap_ratio

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


def write_report(report: Mapping[str, Any]) -> None:
    """Write the report as tables."""
    qualities: dict[str, dict[str, Any]] = report["quality"]
    output.write_table(("", *qualities), [(name, *map(show, qualities.values())) for name, show in _FIGURES])
    if report["search"]:
        output.write("")
        head = (
            "METHOD",
            "REWARD",
            "ACCURACY",
            "95 % INTERVAL",
            "MINUS MAJORITY",
            "MINUS OTHER",
            "GENERATED",
            "REWARD TOKENS",
        )
        output.write_table(head, [_row(row) for row in report["search"]])


def _row(row: Mapping[str, Any]) -> tuple[str, ...]:
    low, high = row["interval"]
    return (
        row["method"],
        row["reward"] or "none",
        f"{row['accuracy']:.3f}",
        f"{low:.3f} to {high:.3f}",
        _difference(row["versus_majority"]),
        _difference(row["versus_other"]),
        f"{row['generated_tokens']:.0f}",
        f"{row['reward_tokens']:.0f}",
    )


def _difference(found: Sequence[float] | None) -> str:
    return "" if found is None else f"{found[0]:+.3f} [{found[1]:+.3f}, {found[2]:+.3f}] p={found[3]:.2f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _preference(quality: Mapping[str, Any]) -> str:
    interval = quality["prefers_right_interval"]
    spread = "" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]"
    return _number(quality["prefers_right"]) + spread


def _of(part: str, name: str, quality: Mapping[str, Any]) -> str:
    found = quality[part]
    return _number(None if found is None else found[name])


_FIGURES: tuple[tuple[str, Callable[[Mapping[str, Any]], str]], ...] = (
    ("problems, paths, steps", lambda each: f"{each['problems']}, {each['paths']}, {each['steps']}"),
    ("AUC of steps", lambda each: _number(each["auc_steps"])),
    ("AUC of steps of one problem", lambda each: _number(each["auc_steps_within"])),
    ("AUC of whole paths", lambda each: _number(each["auc_paths"])),
    ("prefers the right path of a problem", _preference),
    ("first error F1", lambda each: _of("first_error", "f1", each)),
    ("  on wrong paths", lambda each: _of("first_error", "accuracy_wrong", each)),
    ("  on right paths", lambda each: _of("first_error", "accuracy_right", each)),
    ("  threshold", lambda each: _of("first_error", "threshold", each)),
    ("expected calibration error", lambda each: _of("calibration", "error", each)),
    ("Brier score", lambda each: _of("calibration", "brier", each)),
)
