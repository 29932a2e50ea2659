"""Lines of a search tree for a terminal.

Steps that follow each other without a choice stand below each other; branches are indented. Each line has the score,
a mark (`*` on the winning path, `x` for a pruned step) and the step's text, cut to the width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ramify.text import cut

from ..node import Node, NodeState, Origin
from ..tree import ROOT, SearchTree
from .labels import FINISHED, GIVEN_UP, MORE, WINNING, part_scores, said_in, spoken_of, visible_nodes, winning_ids

SHOWN = 80
"""Number of nodes shown of a tree by default."""
_TEXT_COLUMNS = 24
"""Columns that stay free for score and text however deep the branch is."""

Paint = Callable[[str, str], str]
"""Function of a text and a kind of line, or "" for none, that returns the text in its colours."""


@dataclass(frozen=True, slots=True)
class Signs:
    """Characters of branches and cuts; `ASCII` is for terminals that know no others."""

    fork: str = "├─ "
    last: str = "└─ "
    down: str = "│  "
    none: str = "   "
    cut: str = "…"


UNICODE = Signs()
ASCII = Signs(fork="|- ", last="`- ", down="|  ", cut="...")


def branches(children: Callable[[int], Sequence[int]], signs: Signs = UNICODE) -> list[tuple[int, str]]:
    """Return each node from the root down with the branch lines before it; only branches are indented.

    `children` gives the nodes below a node in order. A negative one stands for several that are left out, so it is
    indented even where it is alone, and `children` is asked for it too.
    """
    fork, last, down, none = signs.fork, signs.last, signs.down, signs.none
    rows, stack = list[tuple[int, str]](), [(ROOT, "", "")]
    while stack:
        node, lead, indent = stack.pop()
        rows.append((node, lead))
        below = children(node)
        if not below:
            continue
        if len(below) == 1 and below[0] >= 0:
            stack.append((below[0], indent, indent))
            continue
        stack.append((below[-1], indent + last, indent + none))
        if len(below) > 1:
            here, on = indent + fork, indent + down
            stack += [(child, here, on) for child in reversed(below[:-1])]
    return rows


def draw(
    tree: SearchTree,
    *,
    winner: int | None,
    width: int,
    limit: int | None = SHOWN,
    paint: Paint = lambda text, kind: text,
    signs: Signs = UNICODE,
    parts: bool = False,
) -> Iterator[str]:
    """Yield the lines of a tree, none wider than `width` columns.

    `winner` is the node whose path is marked, None for none. Of a larger tree `limit` nodes are shown, the winning and
    the finished paths first, and the others are counted; None shows all. `parts` adds the scores of the parts of a
    combined reward.
    """
    visible = visible_nodes(tree, limit, winner)
    winning = winning_ids(tree, winner)

    def below(node: int) -> list[int]:
        if node < 0:
            return []
        shown = [child.id for child in tree.children(node) if child.id in visible.nodes]
        # The complement of a node stands for the nodes left out below it.
        return [*shown, ~node] if visible.hidden.get(node) else shown

    for node, lead in branches(below, signs):
        if node < 0:
            yield _lead(lead, width, signs) + paint(f"{signs.cut} {visible.hidden[~node]} more", MORE)
        else:
            yield _drawn(tree.node(node), lead, width, node in winning, paint, signs, parts=parts)


def _drawn(node: Node, lead: str, width: int, winning: bool, paint: Paint, signs: Signs, *, parts: bool) -> str:
    if node.parent is None:
        return "question"
    lead = _lead(lead, width, signs)
    score = "   -" if node.score is None else f"{node.score:.2f}"
    mark = "*" if winning else "x" if node.state is NodeState.PRUNED else " "
    kind = WINNING if winning else _KINDS.get(node.state, "")
    says = f"({part_scores(node)}) {_says(node)}" if parts and node.scores else _says(node)
    return lead + paint(cut_at(f"{score} {mark} ", says, width - len(lead), signs), kind)


_KINDS = {NodeState.PRUNED: GIVEN_UP, NodeState.FINISHED: FINISHED}


def _says(node: Node) -> str:
    if node.state is NodeState.FINISHED:
        ended = spoken_of(node) if node.answer is None else f"= {node.answer}"
        return f"{ended or 'no answer'} | {node.text}"
    if node.prune_reason is not None:
        return f"[{node.prune_reason.replace('_', ' ')}] {said_in(node)}"
    if node.state is NodeState.PENDING:
        return "[tool at work]" if node.origin is Origin.TOOL else "[being written]"
    return said_in(node)


def cut_at(head: str, text: str, columns: int, signs: Signs) -> str:
    """Return `head` as it is and as much of `text` on one line as fits into `columns` with it."""
    shown = cut(text, columns - len(head))
    if signs.cut != "…" and shown.endswith("…"):
        shown = cut(text, columns - len(head) - len(signs.cut) + 1)[:-1] + signs.cut
    return (head + shown).rstrip()


def _lead(lead: str, width: int, signs: Signs) -> str:
    """Return the branch lines before a line, cut on their left where they are wider than the width allows."""
    room = max(8, width - _TEXT_COLUMNS)
    return lead if len(lead) <= room else signs.cut + lead[len(signs.cut) - room :]
