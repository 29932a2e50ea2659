"""Claim 6: the compute-optimal model grows with the budget by a power law."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ramify.statistics import Estimate, bootstrap_statistic

from ..cells import Cell, CostKind, Measurements
from ..fits import Array, fit_line
from .verdict import Verdict, VerdictOutcome

CLAIM = "The optimal model grows with the budget: log10 C = a log10 N + b"
PAPER = (1.19, 2.03)
"""Slope and offset of Wu et al., arXiv 2408.00724, for C in FLOPs a problem and N in parameters."""
POINTS = 60
"""Budgets between the cheapest and the dearest cell, evenly spaced in their logarithm."""
TEST = (
    f"At each of {POINTS} budgets C from the cheapest to the dearest setting (reward counted), the most accurate "
    "setting within it has N parameters in its policy and a width W; least squares of log10 C on log10 N, and of "
    "log10 W on log10 C; bootstrap over problems. Supported if the 95 % band of a lies above 0."
)


def judge(measured: Measurements) -> Verdict:
    """Return the verdict over all cells without noise."""
    cells = [cell for cell in measured.cells if cell.label.sigma == 0]
    sizes = sorted({cell.parameters for cell in cells})
    if len(sizes) < 2:
        return Verdict(number=6, claim=CLAIM, outcome=VerdictOutcome.NOT_MEASURED, test=TEST)
    costs = np.stack([cell.costs(CostKind.ALL_FLOPS) for cell in cells])
    right = np.stack([cell.right for cell in cells])

    def fitted(places: npt.NDArray[np.intp]) -> _Law:
        return _Law(cells, costs[:, places].mean(axis=1), right[:, places].mean(axis=1))

    count = len(measured.problems)
    law = fitted(np.arange(count))
    slope = bootstrap_statistic(count, lambda places: fitted(places).slope)
    offset = bootstrap_statistic(count, lambda places: fitted(places).offset)
    width = bootstrap_statistic(count, lambda places: fitted(places).width_slope)
    findings = [f"best within its budget: {text}" for text in law.best_by_budget()]
    if slope is None or offset is None:
        findings.append("one model is the best at every budget, so there is no law to be fitted")
    else:
        findings.append(f"log10 C = {_band(slope)} log10 N + {_band(offset)}; the paper: {PAPER[0]} and {PAPER[1]}")
    if width is not None:
        findings.append(f"the optimal width grows as C to the power of {_band(width)}")
    findings.append(
        f"caveat: {len(sizes)} models from {sizes[0]:,} to {sizes[-1]:,} parameters, trained on different numbers "
        "of tokens, on one set of problems; the budgets end where the measurement does, which bounds the "
        "law on both sides"
    )
    return Verdict(
        number=6,
        claim=CLAIM,
        outcome=_outcome(slope),
        test=TEST,
        findings=tuple(findings),
        figures=_figures(slope, offset, width),
    )


class _Law:
    """The best cell within each budget, and the lines through them."""

    def __init__(self, cells: Sequence[Cell], costs: Array, right: Array) -> None:
        self._cells = cells
        low, high = float(np.log10(costs.min())), float(np.log10(costs.max()))
        budgets: Array = np.asarray([10 ** (low + (high - low) * place / (POINTS - 1)) for place in range(POINTS)])
        # Rounding must not put the cheapest cell out of the first budget's reach.
        budgets[0] = costs.min()
        self._budgets = budgets
        affordable = costs[None, :] <= budgets[:, None] * (1 + 1e-9)
        self._best = [int(place) for place in np.where(affordable, right[None, :], -1.0).argmax(axis=1)]
        sizes = np.log10([cells[place].parameters for place in self._best])
        found = fit_line(sizes, np.log10(budgets))
        self.slope = None if found is None else found[0]
        self.offset = None if found is None else found[1]
        widths = fit_line(np.log10(budgets), np.log10([cells[place].label.width for place in self._best]))
        self.width_slope = None if widths is None else widths[0]

    def best_by_budget(self) -> list[str]:
        """Return a line for each change of the best cell, with the budget from which on it is the best."""
        lines, before = list[str](), -1
        for budget, place in zip(self._budgets, self._best, strict=True):
            if place != before:
                cell = self._cells[place]
                lines.append(f"from {budget / 1e9:.3g} GFLOPs on {cell.label} ({cell.accuracy:.3f})")
            before = place
        return lines


def _outcome(slope: Estimate | None) -> VerdictOutcome:
    return VerdictOutcome.SUPPORTED if slope is not None and slope.low > 0 else VerdictOutcome.NOT_SUPPORTED


def _band(found: Estimate) -> str:
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


def _figures(slope: Estimate | None, offset: Estimate | None, width: Estimate | None) -> dict[str, Any]:
    named = {"a": slope, "b": offset, "width_exponent": width}
    found: dict[str, Any] = {
        name: each.to_dict() if np.isfinite(each.high) else {"value": each.value}
        for name, each in named.items()
        if each is not None
    }
    return found | {"paper": {"a": PAPER[0], "b": PAPER[1]}}
