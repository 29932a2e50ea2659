"""The public names: the face, its modules, and that type checkers see what is there."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
from pathlib import Path

import pytest

import ramify

SURFACE = """
    ABMCTS Auto BeamSearch BestOfN Budget CallableReward DVTS Engine EngineClosed EngineConfig Greedy MCTS
    MajorityVote ModelCrashed ModelLoadError ModelUnreachable ParticleFilter PolicyModel Problem RamifyError
    Rebase Refine RewardModel RoleUsage Run SamplingParams SearchTree Solution StopRule Strategy Usage
    UsageError WeightedVote Widening answers_equal extract_answer generate_problems rebase_allocation
    solve_sync tool
""".split()
MODULES = ["ensembles", "history", "stopping", "testing"]


def test_the_public_names_are_pinned():
    assert ramify.__all__ == SURFACE


@pytest.mark.parametrize("module", ["ramify", "ramify.batch", "ramify.models", *(f"ramify.{name}" for name in MODULES)])
def test_public_names_are_sorted_and_exist(module):
    loaded = importlib.import_module(module)
    assert loaded.__all__ == sorted(loaded.__all__)
    assert [name for name in loaded.__all__ if not hasattr(loaded, name)] == []


@pytest.mark.parametrize("module", ["ramify", "ramify.batch"])
def test_type_checkers_see_the_names_that_load_on_first_use(module):
    loaded = importlib.import_module(module)
    tree = ast.parse(Path(loaded.__file__).read_text())
    typing_only = next(each for each in tree.body if isinstance(each, ast.If))
    seen = {
        alias.name: importlib.import_module("." * each.level + each.module, module)
        for each in typing_only.body
        if isinstance(each, ast.ImportFrom)
        for alias in each.names
        if alias.asname == alias.name
    }
    assert sorted(seen) == loaded.__all__
    assert all(getattr(seen[name], name) is getattr(loaded, name) for name in seen)


def test_the_version_is_that_of_the_distribution():
    assert ramify.__version__ == importlib.metadata.version("ramify")


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        ramify.Nonsense  # noqa: B018


def test_public_names_are_listed_by_dir():
    assert dir(ramify) == sorted(ramify.__all__)
