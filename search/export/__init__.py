"""A search tree in other formats: JSON to load again, GraphML, DOT and Mermaid for other tools, SVG to look at."""

from __future__ import annotations

import json
from collections.abc import Callable

from ramify.errors import TreeError

from ..tree import SearchTree
from .dot import to_dot
from .graphml import to_graphml
from .mermaid import to_mermaid
from .svg import to_svg
from .text import cut, one_line, printable, shorten, spoken_of
from .visible import Visible, visible_nodes

__all__ = [
    "TREE_FORMATS",
    "Visible",
    "cut",
    "export_tree",
    "one_line",
    "printable",
    "shorten",
    "spoken_of",
    "to_dot",
    "to_graphml",
    "to_mermaid",
    "to_svg",
    "visible_nodes",
]

TREE_FORMATS: dict[str, Callable[[SearchTree, int | None, str], str]] = {
    ".json": lambda tree, winner, question: json.dumps(tree.to_dict()) + "\n",
    ".graphml": lambda tree, winner, question: to_graphml(tree, winner=winner),
    ".dot": lambda tree, winner, question: to_dot(tree, winner=winner),
    ".mmd": lambda tree, winner, question: to_mermaid(tree, winner=winner),
    ".svg": lambda tree, winner, question: to_svg(tree, winner=winner, question=question),
}
"""What writes a file of each ending."""


def export_tree(tree: SearchTree, ending: str, *, winner: int | None = None, question: str = "") -> str:
    """Return the text of a file with this ending, which can be encoded as UTF-8 whatever the steps hold.

    `winner` is the node whose path is marked, None for none. `question` goes where the format has a place for it.

    Raises:
        TreeError: if there is no such format.
    """
    write = TREE_FORMATS.get(ending.lower())
    if write is None:
        raise TreeError(f"there is no tree format {ending!r}; use one of {', '.join(TREE_FORMATS)}")
    return write(tree, winner, question)
