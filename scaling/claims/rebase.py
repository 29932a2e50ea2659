"""Claim 3: REBASE is on the Pareto front at every budget, and how good a reward it needs for that."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ramify.reward.noise import disturbed
from ramify.statistics import Estimate, auc, bootstrap_statistic, paired_difference

from ..cells import Cell, CostKind, Measurements, Row
from ..config import AUTO, AUTO_TOKENS_PER_PATH
from .verdict import Verdict, best, summed_up, within

REBASE = "rebase"
CLAIM = "REBASE is on the Pareto front at every budget"
TEST = (
    "At each width of REBASE, the most accurate other setting of the same policy and reward (or of none) at the "
    "same FLOPs or less, chosen on one half of the problems and judged on the other; paired bootstrap over "
    "problems. On the front if REBASE is not below it; beaten if the 95 % band of the difference lies below 0. "
    "Supported if REBASE is on the front at every width, the reward counted. The factor compares the FLOPs of "
    "weighted (majority) vote at its largest width with those at which REBASE, interpolated on log FLOPs, reaches "
    "the same accuracy."
)


def judge(measured: Measurements) -> Verdict:
    """Return the verdict over all policies and rewards; the table also has REBASE with noise on the scores."""
    table: list[tuple[str, ...]] = [
        ("REBASE", "accuracy", "cost", "best other", "accuracy", "difference", "place", "compared")
    ]
    findings, good, cases = list[str](), 0, 0
    figures = dict[str, Any]()
    for policy in measured.config.policies:
        for reward in measured.config.rewards:
            name = f"{policy} with {reward}"
            if not measured.of(policy, REBASE, reward) or not _rivals(measured, policy, reward, CostKind.ALL_FLOPS):
                continue
            figures[name] = dict[str, Any]()
            for by in measured.cost_kinds:
                ours = measured.of(policy, REBASE, reward, by=by)
                if not ours:
                    continue
                places, rows = _places(ours, _rivals(measured, policy, reward, by), by)
                table += rows
                if by is CostKind.ALL_FLOPS:
                    good, cases = good + places.count("front"), cases + len(places)
                told = str(by)
                findings.append(
                    f"{name}, {told}: on the front at {places.count('front')} of {len(places)} widths, beaten at "
                    f"{places.count('beaten')}"
                )
                figures[name][told] = {kind: places.count(kind) for kind in ("front", "level", "beaten")} | _factors(
                    measured, ours, by
                )
            findings += _describe_factors(name, figures[name][str(CostKind.ALL_FLOPS)])
            regrets = _regrets(measured, policy, reward)
            figures[name]["regret of auto"] = {key: value.to_dict() for key, (value, _) in regrets.items()}
            findings += [
                f"{name}: {key} is {value} from the best setting, {rival}" for key, (value, rival) in regrets.items()
            ]
            swept = noise_sweep(measured, policy, reward)
            figures[name]["noise"] = swept
            findings += [_describe_noise(name, each) for each in swept]
    return Verdict(
        number=3,
        claim=CLAIM,
        outcome=summed_up(good, cases),
        test=TEST,
        findings=tuple(findings),
        table=tuple(table) if cases else (),
        figures=figures,
    )


def _regrets(measured: Measurements, policy: str, reward: str) -> dict[str, tuple[Estimate, str]]:
    """Return how far "auto" at each budget is from the best other setting, and which that is.

    The other settings have no more FLOPs than "auto" spent, or no more generated tokens than it was allowed.
    """
    by, found = CostKind.ALL_FLOPS, dict[str, tuple[Estimate, str]]()
    rivals = [
        cell
        for cell in measured.comparable(by)
        if cell.label.policy == policy and cell.label.reward in (None, reward) and cell.label.strategy != AUTO
    ]
    for cell in measured.of(policy, AUTO, reward):
        budget = AUTO_TOKENS_PER_PATH * cell.label.width
        reaches = {
            f"its {by.text(cell.cost(by))} {by.unit}": within(rivals, cell.cost(by), by),
            f"its budget of {budget} tokens": [each for each in rivals if float(each.tokens.mean()) <= budget],
        }
        for limit, reach in reaches.items():
            if reach:
                rival = best(reach, by)
                regret = paired_difference(cell.right, rival.right)
                told = f"{rival.names} ({rival.right.mean():.3f})"
                found[f"{AUTO}@{cell.label.width} ({cell.accuracy:.3f}) within {limit}"] = regret, told
    return found


def _rivals(measured: Measurements, policy: str, reward: str, by: CostKind) -> list[Cell]:
    return [
        cell
        for cell in measured.comparable(by)
        if cell.label.policy == policy and cell.label.reward in (None, reward) and cell.label.strategy != REBASE
    ]


def _places(ours: Sequence[Cell], rivals: Sequence[Cell], by: CostKind) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return the place of REBASE at each width ("front", "level" or "beaten"), and the rows of the table."""
    places, rows = list[str](), list[tuple[str, ...]]()
    for cell in ours:
        cost = cell.cost(by)
        reach = within(rivals, cost, by)
        if not reach:
            places.append("front")
            continue
        rival = best(reach, by)
        found = paired_difference(cell.right, rival.right)
        place = "front" if found.value >= 0 else "beaten" if found.high < 0 else "level"
        places.append(place)
        rows.append(
            (
                str(cell.label),
                f"{cell.accuracy:.3f}",
                f"{by.text(cost)} {by.unit}",
                rival.names,
                f"{rival.right.mean():.3f}",
                str(found),
                {"front": "on the front", "level": "below, within chance", "beaten": "beaten"}[place],
                str(by),
            )
        )
    return places, rows


