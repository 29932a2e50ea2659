"""The public names of `ramify.search`, and what importing it must not pull in."""

from __future__ import annotations

import subprocess
import sys

import ramify.search
from ramify.search import AllocationError, BudgetError, SearchError, StrategyError, TreeError


def test_names_are_sorted_and_all_resolve() -> None:
    assert list(ramify.search.__all__) == sorted(ramify.search.__all__)
    for name in ramify.search.__all__:
        assert getattr(ramify.search, name) is not None
    assert dir(ramify.search) == ramify.search.__all__
    assert not hasattr(ramify.search, "nothing_of_that_name")


def test_errors_are_value_errors() -> None:
    for kind in (AllocationError, BudgetError, StrategyError, TreeError):
        assert issubclass(kind, SearchError) and issubclass(kind, ValueError)


def test_importing_is_lazy_and_never_leaves_the_layer() -> None:
    code = (
        "import sys, ramify.search as s; assert 'networkx' not in sys.modules;"
        "s.rebase_allocation([0.5], 4); s.Budget(nodes=1); assert 'networkx' not in sys.modules;"
        "[getattr(s, name) for name in s.__all__];"
        "bad = {'ramify.engine', 'ramify.reward', 'llama_cpp', 'torch', 'textual', 'matplotlib', 'anyio'};"
        "assert not bad & set(sys.modules), bad & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
