"""A report as an image, by matplotlib, which is loaded only here."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from ramify.errors import UsageError

from .analysis import Analysis
from .figures import Figure, figures

COLUMNS = 3
INCHES = (5.0, 3.6)
SUFFIXES = (".png", ".svg", ".pdf")


def draw(analyses: Sequence[Analysis], path: Path) -> None:
    """Draw all figures of some runs into one image file.

    Raises:
        UsageError: if matplotlib is not installed, there is nothing to draw, or the file cannot be written.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path} does not end in {', '.join(SUFFIXES)}", "choose one of these")
    wanted = figures(analyses)
    if not wanted:
        raise UsageError("there is nothing to draw: no item has a gold answer", "")
    try:
        matplotlib: Any = import_module("matplotlib.figure")
    except ImportError as error:
        raise UsageError("plots need matplotlib", "pip install 'ramify[plot]'") from error
    rows = -(-len(wanted) // COLUMNS)
    columns = min(COLUMNS, len(wanted))
    canvas = matplotlib.Figure(figsize=(INCHES[0] * columns, INCHES[1] * rows), layout="constrained")
    for number, figure in enumerate(wanted, start=1):
        _draw(canvas.add_subplot(rows, columns, number), figure)
    try:
        canvas.savefig(path, dpi=120)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", "choose another --plot") from error


def _draw(axes: Any, figure: Figure) -> None:
    for name, points in figure.series:
        x, y = [point.x for point in points], [point.y for point in points]
        spread = [[point.y - point.low for point in points], [point.high - point.y for point in points]]
        if figure.names:
            axes.bar(x, y, yerr=spread if figure.top is None else None, width=0.6, capsize=3)
            axes.set_xticks(x, figure.names)
        else:
            axes.errorbar(x, y, yerr=spread, marker="o", capsize=3, label=name)
    if not figure.names:
        axes.set_xscale("log")
        axes.legend(fontsize="small")
    axes.set(title=figure.title, xlabel=figure.x_title, ylabel=figure.y_title)
    axes.set_ylim(0, 1.02 if figure.top is None else None)
    axes.grid(visible=True, alpha=0.3)
