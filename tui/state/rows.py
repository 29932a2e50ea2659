"""A search tree as rows of a list: consecutive steps below each other, branches indented."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from ramify.search.node import NodeState
from ramify.search.tree import ROOT

from .run_view import RunView

FORK, LAST, DOWN, NONE = "├─ ", "└─ ", "│  ", "   "


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
    rows, stack = list[TreeRow](), [(ROOT, "", "")]
    while stack:
        node_id, lead, indent = stack.pop()
        children = below[node_id]
        if dead:
            children = [child for child in children if child not in dead]
        if folded and children and node_id in folded:
            rows.append(TreeRow(node_id, lead, len(tree.subtree(node_id)) - 1))
            continue
        rows.append(TreeRow(node_id, lead))
        if not children:
            continue
        if len(children) == 1:
            stack.append((children[0], indent, indent))
            continue
        stack.append((children[-1], indent + LAST, indent + NONE))
        fork, down = indent + FORK, indent + DOWN
        stack += [(child, fork, down) for child in reversed(children[:-1])]
    return rows


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
