"""Greedy decoding: the baseline that every search must beat."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from ..aggregation import Aggregation
from ..strategy import Ask, NoState, check_count, check_told
from ..tree import SearchTree
from ..votes import VoteRule
from .chains import ask_chains


@dataclass(frozen=True, slots=True, kw_only=True)
class Greedy:
    """One path at temperature 0, without a reward. `max_depth` is the most steps it may take.

    Raises StrategyError if an option is out of range.
    """

    name: ClassVar[str] = "greedy"
    leaves_only: ClassVar[bool] = True
    max_depth: int = 25

    def __post_init__(self) -> None:
        check_count("max_depth", self.max_depth)

    @property
    def uses_reward(self) -> bool:
        """Never: there is nothing to choose between."""
        return False

    @property
    def vote(self) -> VoteRule:
        """A majority of one."""
        return VoteRule.MAJORITY

    @property
    def aggregation(self) -> Aggregation:
        """Without effect."""
        return Aggregation.LAST

    @property
    def width(self) -> int:
        """One path."""
        return 1

    def start(self) -> NoState:
        """Return the state of a new run."""
        return NoState()

    def ask(self, tree: SearchTree, state: NoState) -> Ask:
        """Return the next step of the one path."""
        return ask_chains(tree, width=1, max_depth=self.max_depth, temperature=0.0)

    def tell(self, tree: SearchTree, state: NoState, node_ids: Iterable[int]) -> NoState:
        """Check the results; the tree holds all there is to know."""
        check_told(tree, node_ids, scored=False)
        return state
