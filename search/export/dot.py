"""The DOT language of Graphviz."""

from __future__ import annotations

from collections.abc import Iterable

from ..node import NodeState
from ..tree import SearchTree
from .text import label_lines, winning_ids

TEXT_LIMIT = 80
"""Characters of a step's text that a box shows."""
_COLOURS = {
    NodeState.PENDING: "lightyellow",
    NodeState.OPEN: "white",
    NodeState.FINISHED: "palegreen",
    NodeState.PRUNED: "lightgrey",
}


def to_dot(tree: SearchTree, *, winner: int | None = None, text_limit: int = TEXT_LIMIT) -> str:
    """Return the tree in the DOT language: score, state and shortened text of each step.

    Colours show states; the path that ends at `winner` is drawn bold.
    """
    winning = winning_ids(tree, winner)
    lines = ["digraph search {", '  node [shape=box, style=filled, fontname="sans-serif"];']
    for node in tree:
        bold = ", penwidth=3" if node.id in winning else ""
        label = _quote(label_lines(node, text_limit))
        lines.append(f"  {node.id} [label={label}, fillcolor={_COLOURS[node.state]}{bold}];")
    for node in tree:
        if node.parent is not None:
            bold = " [penwidth=3]" if node.id in winning else ""
            lines.append(f"  {node.parent} -> {node.id}{bold};")
    return "\n".join([*lines, "}"]) + "\n"


def _quote(lines: Iterable[str]) -> str:
    # Graphviz reads backslash sequences and character entities inside quotes.
    escaped = (line.replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;") for line in lines)
    return '"' + "\\n".join(escaped) + '"'
