"""Imports of `ramify.search` load no other layer."""

from __future__ import annotations

import subprocess
import sys

from ramify.errors import AllocationError, BudgetError, SearchError, StrategyError, TreeError


def test_errors_are_value_errors() -> None:
    for kind in (AllocationError, BudgetError, StrategyError, TreeError):
        assert issubclass(kind, SearchError) and issubclass(kind, ValueError)


def test_importing_is_lazy_and_never_leaves_the_layer() -> None:
    code = (
        "import sys; from ramify.search.allocation import rebase_allocation; from ramify.search.limits import Budget;"
        "rebase_allocation([0.5], 4); Budget(nodes=1); assert 'networkx' not in sys.modules;"
        "import importlib, pkgutil, ramify.search as s;"
        "[importlib.import_module(each.name) for each in pkgutil.walk_packages(s.__path__, 'ramify.search.')];"
        "bad = {'ramify.engine', 'ramify.reward', 'llama_cpp', 'torch', 'textual', 'matplotlib', 'anyio'};"
        "assert not bad & set(sys.modules), bad & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
