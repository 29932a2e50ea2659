"""Claim 5: early stopping and adaptive allocation save tokens at equal accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ramify.search.budget_sharing import Allocator, EqualSplit, Portfolio, ProblemProgress
from ramify.search.strategies.widening import Widening
from ramify.search.votes import VoteRule
from ramify.statistics import bootstrap_ratio, paired_difference

from ..cells import Cell, Measurements, Row, winner
from ..config import split_strategy
from ..fits import Array
from .verdict import Verdict, level, summed_up

CLAIM = "Early stopping and adaptive allocation save tokens at equal accuracy"
TEST = (
    "Stopped searches against the same search to its end, and sampling in waves (widening) against majority vote, "
    "at the same width; paired bootstrap over problems. Supported if accuracy is level (95 % band above minus the "
    "margin) and the band of the tokens spent lies below all of them. Allocation is replayed on the saved samples "
    "of the first seed: the portfolio against an equal split of the same total."
)
SHARED_WIDTHS = (4, 8, 16, 32)
"""Mean samples of a problem that the shared budgets allow."""
TRANCHES = 4
AT_A_TIME = 8
"""Problems that get samples before the allocator decides again."""


def judge(measured: Measurements) -> Verdict:
    """Return the verdict over all policies."""
    table: list[tuple[str, ...]] = [("search", "accuracy", "against", "accuracy", "difference", "tokens spent")]
    findings, good, cases = list[str](), 0, 0
    figures = dict[str, Any]()
    for policy in measured.config.policies:
        for cell, plain in _pairs(measured, policy):
            found, spent = paired_difference(cell.right, plain.right), bootstrap_ratio(cell.tokens, plain.tokens)
            fine = level(found) and spent.high < 1
            cases, good = cases + 1, good + fine
            table.append(
                (
                    str(cell.label),
                    f"{cell.accuracy:.3f}",
                    f"{plain.label.strategy}@{plain.label.width}",
                    f"{plain.accuracy:.3f}",
                    str(found),
                    f"{spent.value:.0%} [{spent.low:.0%}, {spent.high:.0%}]",
                )
            )
            figures[str(cell.label)] = {"difference": found.to_dict(), "tokens": spent.to_dict(), "saves": fine}
        rows = measured.rows(policy)
        for width in SHARED_WIDTHS if rows else ():
            if 4 * width > min(len(row[0]["groups"]) for row in rows):
                continue
            line, value = _shared([row[0] for row in rows], width)
            findings.append(f"{policy}, {line}")
            figures[f"{policy}, shared budget of {width} samples a problem"] = value
    best = [(name, value) for name, value in figures.items() if value.get("saves")]
    findings = [
        f"{name}: {value['tokens']['value']:.0%} of the tokens, accuracy {value['difference']['value']:+.3f}"
        for name, value in best
    ] + findings
    return Verdict(
        number=5,
        claim=CLAIM,
        outcome=summed_up(good, cases),
        test=TEST,
        findings=tuple(findings),
        table=tuple(table) if cases else (),
        figures=figures,
    )


def _pairs(measured: Measurements, policy: str) -> list[tuple[Cell, Cell]]:
    """Return pairs of a search that ends early and the same search to its end, at widths where it can save."""
    found = list[tuple[Cell, Cell]]()
    for cell in measured.cells:
        label = cell.label
        name, rules = split_strategy(label.strategy)
        whole = "majority" if name == "widening" else name
        nothing_to_save = label.width <= (Widening().start_width if name == "widening" else 1)
        if label.policy != policy or (rules is None and name != "widening") or nothing_to_save:
            continue
        plain = measured.of(policy, whole, None if whole == "majority" else label.reward)
        found += [(cell, each) for each in plain if each.label.width == label.width]
    return sorted(found, key=lambda pair: (pair[0].label.strategy, pair[0].label.width))


def _shared(rows: Sequence[Row], width: int) -> tuple[str, dict[str, Any]]:
    budget = sum(sum(row["tokens"][:width]) for row in rows)
    most = min(len(row["groups"]) for row in rows)
    equal, spent_equal = replay(rows, EqualSplit(tranche=TRANCHES, most=most), budget)
    shared, spent_shared = replay(rows, Portfolio(first=TRANCHES, tranche=TRANCHES, most=most), budget)
    found = paired_difference(shared, equal)
    line = (
        f"a budget of {width} samples a problem: shared {shared.mean():.3f} for {spent_shared:,} tokens, split equally "
        f"{equal.mean():.3f} for {spent_equal:,} tokens ({found})"
    )
    value = {
        "budget_tokens": budget,
        "shared": float(shared.mean()),
        "shared_tokens": spent_shared,
        "equal": float(equal.mean()),
        "equal_tokens": spent_equal,
        "difference": found.to_dict(),
    }
    return line, value


def replay(rows: Sequence[Row], allocator: Allocator, budget: int) -> tuple[Array, int]:
    """Return whether each problem is right, and the tokens spent, with the saved samples given out by the allocator.

    A sample that exceeds the rest of the budget is not taken, and ends its tranche.
    """
    taken, left = [0] * len(rows), budget
    standings = [_standing(row, 0) for row in rows]
    while left > 0:
        before = left
        for tranche in allocator.next(standings, left, AT_A_TIME):
            place = tranche.problem
            for tokens in rows[place]["tokens"][taken[place] : taken[place] + tranche.samples]:
                if tokens > left:
                    break
                left -= tokens
                taken[place] += 1
            standings[place] = _standing(rows[place], taken[place])
        if left == before:
            break
    right = [
        float(winner(row["groups"][:count], VoteRule.MAJORITY) in row["right"])
        for row, count in zip(rows, taken, strict=True)
    ]
    return np.array(right), budget - left


def _standing(row: Row, count: int) -> ProblemProgress:
    groups = [group for group in row["groups"][:count] if group >= 0]
    return ProblemProgress(
        votes=tuple(groups.count(group) for group in dict.fromkeys(groups)),
        samples=count,
        tokens=sum(row["tokens"][:count]),
    )
