"""Fitting of a head to the features of labelled solutions: by steps, or by pairs within a problem beside them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from ramify.reward.likelihood_head import LikelihoodHead, Reads

from .judge_features import Floats, SolutionFeatures

MOST_PAIRS = 64
"""Pairs of a right and a wrong solution of one problem that are learned from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LikelihoodPlan:
    """Settings of a training: AdamW with a linearly falling rate, `hidden` units in each of two inner layers.

    `held_out` is the share of problems that are measured alone, drawn by `seed`. With `pairs` above 0 each problem
    counts the same, its right and its wrong steps too, and the loss has, times `pairs`, that of pairs of a right and a
    wrong solution of one problem. `dropout` is the share of features that a step of the training does without.
    """

    epochs: int = 12
    rate: float = 2e-3
    decay: float = 1e-2
    batch: int = 512
    hidden: int = 32
    held_out: float = 0.15
    seed: int = 0
    pairs: float = 0.0
    dropout: float = 0.0


PLANS: dict[Reads, LikelihoodPlan] = {
    "tokens": LikelihoodPlan(),
    "states": LikelihoodPlan(rate=1e-3, decay=0.3, pairs=1.0, dropout=0.3),
}
"""The settings of the heads that read a judge's log probabilities, and its hidden states."""


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Pairs of steps of one problem: places of the right ones and of the wrong ones among all rows, and weights."""

    right: npt.NDArray[np.int64]
    wrong: npt.NDArray[np.int64]
    weights: Floats


def fit_head(solutions: Sequence[SolutionFeatures], plan: LikelihoodPlan, reads: Reads = "tokens") -> LikelihoodHead:
    """Return a head trained on solutions, weighted by how often each was sampled; it names no judge yet."""
    rows = np.concatenate([each.rows for each in solutions])
    targets = np.concatenate([each.targets for each in solutions])
    counts = np.concatenate([[float(each.label.count)] * len(each.rows) for each in solutions])
    mean = np.average(rows, axis=0, weights=counts)
    spread = np.sqrt(np.average((rows - mean) ** 2, axis=0, weights=counts)) + 1e-6
    blank = LikelihoodHead(judge="", files={}, mean=mean, spread=spread, layers=(), reads=reads)
    weights = _balanced(solutions, targets, counts) if plan.pairs else counts
    pairs = _pairs(solutions, plan.seed) if plan.pairs else None
    return replace(blank, layers=_descend(blank.standardised(rows), targets, weights, pairs, plan))


def split_problems(
    solutions: Sequence[SolutionFeatures], plan: LikelihoodPlan
) -> tuple[list[SolutionFeatures], list[SolutionFeatures]]:
    """Return held-out and training solutions, which share no problem."""
    problems = sorted({each.label.question for each in solutions})
    random.Random(plan.seed).shuffle(problems)
    chosen = set(problems[: max(1, round(len(problems) * plan.held_out))])
    inside = [each for each in solutions if each.label.question in chosen]
    return inside, [each for each in solutions if each.label.question not in chosen]


def calibrated(head: LikelihoodHead, kept: Sequence[SolutionFeatures]) -> LikelihoodHead:
    """Return the head with a scale and an offset under which the held-out labels are likeliest (Platt)."""
    logits = np.concatenate([np.repeat(head.logits(each.rows), each.label.count) for each in kept])
    values = np.concatenate([np.repeat(each.targets, each.label.count) for each in kept])
    scale, offset = platt_scaling(logits, values)
    return replace(head, scale=scale, offset=offset)


def platt_scaling(logits: Floats, values: Floats) -> tuple[float, float]:
    """Return the scale and offset of the logit under which the values are likeliest (Platt), by Newton's method."""
    rows = np.stack([logits, np.ones_like(logits)], 1).astype(np.float64)
    found = np.array([1.0, 0.0])
    for _ in range(50):
        chances = _sigmoid(rows @ found)
        slope = rows.T @ (chances - values) / len(values) + 1e-3 * (found - [1.0, 0.0])
        curve = (rows * (chances * (1 - chances))[:, None]).T @ rows / len(values) + 1e-3 * np.eye(2)
        change = np.linalg.solve(curve, slope)
        found = found - change
        if np.abs(change).max() < 1e-8:
            break
    # A scale that is not positive would reverse the order of scores.
    return (float(found[0]), float(found[1])) if found[0] > 0 else (1.0, 0.0)


def _sigmoid(logits: Floats) -> Floats:
    return np.exp(-np.logaddexp(0.0, -logits))


