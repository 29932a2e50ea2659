"""SVG drawing of a search tree, from left to right; the tooltip of a step holds its whole text.

Up to BOX_LIMIT nodes are boxes with text. In a larger tree they are dots, so that its shape is still visible.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from xml.sax.saxutils import escape

from ramify.text import cut, xml_text

from ..node import Node, NodeState
from ..tree import SearchTree
from .labels import UNSCORED, WINNER, ink_on, part_scores, said_in, score_colour, state_of, winning_ids
from .layout import tidy_positions

BOX_LIMIT = 400
"""Nodes up to which they are drawn as boxes."""
MARGIN = 24
LEGEND_HEIGHT = 64
LEGEND_WIDTH = 860
_FONT = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"
_CHARACTER_WIDTH = 6.65
"""Width of a character in pixels at the font size of 11 (0.602 em in DejaVu Sans Mono, the widest of the fonts)."""
_INK = "#222222"
_DIM = "#8a8a8a"
_FADED = "#595959"
_STRIPE = 6
"""Width in pixels of the stripe that shows the score of a step that was given up; its box stays white."""


@dataclass(frozen=True, slots=True)
class _Scale:
    """Pixels: size of a node, and the distance of neighbours along (columns) and across (rows) the growth."""

    width: float
    height: float
    column: float
    row: float

    @property
    def boxes(self) -> bool:
        return self.width > self.height


_BOXES = _Scale(width=236, height=38, column=276, row=48)
_DOTS = _Scale(width=8, height=8, column=72, row=11)


@dataclass(frozen=True, slots=True)
class _Place:
    """Position of a node: the middle of its left side."""

    x: float
    y: float


def to_svg(tree: SearchTree, *, winner: int | None = None, question: str = "") -> str:
    """Return the tree as an SVG drawing.

    Colours show scores, double outlines finished nodes, dashes and white boxes pruned ones (with the reason); the path
    that ends at `winner` is drawn bold in orange. `question` is the tooltip of the root.
    """
    scale = _BOXES if len(tree) <= BOX_LIMIT else _DOTS
    places = _places(tree, scale)
    width = max(LEGEND_WIDTH, max(place.x for place in places) + scale.width) + MARGIN
    height = max(place.y for place in places) + scale.height / 2 + MARGIN
    winning = winning_ids(tree, winner)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="{_FONT}" font-size="11">',
        "<title>Search tree</title>",
        f"<style>{_STYLE}</style>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        *_legend(tree),
        *(_edge(node, places, scale, node.id in winning) for node in _in_drawing_order(tree, winning)),
        *(_node(node, places[node.id], scale, node.id in winning, question) for node in tree),
        "</svg>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


_STYLE = (
    f".e{{fill:none;stroke:{_DIM};stroke-width:1.2}}"
    ".g{stroke-dasharray:4 3}"
    f".e.w{{stroke:{WINNER};stroke-width:4}}"
    f".n{{stroke:{_INK};stroke-width:1}}"
    f".n.g{{stroke:{_DIM}}}"
    f".n.w{{stroke:{WINNER};stroke-width:4}}"
    ".f{fill:none;stroke-width:1}"
    ".t{font-weight:bold}"
)


def _places(tree: SearchTree, scale: _Scale) -> list[_Place]:
    across = tidy_positions([[child.id for child in tree.children(node.id)] for node in tree])
    top = MARGIN + LEGEND_HEIGHT + scale.height / 2
    return [
        _Place(MARGIN + len(node.path) * scale.column, top + place * scale.row)
        for node, place in zip(tree, across, strict=True)
    ]


def _in_drawing_order(tree: SearchTree, winning: set[int]) -> list[Node]:
    """Return the nodes with the winning ones last, so that their edges lie on top."""
    return sorted(tree, key=lambda node: node.id in winning)


def _edge(node: Node, places: list[_Place], scale: _Scale, winning: bool) -> str:
    if node.parent is None:
        return ""
    start, end = places[node.parent], places[node.id]
    x = start.x + scale.width
    middle = (x + end.x) / 2
    kind = "e w" if winning else "e g" if node.state is NodeState.PRUNED else "e"
    return (
        f'<path class="{kind}" d="M{x:.1f} {start.y:.1f}C{middle:.1f} {start.y:.1f} {middle:.1f} {end.y:.1f} '
        f'{end.x:.1f} {end.y:.1f}"/>'
    )


def _node(node: Node, place: _Place, scale: _Scale, winning: bool, question: str) -> str:
    shapes = _box(node, place, scale, winning) if scale.boxes else _dot(node, place, scale, winning)
    return f"<g><title>{_escaped(_tooltip(node, winning, question))}</title>{''.join(shapes)}</g>"


def _box(node: Node, place: _Place, scale: _Scale, winning: bool) -> Iterator[str]:
    colour, top = score_colour(node.score), place.y - scale.height / 2
    given_up = node.state is NodeState.PRUNED
    fill, ink = (UNSCORED, _FADED) if given_up else (colour, ink_on(colour))
    yield _rectangle(place.x, top, scale.width, scale.height, _kind(node, winning), fill)
    if given_up:
        yield f'<rect x="{place.x + 1:.1f}" y="{top + 5:.1f}" width="{_STRIPE}" height="{scale.height - 10:.1f}" '
        yield f'fill="{colour}"/>'
    if node.state is NodeState.FINISHED:
        inner = f'class="f" stroke="{ink}" fill="none"'
        yield f'<rect x="{place.x + 3:.1f}" y="{top + 3:.1f}" width="{scale.width - 6:.1f}" '
        yield f'height="{scale.height - 6:.1f}" rx="3" {inner}/>'
    columns = int((scale.width - 18) / _CHARACTER_WIDTH)
    for line, (text, kind) in enumerate(_lines(node, columns)):
        yield f'<text{kind} x="{place.x + 9:.1f}" y="{top + 16 + 13.5 * line:.1f}" fill="{ink}">{_escaped(text)}</text>'


def _lines(node: Node, columns: int) -> Iterator[tuple[str, str]]:
    bold = ' class="t"'
    if node.parent is None:
        yield "question", bold
        return
    score = "" if node.score is None else f"{node.score:.2f} "
    says = f"= {node.answer}" if node.answer is not None else "" if node.state is NodeState.OPEN else state_of(node)
    yield cut(f"{score}{says}" if says else f"{score}#{node.id}", columns), bold
    if node.text.strip():
        yield cut(said_in(node), columns), ""


def _dot(node: Node, place: _Place, scale: _Scale, winning: bool) -> Iterator[str]:
    radius = scale.width / (3 if node.state is NodeState.PRUNED else 2)
    circle = f'<circle cx="{place.x + scale.width / 2:.1f}" cy="{place.y:.1f}"'
    yield f'{circle} r="{radius:.1f}" class="{_kind(node, winning)}" fill="{score_colour(node.score)}"/>'
    if node.state is NodeState.FINISHED:
        yield f'{circle} r="{radius + 2:.1f}" class="f" stroke="{WINNER if winning else _INK}"/>'


def _kind(node: Node, winning: bool) -> str:
    return "n w" if winning else "n g" if node.state in (NodeState.PRUNED, NodeState.PENDING) else "n"


def _rectangle(x: float, y: float, width: float, height: float, kind: str, fill: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="5" class="{kind}" fill="{fill}"/>'
    )


def _tooltip(node: Node, winning: bool, question: str) -> str:
    if node.parent is None:
        return question or "question"
    facts = [f"step {node.id}, {state_of(node)}"]
    if winning:
        facts.append("on the winning path")
    if node.score is not None:
        parts = part_scores(node)
        facts.append(f"score {node.score:.4f}" + (f" ({parts})" if parts else ""))
    facts.append(f"{node.token_count} tokens")
    if node.answer is not None:
        facts.append(f"answer {node.answer}")
    return f"{', '.join(facts)}\n{node.text}"


def _legend(tree: SearchTree) -> Iterator[str]:
    finished, pruned = tree.finished_count, tree.pruned_count
    yield f'<text class="t" x="{MARGIN}" y="{MARGIN + 4}" fill="{_INK}">'
    yield f"{len(tree) - 1} steps, {finished} finished, {pruned} given up, {tree.generated_tokens} tokens</text>"
    top, x = MARGIN + 18, float(MARGIN)
    yield f'<text x="{x}" y="{top + 12}" fill="{_INK}">score 0</text>'
    x += 56
    for slice_ in range(24):
        yield f'<rect x="{x + 6 * slice_:.1f}" y="{top}" width="6.5" height="16" fill="{score_colour(slice_ / 23)}"/>'
    x += 24 * 6 + 8
    yield f'<text x="{x}" y="{top + 12}" fill="{_INK}">1</text>'
    x += 34
    for name, kind in (("not scored", "n"), ("finished", "n"), ("given up", "n g"), ("winning path", "n w")):
        yield _rectangle(x, top, 26, 16, kind, UNSCORED)
        if name == "finished":
            yield f'<rect x="{x + 3}" y="{top + 3}" width="20" height="10" class="f" stroke="{_INK}"/>'
        yield f'<text x="{x + 34}" y="{top + 12}" fill="{_INK}">{name}</text>'
        x += 46 + _CHARACTER_WIDTH * len(name) + 18


def _escaped(text: str) -> str:
    return escape(xml_text(text))
