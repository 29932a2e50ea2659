"""Independent sampling with a vote: self-consistency, weighted voting and best-of-n.

Majority voting is self-consistency (Wang et al., arXiv 2203.11171); weighting by a reward and best-of-n are the
sampling baselines of Wu et al. (arXiv 2408.00724, section 3.1). All of them grow `width` chains without barriers, so
a slow path never holds up the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from ..aggregation import Aggregation
from ..strategy import Ask, NoState, check_count, check_told, choice
from ..tree import SearchTree
from ..votes import VoteRule
from .chains import ask_chains


@dataclass(frozen=True, slots=True, kw_only=True)
class Majority:
    """Sample `width` paths and take the most frequent answer; no reward. `max_depth` is the most steps on a path.

    Raises StrategyError if an option is out of range.
    """

    name: ClassVar[str] = "majority"
    leaves_only: ClassVar[bool] = True
    width: int = 16
    max_depth: int = 25

    def __post_init__(self) -> None:
        check_count("width", self.width)
        check_count("max_depth", self.max_depth)

    @property
    def uses_reward(self) -> bool:
        """Never: paths are only counted."""
        return False

    @property
    def vote(self) -> VoteRule:
        """Paths are counted."""
        return VoteRule.MAJORITY

    @property
    def aggregation(self) -> Aggregation:
        """Without effect."""
        return Aggregation.LAST

    def start(self) -> NoState:
        """Return the state of a new run."""
        return NoState()

    def ask(self, tree: SearchTree, state: NoState) -> Ask:
        """Return the next step of every chain that waits for one."""
        return ask_chains(tree, width=self.width, max_depth=self.max_depth)

    def tell(self, tree: SearchTree, state: NoState, node_ids: Iterable[int]) -> NoState:
        """Check the results; the tree holds all there is to know."""
        check_told(tree, node_ids, scored=False)
        return state


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighted:
    """Sample `width` paths and take the answer whose paths have the greatest sum of scores.

    `aggregation` makes a path's score from its steps' scores. `max_depth` is the most steps on a path.

    Raises StrategyError if an option is out of range.
    """

    name: ClassVar[str] = "weighted"
    leaves_only: ClassVar[bool] = True
    width: int = 16
    aggregation: Aggregation = Aggregation.LAST
    max_depth: int = 25

    def __post_init__(self) -> None:
        check_count("width", self.width)
        check_count("max_depth", self.max_depth)
        object.__setattr__(self, "aggregation", choice("aggregation", Aggregation, self.aggregation))

    @property
    def uses_reward(self) -> bool:
        """Always: the vote needs scores."""
        return True

    @property
    def vote(self) -> VoteRule:
        """Scores are summed."""
        return VoteRule.WEIGHTED

    def start(self) -> NoState:
        """Return the state of a new run."""
        return NoState()

    def ask(self, tree: SearchTree, state: NoState) -> Ask:
        """Return the next step of every chain that waits for one."""
        return ask_chains(tree, width=self.width, max_depth=self.max_depth, scored=True)

    def tell(self, tree: SearchTree, state: NoState, node_ids: Iterable[int]) -> NoState:
        """Check that every step is scored; the tree holds all there is to know."""
        check_told(tree, node_ids, scored=True)
        return state


@dataclass(frozen=True, slots=True, kw_only=True)
class BestOfN(Weighted):
    """Sample `width` paths and take the answer of the path with the highest score; options as `Weighted`.

    Raises StrategyError if an option is out of range.
    """

    name: ClassVar[str] = "best-of-n"
    leaves_only: ClassVar[bool] = True

    @property
    def vote(self) -> VoteRule:
        """The best path alone decides."""
        return VoteRule.BEST
