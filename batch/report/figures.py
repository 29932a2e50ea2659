"""Figures of a report: accuracy against cost, votes, groups and calibration; drawn to a file or as SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ramify.errors import UsageError
from ramify.plots import COLOURS, SUFFIXES, drawing, logarithmic_axis, new_figure, save_figure, svg_text
from ramify.statistics import wilson

from .analysis import Analysis, Share

COLUMNS = 3
"""Figures beside each other in one image."""
INCHES = (5.0, 3.6)
"""Width and height of a figure."""
SHARE_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
MOST_TICK_CHARACTERS = 60
"""Longer names below bars are turned, so that they do not run into each other."""


@dataclass(frozen=True, slots=True)
class Point:
    """A point with its 95 % interval on the vertical axis; `label` names it."""

    x: float
    y: float
    low: float
    high: float
    label: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart: bars with `names`, or a line of points for each entry of `series`.

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
    """Return all figures for which the runs have data; each run has its own bars."""
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


def save_figures(analyses: Sequence[Analysis], path: Path) -> None:
    """Draw all figures of some runs into one image file.

    Raises:
        UsageError: if matplotlib is not installed, there is nothing to draw, or the file cannot be written.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path} does not end in {', '.join(SUFFIXES)}", "choose one of these")
    wanted = figures(analyses)
    if not wanted:
        raise UsageError("there is nothing to draw: no item has a gold answer", "")
    rows, columns = -(-len(wanted) // COLUMNS), min(COLUMNS, len(wanted))
    canvas = new_figure(INCHES[0] * columns, INCHES[1] * rows)
    with drawing():
        for number, figure in enumerate(wanted, start=1):
            axes = canvas.add_subplot(rows, columns, number)
            draw(axes, figure)
            axes.set_title(figure.title)
        save_figure(canvas, path, option="--plot")


def figures_as_svg(wanted: Sequence[Figure]) -> list[str]:
    """Return an SVG element for each figure, without its title.

    Raises:
        UsageError: if matplotlib is not installed.
    """
    found = list[str]()
    for number, figure in enumerate(wanted, start=1):
        canvas = new_figure(*INCHES)
        with drawing():
            draw(canvas.add_subplot(), figure)
            found.append(svg_text(canvas, figure.title, f"figure{number}"))
    return found


def draw(axes: Any, figure: Figure) -> None:
    """Draw a figure: bars, or lines over a logarithmic horizontal axis."""
    if figure.names:
        _draw_bars(axes, figure)
    else:
        _draw_lines(axes, figure)
    axes.set(xlabel=figure.x_title, ylabel=figure.y_title)
    if figure.top is None:
        axes.set_ylim(0, 1.02)
        axes.set_yticks(SHARE_TICKS, [f"{share:.0%}" for share in SHARE_TICKS])
    else:
        axes.set_ylim(0, None)
        axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.grid(visible=True, axis="y" if figure.names else "both", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_bars(axes: Any, figure: Figure) -> None:
    points = figure.series[0][1]
    x, y = [point.x for point in points], [point.y for point in points]
    spread = _spread(points) if figure.top is None else None
    axes.bar(x, y, yerr=spread, width=0.6, capsize=3, color=COLOURS[0], alpha=0.75)
    crowded = sum(map(len, figure.names)) > MOST_TICK_CHARACTERS
    axes.set_xticks(x, figure.names, rotation=30 if crowded else 0, ha="right" if crowded else "center")


def _draw_lines(axes: Any, figure: Figure) -> None:
    # A logarithmic axis has no place for 0.
    shown = [(name, [point for point in points if point.x > 0]) for name, points in figure.series]
    for number, (name, points) in enumerate(shown):
        x, y = [point.x for point in points], [point.y for point in points]
        colour = COLOURS[number % len(COLOURS)]
        axes.errorbar(x, y, yerr=_spread(points), marker="o", capsize=3, label=name, color=colour)
    costs = [point.x for _, points in shown for point in points]
    if costs:
        logarithmic_axis(axes, min(costs), max(costs))
    axes.legend(fontsize="small", frameon=False)


def _spread(points: Sequence[Point]) -> list[list[float]]:
    """Return the distances of the interval's ends from the points, which rounding may not make negative."""
    return [[max(0.0, p.y - p.low) for p in points], [max(0.0, p.high - p.y) for p in points]]


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
