"""Ends of paths: the answer, the reason to prune, and the best path to finish when the budget is used up."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ramify.search.node import FinishReason, Node, Origin, PruneReason
from ramify.search.tree import SearchTree

COMPLETE = (FinishReason.STEP, FinishReason.EOS)
"""Reasons after which a step's text is complete, so that an answer in it can be trusted."""

DEAD_ENDS = {
    FinishReason.BUDGET: PruneReason.BUDGET,
    FinishReason.CANCELLED: PruneReason.STOPPED,
    FinishReason.CONTEXT: PruneReason.PATH_LENGTH,
}


@dataclass(frozen=True, slots=True)
class PathEnds:
    """Reads the ends of one tree's paths.

    `extract` finds the answer in a path's text; `max_path_tokens` bounds the generated tokens of a path.
    """

    tree: SearchTree
    extract: Callable[[str], str | None]
    max_path_tokens: int

    def answer(self, node: Node) -> str | None:
        """Return the answer of the path that ends in a node, None if it has none."""
        if node.origin is Origin.CRITIQUE or node.finish_reason not in COMPLETE:
            return None
        return self.extract(self.tree.path_text(node.id))

    def dead_end(self, node: Node, answer: str | None) -> PruneReason | None:
        """Return why a path that has not finished cannot go on, None if it has finished or can go on."""
        assert node.finish_reason is not None
        if node.finish_reason in DEAD_ENDS:
            return DEAD_ENDS[node.finish_reason]
        if answer is not None or node.finish_reason is FinishReason.EOS:
            return None
        if self.tree.path_token_count(node.id) >= self.max_path_tokens:
            return PruneReason.PATH_LENGTH
        return None if node.text.strip() else PruneReason.EMPTY

    def most_promising(self) -> Node | None:
        """Return the open node with the best score, the deepest one of equals, None if no node is open."""
        return max(self.tree.open_nodes(), key=_rank, default=None)

    def furthest_text(self) -> str:
        """Return the text of the path with the most generated tokens, of the best score among equals."""
        ends = (node for node in self.tree if node.finish_reason is not None and node.origin is not Origin.CRITIQUE)
        best = max(ends, key=lambda node: (self.tree.path_token_count(node.id), node.score or 0.0), default=None)
        return "" if best is None else self.tree.path_text(best.id)


def _rank(node: Node) -> tuple[float, int, Sequence[int]]:
    score = -math.inf if node.score is None else node.score
    return score, node.depth, tuple(-index for index in node.path)
