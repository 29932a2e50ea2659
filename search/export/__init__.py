"""Exports of a search tree: JSON to load again, GraphML, DOT, Mermaid, SVG drawings, HTML pages and terminal lines."""

from __future__ import annotations

import json
from collections.abc import Callable

from ramify.errors import TreeError

from ..tree import SearchTree
from .graphs import to_dot, to_graphml, to_mermaid
from .svg import to_svg

TREE_FORMATS: dict[str, Callable[[SearchTree, int | None, str], str]] = {
    ".json": lambda tree, winner, question: json.dumps(tree.to_dict()) + "\n",
    ".graphml": lambda tree, winner, question: to_graphml(tree, winner=winner),
    ".dot": lambda tree, winner, question: to_dot(tree, winner=winner),
    ".mmd": lambda tree, winner, question: to_mermaid(tree, winner=winner),
    ".svg": lambda tree, winner, question: to_svg(tree, winner=winner, question=question),
    ".html": lambda tree, winner, question: tree.to_html(winner=winner, question=question),
}
"""Writer of the files of each ending: (tree, node whose path is marked, question) to text."""


def export_tree(tree: SearchTree, ending: str, *, winner: int | None = None, question: str = "") -> str:
    """Return the text of a file with this ending, which can be encoded as UTF-8 for any text in the steps.

    `winner` is the node whose path is marked, None for none. `question` goes where the format has a place for it.

    Raises:
        TreeError: if there is no such format.
    """
    write = TREE_FORMATS.get(ending.lower())
    if write is None:
        raise TreeError(f"there is no tree format {ending!r}; use one of {', '.join(TREE_FORMATS)}")
    return write(tree, winner, question)
