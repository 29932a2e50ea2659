"""Step-level beam search (Snell et al., "Scaling LLM Test-Time Compute", arXiv 2408.03314, section 5.1).

Of each depth the best beams are kept, and each of them gets `children` next steps. A path that finishes leaves the
beam: it is kept as a result, is never continued, and reduces the width by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..strategy import Ask, Strategy, check_count
from ..tree import Node, SearchTree
from ..votes import Aggregation, VoteRule, aggregate
from .growth import grow_level


@dataclass(frozen=True, slots=True, kw_only=True)
class BeamSearch(Strategy):
    """Keep the best `width` / `children` steps of each depth and continue each `children` times.

    With W paths left the best ceil(W / `children`) steps are kept, and the W children are dealt to them in turn, best
    first, so that none gets more than `children`. Equal scores go by path. `aggregation` makes the score of a path
    from its steps' scores. `vote` decides the answer. `max_depth` is the most steps on a path.

    Raises:
        StrategyError: if an option is out of range.
    """

    name: ClassVar[str] = "beam"
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
            scores = [aggregate(tree.path_scores(node.id), self.aggregation) for node in rivals]
            return deal_best(scores, left, self.children)

        return grow_level(tree, width=self.width, max_depth=self.max_depth, share=share)


def deal_best(scores: Sequence[float], places: int, most: int) -> list[int]:
    """Deal places to the best ceil(places / most) candidates in turn, `most` at most to each; in input order."""
    kept = sorted(range(len(scores)), key=lambda i: -scores[i])[: -(-places // most)]
    counts = [0] * len(scores)
    each, more = divmod(places, len(kept))
    for rank, index in enumerate(kept):
        counts[index] = min(most, each + (rank < more))
    return counts
