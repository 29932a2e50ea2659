"""Which nodes of a large tree to show where there is no room for all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..tree import SearchTree


@dataclass(frozen=True, slots=True)
class Visible:
    """`nodes` are to be shown; their parents are among them. `hidden` counts what is left out below each of them."""

    nodes: frozenset[int]
    hidden: dict[int, int]


def visible_nodes(tree: SearchTree, limit: int | None, winner: int | None = None) -> Visible:
    """Return the nodes to show, `limit` at most (None: all) but always the root and the path to `winner`.

    After that path come the finished ones, best scores first, and then the other nodes level by level.
    """
    if limit is None or len(tree) <= limit:
        return Visible(frozenset(range(len(tree))), {})
    shown = {tree.root.id}
    if winner is not None:
        shown.update(node.id for node in tree.path_nodes(winner))
    for node_id in _by_interest(tree):
        if len(shown) >= limit:
            break
        new = list[int]()
        current: int | None = node_id
        while current is not None and current not in shown:
            new.append(current)
            current = tree.node(current).parent
        if len(shown) + len(new) <= limit:
            shown.update(new)
    return Visible(frozenset(shown), _hidden(tree, shown))


def _by_interest(tree: SearchTree) -> Iterator[int]:
    for node in sorted(tree.finished_nodes(), key=lambda node: (-(node.score or 0.0), node.path)):
        yield node.id
    for depth in range(1, tree.depth + 1):
        for node in tree.level(depth):
            yield node.id


def _hidden(tree: SearchTree, shown: set[int]) -> dict[int, int]:
    owner, counts = dict[int, int](), dict[int, int]()
    for node in tree:
        if node.id not in shown and node.parent is not None:
            owner[node.id] = node.parent if node.parent in shown else owner[node.parent]
            counts[owner[node.id]] = counts.get(owner[node.id], 0) + 1
    return counts
