"""From a run's tree to the rows that a screen shows.

Steps that follow each other without a choice stand below each other; branches are indented.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from ramify.search.node import NodeState

from .run_view import ROOT, RunView

FORK, LAST, DOWN, NONE = "├─ ", "└─ ", "│  ", "   "


class Row(NamedTuple):
    """A node after the branches `lead`; `hidden` steps below it are folded away."""

    node: int
    lead: str
    hidden: int = 0


def tree_rows(view: RunView, *, folded: Collection[int] = (), keep_pruned: bool = True) -> list[Row]:
    """Return the rows of a tree from the top down, the question first.

    `folded` nodes stand for all below them. Without `keep_pruned`, branches in which everything was given up are left
    out, unless they lead to the best path.
    """
    dead = frozenset[int]() if keep_pruned else _dead(view)
    return _walk(view, folded, dead)


def _walk(view: RunView, folded: Collection[int], dead: Collection[int]) -> list[Row]:
    rows, stack, find = list[Row](), [(ROOT, "", "")], view.node
    while stack:
        node_id, lead, below = stack.pop()
        children = find(node_id).children
        if dead:
            children = [child for child in children if child not in dead]
        if folded and children and node_id in folded:
            rows.append(Row(node_id, lead, _count_below(view, node_id)))
            continue
        rows.append(Row(node_id, lead))
        if not children:
            continue
        if len(children) == 1:
            stack.append((children[0], below, below))
            continue
        stack.append((children[-1], below + LAST, below + NONE))
        fork, down = below + FORK, below + DOWN
        stack += [(child, fork, down) for child in reversed(children[:-1])]
    return rows


def _count_below(view: RunView, node_id: int) -> int:
    count, stack = 0, list(view.node(node_id).children)
    while stack:
        count += 1
        stack.extend(view.node(stack.pop()).children)
    return count


def _dead(view: RunView) -> frozenset[int]:
    """Return the nodes at and below which everything was given up."""
    alive = set(view.best_path())
    for node in view:
        if node.state is NodeState.PRUNED or (node.children and node.id != ROOT):
            continue
        current: int | None = node.id
        while current is not None and current not in alive:
            alive.add(current)
            current = view.node(current).parent
    return frozenset(node.id for node in view if node.id not in alive and node.id != ROOT)
