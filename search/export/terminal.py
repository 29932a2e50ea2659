"""Lines of a search tree for a terminal.

Steps that follow each other without a choice stand below each other; branches are indented. Each line has the score,
a mark (`*` on the winning path, `x` for what was given up) and the step's text, cut to the width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ramify.text import cut

from ..node import Node, NodeState
from ..tree import SearchTree
from .labels import spoken_of, visible_nodes

SHOWN = 80
"""Nodes that are shown of a tree unless all are asked for."""
_TEXT_COLUMNS = 24
"""Columns that stay free for score and text however deep the branch is."""

WINNING, GIVEN_UP, FINISHED, MORE = "winning", "given up", "finished", "more"
"""What a line is painted by."""
Paint = Callable[[str, str], str]
"""Returns a text painted as one of these, or as "" (nothing special)."""


@dataclass(frozen=True, slots=True)
class Signs:
    """What branches and cuts are drawn with; `ASCII` is for terminals that know no others."""

    fork: str = "├─ "
    last: str = "└─ "
    down: str = "│  "
    none: str = "   "
    cut: str = "…"


ASCII = Signs(fork="|- ", last="`- ", down="|  ", cut="...")


@dataclass(frozen=True, slots=True)
class _Line:
    """A node to be drawn after `lead`, and what stands below it after `below`; or the number of those left out."""

    node: int
    lead: str
    below: str
    hidden: int = 0


def draw(
    tree: SearchTree,
    *,
    winner: int | None,
    width: int,
    limit: int | None = SHOWN,
    paint: Paint = lambda text, kind: text,
    signs: Signs | None = None,
) -> Iterator[str]:
    """Yield the lines of a tree, none wider than `width` columns.

    `winner` is the node whose path is marked, None for none. Of a larger tree `limit` nodes are shown, the winning and
    the finished paths first, and the others are counted; None shows all.
    """
    signs = signs or Signs()
    visible = visible_nodes(tree, limit, winner)
    winning = set[int]() if winner is None else {node.id for node in tree.path_nodes(winner)}
    stack = [_Line(tree.root.id, "", "")]
    while stack:
        line = stack.pop()
        if line.hidden:
            yield _lead(line.lead, width, signs) + paint(f"{signs.cut} {line.hidden} more", MORE)
            continue
        node = tree.node(line.node)
        yield _drawn(node, line.lead, width, node.id in winning, paint, signs)
        below = [child.id for child in tree.children(node.id) if child.id in visible.nodes]
        stack.extend(reversed([*_branches(below, visible.hidden.get(node.id, 0), line.below, signs)]))


def _branches(below: list[int], hidden: int, lead: str, signs: Signs) -> Iterator[_Line]:
    if len(below) == 1 and not hidden:
        yield _Line(below[0], lead, lead)
        return
    for place, node in enumerate(below, start=1):
        last = place == len(below) and not hidden
        yield _Line(node, lead + (signs.last if last else signs.fork), lead + (signs.none if last else signs.down))
    if hidden:
        yield _Line(-1, lead + signs.last, "", hidden)


def _drawn(node: Node, lead: str, width: int, winning: bool, paint: Paint, signs: Signs) -> str:
    if node.parent is None:
        return "question"
    lead = _lead(lead, width, signs)
    score = "   -" if node.score is None else f"{node.score:.2f}"
    mark = "*" if winning else "x" if node.state is NodeState.PRUNED else " "
    kind = WINNING if winning else _KINDS.get(node.state, "")
    return lead + paint(cut_at(f"{score} {mark} ", _says(node), width - len(lead), signs), kind)


_KINDS = {NodeState.PRUNED: GIVEN_UP, NodeState.FINISHED: FINISHED}


def _says(node: Node) -> str:
    if node.state is NodeState.FINISHED:
        ended = spoken_of(node) if node.answer is None else f"= {node.answer}"
        return f"{ended or 'no answer'} | {node.text}"
    if node.prune_reason is not None:
        return f"[{node.prune_reason.replace('_', ' ')}] {node.text}"
    return "[being written]" if node.state is NodeState.PENDING else node.text


def cut_at(head: str, text: str, columns: int, signs: Signs) -> str:
    """Return `head` as it is and as much of `text` on one line as fits into `columns` with it."""
    shown = cut(text, columns - len(head))
    if signs.cut != "…" and shown.endswith("…"):
        shown = cut(text, columns - len(head) - len(signs.cut) + 1)[:-1] + signs.cut
    return (head + shown).rstrip()


def _lead(lead: str, width: int, signs: Signs) -> str:
    """Return the branches before a line, cut on their left where they are deeper than the width allows."""
    room = max(8, width - _TEXT_COLUMNS)
    return lead if len(lead) <= room else signs.cut + lead[len(signs.cut) - room :]
