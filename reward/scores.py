"""Scores: from logits to numbers in [0, 1], several steps to one, and the check that every reward passes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, SupportsFloat

from ramify.errors import RewardError

from .protocol import ScoredStep
from .specs import RewardSpec


def checked_scores(reward: str, steps: Sequence[ScoredStep], values: Any) -> list[float]:
    """Return `values` as floats, one for each step.

    Raises:
        RewardError: if there are more or fewer than steps, or if one is not a number in [0, 1]; it names the node.
    """
    try:
        listed = list(values)
    except TypeError as error:
        raise RewardError(f"the reward {reward!r} returned {_short(values)} instead of a list of scores") from error
    if len(listed) != len(steps):
        raise RewardError(f"the reward {reward!r} returned {len(listed)} scores for {len(steps)} paths")
    return [checked_score(reward, step.node, value) for step, value in zip(steps, listed, strict=True)]


def checked_score(reward: str, node: int, value: Any) -> float:
    """Return `value` as a float.

    Raises:
        RewardError: if it is not a number in [0, 1]; it names the node.
    """
    try:
        number = float(value) if isinstance(value, SupportsFloat) else math.nan
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0.0 <= number <= 1.0:
        raise RewardError(
            f"the reward {reward!r} gave node {node} the score {_short(value)}; scores are numbers from 0 to 1",
            node=node,
        )
    return number


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def score_of(spec: RewardSpec, logits: Sequence[float]) -> float:
    """Return P(good) from the logits of good and, if there is one, bad, as the spec's activation reads them."""
    if spec.activation == "identity":
        return spec.scale * logits[0] + spec.offset
    mean = spec.activation == "sigmoid_mean"
    logit = math.fsum(logits) / len(logits) if mean else logits[0] - (logits[1] if len(logits) > 1 else 0.0)
    return sigmoid(spec.scale * logit + spec.offset)


def sigmoid(logit: float) -> float:
    """Return 1 / (1 + exp(-logit)), exact at both ends."""
    if logit >= 0:
        return 1.0 / (1.0 + math.exp(-logit))
    growth = math.exp(logit)
    return growth / (1.0 + growth)


def combined(scores: Sequence[float], how: str) -> float:
    """Return one score for the steps of one node; `how` is the spec's aggregation."""
    match how:
        case "min":
            return min(scores)
        case "product":
            return math.prod(scores)
        case "mean":
            return math.fsum(scores) / len(scores)
        case _:
            return scores[-1]
