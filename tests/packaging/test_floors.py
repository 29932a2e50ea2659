"""Floors of the house: no circle between packages, every module on a floor, imports relative inside a top folder."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def load_house() -> ModuleType:
    spec = importlib.util.spec_from_file_location("house", ROOT / "scripts" / "house.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["house"] = module
    spec.loader.exec_module(module)
    return module


house = load_house()
FILES = house.modules()


def test_no_packages_import_in_a_circle():
    graph = house.package_graph()
    found = {
        (source, target): graph.edges[source, target]["because"]
        for circle in house.circles()
        for source in circle
        for target in graph.successors(source)
        if target in circle
    }
    assert found == {}


def test_imports_under_type_checking_and_in_functions_count(tmp_path):
    file = tmp_path / "module.py"
    file.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from ramify.tui.app import RamifyApp\n"
        "def late():\n    from ..search import tree\n    import ramify.errors\n"
    )
    known = {"ramify.tui.app", "ramify.search.tree", "ramify.errors", "ramify.usage"}
    assert set(house.imported("ramify.engine.module", file, known)) == known - {"ramify.usage"}


def test_every_module_stands_on_a_floor():
    assert [name for name, file in FILES.items() if file.name != "__init__.py" and house.floor_of(name) is None] == []


def test_every_floor_names_what_exists():
    assert [name for names in house.floors() for name in names if name not in FILES] == []


def test_no_import_goes_up():
    found = [
        (source, target)
        for source, target in house.module_graph().edges
        if None not in (floors := (house.floor_of(source), house.floor_of(target))) and floors[0] > floors[1]
    ]
    assert found == []


@pytest.mark.parametrize("folder", sorted(set(house.FOLDERS.values())))
def test_imports_inside_a_top_folder_are_relative(folder):
    own = next(name for name, place in house.FOLDERS.items() if place == folder)
    found = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in sorted((ROOT / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and not node.level and node.module and _home(node.module) == own
    ]
    assert found == []


def _home(module: str) -> str:
    """The top package that a module belongs to: the longest one that is mapped to a folder."""
    parts = module.split(".")
    return next(
        (name for end in range(len(parts), 0, -1) if (name := ".".join(parts[:end])) in house.FOLDERS), "nowhere"
    )


def test_the_picture_is_of_today():
    # After a change of imports: scripts/house.py docs/design.svg
    assert (ROOT / "docs" / "design.svg").read_text("utf-8") == house.picture()
