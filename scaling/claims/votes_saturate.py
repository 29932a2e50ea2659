"""Claim 2: majority vote saturates at the accuracy of the most likely answer, weighted vote higher."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

import numpy as np
import numpy.typing as npt

from ramify.statistics import Estimate, bootstrap_mean, bootstrap_statistic, paired_difference

from ..cells import Cell, Measurements, Row, scores_of
from ..fits import Array, Saturation, fit_saturation
from .verdict import Verdict, summed_up

CLAIM = "Majority vote saturates at the accuracy of the most likely answer; weighted vote saturates higher"
TEST = (
    "Least-squares fit of accuracy(N) = limit - gap x N^-exponent with a bootstrap over problems; the empirical "
    "argmax is the vote among all samples of all sampling seeds. Saturation: the last doubling of the width gains less "
    "than the doublings before it on average (paired bootstrap; the first one alone never gains anything, since a tie "
    "goes to the first sample), and the fitted limit's 95 % band holds the empirical argmax accuracy. Weighted higher: "
    "the paired difference of the two empirical argmax accuracies has a 95 % band above 0."
)
RIGHT = "right"


def judge(measured: Measurements) -> Verdict:
    """Return the verdict over all policies and rewards."""
    table: list[tuple[str, ...]] = [
        ("vote", "N=1", "largest N", "fitted limit", "empirical argmax", "samples", "last doubling")
    ]
    findings, good, cases = list[str](), 0, 0
    figures = dict[str, Any]()
    for policy in measured.config.policies:
        rows = measured.rows(policy)
        plain = measured.of(policy, "majority", None)
        if not rows or len(plain) < 3:
            continue
        argmax = pooled(rows, None)
        shape = _Curve(plain)
        slows, holds = shape.slows(), shape.holds(float(argmax.mean()))
        cases += 1
        good += slows and holds
        table.append(shape.row(argmax, rows))
        told = "saturates" if slows and holds else "is not shown to saturate"
        findings.append(
            f"{policy}: majority {told} (the last doubling gains {shape.last}, those before it {shape.before} each; "
            f"limit {shape.limit_text()}, argmax {argmax.mean():.3f})"
        )
        figures[policy] = {"majority": shape.figures(argmax)}
        for reward in measured.config.rewards:
            weighted = measured.of(policy, "weighted", reward)
            if len(weighted) < 3:
                continue
            curve, limit = _Curve(weighted), pooled(rows, reward)
            gain = paired_difference(limit, argmax)
            cases += 1
            good += gain.low > 0
            table.append(curve.row(limit, rows))
            findings.append(
                f"{policy}: weighted by {reward} ends {'higher' if gain.low > 0 else 'not shown to be higher'} than "
                f"majority ({gain})"
            )
            figures[policy][f"weighted by {reward}"] = curve.figures(limit) | {"minus_majority": gain.to_dict()}
    return Verdict(
        number=2,
        claim=CLAIM,
        outcome=summed_up(good, cases),
        test=TEST,
        findings=tuple(findings),
        table=tuple(table) if cases else (),
        figures=figures,
    )


def pooled(rows: Sequence[Sequence[Row]], reward: str | None) -> Array:
    """Return whether the vote among all samples of each problem is right; `rows` has its rows by problem.

    Answers of two sampling seeds are the same if both are right or their texts are equal. Ties go to the answer that
    came first.
    """
    return np.array([float(_winner(each, reward) == RIGHT) for each in rows])


def _winner(rows: Sequence[Row], reward: str | None) -> str | None:
    weights = dict[str, float]()
    for row in rows:
        scores: Sequence[float | None] = [1.0] * len(row["groups"]) if reward is None else scores_of(row, reward)
        for group, score in zip(row["groups"], scores, strict=True):
            if group >= 0:
                name = RIGHT if group in row["right"] else f"={row['answers'][group]}"
                weights[name] = weights.get(name, 0.0) + (score or 0.0)
    return max(weights, key=lambda name: weights[name]) if weights else None


class _Curve:
    """Accuracy of a vote against its width, with its fitted limit."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        self._cells = cells
        self._widths = [cell.label.width for cell in cells]
        self._right = np.stack([cell.right for cell in cells])
        self.fit: Saturation | None = fit_saturation(self._widths, self._right.mean(axis=1))
        self.limit: Estimate | None = bootstrap_statistic(self._right.shape[1], self._limit)
        self.before = bootstrap_mean(self._earlier())
        self.last = bootstrap_mean(self._latest())

    def _limit(self, places: npt.NDArray[np.intp]) -> float | None:
        fit = fit_saturation(self._widths, self._right[:, places].mean(axis=1))
        return None if fit is None else fit.limit

    def slows(self) -> bool:
        """Return whether the last doubling gains less than those before it."""
        return bootstrap_mean(self._earlier() - self._latest()).low > 0

    def _latest(self) -> Array:
        """Return the gain of a doubling between the last two widths."""
        return (self._right[-1] - self._right[-2]) / np.log2(self._widths[-1] / self._widths[-2])

    def _earlier(self) -> Array:
        """Return the mean gain of a doubling before the last one."""
        doublings = np.log2(self._widths[-2] / self._widths[0])
        return (self._right[-2] - self._right[0]) / doublings

    def holds(self, value: float) -> bool:
        """Return whether the interval of the limit holds `value`."""
        return self.limit is not None and self.limit.low <= value <= self.limit.high

    def limit_text(self) -> str:
        """Return the limit with its interval."""
        if self.limit is None:
            return "not fitted (fewer than four widths)"
        return f"{self.limit.value:.3f} [{self.limit.low:.3f}, {self.limit.high:.3f}]"

    def row(self, argmax: Array, rows: Sequence[Sequence[Row]]) -> tuple[str, ...]:
        """Return the row of the table."""
        label = self._cells[0].label
        judged = f" by {label.reward}" if label.reward else ""
        band = bootstrap_mean(argmax)
        return (
            f"{label.policy} {label.strategy}{judged}",
            f"{self._right[0].mean():.3f}",
            f"{self._right[-1].mean():.3f} (N={self._widths[-1]})",
            self.limit_text(),
            f"{band.value:.3f} [{band.low:.3f}, {band.high:.3f}]",
            str(sum(len(row["groups"]) for row in rows[0])),
            str(self.last),
        )

    def figures(self, argmax: Array) -> dict[str, Any]:
        """Return the figures in plain JSON types."""
        limit = self.limit
        bounded = limit is not None and limit.high < inf
        return {
            "widths": self._widths,
            "accuracy": [float(each) for each in self._right.mean(axis=1)],
            "limit": limit.to_dict() if limit is not None and bounded else None,
            "exponent": None if self.fit is None else self.fit.exponent,
            "gap": None if self.fit is None else self.fit.gap,
            "argmax": float(argmax.mean()),
            "last_doubling": self.last.to_dict(),
        }
