"""A search tree as GraphML (for graph tools) and DOT (for Graphviz): one look at where the search went."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import cast

import networkx as nx

from .node import Node, NodeState
from .tree import SearchTree

TEXT_LIMIT = 80
"""Characters of a step's text that a drawing shows."""
_COLOURS = {
    NodeState.PENDING: "lightyellow",
    NodeState.OPEN: "white",
    NodeState.FINISHED: "palegreen",
    NodeState.PRUNED: "lightgrey",
}
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_graphml(tree: SearchTree, *, winner: int | None = None) -> str:
    """Return the tree as GraphML, with a node's fields as attributes; what is unknown is left out.

    `winner` is the node whose path gets the attribute `winning`. Characters that XML cannot hold become U+FFFD.
    """
    winning = _winning(tree, winner)
    graph: nx.DiGraph[int] = nx.DiGraph()
    for node in tree:
        graph.add_node(node.id, **_attributes(node, winning))  # pyright: ignore[reportUnknownMemberType]
    graph.add_edges_from(tree.graph.edges)  # pyright: ignore[reportUnknownMemberType]
    lines = cast("Iterator[str]", nx.generate_graphml(graph))  # pyright: ignore[reportUnknownMemberType]
    return "\n".join(lines) + "\n"


def to_dot(tree: SearchTree, *, winner: int | None = None, text_limit: int = TEXT_LIMIT) -> str:
    """Return the tree in the DOT language: score, state and shortened text of each step.

    Colours show states; the path that ends at `winner` is drawn bold.
    """
    winning = _winning(tree, winner)
    lines = ["digraph search {", '  node [shape=box, style=filled, fontname="sans-serif"];']
    for node in tree:
        bold = ", penwidth=3" if node.id in winning else ""
        label = _quote("\n".join(_label(node, text_limit)))
        lines.append(f"  {node.id} [label={label}, fillcolor={_COLOURS[node.state]}{bold}];")
    for node in tree:
        if node.parent is not None:
            bold = " [penwidth=3]" if node.id in winning else ""
            lines.append(f"  {node.parent} -> {node.id}{bold};")
    return "\n".join([*lines, "}"]) + "\n"


def shorten(text: str, limit: int) -> str:
    """Return text on one line, cut to `limit` characters with an ellipsis."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: max(0, limit - 1)].rstrip() + "…"


def _winning(tree: SearchTree, winner: int | None) -> set[int]:
    return set() if winner is None else {tree.root.id, *(node.id for node in tree.path_nodes(winner))}


def _attributes(node: Node, winning: set[int]) -> dict[str, str | int | float | bool]:
    values: dict[str, str | int | float | bool | None] = {
        "path": ".".join(map(str, node.path)),
        "depth": node.depth,
        "text": node.text,
        "token_count": node.token_count,
        "logprob": node.logprob,
        "score": node.score,
        "state": str(node.state),
        "finish_reason": None if node.finish_reason is None else str(node.finish_reason),
        "prune_reason": None if node.prune_reason is None else str(node.prune_reason),
        "answer": node.answer,
        "visits": node.visits,
        "value_sum": node.value_sum,
        "origin": node.origin,
        "winning": node.id in winning,
    }
    return {
        name: _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", value) if isinstance(value, str) else value
        for name, value in values.items()
        if value is not None
    }


def _label(node: Node, text_limit: int) -> Iterable[str]:
    if node.parent is None:
        yield "question"
        return
    state = str(node.state) if node.prune_reason is None else f"{node.state}: {node.prune_reason}"
    yield f"{node.id} {state}" if node.score is None else f"{node.id} {state} {node.score:.3f}"
    if text := shorten(node.text, text_limit):
        yield text
    if node.answer is not None:
        yield f"answer: {shorten(node.answer, text_limit)}"


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\x00", "").replace("\n", "\\n")
    return f'"{escaped}"'
