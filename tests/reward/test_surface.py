"""The package loads little, is independent of the rest of ramify, and its errors can be pickled."""

from __future__ import annotations

import pickle
import subprocess
import sys

from ramify.errors import RewardContextExceeded


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
