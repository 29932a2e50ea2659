"""Text formats of other tools: GraphML for graph tools, DOT for Graphviz, Mermaid for Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast

from ramify.text import shorten, xml_text

from ..node import Node
from ..tree import SearchTree
from .labels import (
    STATE_COLOURS,
    WINNER,
    Visible,
    ink_on,
    label_lines,
    part_scores,
    said_in,
    score_colour,
    state_of,
    visible_nodes,
    winning_ids,
)

DOT_TEXT_LIMIT = 80
"""Characters of a step's text that a box of Graphviz shows."""
MERMAID_TEXT_LIMIT = 40
"""Characters of a step's text that a box of Mermaid shows."""
EDGE_LIMIT = 480
"""Mermaid refuses 500 edges unless the page that shows the chart allows more."""
CHARACTER_LIMIT = 45_000
"""Mermaid refuses more than 50 000 characters, likewise."""
_SHADES = 5


def to_graphml(tree: SearchTree, *, winner: int | None = None) -> str:
    """Return the tree as GraphML, with a node's fields as attributes; unknown values are left out.

    `winner` is the node whose path gets the attribute `winning`. Characters that XML cannot hold become U+FFFD.
    """
    winning = winning_ids(tree, winner)
    import networkx as nx

    graph: nx.DiGraph[int] = nx.DiGraph()
    for node in tree:
        graph.add_node(node.id, **_attributes(node, node.id in winning))  # pyright: ignore[reportUnknownMemberType]
    graph.add_edges_from(tree.graph.edges)  # pyright: ignore[reportUnknownMemberType]
    lines = cast("Iterator[str]", nx.generate_graphml(graph))  # pyright: ignore[reportUnknownMemberType]
    return "\n".join(lines) + "\n"


def _attributes(node: Node, winning: bool) -> dict[str, str | int | float | bool]:
    values: dict[str, str | int | float | bool | None] = {
        "path": ".".join(map(str, node.path)),
        "depth": node.depth,
        "text": node.text,
        "token_count": node.token_count,
        "logprob": node.logprob,
        "score": node.score,
        "state": str(node.state),
        "finish_reason": None if node.finish_reason is None else str(node.finish_reason),
        "prune_reason": None if node.prune_reason is None else str(node.prune_reason),
        "answer": node.answer,
        "visits": node.visits,
        "value_sum": node.value_sum,
        "origin": str(node.origin),
        "about": node.about,
        "winning": winning,
        **{f"score of {name}": score for name, score in (node.scores or {}).items()},
    }
    return {
        name: xml_text(value) if isinstance(value, str) else value
        for name, value in values.items()
        if value is not None
    }


def to_dot(tree: SearchTree, *, winner: int | None = None, text_limit: int = DOT_TEXT_LIMIT) -> str:
    """Return the tree in the DOT language: score, state and shortened text of each step.

    Colours show states; the path that ends at `winner` is drawn bold.
    """
    winning = winning_ids(tree, winner)
    lines = ["digraph search {", '  node [shape=box, style=filled, fontname="sans-serif"];']
    for node in tree:
        bold = ", penwidth=3" if node.id in winning else ""
        label = _quote(label_lines(node, text_limit))
        lines.append(f"  {node.id} [label={label}, fillcolor={STATE_COLOURS[node.state]}{bold}];")
    for node in tree:
        if node.parent is not None:
            bold = " [penwidth=3]" if node.id in winning else ""
            lines.append(f"  {node.parent} -> {node.id}{bold};")
    return "\n".join([*lines, "}"]) + "\n"


def _quote(lines: Iterable[str]) -> str:
    # Graphviz reads backslash sequences and character entities inside quotes.
    escaped = (line.replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;") for line in lines)
    return '"' + "\\n".join(escaped) + '"'


def to_mermaid(tree: SearchTree, *, winner: int | None = None, node_limit: int = EDGE_LIMIT) -> str:
    """Return the tree as a Mermaid flowchart: shades show scores, dashes pruned nodes, double walls finished ones.

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
    if parts := part_scores(node):
        label += f"<br/>{spelled(parts)}"
    # In quotation marks, because a line that begins like a Markdown list or heading is not drawn as text.
    if text := shorten(said_in(node), MERMAID_TEXT_LIMIT):
        label += f"<br/>“{spelled(text)}”"
    if node.answer is not None:
        label += f"<br/>answer#58; {spelled(shorten(node.answer, MERMAID_TEXT_LIMIT))}"
    return f'[["{label}"]]' if node.answer is not None else f'["{label}"]'


def spelled(text: str) -> str:
    """Return text with Mermaid's entities for all that is not a letter, a digit, a space or harmless punctuation.

    Quotes end a label, backticks start Markdown, `;` and line breaks end statements, and `%%`, `:` and `#` have
    meanings of their own, so it is safer to list the characters that may stay.
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
