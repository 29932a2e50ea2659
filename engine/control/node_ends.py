"""Ends of the nodes of one run: they are finished, pruned and settled, and memory that nothing needs is freed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ramify.events import Event, NodePruned
from ramify.search.node import FinishReason, Node, NodeState, PruneReason
from ramify.search.strategy import Strategy
from ramify.search.tree import ROOT, SearchTree

from .dispatch import StepsInFlight
from .meter import Meter
from .path_ends import promise
from .results import Results


@dataclass(slots=True)
class Releases:
    """Nodes whose cached tokens the models may free, since no step will be written below them.

    `reserve` is the best of the open nodes that the strategy is done with, None if none is kept: if a limit ends the
    run without an answer, the path that is finished then may go on from it.
    """

    tree: SearchTree
    reserve: int | None = None
    _nodes: list[int] = field(default_factory=list[int])

    def add(self, node_id: int) -> None:
        """Free a node, and those above it whose step goes on to it."""
        if node_id == self.reserve:
            self.reserve = None
        current: int | None = node_id
        while current is not None:
            self._nodes.append(current)
            above = self.tree.node(current).parent
            current = above if above is not None and self.tree.node(above).state is NodeState.CONTINUED else None

    def add_but_best(self, node: Node) -> None:
        """Free an open node, or the one in reserve if this one is more promising, which is in reserve then."""
        best = None if self.reserve is None else self.tree.node(self.reserve)
        if best is not None and promise(best) > promise(node):
            self.add(node.id)
            return
        self.give_up_reserve()
        self.reserve = node.id

    def give_up_reserve(self) -> None:
        """Free the node in reserve, if there is one."""
        if self.reserve is not None:
            self.add(self.reserve)

    def take(self) -> list[int]:
        """Return the nodes that can be freed, each once."""
        nodes, self._nodes = self._nodes, []
        return nodes


@dataclass(slots=True)
class NodeEnds:
    """Ends nodes of one run. `strategy` is the one that asks for steps, `emit` takes events."""

    results: Results
    strategy: Strategy
    meter: Meter
    steps: StepsInFlight
    releases: Releases
    emit: Callable[[Event], None]

    @property
    def tree(self) -> SearchTree:
        """The tree of the run."""
        return self.results.tree

    def finish_if_ended(self, node: Node, answer: str | None) -> None:
        """Finish a path that has ended with this answer, or without one; leave it open if it goes on."""
        if answer is not None or node.finish_reason is FinishReason.EOS:
            self._finish(node, answer)

    def _finish(self, node: Node, answer: str | None) -> None:
        self.tree.finish(node.id, answer)
        if not self.strategy.converses:
            self.releases.add(node.id)
        if answer is None:
            return
        self.meter.note_finished()
        self.results.votes.recount()
        if not self._may_lack_answer():
            self.releases.give_up_reserve()

    def prune(self, node_id: int, reason: PruneReason) -> None:
        """Prune a node, or finish it if the limit of steps ends its path and the path has an answer so far."""
        node = self.tree.node(node_id)
        if (
            reason is PruneReason.DEPTH
            and (node.score is not None or not self.strategy.uses_reward)
            and node.state is NodeState.OPEN
            and (answer := self.results.path_ends.answer_so_far(node))
        ):
            # The limit of steps ends a path like that of tokens.
            self._finish(node, answer)
            return
        self.tree.prune(node_id, reason)
        self.releases.add(node_id)
        self.emit(NodePruned(node=node_id, reason=reason))

    def settle(self, node_id: int) -> None:
        """Free the reservation of a step that has no more to wait for, and its parent if it was the last step there."""
        self.meter.settle(node_id)
        parent = self.tree.node(node_id).parent
        while parent is not None and self.tree.node(parent).state is NodeState.CONTINUED:
            # The step began above, and is complete now.
            self.meter.settle(parent)
            self.steps.settle(parent)
            parent = self.tree.node(parent).parent
        if not self.steps.settle(parent) or parent is None or parent == ROOT:
            return
        if not self.strategy.settled(self.tree).leaves_only:
            return
        # The strategy never comes back to it, and its children keep the cached tokens that they share with it.
        node = self.tree.node(parent)
        if node.state is NodeState.OPEN and self._may_lack_answer():
            self.releases.add_but_best(node)
        else:
            self.releases.add(parent)

    def _may_lack_answer(self) -> bool:
        """Tell whether a limit could end the run now without an answer."""
        return not self.meter.budget.is_unlimited and self.results.votes.vote().answer is None