def _balanced(solutions: Sequence[SolutionFeatures], targets: Floats, counts: Floats) -> Floats:
    """Return weights of steps with which the right and the wrong steps of every problem weigh the same."""
    sides = [(each.label.question, target) for each in solutions for target in each.targets]
    totals: dict[tuple[str, float], float] = {}
    for side, count in zip(sides, counts.tolist(), strict=True):
        totals[side] = totals.get(side, 0.0) + count
    found = np.array([count / totals[side] for side, count in zip(sides, counts.tolist(), strict=True)])
    return found * (len(targets) / found.sum())


def _pairs(solutions: Sequence[SolutionFeatures], seed: int) -> _Pairs:
    """Return pairs of the ends of right and wrong solutions, and of the first error and a right step at that place."""
    chance = random.Random(seed)
    ends = np.cumsum([len(each.rows) for each in solutions]).tolist()
    problems: dict[str, tuple[list[int], list[int]]] = {}
    for place, each in enumerate(solutions):
        problems.setdefault(each.label.question, ([], []))[each.label.first_error is not None].append(place)
    right, wrong, weights = list[int](), list[int](), list[float]()
    for goods, bads in problems.values():
        both = [(good, bad) for good in goods for bad in bads]
        chosen = chance.sample(both, min(len(both), MOST_PAIRS))
        for good, bad in chosen:
            error = solutions[bad].label.first_error or 0
            start = ends[good] - len(solutions[good].rows)
            right += [ends[good] - 1, start + min(error, len(solutions[good].rows) - 1)]
            wrong += [ends[bad] - 1, ends[bad] - len(solutions[bad].rows) + error]
            weights += [1.0 / len(chosen)] * 2
    return _Pairs(np.array(right, np.int64), np.array(wrong, np.int64), np.array(weights))


def _descend(
    rows: Floats, targets: Floats, weights: Floats, pairs: _Pairs | None, plan: LikelihoodPlan
) -> tuple[tuple[Floats, Floats], ...]:
    # torch leaves the types of many of its members open.
    torch: Any = import_module("torch")
    nn: Any = torch.nn
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        chance = torch.Generator().manual_seed(plan.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(plan.seed)
            inner = plan.hidden
            linears = [nn.Linear(rows.shape[1], inner), nn.Linear(inner, inner), nn.Linear(inner, 1)]
            network = nn.Sequential(linears[0], nn.SiLU(), linears[1], nn.SiLU(), linears[2])
            inputs, goals, shares = (torch.tensor(each, dtype=torch.float32) for each in (rows, targets, weights))
            batches = -(-len(inputs) // plan.batch)
            optimizer = torch.optim.AdamW(network.parameters(), lr=plan.rate, weight_decay=plan.decay)
            schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, max(1, plan.epochs * batches))

            def logits(chosen: Any) -> Any:
                return network(nn.functional.dropout(inputs[chosen], plan.dropout))[:, 0]

            for _ in range(plan.epochs):
                several = _pair_batches(torch, pairs, batches, chance)
                for number, chosen in enumerate(torch.randperm(len(inputs), generator=chance).split(plan.batch)):
                    optimizer.zero_grad()
                    losses = nn.functional.binary_cross_entropy_with_logits(
                        logits(chosen), goals[chosen], reduction="none"
                    )
                    loss = (losses * shares[chosen]).sum() / shares[chosen].sum()
                    if several is not None and len(several[number][0]):
                        right, wrong, share = several[number]
                        margins = nn.functional.softplus(logits(wrong) - logits(right))
                        loss = loss + plan.pairs * (margins * share).sum() / share.sum()
                    loss.backward()
                    optimizer.step()
                    schedule.step()
        return tuple(
            (
                np.array(each.weight.detach().tolist(), np.float64),
                np.array(each.bias.detach().tolist(), np.float64),
            )
            for each in linears
        )
    finally:
        torch.set_num_threads(threads)


def _pair_batches(torch: Any, pairs: _Pairs | None, count: int, chance: Any) -> list[tuple[Any, Any, Any]] | None:
    """Return pairs in so many batches, in a new order; None without pairs."""
    if pairs is None or not len(pairs.weights):
        return None
    order = torch.randperm(len(pairs.weights), generator=chance)
    columns = (torch.tensor(pairs.right), torch.tensor(pairs.wrong), torch.tensor(pairs.weights, dtype=torch.float32))
    return [tuple(each[part] for each in columns) for part in order.tensor_split(count)]  # pyright: ignore[reportReturnType]
