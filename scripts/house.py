#!/usr/bin/env python3
"""Import graph of ramify's packages, read from the source: its cycles, its floors, and a picture of both.

    scripts/house.py            print the floors and every package's imports; exit 1 if packages import in a circle
    scripts/house.py FILE.svg   draw them

Every import counts, those under TYPE_CHECKING and inside functions too. A package is a folder of modules; the modules
of the folder ramify/ stand for themselves, because some of them are the ground of the house and some its roof.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from html import escape
from pathlib import Path

import networkx as nx

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
FOLDERS: dict[str, str] = PROJECT["tool"]["setuptools"]["package-dir"]


def modules() -> dict[str, Path]:
    """Return the file of every module of ramify by its dotted name; a package stands for its `__init__`."""
    found: dict[str, Path] = {}
    for package, folder in FOLDERS.items():
        for file in sorted((ROOT / folder).rglob("*.py")):
            parts = file.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join([package, *(parts[:-1] if parts[-1] == "__init__" else parts)])] = file
    return found


def imported(module: str, file: Path, known: Iterable[str]) -> Iterator[str]:
    """Yield the modules of ramify that a module imports anywhere in its text."""
    names = set(known)
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name in names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for each in node.names:
                target = f"{base}.{each.name}"
                if target in names or base in names:
                    yield target if target in names else base


def unit(module: str, file: Path) -> str:
    """Return the package that a module belongs to; an `__init__` and a module of ramify/ stand for themselves."""
    if file.name == "__init__.py":
        return f"{module}.__init__"
    return module if file.parent == ROOT / FOLDERS["ramify"] else module.rpartition(".")[0]


@cache
def module_graph() -> nx.DiGraph[str]:
    """Return the graph of modules, with an edge from each to those it imports."""
    files = modules()
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(files)
    for module, file in files.items():
        graph.add_edges_from((module, target) for target in imported(module, file, files) if target != module)
    return graph


@cache
def package_graph() -> nx.DiGraph[str]:
    """Return the graph of packages; `because` on an edge is one pair of modules that makes it."""
    files = modules()
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(unit(*each) for each in files.items())
    for source, target in module_graph().edges:
        ends = unit(source, files[source]), unit(target, files[target])
        if ends[0] != ends[1]:
            graph.add_edge(*ends, because=(source, target))
    return graph


def circles() -> list[list[str]]:
    """Return the groups of packages that import each other in a circle; [] in a sound house."""
    return [sorted(group) for group in nx.strongly_connected_components(package_graph()) if len(group) > 1]


@cache
def floors() -> list[list[str]]:
    """Return the floors from the top, each a list of modules and packages, as the import contract names them."""
    contracts = PROJECT["tool"]["importlinter"]["contracts"]
    layers = next(each["layers"] for each in contracts if each["type"] == "layers")
    return [[name.strip() for name in layer.replace("|", ":").split(":")] for layer in layers]


def floor_of(module: str) -> int | None:
    """Return the number of the floor, from the top, that a module stands on; None if no floor names it."""
    for number, names in enumerate(floors()):
        if any(module == name or module.startswith(f"{name}.") for name in names):
            return number
    return None


# The picture

CHARACTER, LINE, GAP, BAND = 7.3, 26, 14, 24
MARGIN, WIDTH = 24, 1180
SHIFTS = (0, -130, 130, -260, 260)
"""Floors stand beside each other's middle, so that a line between two does not run behind those between."""
COLOURS = {"engine": "#dbeafe", "search": "#dcfce7", "reward": "#fef3c7", "training": "#fae8ff", "batch": "#ffedd5"}
LINES = {"engine": "#3b82f6", "search": "#22c55e", "reward": "#eab308", "training": "#c026d3", "batch": "#f97316"}


