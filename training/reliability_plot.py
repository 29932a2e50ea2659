"""A reliability diagram, by matplotlib, which is loaded only here."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from ramify.errors import UsageError

from .measures import Calibration

INCHES = (5.0, 5.0)


def draw_reliability(calibrations: Mapping[str, Calibration], path: Path) -> None:
    """Draw the mean true value against the mean score of each bin, one line a reward; dots grow with their number.

    Raises:
        UsageError: if matplotlib is not installed, or the file cannot be written.
    """
    try:
        matplotlib: Any = import_module("matplotlib.figure")
    except ImportError as error:
        raise UsageError("the reliability plot needs matplotlib", "pip install 'ramify[plot]'") from error
    canvas = matplotlib.Figure(figsize=INCHES, layout="constrained")
    axes = canvas.add_subplot(1, 1, 1)
    axes.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1)
    for name, each in calibrations.items():
        x, y = [found.score for found in each.bins], [found.value for found in each.bins]
        sizes = [20 + 180 * found.count / each.count for found in each.bins]
        (line,) = axes.plot(x, y, label=f"{name} (error {each.error:.3f}, Brier {each.brier:.3f})")
        axes.scatter(x, y, s=sizes, color=line.get_color())
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="score", ylabel="chance of a right answer", title="Reliability")
    axes.legend(fontsize="small")
    axes.grid(visible=True, alpha=0.3)
    try:
        canvas.savefig(path, dpi=120)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", "choose another --out") from error
