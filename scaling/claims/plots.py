"""Plots of a scaling measurement: error against compute, energy and money, Pareto fronts, votes, noisy rewards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ramify.batch.store.folder import writing
from ramify.files import exporting, make_folder
from ramify.plots import drawing, label_logarithms, new_figure
from ramify.statistics import bootstrap_mean

from ..cells import Cell, CostKind, Measurements
from ..fits import fit_saturation
from ..plans import CLAIMS
from .rebase import noise_sweep
from .verdict import front

LEAST_ERROR = 1e-3
"""An error of 0 has no place on a logarithmic axis."""
INCHES = (7.0, 5.0)
COST_LABELS = {
    CostKind.ALL_FLOPS: "FLOPs a problem (policy and reward)",
    CostKind.POLICY_FLOPS: "FLOPs a problem (policy alone)",
    CostKind.SECONDS: "seconds a problem",
    CostKind.JOULES: "joules a problem",
    CostKind.MONEY: "money a problem",
}
FILE_NAMES = {
    CostKind.ALL_FLOPS: "all-flops",
    CostKind.POLICY_FLOPS: "policy-flops",
    CostKind.SECONDS: "seconds",
    CostKind.JOULES: "joules",
    CostKind.MONEY: "money",
}
SHOWN_BY_SECONDS = ("greedy", "majority", "rebase")
"""Strategies of the plot of accuracy against seconds."""
ALL = "all"
"""The view of a plan that has only one."""


def draw(found: Measurements, folder: Path, view: str = ALL, claims: Sequence[int] = CLAIMS) -> list[Path]:
    """Draw the plots of a view's claims that have data, and return the files; their names begin with `view`.

    Raises:
        UsageError: if matplotlib is not installed.
        RunFolderError: if the files cannot be written.
    """
    with drawing():
        return _draw(found, folder, view, claims)


def _draw(found: Measurements, folder: Path, view: str, claims: Sequence[int]) -> list[Path]:
    written = list[Path]()

    def save(name: str, canvas: Any) -> None:
        path = folder / f"{'' if view == ALL else f'{view}-'}{name}.png"
        with writing(path):
            make_folder(folder)
            with exporting(path) as file:
                canvas.savefig(file, dpi=80, format="png")
        written.append(path)

    compared = {1, 3, 6} & {*claims}
    for by in found.cost_kinds if compared else ():
        plain = found.comparable(by)
        canvas, axes = _canvas()
        _fronts(axes, plain, by)
        save(f"fronts-{FILE_NAMES[by]}", canvas)
        for policy in found.config.policies:
            own = [cell for cell in plain if cell.label.policy == policy]
            if own:
                canvas, axes = _canvas()
                _strategies(axes, own, policy, by)
                save(f"{_file_name(policy)}-{FILE_NAMES[by]}", canvas)
    shown = [cell for cell in found.comparable(CostKind.SECONDS) if cell.label.strategy in SHOWN_BY_SECONDS]
    if shown:
        canvas, axes = _canvas()
        _accuracies(axes, shown)
        save("accuracy-seconds", canvas)
    for name, plot, claim in (("saturation", _saturation, 2), ("noise", _noise, 3)):
        if claim not in claims:
            continue
        canvas, axes = _canvas()
        if plot(axes, found):
            save(name, canvas)
    return written


def _canvas() -> tuple[Any, Any]:
    canvas = new_figure(*INCHES)
    axes = canvas.add_subplot()
    axes.grid(visible=True, which="both", alpha=0.25)
    return canvas, axes


def _accuracies(axes: Any, cells: Sequence[Cell]) -> None:
    """Draw accuracy against seconds with its 95 % intervals: a line for each policy and strategy."""
    groups = dict[str, list[Cell]]()
    for cell in cells:
        judged = f" by {cell.label.reward}" if cell.label.reward else ""
        groups.setdefault(f"{cell.label.policy}, {cell.label.strategy}{judged}", []).append(cell)
    policies = sorted({cell.label.policy for cell in cells})
    for number, (name, members) in enumerate(sorted(groups.items())):
        ordered = sorted(members, key=lambda cell: cell.cost(CostKind.SECONDS))
        accuracies = [cell.accuracy for cell in ordered]
        # Rounding must not put an end of an interval on the wrong side of the mean.
        below = [max(0.0, cell.accuracy - cell.band[0]) for cell in ordered]
        above = [max(0.0, cell.band[1] - cell.accuracy) for cell in ordered]
        axes.errorbar(
            [cell.cost(CostKind.SECONDS) for cell in ordered],
            accuracies,
            yerr=[below, above],
            marker="os^vDP*X"[policies.index(members[0].label.policy) % 8],
            markersize=5,
            linewidth=1.2,
            elinewidth=0.6,
            capsize=2,
            label=name,
            color=f"C{number % 10}",
        )
    axes.set(title="Accuracy against seconds", xlabel="seconds a problem", ylabel="accuracy", xscale="log", ylim=(0, 1))
    label_logarithms(axes.xaxis)
    axes.legend(fontsize="x-small")


def _strategies(axes: Any, cells: Sequence[Cell], policy: str, by: CostKind) -> None:
    groups = dict[str, list[Cell]]()
    for cell in cells:
        judged = f" by {cell.label.reward}" if cell.label.reward else ""
        groups.setdefault(cell.label.strategy + judged, []).append(cell)
    for number, (name, members) in enumerate(sorted(groups.items())):
        _errors(axes, members, name, f"C{number % 10}", "os^vDP*X"[number // 10 % 8], by)
    _finish(axes, f"{policy}: error against {COST_LABELS[by].partition(' ')[0]}", by)


def _fronts(axes: Any, cells: Sequence[Cell], by: CostKind) -> None:
    for number, policy in enumerate(sorted({cell.label.policy for cell in cells})):
        own = [cell for cell in cells if cell.label.policy == policy]
        axes.scatter(
            [cell.cost(by) for cell in own],
            [max(LEAST_ERROR, 1 - cell.accuracy) for cell in own],
            s=8,
            alpha=0.3,
            color=f"C{number}",
        )
        _errors(axes, front(own, by), f"front of {policy}", f"C{number}", "o", by)
    _finish(axes, "Pareto fronts", by)


def _errors(axes: Any, cells: Sequence[Cell], name: str, colour: str, marker: str, by: CostKind) -> None:
    """Draw a line through the errors of some cells, with its 95 % band."""
    ordered = sorted(cells, key=lambda cell: cell.cost(by))
    costs = [cell.cost(by) for cell in ordered]
    bands = [bootstrap_mean(cell.right) for cell in ordered]
    axes.plot(
        costs,
        [max(LEAST_ERROR, 1 - band.value) for band in bands],
        marker=marker,
        markersize=4,
        linewidth=1,
        label=name,
        color=colour,
    )
    low, high = [
        [max(LEAST_ERROR, 1 - end) for end in ends] for ends in zip(*((b.low, b.high) for b in bands), strict=True)
    ]
    axes.fill_between(costs, low, high, alpha=0.08, color=colour)


def _finish(axes: Any, title: str, by: CostKind) -> None:
    axes.set(title=title, xlabel=COST_LABELS[by], ylabel="error (1 - accuracy)", xscale="log", yscale="log")
    label_logarithms(axes.xaxis)
    label_logarithms(axes.yaxis)
    axes.legend(fontsize="x-small")


def _saturation(axes: Any, found: Measurements) -> bool:
    """Draw the votes against their width, with their fits; return whether there are any."""
    drawn = 0
    for policy in found.config.policies:
        for strategy, reward in [("majority", None), *(("weighted", each) for each in found.config.rewards)]:
            cells = found.of(policy, strategy, reward)
            if not cells:
                continue
            widths, accuracies = [cell.label.width for cell in cells], [cell.accuracy for cell in cells]
            judged = f" by {reward}" if reward else ""
            axes.plot(
                widths, accuracies, "o", markersize=4, color=f"C{drawn % 10}", label=f"{policy} {strategy}{judged}"
            )
            fit = fit_saturation(widths, np.array(accuracies))
            if fit is not None:
                axes.plot(widths, [fit.at(width) for width in widths], linewidth=1, color=f"C{drawn % 10}")
            drawn += 1
    axes.set(title="Votes against their width", xlabel="samples", ylabel="accuracy", xscale="log")
    label_logarithms(axes.xaxis)
    if drawn:
        axes.legend(fontsize="x-small")
    return drawn > 0


def _noise(axes: Any, found: Measurements) -> bool:
    """Draw accuracy against the noise on the rewards; return whether there is any."""
    drawn = 0
    for policy in found.config.policies:
        for reward in found.config.rewards:
            rows = noise_sweep(found, policy, reward)
            if len(rows) < 2:
                continue
            sigmas = [row["sigma"] for row in rows]
            axes.plot(sigmas, [row["rebase"] for row in rows], marker="o", label=f"{policy} REBASE by {reward}")
            drawn += 1
    axes.set(title="REBASE with a worse reward", xlabel="noise on the logits of its scores", ylabel="accuracy")
    if drawn:
        axes.legend(fontsize="x-small")
    return drawn > 0


def _file_name(policy: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in policy)
