"""The package's public face: sorted, lazy, complete, and independent of the rest of ramify."""

from __future__ import annotations

import pickle
import subprocess
import sys

import ramify.reward
from ramify.reward import RewardContextExceeded


def test_every_public_name_exists_and_is_sorted() -> None:
    assert sorted(ramify.reward.__all__) == dir(ramify.reward)
    assert all(hasattr(ramify.reward, name) for name in ramify.reward.__all__)


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, ramify.reward, ramify.reward.protocol; "
        "heavy = {'pydantic', 'numpy', 'llama_cpp', 'torch', 'ramify.engine', 'ramify.search'} & set(sys.modules); "
        "assert not heavy, heavy; "
        "import ramify.reward.lm_head, ramify.reward.callable, ramify.reward.testing; "
        "above = [name for name in sys.modules if name.startswith(('ramify.engine', 'ramify.search'))]; "
        "assert not above, above"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_errors_survive_pickling() -> None:
    error = pickle.loads(pickle.dumps(RewardContextExceeded(nodes=[3, 4], tokens=9, limit=8)))
    assert (error.nodes, error.tokens, error.limit, error.node) == ((3, 4), 9, 8, 3)
