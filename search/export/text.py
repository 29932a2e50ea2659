"""Step texts come from models and may hold anything; here they are made fit for files, drawings and terminals."""

from __future__ import annotations

import re
from collections.abc import Iterator
from unicodedata import category, combining, east_asian_width

from ..node import Node, Origin
from ..tree import SearchTree

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
ELLIPSIS = "…"
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_REORDERS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Marks that turn the direction of what follows, which could make text read as something else."""


def xml_text(text: str) -> str:
    """Return text with U+FFFD for each character that XML cannot hold; markup is not escaped."""
    return _NOT_XML.sub(REPLACEMENT, text)


def printable(text: str) -> str:
    """Return text that does nothing but show: without controls (line breaks and tabs stay) and lone surrogates."""
    plain = _REORDERS.sub(REPLACEMENT, xml_text(text))
    if plain.isprintable():
        return plain
    return "".join(REPLACEMENT if category(c) == "Cc" and c not in "\n\t" else c for c in plain)


def one_line(text: str) -> str:
    """Return text on one line, with single spaces."""
    return " ".join(printable(" ".join(text.split())).split())


def shorten(text: str, limit: int) -> str:
    """Return text on one line, cut to `limit` characters with an ellipsis."""
    line = one_line(text)
    return line if len(line) <= limit else line[: max(0, limit - 1)].rstrip() + ELLIPSIS


def cut(text: str, columns: int) -> str:
    """Return text on one line, cut to `columns` columns of a fixed-width font; wide characters take two."""
    line = one_line(text)
    if len(line) * 2 <= columns or width_of(line) <= columns:
        return line
    kept, room = list[str](), columns - 1
    for character in line:
        room -= _columns(character)
        if room < 0:
            break
        kept.append(character)
    return "".join(kept).rstrip() + ELLIPSIS if columns > 0 else ""


def width_of(text: str) -> int:
    """Return the columns that text takes in a fixed-width font."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def winning_ids(tree: SearchTree, winner: int | None) -> set[int]:
    """Return the nodes of the path that ends at `winner`, root included; none for None."""
    return set() if winner is None else {tree.root.id, *(node.id for node in tree.path_nodes(winner))}


def label_lines(node: Node, text_limit: int) -> Iterator[str]:
    """Yield what a box shows: number, state and score; the step's text; the answer."""
    if node.parent is None:
        yield "question"
        return
    yield f"{node.id} {state_of(node)}" if node.score is None else f"{node.id} {state_of(node)} {node.score:.3f}"
    if node.about is not None:
        yield spoken_of(node)
    if text := shorten(node.text, text_limit):
        yield text
    if node.answer is not None:
        yield f"answer: {shorten(node.answer, text_limit)}"


def spoken_of(node: Node) -> str:
    """Return what a critique or a revision is about, such as "critique of 3"; nothing for a step."""
    if node.about is None:
        return ""
    return f"critique of {node.about}" if node.origin is Origin.CRITIQUE else f"revision after {node.about}"


def state_of(node: Node) -> str:
    """Return a node's state and, if it was given up, the reason."""
    return str(node.state) if node.prune_reason is None else f"{node.state}: {node.prune_reason}"


def _columns(character: str) -> int:
    if combining(character) or category(character) == "Cf":
        return 0
    return 2 if east_asian_width(character) in "WF" else 1