def rooms() -> dict[str, tuple[int, str]]:
    """Return the room of every module: the number of its floor, and the words on its door."""
    found: dict[str, tuple[int, str]] = {}
    for module, file in modules().items():
        floor = floor_of(module)
        if floor is None:
            continue
        alone = unit(module, file) == module
        # Modules of ramify/ that share a floor share a room.
        names = [each.removeprefix("ramify.") for each in floors()[floor] if each.count(".") == 1]
        package = module if file.name == "__init__.py" else module.rpartition(".")[0]
        found[module] = floor, " · ".join(names) if alone else package.removeprefix("ramify.")
    return found


def picture() -> str:
    """Return the picture as SVG: floors from the roof to the ground, and the imports that no others imply."""
    doors = rooms()
    graph: nx.DiGraph[tuple[int, str]] = nx.DiGraph()
    graph.add_nodes_from(doors.values())
    for source, target in module_graph().edges:
        if source in doors and target in doors and doors[source] != doors[target]:
            graph.add_edge(doors[source], doors[target])
    # Rooms of several floors (the modules of one package) are one room on the highest of them.
    highest: dict[str, int] = {}
    for floor, name in sorted(graph.nodes):
        highest.setdefault(name, floor)
    graph = nx.relabel_nodes(graph, {each: (highest[each[1]], each[1]) for each in graph.nodes})
    graph.remove_edges_from(list(nx.selfloop_edges(graph)))
    kept = nx.transitive_reduction(graph) if nx.is_directed_acyclic_graph(graph) else graph
    rows: dict[int, list[str]] = {}
    for floor, name in sorted(kept.nodes):
        rows.setdefault(floor, []).append(name)
    boxes: dict[str, tuple[float, float, float]] = {}
    height = float(MARGIN)
    for number, floor in enumerate(sorted(rows)):
        widths = [len(name) * CHARACTER + 20 for name in rows[floor]]
        left = (WIDTH - sum(widths) - GAP * (len(widths) - 1)) / 2 + SHIFTS[number % len(SHIFTS)]
        for name, width in zip(rows[floor], widths, strict=True):
            boxes[name] = left, height, width
            left += width + GAP
        height += LINE + BAND
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" font-family="monospace" '
        'font-size="12">',
        "<title>Packages of ramify on their floors; lines are imports, from the importing package down</title>",
        f'<rect width="{WIDTH}" height="{height:.0f}" fill="#ffffff"/>',
    ]
    for (_, source), (_, target) in sorted(kept.edges):
        x1, y1, w1 = boxes[source]
        x2, y2, w2 = boxes[target]
        start, end = x1 + w1 / 2, x2 + w2 / 2
        line = LINES.get(source.partition(".")[0], "#94a3b8")
        parts.append(
            f'<path d="M{start:.0f} {y1 + LINE:.0f} C{start:.0f} {y1 + LINE + BAND:.0f} {end:.0f} '
            f'{y2 - BAND:.0f} {end:.0f} {y2:.0f}" fill="none" stroke="{line}" stroke-opacity="0.8"/>'
        )
    for name, (left, top, width) in boxes.items():
        colour = COLOURS.get(name.partition(".")[0], "#f1f5f9")
        parts.append(
            f'<rect x="{left:.0f}" y="{top:.0f}" width="{width:.0f}" height="{LINE}" rx="5" fill="{colour}" '
            f'stroke="#334155"/><text x="{left + width / 2:.0f}" y="{top + 17:.0f}" text-anchor="middle">'
            f"{escape(name)}</text>"
        )
    return "\n".join([*parts, "</svg>", ""])


def main(arguments: list[str]) -> int:
    """Print or draw the house; return 1 if packages import in a circle."""
    if arguments:
        Path(arguments[0]).write_text(picture(), encoding="utf-8")
        return 0
    for names in floors():
        print("  ".join(name.removeprefix("ramify.") for name in names))
    print()
    graph = package_graph()
    for package in sorted(graph):
        print(f"{package} -> {' '.join(sorted(graph.successors(package)))}")
    for circle in circles():
        print(f"circle: {' '.join(circle)}", file=sys.stderr)
    return 1 if circles() else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
