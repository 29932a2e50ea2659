"""Particle filtering over reasoning steps.

From Puri et al., "A Probabilistic Inference Approach to Inference-Time Scaling of LLMs using Particle-Based Monte Carlo
Methods" (arXiv 2502.01618), algorithm 1. Each path is a particle. After every step the live particles are resampled
with weights softmax(logit(r) / T), with r the reward of the path so far: a particle drawn k times gets k children, one
drawn never ends. Finished particles are kept as they are and are not resampled, so the live ones share the rest of the
number of particles.

Resampling is systematic by default (Douc, Cappe and Moulines, "Comparison of resampling schemes", 2005, section 2.4):
one uniform number a depth, and a particle of weight w is drawn floor(n w) or ceil(n w) times.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum, auto
from itertools import accumulate
from math import exp, log
from random import Random
from typing import ClassVar

from ..strategy import Ask, Strategy, check_positive, check_whole, choice
from ..tree import Node, SearchTree
from ..votes import Aggregation, VoteRule, aggregate
from .growth import grow_level

CERTAINTY = 1e-6
"""Scores are kept this far from 0 and 1, where the logit is infinite."""


class Resampling(StrEnum):
    """Method of drawing particles by their weights."""

    SYSTEMATIC = auto()
    """At evenly spaced points from one random offset: the least variance."""
    MULTINOMIAL = auto()
    """Independently, as in the paper's algorithm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParticleFilter(Strategy):
    """Resample `width` paths after each step by their reward.

    `temperature` is T of the weights: low follows the best, high keeps all. The draws depend on `resampling_seed` and
    the depth alone. `aggregation` makes the score of a path from its steps' scores. `vote` decides the answer.
    `max_depth` is the most steps on a path.

    Raises:
        StrategyError: if an option is out of range.
    """

    name: ClassVar[str] = "particle"
    guided: ClassVar[bool] = True
    leaves_only: ClassVar[bool] = True
    width: int = 16
    temperature: float = 1.0
    resampling: Resampling = Resampling.SYSTEMATIC
    resampling_seed: int = 0
    aggregation: Aggregation = Aggregation.LAST
    vote: VoteRule = VoteRule.WEIGHTED
    max_depth: int = 25

    def __post_init__(self) -> None:
        Strategy.__post_init__(self)
        check_positive("temperature", self.temperature)
        check_whole("resampling_seed", self.resampling_seed)
        object.__setattr__(self, "resampling", choice("resampling", Resampling, self.resampling))

    def decide(self, tree: SearchTree, *, winding_down: bool = False) -> Ask:
        """Return the next step of the resampled particles, or nothing while the present step is incomplete."""

        def share(rivals: Sequence[Node], left: int, depth: int) -> list[int]:
            scores = [aggregate(tree.path_scores(node.id), self.aggregation) for node in rivals]
            draws = Random(f"{self.resampling_seed} {depth}")
            return resample(particle_weights(scores, self.temperature), left, self.resampling, draws)

        return grow_level(tree, width=self.width, max_depth=self.max_depth, share=share)


def particle_weights(scores: Sequence[float], temperature: float) -> list[float]:
    """Return softmax(logit(score) / temperature); the weights add up to 1."""
    clear = [min(1 - CERTAINTY, max(CERTAINTY, score)) for score in scores]
    logits = [log(score / (1 - score)) / temperature for score in clear]
    weights = [exp(logit - max(logits)) for logit in logits]
    total = sum(weights)
    return [weight / total for weight in weights]


def resample(weights: Sequence[float], count: int, how: Resampling, draws: Random) -> list[int]:
    """Return how often each particle is drawn, `count` times in all."""
    edges = list(accumulate(weights))
    if how is Resampling.SYSTEMATIC:
        offset = draws.random()
        points = [(offset + place) / count for place in range(count)]
    else:
        points = [draws.random() for _ in range(count)]
    drawn = [0] * len(weights)
    for point in points:
        # Rounding may leave the last edge a hair below the last point.
        drawn[min(len(weights) - 1, bisect_right(edges, point * edges[-1]))] += 1
    return drawn
