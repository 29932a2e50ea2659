from __future__ import annotations

import ast
import re
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
SETUPTOOLS = PROJECT["tool"]["setuptools"]
IMPORT_NAMES = {
    "markdown-it-py": "markdown_it",
    "llama-cpp-python": "llama_cpp",
    "math-verify": "math_verify",
    "nvidia-ml-py": "pynvml",
    "prometheus-client": "prometheus_client",
}


def folder(package: str) -> Path:
    """The folder of a package: that of its nearest mapped ancestor, and the rest of its name below."""
    parts = package.split(".")
    for cut in range(len(parts), 0, -1):
        base = SETUPTOOLS["package-dir"].get(".".join(parts[:cut]))
        if base is not None:
            return ROOT.joinpath(base, *parts[cut:])
    raise AssertionError(f"{package} has no folder")


def listed_folders() -> set[Path]:
    return {folder(package) for package in SETUPTOOLS["packages"]}


def test_every_package_folder_is_listed():
    tops = {path.relative_to(ROOT).parts[0] for path in listed_folders()}
    code = {file.parent for top in tops for file in (ROOT / top).rglob("*.py")}
    assert code == listed_folders()


def test_every_listed_folder_is_a_package():
    assert [path for path in listed_folders() if not (path / "__init__.py").is_file()] == []


def test_the_root_is_no_package():
    assert not (ROOT / "__init__.py").exists()


def requirement_names(requirements: list[str]) -> set[str]:
    names = {re.split(r"[\[<>=! ;]", requirement, maxsplit=1)[0] for requirement in requirements}
    return {IMPORT_NAMES.get(name, name) for name in names}


@cache
def imports(path: Path) -> frozenset[str]:
    found = set[str]()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "import_module":
            name = node.args[0]
            if isinstance(name, ast.Constant) and not str(name.value).startswith("."):
                found.add(str(name.value).partition(".")[0])
    # Type checkers know `_typeshed` without installing it.
    return frozenset(found - set(sys.stdlib_module_names) - {"ramify", "_typeshed"})


def third_party(*, recipe: bool) -> set[str]:
    files = [file for path in listed_folders() for file in path.glob("*.py") if ("recipe" in file.parts) == recipe]
    return set[str]().union(*map(imports, files))


OF_NOTEBOOKS = {"IPython"}
"""Packages that are there wherever a notebook runs; without them `watch` says that it needs one."""


def test_the_core_imports_exactly_what_is_required():
    extras = PROJECT["project"]["optional-dependencies"]
    optional = {
        name
        for extra in ("convert", "energy", "hub", "mcp", "parquet", "plot", "ray", "serve", "transformers")
        for name in requirement_names(extras[extra])
    }
    assert third_party(recipe=False) - optional - OF_NOTEBOOKS == requirement_names(PROJECT["project"]["dependencies"])
    assert optional <= third_party(recipe=False)


def test_the_recipe_imports_what_the_train_extra_adds():
    extra = requirement_names(PROJECT["project"]["optional-dependencies"]["train"])
    required = requirement_names(PROJECT["project"]["dependencies"])
    assert third_party(recipe=True) - required == extra


@pytest.mark.parametrize("extra", [*PROJECT["project"]["optional-dependencies"], ""])
def test_requirements_have_bounds(extra):
    project = PROJECT["project"]
    requirements = project["optional-dependencies"][extra] if extra else project["dependencies"]
    assert [each for each in requirements if ">=" not in each] == []
