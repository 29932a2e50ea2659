"""A search tree as rows of a list, consecutive steps below each other and branches indented, and the texts of rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import NamedTuple

from ramify.search.export.labels import fenced_text
from ramify.search.export.terminal import branches
from ramify.search.node import Node, NodeState, Origin
from ramify.search.tree import ROOT
from ramify.text import ELLIPSIS, cut, one_line, width_of

from .markup import unmarked
from .run_view import RunView


class TreeRow(NamedTuple):
    """A node after the branch lines `lead`; `hidden` is the number of steps below it that are folded away."""

    node: int
    lead: str
    hidden: int = 0


def tree_rows(view: RunView, *, folded: Collection[int] = (), keep_pruned: bool = True) -> list[TreeRow]:
    """Return the rows of a run's tree from the top down, the question first.

    `folded` nodes stand for all below them. Without `keep_pruned`, branches in which everything was given up are left
    out, unless they lead to the best path.
    """
    tree = view.tree
    dead = frozenset[int]() if keep_pruned else _dead(view)
    below = view.children()
    if not folded and not dead:
        return [TreeRow(node, lead) for node, lead in branches(below.__getitem__)]

    def living(node_id: int) -> list[int]:
        return [child for child in below[node_id] if child not in dead]

    def hidden(node_id: int) -> int:
        return len(tree.subtree(node_id)) - 1 if node_id in folded and living(node_id) else 0

    shown = branches(lambda node_id: [] if node_id in folded else living(node_id))
    return [TreeRow(node, lead, hidden(node)) for node, lead in shown]


def _dead(view: RunView) -> frozenset[int]:
    """Return the nodes at and below which everything was given up."""
    tree, below = view.tree, view.children()
    alive = {ROOT, *view.best_path()}
    for node in tree:
        if node.state is NodeState.PRUNED or below[node.id]:
            continue
        current: int | None = node.id
        while current is not None and current not in alive:
            alive.add(current)
            current = tree.node(current).parent
    return frozenset(node.id for node in tree if node.id not in alive)


# Texts of rows

COMPARED = 2000
"""Number of characters of a step that are compared with the steps beside it."""
SEEN = 12
"""Columns after the place where two texts part that are enough to tell them apart."""
MOST_HEAD = 20
"""Columns of the common beginning that stay before the part that differs."""


class Likeness(NamedTuple):
    """Likeness of a step to the steps beside it.

    `shared` is the number of leading characters, on one line, that it has in common with the most similar other text,
    0 for none. `twin` is the first step beside it with the same text, None if it is the first itself.
    """

    shared: int = 0
    twin: int | None = None


class StepLines:
    """Texts of steps on one line, and how far they are like the steps beside them, kept until the texts change.

    `plain` leaves Markdown and LaTeX as they are written.
    """

    def __init__(self, view: RunView, *, plain: bool = False) -> None:
        self._view = view
        self._plain = plain
        self._lines: dict[int, tuple[tuple[int, bool], str]] = {}
        self._groups: dict[int, tuple[int, tuple[int, ...], dict[int, Likeness]]] = {}

    def line(self, node: Node) -> str:
        """Return the text of a step on one line, as far as it is written."""
        # The result of a tool has no tokens of the model's.
        written = self._view.tokens_of(node), node.finish_reason is not None
        kept = self._lines.get(node.id)
        if kept is None or kept[0] != written:
            text = self._view.text_of(node)
            if node.origin is Origin.TOOL:
                text = fenced_text(text)
            kept = self._lines[node.id] = written, one_line(text if self._plain else unmarked(text))
        return kept[1]

    def likeness(self, node: Node) -> Likeness:
        """Return how far a step is like the steps beside it."""
        if node.parent is None:
            return Likeness()
        view = self._view
        beside = view.children()[node.parent]
        if len(beside) < 2:
            return Likeness()
        kept = self._groups.get(node.parent)
        if kept is None or kept[0] != view.version:
            nodes = [view.tree.node(each) for each in beside]
            written = tuple(map(view.tokens_of, nodes))
            if kept is None or kept[1] != written:
                found = likenesses([self.line(each)[:COMPARED] for each in nodes])
                pairs = zip(beside, found, strict=True)
                group = {each: Likeness(shared, _at(beside, twin)) for each, (shared, twin) in pairs}
            else:
                group = kept[2]
            kept = self._groups[node.parent] = view.version, written, group
        return kept[2].get(node.id, Likeness())


def _at(ids: Sequence[int], place: int | None) -> int | None:
    return None if place is None else ids[place]


def likenesses(texts: Sequence[str]) -> list[tuple[int, int | None]]:
    """Return for each text how many characters it shares with the most similar other one, and its first equal.

    Equal texts are no others; the first equal is a place in `texts`, None for the first itself and for "".
    """
    first = dict[str, int]()
    for place, text in enumerate(texts):
        first.setdefault(text, place)
    shared = dict.fromkeys(first, 0)
    ordered = sorted(first)
    for one, other in pairwise(ordered):
        length = _shared(one, other)
        shared[one], shared[other] = max(shared[one], length), length
    return [(shared[text], first[text] if text and first[text] != place else None) for place, text in enumerate(texts)]


def _shared(one: str, other: str) -> int:
    """Return the number of leading characters that two texts have in common."""
    least, most = 0, min(len(one), len(other))
    while least < most:
        middle = (least + most + 1) // 2
        if one[:middle] == other[:middle]:
            least = middle
        else:
            most = middle - 1
    return least


def excerpt(line: str, shared: int, columns: int) -> str:
    """Return a text of one line in so many columns, such that the part after its first `shared` characters is seen.

    Where that is too far from the beginning, the end of the common part is left out for an ellipsis.
    """
    if not shared or shared + SEEN <= columns or width_of(line) <= columns:
        return cut(line, columns)
    head = line[: min(MOST_HEAD, columns // 4)].rpartition(" ")[0]
    head = f"{head}{ELLIPSIS} " if head else ELLIPSIS
    room = columns - len(head)
    # As much of the common part as leaves room for what differs.
    earliest = max(0, shared - room + min(len(line) - shared, max(SEEN, room * 2 // 3)))
    begin = line.find(" ", earliest, shared) + 1
    if not begin:
        begin = line.rfind(" ", 0, shared) + 1
        begin = begin if shared - begin <= SEEN else shared
    if begin >= len(line):
        begin = max(0, len(line) - SEEN)
    return cut(head + line[begin:], columns)


def wrapped(text: str, columns: int, lines: int) -> list[str]:
    """Return a text of one line as at most so many lines of so many columns, the last one cut; at least one."""
    found, rest = list[str](), text
    while len(found) < lines - 1 and width_of(rest) > columns:
        end = len(rest)
        while width_of(rest[:end]) > columns:
            end = min(end - 1, columns)
        space = rest.rfind(" ", 0, end + 1)
        end = space if space > 0 else end
        found.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    return [*found, cut(rest, columns)]
