"""What is drawn of some runs, whatever draws it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .analysis import Analysis, Share
from .charts import Point
from .stats import wilson


@dataclass(frozen=True, slots=True)
class Figure:
    """Accuracy against something: bars with `names`, or a line of points for each entry of `series`."""

    title: str
    x_title: str
    series: tuple[tuple[str, tuple[Point, ...]], ...]
    names: tuple[str, ...] = ()


def figures(analyses: Sequence[Analysis]) -> list[Figure]:
    """Return all figures that the runs have data for; bars are drawn for the first run only."""
    first = analyses[0]
    found = [_runs(analyses, *each) for each in _COSTS]
    votes = _votes(first)
    if votes:
        found.append(Figure("Votes among fewer paths", "generated tokens of an item", votes))
    for name, shares in first.groups.items():
        found.append(_bars(f"Accuracy by {name}", name, shares))
    found.append(_bars("Accuracy by agreement of the votes", "share of paths that agree", first.agreement))
    found.append(_bars("Calibration of the scores", "score of a path", first.calibration))
    return [each for each in found if any(points for _, points in each.series)]


_COSTS: tuple[tuple[str, Callable[[Analysis], float]], ...] = (
    ("generated tokens of an item", lambda run: run.report.usage.policy.generated_tokens),
    ("FLOPs of an item", lambda run: run.report.usage.flops),
    ("seconds of an item", lambda run: run.report.usage.seconds),
)


def _runs(analyses: Sequence[Analysis], x_title: str, cost: Callable[[Analysis], float]) -> Figure:
    series = tuple(
        (
            each.folder.name,
            (
                Point(
                    cost(each) / max(1, each.report.done),
                    each.report.accuracy,
                    each.report.low,
                    each.report.high,
                    f"{each.report.accuracy:.1%}",
                ),
            ),
        )
        for each in analyses
        if each.report.accuracy is not None
    )
    return Figure(f"Accuracy against {x_title.split(' of ')[0]}", x_title, series)


def _votes(run: Analysis) -> tuple[tuple[str, tuple[Point, ...]], ...]:
    rules: dict[str, list[Point]] = {}
    for share in run.votes:
        rule, _, size = share.label.partition(", ")
        if share.tokens is not None:
            rules.setdefault(rule, []).append(_point(share.tokens, share, size))
    return tuple((rule, tuple(points)) for rule, points in rules.items())


def _bars(title: str, x_title: str, shares: Sequence[Share]) -> Figure:
    points = tuple(_point(float(number), share, share.label) for number, share in enumerate(shares))
    return Figure(title, x_title, (("", points),), tuple(share.label for share in shares))


def _point(x: float, share: Share, name: str) -> Point:
    low, high = wilson(share.successes, share.trials)
    return Point(x, share.share or 0.0, low, high, f"{name}: {share.successes} of {share.trials}")
