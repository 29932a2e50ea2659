"""Ends of paths: the answer, the reason to prune, and the best path to finish when the budget is used up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ramify.answers.reading import AnswerReader
from ramify.events import NodeAdded
from ramify.search.node import TOLD, FinishReason, Node, NodeState, Origin, PruneReason
from ramify.search.tree import SearchTree
from ramify.search.votes import Candidate

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

    `answers` reads the answer of a path's text; `max_path_tokens` bounds the generated tokens of a path.
    `ends_at_answer` tells whether a path ends with the first answer in it. If not, it ends where its text does, or at a
    limit, with the last answer.
    """

    tree: SearchTree
    answers: AnswerReader
    max_path_tokens: int
    ends_at_answer: bool = True

    def answer(self, node: Node) -> str | None:
        """Return the answer of the path that ends in a node, None if it has none."""
        if node.origin is Origin.CRITIQUE or node.origin in TOLD:
            return None
        if not self.ends_at_answer and node.finish_reason is not FinishReason.EOS:
            return self.answer_so_far(node) if self._at_limit(node) else None
        return self.answers.read(self.tree.written_text(node.id)) if node.finish_reason in COMPLETE else None

    def answer_so_far(self, node: Node) -> str | None:
        """Return the last complete answer of a path that a limit ends in a node, None if it has none.

        Where every path ends with its answer, an unfinished one has none.
        """
        if self.ends_at_answer or node.origin is Origin.CRITIQUE:
            return None
        return self.answers.read_unfinished(self.tree.written_text(node.id))

    def cut_paths(self) -> list[Candidate]:
        """Return the unfinished paths that have an answer all the same, in path order; none that the user pruned."""
        found = list[Candidate]()
        above = {node.parent for node in self.tree if node.finish_reason is not None}
        for node in sorted(self.tree, key=lambda node: node.path):
            if node.id in above or node.finish_reason is None or node.state is NodeState.FINISHED:
                continue
            if node.prune_reason is PruneReason.USER:
                continue
            answer = self.answer_so_far(node)
            if answer is not None:
                tokens, text = self.tree.path_token_count(node.id), self.tree.path_text(node.id)
                found.append(
                    Candidate(
                        node=node.id,
                        path=node.path,
                        answer=answer,
                        score=node.score,
                        generated_tokens=tokens,
                        text=text,
                    )
                )
        return found

    def _at_limit(self, node: Node) -> bool:
        return node.finish_reason is FinishReason.CONTEXT or (
            node.finish_reason in (FinishReason.STEP, FinishReason.LENGTH)
            and self.tree.path_token_count(node.id) >= self.max_path_tokens
        )

    def dead_end(self, node: Node, answer: str | None) -> PruneReason | None:
        """Return why a path that has not finished cannot go on, None if it has finished or can go on."""
        assert node.finish_reason is not None
        if answer is not None or node.finish_reason is FinishReason.EOS:
            return None
        if node.finish_reason in DEAD_ENDS:
            return DEAD_ENDS[node.finish_reason]
        if self.tree.path_token_count(node.id) >= self.max_path_tokens:
            return PruneReason.PATH_LENGTH
        return None if node.text.strip() else PruneReason.EMPTY

    def most_promising(self) -> Node | None:
        """Return the open node with the best score, the deepest one of equals, None if no node is open."""
        return max(self.tree.open_nodes(), key=promise, default=None)


def node_added(node: Node, answer: str | None) -> NodeAdded:
    """Return the event of a written step; `answer` is that of the path which it ends, None if it ends none."""
    assert node.parent is not None and node.finish_reason is not None
    return NodeAdded(
        node=node.id,
        parent=node.parent,
        depth=node.depth,
        text=node.text,
        generated_tokens=node.token_count,
        logprob=node.logprob,
        state=_state(node, answer),
        finish_reason=node.finish_reason,
        answer=answer,
    )


def _state(node: Node, answer: str | None) -> NodeState:
    if node.state is NodeState.CONTINUED:
        return node.state
    return NodeState.OPEN if answer is None else NodeState.FINISHED


def furthest_text(tree: SearchTree) -> str:
    """Return the text of the path with the most generated tokens, of the best score among equals; "" without any."""
    ends = (node for node in tree if node.finish_reason is not None and node.origin is not Origin.CRITIQUE)
    best = max(ends, key=lambda node: (tree.path_token_count(node.id), node.score or 0.0), default=None)
    return "" if best is None else tree.path_text(best.id)


def promise(node: Node) -> tuple[float, int, Sequence[int]]:
    """Return how promising an open node is, as a key of order: its score, then its depth, then its place."""
    score = -math.inf if node.score is None else node.score
    return score, node.depth, tuple(-index for index in node.path)
