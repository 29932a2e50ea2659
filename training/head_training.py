"""Training of a small head on hidden states, in numpy; with it the policy's own file is a reward model."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ramify.errors import UsageError
from ramify.statistics import auc

from .quality import ScoreCalibration, score_calibration

Floats = npt.NDArray[np.floating]
Tensors = dict[str, Floats]

HeadName = Literal["linear", "mlp"]
_BETA_1, _BETA_2, _TINY = 0.9, 0.999, 1e-8


@dataclass(frozen=True, slots=True)
class LabelledStates:
    """Hidden states [steps, width] at the ends of steps, the value in [0, 1] of each, and the problem it belongs to."""

    states: Floats
    values: Floats
    problems: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadPlan:
    """Settings of a head's training.

    `held_out` is the share of problems used for measuring alone. Training ends after `patience` epochs in which the
    held-out loss did not fall, at the latest after `epochs`. `hidden` is the width of an MLP's inner layer. `decay`
    pulls weights towards 0 (decoupled, as in AdamW).
    """

    kind: HeadName = "linear"
    hidden: int = 64
    epochs: int = 200
    patience: int = 10
    batch: int = 512
    rate: float = 3e-3
    decay: float = 1e-2
    held_out: float = 0.15
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadQuality:
    """Quality of a head on held-out problems.

    `loss` is the cross-entropy, `floor` the entropy of the values themselves, `auc` that of values from 0.5 up
    against those below (None if all are on one side). `reliability` compares scores with values, after the scale and
    the offset that were fitted on the same steps.
    """

    loss: float
    floor: float
    auc: float | None
    reliability: ScoreCalibration
    steps: int
    problems: int


@dataclass(frozen=True, slots=True)
class TrainedHead:
    """A head for raw hidden states with one output, the logit of good; its layers are named as in `MlpHead`."""

    layers: Tensors
    quality: HeadQuality
    epochs: int


def train_head(data: LabelledStates, plan: HeadPlan) -> TrainedHead:
    """Train a head; the epoch with the lowest held-out loss is kept, then calibrated by a scale and an offset.

    Raises:
        UsageError: if there are fewer than two problems, or only one value.
    """
    check_values(data.values, data.problems, plan)
    kept, rest = _split(data, plan)
    mean, spread = rest.states.mean(0), rest.states.std(0) + 1e-6
    train, test = (rest.states - mean) / spread, (kept.states - mean) / spread
    layers, epochs = _descend(train, rest.values, test, kept.values, plan)
    scale, offset = platt_scaling(_logits(layers, test), kept.values)
    folded = _folded(layers, mean, spread, scale, offset)
    return TrainedHead(folded, _quality(_logits(folded, kept.states), kept), epochs)


def check_values(values: Floats, problems: Sequence[str], plan: HeadPlan) -> None:
    """Check that a head can be trained on values [steps] of these problems, one for each step.

    Raises:
        UsageError: if there are fewer than two problems, or only one value.
    """
    kept, rest = _split(LabelledStates(np.empty((len(values), 0), np.float32), values, problems), plan)
    if not len(kept.values) or not len(rest.values):
        raise UsageError("the labels are of fewer than two problems", "label more problems")
    if np.ptp(rest.values) == 0:
        raise UsageError("all labels are the same", "label problems of which the model solves some and not all")


def _split(data: LabelledStates, plan: HeadPlan) -> tuple[LabelledStates, LabelledStates]:
    """Return held-out and training rows, which share no problem."""
    problems = sorted(set(data.problems))
    random.Random(plan.seed).shuffle(problems)
    chosen = set(problems[: max(1, round(len(problems) * plan.held_out))]) if len(problems) > 1 else set[str]()
    inside = np.array([problem in chosen for problem in data.problems])
    return _rows(data, inside), _rows(data, ~inside)


def _rows(data: LabelledStates, wanted: npt.NDArray[np.bool_]) -> LabelledStates:
    names = [problem for problem, keep in zip(data.problems, wanted, strict=True) if keep]
    return LabelledStates(data.states[wanted], data.values[wanted], names)


def _descend(train: Floats, values: Floats, test: Floats, test_values: Floats, plan: HeadPlan) -> tuple[Tensors, int]:
    """Return the layers of the best epoch, and the number of epochs."""
    chance = np.random.default_rng(plan.seed)
    layers = _initial(train.shape[1], plan, chance)
    moments = {name: (np.zeros_like(each), np.zeros_like(each)) for name, each in layers.items()}
    best, best_loss, best_epoch, step, epoch = dict(layers), math.inf, 0, 0, 0
    for epoch in range(1, plan.epochs + 1):
        order = chance.permutation(len(values))
        for start in range(0, len(order), plan.batch):
            rows = order[start : start + plan.batch]
            step += 1
            _adam(layers, _gradients(layers, train[rows], values[rows]), moments, plan, step)
        loss = _loss(_logits(layers, test), test_values)
        if loss < best_loss - 1e-5:
            best, best_loss, best_epoch = {name: each.copy() for name, each in layers.items()}, loss, epoch
        elif epoch - best_epoch >= plan.patience:
            break
    return best, epoch


def _initial(width: int, plan: HeadPlan, chance: np.random.Generator) -> Tensors:
    if plan.kind == "linear":
        return {"0.weight": np.zeros((1, width), np.float32), "0.bias": np.zeros(1, np.float32)}
    inner = chance.standard_normal((plan.hidden, width)) * math.sqrt(2.0 / width)
    return {
        "0.weight": inner.astype(np.float32),
        "0.bias": np.zeros(plan.hidden, np.float32),
        "2.weight": np.zeros((1, plan.hidden), np.float32),
        "2.bias": np.zeros(1, np.float32),
    }


def _logits(layers: Tensors, states: Floats) -> Floats:
    values = states @ layers["0.weight"].T + layers["0.bias"]
    if "2.weight" in layers:
        values = np.maximum(values, 0.0) @ layers["2.weight"].T + layers["2.bias"]
    return values[:, 0]


def _gradients(layers: Tensors, states: Floats, values: Floats) -> Tensors:
    """Return the gradients of the mean cross-entropy."""
    inner = states @ layers["0.weight"].T + layers["0.bias"]
    outer = np.maximum(inner, 0.0) if "2.weight" in layers else inner
    logits = outer @ layers["2.weight"].T + layers["2.bias"] if "2.weight" in layers else inner
    error = ((_sigmoid(logits[:, 0]) - values) / len(values))[:, None]
    if "2.weight" not in layers:
        return {"0.weight": error.T @ states, "0.bias": error.sum(0)}
    back = (error @ layers["2.weight"]) * (inner > 0)
    return {
        "0.weight": back.T @ states,
        "0.bias": back.sum(0),
        "2.weight": error.T @ outer,
        "2.bias": error.sum(0),
    }


def _adam(
    layers: Tensors, gradients: Tensors, moments: dict[str, tuple[Floats, Floats]], plan: HeadPlan, step: int
) -> None:
    for name, gradient in gradients.items():
        first, second = moments[name]
        first += (1 - _BETA_1) * (gradient - first)
        second += (1 - _BETA_2) * (gradient**2 - second)
        size = (first / (1 - _BETA_1**step)) / (np.sqrt(second / (1 - _BETA_2**step)) + _TINY)
        decay = plan.decay if name.endswith("weight") else 0.0
        layers[name] -= (plan.rate * (size + decay * layers[name])).astype(np.float32)


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


def _folded(layers: Tensors, mean: Floats, spread: Floats, scale: float, offset: float) -> Tensors:
    """Return layers for raw states, with the scale and offset folded into the last."""
    weight = layers["0.weight"] / spread
    folded = {**layers, "0.weight": weight, "0.bias": layers["0.bias"] - weight @ mean}
    last = "2" if "2.weight" in layers else "0"
    folded[f"{last}.weight"] = folded[f"{last}.weight"] * np.float32(scale)
    folded[f"{last}.bias"] = folded[f"{last}.bias"] * np.float32(scale) + np.float32(offset)
    return folded


def _quality(logits: Floats, data: LabelledStates) -> HeadQuality:
    scores, values = _sigmoid(logits), data.values
    fit = score_calibration(scores.tolist(), values.tolist())
    assert fit is not None
    good = values >= 0.5
    return HeadQuality(
        loss=_loss(logits, values),
        floor=float(np.mean([_entropy(float(value)) for value in values])),
        auc=auc(scores[good].tolist(), scores[~good].tolist()),
        reliability=fit,
        steps=len(values),
        problems=len(set(data.problems)),
    )


def _loss(logits: Floats, values: Floats) -> float:
    return float(np.mean(np.logaddexp(0.0, logits) - values * logits))


def _entropy(value: float) -> float:
    return -sum(part * math.log(part) for part in (value, 1 - value) if part > 0)


def _sigmoid(logits: Floats) -> Floats:
    return np.exp(-np.logaddexp(0.0, -logits))
