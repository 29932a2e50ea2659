"""Decisions of a person about a running search: expansions, prunes, edits and pins, checked against the tree."""

from __future__ import annotations

from dataclasses import dataclass, field

from ramify.errors import UsageError
from ramify.search.node import FinishReason, Node, NodeState, Origin
from ramify.search.strategy import Expansion
from ramify.search.tree import ROOT, SearchTree


@dataclass(slots=True)
class Steering:
    """Decisions of a person about one tree.

    `pruned_when_written` are nodes in flight that are pruned as soon as they are written. `pinned` is the finished
    node whose answer is the result in place of the vote's, None to leave it to the vote.
    """

    tree: SearchTree
    pruned_when_written: set[int] = field(default_factory=set[int])
    pinned: int | None = None
    _expansions: list[Expansion] = field(default_factory=list[Expansion])

    def expand(self, node_id: int, children: int) -> None:
        """Ask for more children of an open node.

        Raises:
            UsageError: if the node cannot be expanded, or the number is below 1.
        """
        if children < 1:
            raise UsageError(f"{children} children were asked for", "ask for 1 or more")
        node = self._node(node_id)
        if node.state is not NodeState.OPEN:
            raise UsageError(f"node {node_id} is {node.state}", "choose an open node to expand")
        self._expansions.append(Expansion(node_id, children))

    def take_expansions(self) -> tuple[Expansion, ...]:
        """Return, once, the expansions asked for that are still possible."""
        asked, self._expansions = self._expansions, []
        return tuple(each for each in asked if self.tree.node(each.node).state is NodeState.OPEN)

    def prunable(self, node_id: int) -> list[int]:
        """Return the open nodes of a subtree, to be pruned now; those in flight are to be pruned when written.

        Raises:
            UsageError: if there is nothing in the subtree that could be pruned.
        """
        if node_id == ROOT:
            raise UsageError("node 0 is the question", "prune one of the steps below it, or stop the run")
        self._node(node_id)
        below = [self.tree.node(each) for each in self.tree.subtree(node_id)]
        pending = {node.id for node in below if node.state is NodeState.PENDING}
        open_nodes = [node.id for node in below if node.state is NodeState.OPEN]
        if not pending and not open_nodes:
            raise UsageError(f"node {node_id} and all below it have ended", "prune a node that is still open")
        self.pruned_when_written |= pending
        return open_nodes

    def rewrite(self, node_id: int, text: str) -> Node:
        """Add a sibling of a node that holds `text`, with the white space that ends the node's own step.

        Raises:
            UsageError: if the text is empty, or the node has no open parent.
        """
        node = self._node(node_id)
        if node.parent is None or self.tree.node(node.parent).state is not NodeState.OPEN:
            raise UsageError(f"node {node_id} has no open step above it", "edit another step")
        if not text.strip():
            raise UsageError("the new step is empty", "write some text")
        ending = node.text[len(node.text.rstrip()) :]
        added = self.tree.add_pending(node.parent, origin=Origin.HAND)
        return self.tree.complete(added.id, text.rstrip() + ending, (), None, FinishReason.STEP, token_count=0)

    def pin(self, node_id: int | None) -> None:
        """Let a finished path's answer be the result; None leaves it to the vote again.

        Raises:
            UsageError: if the path has not finished with an answer.
        """
        if node_id is not None and self._node(node_id).answer is None:
            raise UsageError(f"the path to node {node_id} has no answer", "pin a finished path")
        self.pinned = node_id

    def _node(self, node_id: int) -> Node:
        if node_id not in self.tree:
            raise UsageError(f"there is no node {node_id}", f"choose one from 1 to {len(self.tree) - 1}")
        return self.tree.node(node_id)
