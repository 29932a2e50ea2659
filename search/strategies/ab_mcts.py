"""Adaptive-branching MCTS with Thompson sampling, adapted from whole answers to reasoning steps.

From Inoue et al., "Wider or Deeper?" (arXiv 2503.04412), AB-MCTS-A. At every node the search decides between wider (one
more child) and deeper (selection below the children) by two samples: one from the posterior of the scores of the node's
own children, one from that of all scores below them. To go deeper, it samples for each open child from the posterior of
the scores at and below it. Scores in [0, 1] update a Beta posterior, Beta(a + sum of scores, b + sum of (1 - scores)),
with the prior a = b = 1/2.

A step is not an answer, so two things are added: finished paths are never expanded, and after exploring the best leaves
are brought to their ends. The selections of a batch are spread by the randomness of their samples.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..strategy import Ask, Expansion, Strategy, check_count, check_share, check_whole
from ..tree import Node, NodeState, SearchTree
from ..votes import Aggregation, VoteRule
from .growth import explores, finish_leaves, missing

PRIOR = 0.5
"""Both parameters of the Beta prior (Jeffreys)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ABMCTS(Strategy):
    """Sample between wider and deeper, then finish the best leaves.

    `width` is the number of finished paths that end the search. `batch` children are chosen before they are generated
    together. Exploring ends after `explore_steps` steps (None: 4 for each path of the width) or `explore_share` of the
    budget. The draws depend on `selection_seed` and the size of the tree; another version of numpy may draw otherwise.
    `vote` decides the answer from the scores that `aggregation` makes. `max_depth` is the most steps on a path.

    Raises:
        StrategyError: if an option is out of range.
    """

    name: ClassVar[str] = "ab-mcts"
    guided: ClassVar[bool] = True
    width: int = 16
    batch: int = 16
    explore_steps: int | None = None
    explore_share: float = 0.5
    selection_seed: int = 0
    aggregation: Aggregation = Aggregation.LAST
    vote: VoteRule = VoteRule.WEIGHTED
    max_depth: int = 25

    def __post_init__(self) -> None:
        Strategy.__post_init__(self)
        check_count("batch", self.batch)
        if self.explore_steps is not None:
            check_count("explore_steps", self.explore_steps)
        check_share("explore_share", self.explore_share)
        check_whole("selection_seed", self.selection_seed)

    def decide(self, tree: SearchTree, *, winding_down: bool = False) -> Ask:
        """Return the next round once the last one is complete and scored."""
        if tree.pending_count or tree.unscored_count:
            return Ask()
        if explores(tree, width=self.width, steps=self.explore_steps, winding_down=winding_down):
            return Ask(self._round(tree))
        return finish_leaves(tree, width=self.width, max_depth=self.max_depth)

    def _round(self, tree: SearchTree) -> tuple[Expansion, ...]:
        # The size of the tree and its scores do not depend on the order of results, as node ids do.
        draws = np.random.default_rng(Random(f"{self.selection_seed} {len(tree)}").getrandbits(128))
        seen = dict[int, _Family]()
        chosen = [self._select(tree, draws, seen) for _ in range(min(self.batch, missing(tree, self.width)))]
        return tuple(Expansion(node, count) for node, count in Counter(chosen).items())

    def _select(self, tree: SearchTree, draws: np.random.Generator, seen: dict[int, _Family]) -> int:
        node = tree.root
        while True:
            family = seen.get(node.id)
            if family is None:
                family = seen[node.id] = _family(tree, node, going=node.depth + 1 < self.max_depth)
            if not family.open or family.goes_wider(draws):
                return node.id
            node = family.deeper(draws)


@dataclass(frozen=True, slots=True)
class _Family:
    """A node's children in one round: those that can be continued, and the Beta posteriors of scores.

    `good` and `bad` are the parameters of the posteriors: first of all children's own scores, then of all scores below
    them, then for each open child of the scores at and below it.
    """

    open: tuple[Node, ...]
    good: NDArray[np.float64]
    bad: NDArray[np.float64]

    def goes_wider(self, draws: np.random.Generator) -> bool:
        """Sample whether the node gets another child, instead of a selection below one."""
        wider, deeper = (draws.beta(float(self.good[place]), float(self.bad[place])) for place in (0, 1))
        return wider > deeper

    def deeper(self, draws: np.random.Generator) -> Node:
        """Sample the open child below which to continue."""
        return self.open[int(draws.beta(self.good[2:], self.bad[2:]).argmax())]


def _family(tree: SearchTree, node: Node, *, going: bool) -> _Family:
    children = tree.next_steps(node.id)
    own = [child.score for child in children if child.score is not None]
    below = tuple(child for child in children if child.state is NodeState.OPEN) if going else ()
    own_sum = sum(own)
    deeper_sum = node.value_sum - own_sum - (node.score or 0.0)
    deeper_count = node.visits - len(own) - (node.score is not None)
    good = np.maximum(0.0, [own_sum, deeper_sum, *(child.value_sum for child in below)])
    counts = np.array([len(own), deeper_count, *(child.visits for child in below)])
    return _Family(below, PRIOR + good, PRIOR + np.maximum(0.0, counts - good))
