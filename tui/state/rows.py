"""A search tree as rows of a list: consecutive steps below each other, branches indented."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from ramify.search.export.terminal import branches
from ramify.search.node import NodeState
from ramify.search.tree import ROOT

from .run_view import RunView


class TreeRow(NamedTuple):
    """A node after the branch lines `lead`; `hidden` is the number of steps below it that are folded away."""

    node: int
    lead: str
    hidden: int = 0


def tree_rows(view: RunView, *, folded: Collection[int] = (), keep_pruned: bool = True) -> list[TreeRow]:
    """Return the rows of a run's tree from the top down, the question first.

    `folded` nodes stand for all below them. Without `keep_pruned`, branches in which everything was given up are left
    out, unless they lead to the best path.
    """
    tree = view.tree
    dead = frozenset[int]() if keep_pruned else _dead(view)
    below = view.children()
    if not folded and not dead:
        return [TreeRow(node, lead) for node, lead in branches(below.__getitem__)]

    def living(node_id: int) -> list[int]:
        return [child for child in below[node_id] if child not in dead]

    def hidden(node_id: int) -> int:
        return len(tree.subtree(node_id)) - 1 if node_id in folded and living(node_id) else 0

    shown = branches(lambda node_id: [] if node_id in folded else living(node_id))
    return [TreeRow(node, lead, hidden(node)) for node, lead in shown]


def _dead(view: RunView) -> frozenset[int]:
    """Return the nodes at and below which everything was given up."""
    tree, below = view.tree, view.children()
    alive = {ROOT, *view.best_path()}
    for node in tree:
        if node.state is NodeState.PRUNED or below[node.id]:
            continue
        current: int | None = node.id
        while current is not None and current not in alive:
            alive.add(current)
            current = tree.node(current).parent
    return frozenset(node.id for node in tree if node.id not in alive)
