"""Peers of the comparison: their methods, and how each is installed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SEARCHES = ("majority", "weighted", "best-of-n", "rebase", "particle")


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One product. `installs` are the arguments of one `pip install` each; none means this environment.

    `server` is what answers it: the endpoint, llama-server, or llama-server through the endpoint ("forwarded").
    `metered` is who counts its tokens: the endpoint, or the side itself by its runtime's counters.
    """

    name: str
    version: str | None
    script: str
    methods: tuple[str, ...]
    installs: tuple[tuple[str, ...], ...] = ()
    server: Literal["endpoint", "llama-server", "forwarded"] | None = "endpoint"
    metered: Literal["endpoint", "itself"] = "endpoint"


ITS_HUB = (("its_hub[lm]==1.2.0",),)

SIDES = (
    Side(
        name="ramify",
        version=None,
        script="run_ramify.py",
        methods=tuple(f"in-process/{each}" for each in SEARCHES),
        server=None,
        metered="itself",
    ),
    Side(
        name="ramify over HTTP",
        version=None,
        script="run_ramify.py",
        methods=tuple(f"endpoint/{each}" for each in SEARCHES),
    ),
    Side(
        name="ramify serve",
        version=None,
        script="run_serve.py",
        methods=tuple(f"serve/{each}" for each in SEARCHES),
        server=None,
        metered="itself",
    ),
    Side(
        name="its_hub",
        version="1.2.0",
        script="run_its_hub.py",
        methods=("self-consistency", "beam", "particle"),
        installs=ITS_HUB,
    ),
    Side(
        name="treequest",
        version="0.3.3",
        script="run_treequest.py",
        methods=("ab-mcts-a", "ab-mcts-a-rewrite"),
        installs=(("treequest==0.3.3",),),
    ),
    Side(
        name="optillm",
        version="0.4.0",
        script="run_optillm.py",
        methods=("best-of-n", "majority", "self-consistency"),
        # What `import optillm` needs; the rest of its long list serves approaches that are not compared.
        installs=(
            ("--no-deps", "optillm==0.4.0"),
            (
                *("openai", "flask", "cerebras_cloud_sdk", "numpy", "networkx", "z3-solver<=4.15.4.0", "sympy"),
                *("math-verify", "PyYAML", "httpx", "aiohttp", "requests"),
            ),
        ),
    ),
    Side(
        name="llama_cpp.Llama",
        version=None,
        script="run_llama.py",
        methods=("majority",),
        server=None,
        metered="itself",
    ),
    Side(
        name="llama-server",
        version=None,
        script="run_ramify.py",
        methods=tuple(f"llama-server/{each}" for each in SEARCHES),
        server="llama-server",
        metered="itself",
    ),
    Side(
        name="its_hub at llama-server",
        version="1.2.0",
        script="run_its_hub.py",
        methods=("self-consistency",),
        installs=ITS_HUB,
        server="forwarded",
    ),
)
"""Every product that is compared, ramify first."""
