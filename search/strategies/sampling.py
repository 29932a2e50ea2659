"""Independent chains with a vote: greedy decoding, self-consistency, weighted voting and best-of-n.

Majority voting is self-consistency (Wang et al., arXiv 2203.11171). Weighting by a reward and best-of-n are the
sampling baselines of Wu et al. (arXiv 2408.00724, section 3.1). All of them grow their chains without barriers, so a
slow path never holds up the others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from ..strategy import Ask, Strategy
from ..tree import SearchTree
from ..votes import Aggregation, VoteRule
from .growth import grow_chains


@dataclass(frozen=True, slots=True, kw_only=True)
class Greedy(Strategy):
    """One path at temperature 0, without a reward: the baseline of every search.

    `max_depth` is the most steps that it may take.

    Raises:
        StrategyError: if an option is out of range.
    """

    name: ClassVar[str] = "greedy"
    leaves_only: ClassVar[bool] = True
    sampling_temperature: ClassVar[float | None] = 0.0
    width: int = field(default=1, init=False, repr=False)
    max_depth: int = 25
    vote: VoteRule = field(default=VoteRule.MAJORITY, init=False, repr=False)
    aggregation: Aggregation = field(default=Aggregation.LAST, init=False, repr=False)

    def decide(self, tree: SearchTree, *, winding_down: bool = False) -> Ask:
        """Return the next step of the one path."""
        return grow_chains(tree, width=1, max_depth=self.max_depth, temperature=self.sampling_temperature)


@dataclass(frozen=True, slots=True, kw_only=True)
class MajorityVote(Strategy):
    """Sample `width` paths and take the most frequent answer; no reward. `max_depth` is the most steps on a path.

    Raises:
        StrategyError: if an option is out of range.
    """

    name: ClassVar[str] = "majority"
    leaves_only: ClassVar[bool] = True
    width: int = 16
    max_depth: int = 25
    vote: VoteRule = field(default=VoteRule.MAJORITY, init=False, repr=False)
    aggregation: Aggregation = field(default=Aggregation.LAST, init=False, repr=False)

    def decide(self, tree: SearchTree, *, winding_down: bool = False) -> Ask:
        """Return the next step of every chain that waits for one."""
        return grow_chains(tree, width=self.width, max_depth=self.max_depth)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedVote(Strategy):
    """Sample `width` paths and take the answer whose paths have the greatest sum of scores.

    `aggregation` makes a path's score from its steps' scores. `max_depth` is the most steps on a path.

    Raises:
        StrategyError: if an option is out of range.
    """

    name: ClassVar[str] = "weighted"
    leaves_only: ClassVar[bool] = True
    width: int = 16
    aggregation: Aggregation = Aggregation.LAST
    max_depth: int = 25
    vote: VoteRule = field(default=VoteRule.WEIGHTED, init=False, repr=False)

    def decide(self, tree: SearchTree, *, winding_down: bool = False) -> Ask:
        """Return the next step of every chain that waits for one."""
        return grow_chains(tree, width=self.width, max_depth=self.max_depth, scored=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class BestOfN(WeightedVote):
    """Sample `width` paths and take the answer of the path with the highest score; options as `WeightedVote`.

    Raises:
        StrategyError: if an option is out of range.
    """

    name: ClassVar[str] = "best-of-n"
    vote: VoteRule = field(default=VoteRule.BEST, init=False, repr=False)
