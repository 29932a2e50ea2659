"""Diverse verifier tree search: independent beams of one.

From Beeching, Tunstall and Rush, "Scaling test-time compute with open models" (2024). The root's children are dealt to
`width` / `children` subtrees. In each, the best step is continued `children` times and the others are given up, so that
a good start in one subtree cannot crowd out the rest.

Two things differ from the authors' code, where the last step's siblings count as results, finished or not: here only
finished paths vote, and each path that has finished takes a place of its subtree's `children`, so that never more than
`width` paths finish. A subtree ends when its best step does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar

from ..strategy import Ask, Strategy, check_count
from ..tree import Node, NodeState, SearchTree
from ..votes import Aggregation, VoteRule, aggregate
from .growth import competes, grow_level


@dataclass(frozen=True, slots=True, kw_only=True)
class DVTS(Strategy):
    """Search `width` / `children` subtrees greedily by reward, each with `children` samples a step.

    If `children` does not divide `width`, the last subtree is smaller. Equal scores go by path. `aggregation` makes
    the score of a path from its steps' scores. `vote` decides the answer. `max_depth` is the most steps on a path.

    Raises:
        StrategyError: if an option is out of range.
    """

    name: ClassVar[str] = "dvts"
    guided: ClassVar[bool] = True
    leaves_only: ClassVar[bool] = True
    width: int = 16
    children: int = 4
    aggregation: Aggregation = Aggregation.LAST
    vote: VoteRule = VoteRule.WEIGHTED
    max_depth: int = 25

    def __post_init__(self) -> None:
        Strategy.__post_init__(self)
        check_count("children", self.children)

    def decide(self, tree: SearchTree, *, winding_down: bool = False) -> Ask:
        """Return the next depth's expansions and prunes, or nothing while the present depth is incomplete."""

        def share(rivals: Sequence[Node], left: int, depth: int) -> list[int]:
            level = [node for node in tree.level(depth) if competes(node) or node.state is NodeState.FINISHED]
            finished = Counter(self._subtree(node) for node in tree.finished_nodes() if node.depth <= depth)
            places = dict(self._next(tree, siblings, finished) for siblings in self._by_subtree(level))
            return [places.get(node.id, 0) for node in rivals]

        return grow_level(tree, width=self.width, max_depth=self.max_depth, share=share)

    def _subtree(self, node: Node) -> int:
        return node.path[0] // self.children

    def _by_subtree(self, level: Sequence[Node]) -> Iterator[list[Node]]:
        """Yield the nodes of each subtree; those of a level stand together in path order."""
        for _, siblings in groupby(level, key=self._subtree):
            yield list(siblings)

    def _next(self, tree: SearchTree, siblings: Sequence[Node], finished: Mapping[int, int]) -> tuple[int, int]:
        """Return a subtree's best step and how often it is continued: 0 if it has ended."""
        best = max(siblings, key=lambda node: aggregate(tree.path_scores(node.id), self.aggregation))
        if best.state is NodeState.FINISHED:
            return best.id, 0
        subtree = self._subtree(best)
        # A path that a person added beyond the width is a subtree of its own.
        size = max(1, min(self.children, self.width - subtree * self.children))
        return best.id, max(0, size - finished.get(subtree, 0))