def _factors(measured: Measurements, ours: Sequence[Cell], by: CostKind) -> dict[str, Any]:
    """Return the factor by which REBASE is cheaper than each vote at its largest width; None if it never is as good."""
    label = ours[0].label
    found = dict[str, Any]()
    for strategy, reward in (("weighted", label.reward), ("majority", None)):
        cells = measured.of(label.policy, strategy, reward, by=by)
        if not cells:
            continue
        target = cells[-1]
        factor = bootstrap_statistic(
            len(measured.problems), lambda places, target=target: reach_factor(ours, target, places, by)
        )
        finite = factor is not None and np.isfinite(factor.high)
        found[f"factor_to_{strategy}@{target.label.width}"] = (
            None if factor is None else factor.to_dict() if finite else {"value": factor.value}
        )
    return found


def reach_factor(ours: Sequence[Cell], target: Cell, places: npt.NDArray[np.intp], by: CostKind) -> float | None:
    """Return the cost of `target` over that at which `ours`, cheapest first, reaches its accuracy; None if never."""
    goal = float(target.right[places].mean())
    cost = float(target.costs(by)[places].mean())
    points = [(float(cell.costs(by)[places].mean()), float(cell.right[places].mean())) for cell in ours]
    if points[0][1] >= goal:
        return cost / points[0][0]
    for (low, below), (high, above) in pairwise(points):
        if above >= goal > below:
            share = (goal - below) / (above - below)
            return cost / float(np.exp(np.log(low) + share * (np.log(high) - np.log(low))))
    return None


def _describe_factors(name: str, found: dict[str, Any]) -> list[str]:
    lines = list[str]()
    for key, value in found.items():
        if key.startswith("factor_to_"):
            vote = key.removeprefix("factor_to_")
            if value is None:
                lines.append(f"{name}: REBASE does not reach the accuracy of {vote} at any measured width")
            else:
                band = f" [{value['low']:.2f}, {value['high']:.2f}]" if "low" in value else ""
                lines.append(
                    f"{name}: REBASE reaches the accuracy of {vote} at 1/{value['value']:.2f}{band} of its FLOPs"
                )
    return lines


def noise_sweep(measured: Measurements, policy: str, reward: str) -> list[dict[str, Any]]:
    """Return, for each noise, how well the reward prefers right samples, and the accuracy of each strategy.

    `preference` is the share of pairs of a right and a wrong sample of one problem in which the right one scores
    higher, None without such pairs.
    """
    width = measured.config.noise_width
    plain = next((cell for cell in measured.of(policy, "majority", None) if cell.label.width == width), None)
    found = list[dict[str, Any]]()
    rows = [row for problem in measured.rows(policy) for row in problem]
    for sigma in measured.config.sigmas:
        row: dict[str, Any] = {"sigma": sigma, "width": width, "preference": preference(rows, reward, sigma)}
        for strategy in (REBASE, "weighted", "best-of-n"):
            cells = measured.of(policy, strategy, reward, sigma=sigma)
            cell = next((each for each in cells if each.label.width == width), None)
            if cell is not None:
                row[strategy] = cell.accuracy
                if strategy == REBASE and plain is not None:
                    row["rebase_minus_majority"] = paired_difference(cell.right, plain.right).to_dict()
        if REBASE in row:
            found.append(row)
    return found


def preference(rows: Sequence[Row], reward: str, sigma: float) -> float | None:
    """Return how often a right sample scores above a wrong one of the same problem; ties count half."""
    shares = list[float]()
    for row in rows:
        if reward not in row["scored"]:
            continue
        right, wrong = list[float](), list[float]()
        scored = zip(row["groups"], row["scored"][reward]["scores"], row["noise"], strict=True)
        for group, score, draw in scored:
            if group >= 0 and score is not None:
                (right if group in row["right"] else wrong).append(disturbed(score, sigma * draw))
        share = auc(right, wrong)
        if share is not None:
            shares.append(share)
    return sum(shares) / len(shares) if shares else None


def _describe_noise(name: str, row: dict[str, Any]) -> str:
    share = "no pairs" if row["preference"] is None else f"right above wrong in {row['preference']:.0%} of pairs"
    parts = [f"{strategy} {row[strategy]:.3f}" for strategy in (REBASE, "weighted", "best-of-n") if strategy in row]
    gain = row.get("rebase_minus_majority")
    versus = (
        ""
        if gain is None
        else f"; REBASE minus majority {gain['value']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]"
    )
    return f"{name}, noise {row['sigma']:g} at {row['width']} paths ({share}): {', '.join(parts)}{versus}"
