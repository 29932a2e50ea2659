"""GraphML, for graph tools such as yEd, Gephi and networkx."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import networkx as nx

from ..node import Node
from ..tree import SearchTree
from .text import winning_ids, xml_text


def to_graphml(tree: SearchTree, *, winner: int | None = None) -> str:
    """Return the tree as GraphML, with a node's fields as attributes; what is unknown is left out.

    `winner` is the node whose path gets the attribute `winning`. Characters that XML cannot hold become U+FFFD.
    """
    winning = winning_ids(tree, winner)
    graph: nx.DiGraph[int] = nx.DiGraph()
    for node in tree:
        graph.add_node(node.id, **_attributes(node, node.id in winning))  # pyright: ignore[reportUnknownMemberType]
    graph.add_edges_from(tree.graph.edges)  # pyright: ignore[reportUnknownMemberType]
    lines = cast("Iterator[str]", nx.generate_graphml(graph))  # pyright: ignore[reportUnknownMemberType]
    return "\n".join(lines) + "\n"


def _attributes(node: Node, winning: bool) -> dict[str, str | int | float | bool]:
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
        "origin": str(node.origin),
        "about": node.about,
        "winning": winning,
    }
    return {
        name: xml_text(value) if isinstance(value, str) else value
        for name, value in values.items()
        if value is not None
    }
