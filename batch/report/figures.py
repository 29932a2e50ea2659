"""What is drawn of some runs, whatever draws it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ramify.statistics import wilson

from .analysis import Analysis, Share
from .charts import Point


@dataclass(frozen=True, slots=True)
class Figure:
    """Something by something else: bars with `names`, or a line of points for each entry of `series`.

    The vertical axis is the accuracy from 0 to 1, or `y_title` from 0 up.
    """

    title: str
    x_title: str
    series: tuple[tuple[str, tuple[Point, ...]], ...]
    names: tuple[str, ...] = ()
    y_title: str = "accuracy"

    @property
    def top(self) -> float | None:
        """The largest value, None where values are shares."""
        return None if self.y_title == "accuracy" else max(point.y for _, points in self.series for point in points)


def figures(analyses: Sequence[Analysis]) -> list[Figure]:
    """Return all figures that the runs have data for; each run has bars of its own."""
    found = [_runs(analyses, *each) for each in _COSTS]
    several = len(analyses) > 1
    votes = tuple(series for each in analyses for series in _votes(each, each.folder.name if several else ""))
    if votes:
        found.append(Figure("Votes among fewer paths", "generated tokens of an item", votes))
    for each in analyses:
        suffix = f", {each.folder.name}" if several else ""
        for name, shares in each.groups.items():
            found.append(_bars(f"Accuracy by {name}{suffix}", name, shares))
            found.append(_costs(f"Generated tokens by {name}{suffix}", name, shares))
        found.append(_bars(f"Accuracy by agreement of the votes{suffix}", "share of paths that agree", each.agreement))
        found.append(_bars(f"Calibration of the scores{suffix}", "score of a path", each.calibration))
    return [each for each in found if any(points for _, points in each.series) and each.top != 0]


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


def _votes(run: Analysis, prefix: str) -> tuple[tuple[str, tuple[Point, ...]], ...]:
    rules: dict[str, list[Point]] = {}
    for share in run.votes:
        rule, _, size = share.label.partition(", ")
        if share.tokens is not None:
            rules.setdefault(rule, []).append(_point(share.tokens, share, size))
    return tuple((f"{prefix} {rule}".strip(), tuple(points)) for rule, points in rules.items())


def _bars(title: str, x_title: str, shares: Sequence[Share]) -> Figure:
    points = tuple(_point(float(number), share, share.label) for number, share in enumerate(shares))
    return Figure(title, x_title, (("", points),), tuple(share.label for share in shares))


def _costs(title: str, x_title: str, shares: Sequence[Share]) -> Figure:
    points = tuple(
        Point(float(number), share.tokens, share.tokens, share.tokens, f"{share.label}: {share.tokens:,.0f} tokens")
        for number, share in enumerate(shares)
        if share.tokens is not None
    )
    return Figure(
        title, x_title, (("", points),), tuple(share.label for share in shares), "generated tokens of an item"
    )


def _point(x: float, share: Share, name: str) -> Point:
    low, high = wilson(share.successes, share.trials)
    return Point(x, share.share or 0.0, low, high, f"{name}: {share.successes} of {share.trials}")
