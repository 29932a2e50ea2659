"""Texts that were put into the paths of one run's tree, and those that go on by themselves after them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ramify.events import Event, NodesDispatched
from ramify.search.node import TOLD, FinishReason, Node, NodeState, Origin
from ramify.search.strategy import Expansion
from ramify.search.tree import SearchTree

from ..policy.protocol import AdoptedNode

WHOLE = (Origin.REST, Origin.REVISION, Origin.CRITIQUE)
"""Origins of texts that were asked for to their ends."""


@dataclass(slots=True)
class Continuations:
    """Texts that were asked for to their ends, and whose writing a tool or the end of a thought has interrupted.

    `going_on` are the nodes after which such a text has to go on.
    """

    tree: SearchTree
    going_on: list[int] = field(default_factory=list[int])

    def first_of(self, node_id: int) -> Node:
        """Return the first node of the step that goes on in a node."""
        node = self.tree.node(node_id)
        while node.parent is not None and self.tree.node(node.parent).state is NodeState.CONTINUED:
            node = self.tree.node(node.parent)
        return node

    def is_whole(self, node_id: int) -> bool:
        """Tell whether the text that a node belongs to was asked for to its end."""
        return self.first_of(node_id).origin in WHOLE

    def add(self, node_id: int) -> None:
        """Let the text of an open node go on at once."""
        self.tree.go_on(node_id)
        self.going_on.append(node_id)

    def begun(self, nodes: set[int]) -> None:
        """Forget the texts that go on now."""
        self.going_on = [node for node in self.going_on if node not in nodes]

    def give_up(self) -> list[int]:
        """End the steps of all texts that wait, since the budget allows none of them; return their nodes."""
        ended, self.going_on = self.going_on, []
        for node in ended:
            self.tree.end_step(node)
        return ended

    def take_over(self) -> None:
        """Let the texts of a saved tree go on that were cut before they did."""
        continued = (node.id for node in self.tree if node.state is NodeState.CONTINUED)
        self.going_on = [node for node in continued if not self.tree.child_count(node)]

    def expansions(self, temperature: float | None) -> list[Expansion]:
        """Return the rests of the texts that wait to go on."""
        found = list[Expansion]()
        for node_id in self.going_on:
            first = self.first_of(node_id)
            found.append(Expansion(node_id, 1, temperature, True, first.about, first.origin))
        return found


@dataclass(slots=True)
class ForeignTexts:
    """Nodes whose texts the policy has not written in this run and has to take in; `emit` takes events."""

    tree: SearchTree
    emit: Callable[[Event], None]
    _nodes: list[AdoptedNode] = field(default_factory=list[AdoptedNode])

    def take(self) -> list[AdoptedNode]:
        """Return the nodes that the policy has to take in, parents first, each once."""
        nodes, self._nodes = self._nodes, []
        return nodes

    def add(self, node: Node) -> None:
        """Have the policy take in a node."""
        assert node.parent is not None
        told = node.origin in TOLD
        self._nodes.append(AdoptedNode(node=node.id, parent=node.parent, text=node.text, tokens=node.tokens, told=told))

    def put_in(self, node_id: int, text: str, tokens: tuple[int, ...]) -> Node:
        """Add a child whose text is put into the path; the policy reads it, and does not write it."""
        pending = self.tree.add_pending(node_id, origin=Origin.FORCED)
        self.emit(NodesDispatched(parent=node_id, nodes=(pending.id,)))
        node = self.tree.complete(pending.id, text, tokens, 0.0, FinishReason.STEP, token_count=0)
        self.add(node)
        return node
