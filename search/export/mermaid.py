"""Mermaid, which GitHub, GitLab and many editors draw inside Markdown."""

from __future__ import annotations

from ..node import Node
from ..tree import SearchTree
from .colours import WINNER, ink_on, score_colour
from .text import shorten, state_of, winning_ids
from .visible import Visible, visible_nodes

TEXT_LIMIT = 40
"""Characters of a step's text that a box shows."""
EDGE_LIMIT = 480
"""Mermaid refuses 500 edges unless the page that shows the chart allows more."""
CHARACTER_LIMIT = 45_000
"""Mermaid refuses more than 50 000 characters, likewise."""
_SHADES = 5


def to_mermaid(tree: SearchTree, *, winner: int | None = None, node_limit: int = EDGE_LIMIT) -> str:
    """Return the tree as a Mermaid flowchart: shades show scores, dashes what was given up, double walls what finished.

    The path that ends at `winner` is drawn bold. Of a larger tree than Mermaid takes, `node_limit` nodes are drawn,
    fewer if their texts are long in Mermaid's spelling, and boxes count the others.
    """
    while True:
        visible = visible_nodes(tree, node_limit, winner)
        text = _flowchart(tree, winner, visible)
        small = len(visible.nodes) + len(visible.hidden) <= EDGE_LIMIT and len(text) <= CHARACTER_LIMIT
        if small or node_limit < 2:
            return text
        node_limit = min(node_limit, len(tree)) // 2


def _flowchart(tree: SearchTree, winner: int | None, visible: Visible) -> str:
    winning = winning_ids(tree, winner)
    lines, edges, bold = ["flowchart LR"], list[str](), list[int]()
    for node in tree:
        if node.id not in visible.nodes:
            continue
        lines.append(f"  n{node.id}{_box(node)}:::{_shade(node)}")
        if node.parent is not None:
            if node.id in winning:
                bold.append(len(edges))
            edges.append(f"  n{node.parent} {'-.->' if node.prune_reason else '-->'} n{node.id}")
    for parent, count in visible.hidden.items():
        lines.append(f'  more{parent}["{count} more"]:::more')
        edges.append(f"  n{parent} -.- more{parent}")
    styles = [f"  style n{each} stroke:{WINNER},stroke-width:4px" for each in sorted(winning & visible.nodes)]
    if bold:
        styles.append(f"  linkStyle {','.join(map(str, bold))} stroke:{WINNER},stroke-width:4px")
    return "\n".join([*lines, *edges, *_classes(), *styles]) + "\n"


def _box(node: Node) -> str:
    if node.parent is None:
        return '(["question"])'
    head = f"{node.id} {state_of(node)}" if node.score is None else f"{node.id} {state_of(node)} {node.score:.3f}"
    label = spelled(head)
    # In quotation marks, because a line that begins like a Markdown list or heading is not drawn as text.
    if text := shorten(node.text, TEXT_LIMIT):
        label += f"<br/>“{spelled(text)}”"
    if node.answer is not None:
        label += f"<br/>answer#58; {spelled(shorten(node.answer, TEXT_LIMIT))}"
    return f'[["{label}"]]' if node.answer is not None else f'["{label}"]'


def spelled(text: str) -> str:
    """Return text with Mermaid's entities for all that is not a letter, a digit, a space or harmless punctuation.

    Quotes end a label, backticks start Markdown, `;` and line breaks end statements, and `%%`, `:` and `#` have
    meanings of their own, so it is safer to list what may stay.
    """
    return "".join(c if c.isalnum() or c in " .,+=()/'…\N{REPLACEMENT CHARACTER}" else f"#{ord(c)};" for c in text)


def _shade(node: Node) -> str:
    shade = "none" if node.score is None else f"s{min(int(node.score * _SHADES), _SHADES - 1)}"
    return f"{shade}pruned" if node.prune_reason else shade


def _classes() -> list[str]:
    fills = {"none": score_colour(None)}
    fills |= {f"s{shade}": score_colour((shade + 0.5) / _SHADES) for shade in range(_SHADES)}
    lines = list[str]()
    for name, fill in fills.items():
        lines.append(f"  classDef {name} fill:{fill},color:{ink_on(fill)},stroke:#333333")
        lines.append(f"  classDef {name}pruned fill:{fill},color:{ink_on(fill)},stroke:#999999,stroke-dasharray:5 4")
    return [*lines, "  classDef more fill:#f4f4f4,color:#333333,stroke:#999999,stroke-dasharray:2 3"]
