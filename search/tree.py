"""The search tree: the record of a search, and its saving.

The tree only records. It never decides what to expand (strategies do) and knows no model, budget or clock.
Every operation checks that the node's state allows it, so a mistake of the engine raises where it is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from ramify.errors import TreeError

from .node import FinishReason, Node, NodeState, Origin, PruneReason, summed
from .serialize import node_to_dict, nodes_from_dict, reopen_cut_nodes
from .tree_index import ROOT, IndexedTree

__all__ = ["FORMAT_VERSION", "ROOT", "FinishReason", "Node", "NodeState", "PruneReason", "SearchTree"]

FORMAT_VERSION = 1
"""Version written by `SearchTree.to_dict`."""


class SearchTree(IndexedTree):
    """A tree of reasoning steps under one question.

    Methods take node ids and raise TreeError, naming the node, if it does not exist or its state forbids the operation.
    """

    __slots__ = ()

    # --- growing -----------------------------------------------------------------------------------------------

    def add_pending(
        self, parent: int, index: int | None = None, *, origin: Origin = Origin.MODEL, about: int | None = None
    ) -> Node:
        """Add a child whose step is being generated.

        `index` is its number under the parent, unique there; None takes the next one. The parent must be open.
        `about` is the finished node that a critique or revision follows, None for a step. A continued parent gets the
        one child in which its step goes on.

        Raises:
            TreeError: if the parent is neither open nor continued without a child, the number is taken or negative, or
                `about` is not finished.
        """
        above = self._expect(parent, "expanded", NodeState.OPEN, NodeState.CONTINUED)
        if above.state is NodeState.CONTINUED and self._children[parent]:
            raise TreeError(f"node {parent} goes on in its child already; expand the node where its step ends")
        number = len(self._children[parent]) if index is None else index
        if number < 0:
            raise TreeError(f"node {parent} cannot have a child number {number}; child numbers start at 0")
        path = (*above.path, number)
        if path in self._by_path:
            raise TreeError(f"node {parent} already has a child number {number}; use another number")
        if about is not None:
            self._expect(about, "talked about", NodeState.FINISHED)
        depth = above.depth + (above.state is not NodeState.CONTINUED)
        id = len(self._nodes)
        node = Node(id=id, parent=parent, index=number, path=path, depth=depth, origin=origin, about=about)
        self._insert(node)
        return node

    def complete(
        self,
        node_id: int,
        text: str,
        tokens: Sequence[int] = (),
        logprob: float | None = None,
        finish_reason: FinishReason = FinishReason.STEP,
        *,
        token_count: int | None = None,
    ) -> Node:
        """Record the generated step of a pending node, which becomes open.

        `logprob` is the sum of natural log-probabilities at temperature 1. `token_count` is for backends that
        report a count without tokens; None counts `tokens`.

        Raises:
            TreeError: if the node is not pending, or a count or log-probability is impossible.
        """
        node = self._expect(node_id, "completed", NodeState.PENDING)
        count = len(tokens) if token_count is None else token_count
        if count < 0:
            raise TreeError(f"node {node_id} cannot have {count} tokens; give a count of 0 or more")
        if logprob is not None and not isfinite(logprob):
            raise TreeError(f"node {node_id} has log-probability {logprob}; give a finite number or None")
        node.text, node.tokens, node.token_count = text, tuple(tokens), count
        node.logprob, node.finish_reason = logprob, FinishReason(finish_reason)
        self._count_tokens(node)
        self._move(node, NodeState.OPEN)
        if node.origin is not Origin.CRITIQUE:
            self._unscored.add(node_id)
        return node

    def score(self, node_id: int, value: float | None, *, parts: Mapping[str, float] | None = None) -> Node:
        """Record the reward model's score of the path ending here, in [0, 1].

        `parts` are the scores of a combined reward's parts by name, None if it has none. The node must be open or
        finished and unscored; the same score again changes nothing.

        Raises:
            TreeError: if the node cannot be scored, has another score, or the score is out of range.
        """
        node = self._expect(node_id, "scored", NodeState.OPEN, NodeState.FINISHED)
        if node_id == ROOT:
            raise TreeError("node 0 is the root and has no score; score its descendants")
        if value is None or not 0.0 <= value <= 1.0:
            raise TreeError(f"node {node_id} got the score {value}; a reward score must be a number from 0 to 1")
        if node.score is not None and node.score != value:
            raise TreeError(f"node {node_id} already has the score {node.score}; it cannot change to {value}")
        if node.score is None:
            self._credit(node, float(value))
        node.score = float(value)
        node.scores = dict(parts) if parts else None
        self._unscored.discard(node_id)
        return node

    def finish(self, node_id: int, answer: str | None) -> Node:
        """End the path at an open node without children; `answer` None means that no answer was found.

        Raises:
            TreeError: if the node is not open, has children or is the root.
        """
        node = self._expect(node_id, "finished", NodeState.OPEN)
        if node_id == ROOT:
            raise TreeError("node 0 is the root and cannot finish; finish one of its descendants")
        if node_id not in self._leaves:
            raise TreeError(f"node {node_id} has children and cannot finish; finish a node without children")
        node.answer = answer
        self._move(node, NodeState.FINISHED)
        self._count_finished(node)
        return node

    def read_again(self, node_id: int, answer: str | None) -> Node:
        """Change the answer of a finished path, whose text is read in another way.

        Raises:
            TreeError: if the path has not finished.
        """
        node = self._expect(node_id, "read again", NodeState.FINISHED)
        node.answer = answer
        return node

    def go_on(self, node_id: int) -> Node:
        """Let the step of an open node without children go on in a child, which stands for it from then on.

        The step is scored where it ends.

        Raises:
            TreeError: if the node is not open, has children, has a score or is the root.
        """
        node = self._expect(node_id, "continued", NodeState.OPEN)
        if node_id == ROOT or node_id not in self._leaves or node.score is not None:
            raise TreeError(f"node {node_id} cannot go on in a child; only a step without children and score can")
        self._move(node, NodeState.CONTINUED)
        self._unscored.discard(node_id)
        return node

    def end_step(self, node_id: int) -> Node:
        """Open a continued node without a child again: its step ends there.

        Raises:
            TreeError: if the node is not continued, or has its child.
        """
        node = self._expect(node_id, "opened", NodeState.CONTINUED)
        if self._children[node_id]:
            raise TreeError(f"node {node_id} goes on in its child; its step ends there")
        self._move(node, NodeState.OPEN)
        self._unscored.add(node_id)
        return node

    def prune(self, node_id: int, reason: PruneReason) -> Node:
        """Prune a pending or open node; its descendants stay as they are.

        Complete a step that was cut short before pruning it, so that its tokens are counted.

        Raises:
            TreeError: if the node is neither pending nor open.
        """
        node = self._expect(node_id, "pruned", NodeState.PENDING, NodeState.OPEN)
        node.prune_reason = PruneReason(reason)
        self._move(node, NodeState.PRUNED)
        self._unscored.discard(node_id)
        return node

    # --- saving ------------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Return the whole tree as JSON-ready values; `from_dict` restores it exactly."""
        return {"version": FORMAT_VERSION, "nodes": [node_to_dict(node) for node in self._nodes]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SearchTree:
        """Restore a tree from `to_dict`.

        Raises:
            TreeError: if the version is unknown or the data is damaged.
        """
        version = data.get("version")
        if version != FORMAT_VERSION:
            raise TreeError(f"the tree has format version {version!r} and this ramify reads {FORMAT_VERSION}; upgrade")
        tree = cls.__new__(cls)
        tree._clear()
        for node in nodes_from_dict(data.get("nodes")):
            tree._insert(node)
            tree._count_tokens(node)
            if node.state is NodeState.FINISHED:
                tree._count_finished(node)
            scorable = node.id != ROOT and node.origin is not Origin.CRITIQUE
            if scorable and node.score is None and node.state in (NodeState.OPEN, NodeState.FINISHED):
                tree._unscored.add(node.id)
        return tree

    def to_html(self, *, winner: int | None = None, question: str = "") -> str:
        """Return the tree as one HTML page that folds, searches and replays it, without a server.

        `winner` is the node whose path is marked, None for none.
        """
        from ramify.viewer import page, tree_data

        return page([tree_data(self.to_dict(), winner=winner, question=question)])

    def _repr_html_(self) -> str:
        from ramify.viewer import notebook_view, tree_data

        return notebook_view([tree_data(self.to_dict())], len(self))

    def restarted(self) -> SearchTree:
        """Return a copy in which a run can continue the steps that the end of another run cut.

        Steps that were complete are open again. Steps in the making and those cut short are pending, to be written
        anew: under the same path, and so with the same draws. Text written only to save the best unfinished path
        when the budget ended (`Origin.RESCUE`) is left out.
        """
        data = self.to_dict()
        reopen_cut_nodes(data["nodes"])
        return SearchTree.from_dict(data)

    def _credit(self, node: Node, score: float) -> None:
        value, above = summed(score), node
        while True:
            above.visits += 1
            above.value_sum += value
            if above.parent is None:
                return
            above = self._nodes[above.parent]

    def _count_tokens(self, node: Node) -> None:
        self._generated_tokens += node.token_count
        self._written += node.token_count > 0

    def _count_finished(self, node: Node) -> None:
        if node.origin is Origin.CRITIQUE:
            self._critiques.add(node.id)
        else:
            self._finished_tokens += self.path_token_count(node.id)

    def _expect(self, node_id: int, what: str, *states: NodeState) -> Node:
        node = self.node(node_id)
        if node.state not in states:
            wanted = " or ".join(states)
            raise TreeError(f"node {node_id} is {node.state} and cannot be {what}; it would have to be {wanted}")
        return node
