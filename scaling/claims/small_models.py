"""Claim 1: a smaller model with a better strategy matches a larger one at half of the FLOPs or less."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from ramify.statistics import mcnemar, paired_difference

from ..cells import Cell, CostKind, Measurements
from .verdict import MARGIN, BestSetting, Verdict, best, front, level, summed_up, within

SHARE = 0.5
COMPARISONS = (
    (CostKind.ALL_FLOPS, SHARE, str(CostKind.ALL_FLOPS)),
    (CostKind.POLICY_FLOPS, SHARE, str(CostKind.POLICY_FLOPS)),
    (CostKind.ALL_FLOPS, 1.0, "at equal FLOPs"),
    (CostKind.SECONDS, 1.0, "at equal seconds"),
)
"""Costs of the comparisons, the share of the larger model's that the smaller one gets, and their names.

The first one decides the claim."""
PLAIN = ("greedy", "majority", "weighted")
"""Strategies of the larger model."""
CLAIM = "A smaller model with a better strategy matches a larger one at no more than half of the FLOPs"
TEST = (
    "For each setting of the larger model (greedy, majority, weighted), the most accurate setting of the smaller "
    "one at half of its FLOPs or less, chosen on one half of the problems and judged on the other; paired "
    f"bootstrap over problems: matched if the 95 % band of the difference lies above -{MARGIN}. McNemar's exact "
    "test on the first sampling seed. Supported if all settings within the smaller one's reach are matched. The same "
    "at equal FLOPs and, where seconds were measured, at equal seconds, each with a verdict of its own."
)


def judge(measured: Measurements) -> Verdict:
    """Return the verdict, with the reward model's FLOPs counted; the table has all comparisons."""
    table: list[tuple[str, ...]] = [
        ("larger", "accuracy", "cost", "smaller", "accuracy", "cost", "difference", "McNemar p", "compared")
    ]
    findings, matched, cases = list[str](), 0, 0
    figures = dict[str, Any]()
    for small, large in _pairs(measured):
        for number, (by, share, name) in enumerate(COMPARISONS):
            good, of, rows = _compare(measured, small, large, by, share, name)
            table += rows
            if not of:
                continue
            change = _takeover(measured, small, large, by)
            findings.append(f"{small} matches {large} in {good} of {of} settings, {name}; {change}")
            figures[f"{small}<{large}, {name}"] = {"matched": good, "of": of, "verdict": str(summed_up(good, of))}
            if number == 0:
                matched, cases = matched + good, cases + of
    return Verdict(
        number=1,
        claim=CLAIM,
        outcome=summed_up(matched, cases),
        test=TEST,
        findings=tuple(findings),
        table=tuple(table) if len(table) > 1 else (),
        figures=figures,
    )


def _pairs(measured: Measurements) -> list[tuple[str, str]]:
    sizes = {cell.label.policy: cell.parameters for cell in measured.cells}
    ordered = sorted(sizes, key=lambda name: sizes[name])
    return [(small, large) for small, large in combinations(ordered, 2) if sizes[small] < sizes[large]]


def _compare(
    measured: Measurements, small: str, large: str, by: CostKind, share: float, name: str
) -> tuple[int, int, list[tuple[str, ...]]]:
    """Return how many settings are matched, of how many, and their rows."""
    cheap = _cells(measured, small, by)
    good, of, rows = 0, 0, list[tuple[str, ...]]()
    targets = [cell for cell in _cells(measured, large, by) if cell.label.strategy in PLAIN]
    for target in sorted(targets, key=lambda cell: cell.cost(by)):
        reach = within(cheap, share * target.cost(by), by)
        if not reach:
            continue
        rival = best(reach, by)
        found = paired_difference(rival.right, target.right)
        of += 1
        good += level(found)
        rows.append(
            (
                str(target.label),
                f"{target.accuracy:.3f}",
                f"{by.text(target.cost(by))} {by.unit}",
                rival.names,
                f"{rival.right.mean():.3f}",
                f"{by.text(float(rival.costs.mean()))} {by.unit}",
                str(found),
                f"{_mcnemar(rival, target):.3g}",
                name,
            )
        )
    return good, of, rows


def _takeover(measured: Measurements, small: str, large: str, by: CostKind) -> str:
    """Return in words from which budget on the larger model is better at equal FLOPs."""
    cheap, dear = _cells(measured, small, by), _cells(measured, large, by)
    ahead: tuple[float, str] | None = None
    for cell in reversed(front(dear, by)):
        cost = cell.cost(by)
        rivals = within(cheap, cost, by)
        if not rivals:
            break
        gain = paired_difference(best(within(dear, cost, by), by).right, best(rivals, by).right)
        if gain.value <= 0:
            break
        ahead = cost, str(gain)
    if ahead is None:
        return f"{large} does not take over within what was measured"
    return f"{large} takes over from {by.text(ahead[0])} {by.unit} a problem on (by {ahead[1]} there)"


def _cells(measured: Measurements, policy: str, by: CostKind) -> list[Cell]:
    return [cell for cell in measured.comparable(by) if cell.label.policy == policy]


def _mcnemar(rival: BestSetting, target: Cell) -> float:
    # Exact integers of any size, which numpy's are not.
    return mcnemar(int((rival.first > target.first).sum()), int((rival.first < target.first).sum()))
