"""Modules that an import brings along; each case in a process of its own."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

NATIVE = {"llama_cpp", "torch", "gguf", "tokenizers"}
SCREEN = {"click", "textual", "rich", "matplotlib"}
THIRD_PARTY = NATIVE | SCREEN | {"anyio", "jinja2", "math_verify", "networkx", "numpy", "pydantic", "sympy"}


def loaded_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_face_alone_loads_nothing():
    loaded = loaded_after("import ramify")
    assert loaded & THIRD_PARTY == set()
    assert {name for name in loaded if name.startswith("ramify")} == {
        "ramify",
        "ramify._deprecated",
        "ramify._lazy",
        "ramify._old_names",
    }


@pytest.mark.parametrize("name", ["search", "reward", "engine", "models"])
def test_a_folder_alone_loads_no_model_library(name):
    assert loaded_after(f"import ramify.{name}") & (NATIVE | SCREEN) == set()


@pytest.mark.parametrize("name", ["Engine", "Solution", "Rebase", "Budget", "generate_problems", "rebase_allocation"])
def test_a_public_name_loads_no_model_library(name):
    assert loaded_after(f"from ramify import {name}") & (NATIVE | SCREEN) == set()


@pytest.mark.parametrize(
    ("name", "strangers"),
    [
        ("search", {"ramify.engine", "ramify.reward", "ramify.models", "anyio"}),
        ("reward", {"ramify.engine", "ramify.search", "ramify.models"}),
        ("engine", {"ramify.models", "ramify.cli"}),
    ],
)
def test_all_modules_of_a_layer_load_nothing_above_it(name, strangers):
    every = (
        f"import importlib, pkgutil, ramify.{name} as layer\n"
        f"for each in pkgutil.walk_packages(layer.__path__, 'ramify.{name}.'): importlib.import_module(each.name)"
    )
    assert loaded_after(every) & (strangers | SCREEN | {"torch"}) == set()


@pytest.mark.parametrize("name", ["ramify", "ramify.answers", "ramify.batch"])
def test_names_that_load_late_are_no_modules(name):
    # A module that is imported takes the place of such a name in its package.
    package = importlib.import_module(name)
    modules = {each.name for each in pkgutil.iter_modules(package.__path__)}
    assert "lazy_names(" in Path(str(package.__file__)).read_text("utf-8")
    assert sorted(modules & set(dir(package))) == []
