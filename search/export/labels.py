"""Labels and colours of nodes in exports of a tree, and the selection of those that are shown.

The colours are such that people with any colour vision can tell them apart. Scores use cividis (Nuñez, Anderton and
Renslow, "Optimizing colormaps with consideration for color vision deficiency", PLOS ONE 13(7), 2018): dark blue to
yellow, its lightness growing evenly. The mark of the winning path is the vermilion of Okabe and Ito's palette, which
lies off that scale.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ramify.text import shorten

from ..node import Node, NodeState, Origin, after_fence
from ..tree import SearchTree

WINNER = "#d55e00"
"""Mark of the winning path."""
UNSCORED = "#ffffff"
"""Colour of a node without a score."""
STATE_COLOURS = {
    NodeState.PENDING: "lightyellow",
    NodeState.OPEN: "white",
    NodeState.FINISHED: "palegreen",
    NodeState.PRUNED: "lightgrey",
    NodeState.CONTINUED: "white",
}
"""Fill of a node by its state, where scores are not shown: names of Graphviz (those of X11)."""
WINNING, GIVEN_UP, FINISHED, MORE = "winning", "given up", "finished", "more"
"""Kinds of lines in a terminal, by which they are painted."""
ANSI_STYLES = {WINNING: "1;33", GIVEN_UP: "2", FINISHED: "36", MORE: "2"}
"""Parameters of the ANSI escape sequence (SGR) for each kind of line."""
_CIVIDIS = (
    (0, 34, 78),
    (26, 56, 111),
    (67, 78, 108),
    (97, 101, 111),
    (125, 124, 120),
    (155, 148, 118),
    (188, 174, 108),
    (222, 201, 88),
    (254, 232, 56),
)


def winning_ids(tree: SearchTree, winner: int | None) -> set[int]:
    """Return the nodes of the path that ends at `winner`, root included; none for None."""
    return set() if winner is None else {tree.root.id, *(node.id for node in tree.path_nodes(winner))}


def label_lines(node: Node, text_limit: int) -> Iterator[str]:
    """Yield the lines of a node's box: number, state and score; scores of parts; the step's text; the answer."""
    if node.parent is None:
        yield "question"
        return
    yield f"{node.id} {state_of(node)}" if node.score is None else f"{node.id} {state_of(node)} {node.score:.3f}"
    if parts := part_scores(node):
        yield parts
    if node.about is not None:
        yield spoken_of(node)
    if text := shorten(said_in(node), text_limit):
        yield text
    if node.answer is not None:
        yield f"answer: {shorten(node.answer, text_limit)}"


def part_scores(node: Node) -> str:
    """Return the scores of the parts of a combined reward, such as "judge 0.930, arithmetic 0.020"; "" without any."""
    return "" if node.scores is None else ", ".join(f"{name} {score:.3f}" for name, score in node.scores.items())


def spoken_of(node: Node) -> str:
    """Return the subject of a critique or a revision, such as "critique of 3"; "" for a step."""
    if node.about is None:
        return ""
    return f"critique of {node.about}" if node.origin is Origin.CRITIQUE else f"revision after {node.about}"


def said_in(node: Node) -> str:
    """Return the text of a step for one line; the result of a tool is marked, and stands without its fence.

    A text put into the path to end a thought, or to keep it going, is marked too.
    """
    if node.origin is Origin.FORCED:
        return f"put in: {node.text.strip()}"
    return f"tool: {fenced_text(node.text)}" if node.origin is Origin.TOOL and node.text else node.text


def fenced_text(text: str) -> str:
    """Return the content of the one fence of a text, the text itself if it has none."""
    lines = text.removesuffix(after_fence(text)).strip().split("\n")
    whole = len(lines) > 1 and lines[0].startswith("```") and lines[-1] == lines[0].removesuffix("output")
    return "\n".join(lines[1:-1]) if whole else text


def state_of(node: Node) -> str:
    """Return a node's state and, if it was pruned, the reason."""
    return str(node.state) if node.prune_reason is None else f"{node.state}: {node.prune_reason}"


@dataclass(frozen=True, slots=True)
class Visible:
    """Nodes to be shown, their parents among them; `hidden` counts the nodes left out below each of them."""

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


def score_colour(score: float | None) -> str:
    """Return the colour of a score in [0, 1] as `#rrggbb`; white without a score."""
    if score is None:
        return UNSCORED
    place = score * (len(_CIVIDIS) - 1)
    low = min(int(place), len(_CIVIDIS) - 2)
    share = place - low
    mixed = (round(a + (b - a) * share) for a, b in zip(_CIVIDIS[low], _CIVIDIS[low + 1], strict=True))
    return "#" + "".join(f"{part:02x}" for part in mixed)


def ink_on(colour: str) -> str:
    """Return black or white, whichever has more contrast on a colour (relative luminance as in WCAG 2.1)."""
    red, green, blue = (_linear(int(colour[place : place + 2], 16) / 255) for place in (1, 3, 5))
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    # Contrast is (lighter + 0.05) / (darker + 0.05), so black wins above the geometric mean of 0.05 and 1.05.
    return "#000000" if (luminance + 0.05) ** 2 > 0.05 * 1.05 else "#ffffff"


def _linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
