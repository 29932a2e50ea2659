"""Verdicts on claims, and the selections of cells that all claims share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np

from ramify.statistics import Estimate

from ..cells import Cell, CostKind
from ..fits import Array, crossfit

MARGIN = 0.02
"""Accuracies are level if the 95 % band of their difference lies above minus this; fixed before any measurement."""


class VerdictOutcome(StrEnum):
    """The possible verdicts."""

    SUPPORTED = "supported"
    PARTLY = "partly supported"
    NOT_SUPPORTED = "not supported here"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A verdict on a claim: `test` describes its computation; `table` begins with its headings."""

    number: int
    claim: str
    outcome: VerdictOutcome
    test: str
    findings: tuple[str, ...] = ()
    table: tuple[tuple[str, ...], ...] = ()
    figures: dict[str, Any] = field(default_factory=dict[str, Any])

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            "number": self.number,
            "claim": self.claim,
            "verdict": str(self.outcome),
            "test": self.test,
            "findings": list(self.findings),
            "table": [list(row) for row in self.table],
            "figures": self.figures,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class BestSetting:
    """The best of some cells, chosen by halves: its figures on each problem, and the labels of the two choices."""

    right: Array
    first: Array
    costs: Array
    labels: tuple[str, ...]

    @property
    def names(self) -> str:
        """The chosen cells."""
        return " / ".join(dict.fromkeys(self.labels))


def best(cells: Sequence[Cell], by: CostKind) -> BestSetting:
    """Return the most accurate cell, chosen on one half of the problems for the other."""
    right, chosen = crossfit([cell.right for cell in cells])
    return BestSetting(
        right=right,
        first=_mixed([cell.first for cell in cells], chosen),
        costs=_mixed([cell.costs(by) for cell in cells], chosen),
        labels=tuple(str(cells[place].label) for place in chosen),
    )


def within(cells: Sequence[Cell], cost: float, by: CostKind) -> list[Cell]:
    """Return the cells whose mean cost is at most `cost`."""
    return [cell for cell in cells if cell.cost(by) <= cost]


def level(found: Estimate) -> bool:
    """Return whether the left side is at least as good, apart from MARGIN."""
    return found.low > -MARGIN


def summed_up(good: int, of: int) -> VerdictOutcome:
    """Return the verdict of several cases of one claim."""
    if of == 0:
        return VerdictOutcome.NOT_MEASURED
    return VerdictOutcome.SUPPORTED if good == of else VerdictOutcome.PARTLY if good else VerdictOutcome.NOT_SUPPORTED


def merged(parts: Sequence[tuple[str, Verdict]]) -> Verdict:
    """Return one verdict from those on several sets of problems, each named; a single one stays as it is.

    Supported, or not, if it is so wherever it could be measured; else partly.
    """
    if len(parts) == 1:
        return parts[0][1]
    told = [(name, each) for name, each in parts if each.outcome is not VerdictOutcome.NOT_MEASURED] or list(parts)
    outcomes = {each.outcome for _, each in told}
    first = told[0][1]
    return replace(
        first,
        outcome=outcomes.pop() if len(outcomes) == 1 else VerdictOutcome.PARTLY,
        findings=tuple(f"{name}: {line}" for name, each in told for line in each.findings),
        table=(*first.table[:1], *(row for _, each in told for row in each.table[1:])),
        figures={name: each.figures for name, each in told},
    )


def front(cells: Sequence[Cell], by: CostKind) -> list[Cell]:
    """Return the Pareto front: the cells that no other beats at the same cost or less, cheapest first."""
    kept = list[Cell]()
    for cell in sorted(cells, key=lambda each: (each.cost(by), -each.accuracy)):
        if not kept or cell.accuracy > kept[-1].accuracy:
            kept.append(cell)
    return kept


def _mixed(columns: Sequence[Array], chosen: Sequence[int]) -> Array:
    result = np.empty(len(columns[0]))
    for own, place in enumerate(chosen):
        result[own::2] = columns[place][own::2]
    return result
