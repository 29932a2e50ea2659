"""How many engines a cluster gets, and where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from ramify.errors import UsageError

_SHARES = 1000
"""GPUs are divided in thousandths, rounded down, so that the shares of one GPU fit it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one engine is to run.

    `node` is the id of a node of the cluster. `gpus` is its share of GPUs, 0 on nodes without. `threads` are the
    processors of the node that fall to it, if it has no GPU, None if it may take all.
    """

    node: str
    gpus: float = 0.0
    threads: int | None = None


def places(nodes: Sequence[Mapping[str, Any]], actors: int | None) -> list[Place]:
    """Return the places of the engines: on all GPUs if there are any, else on all nodes.

    `nodes` is what `ray.nodes()` says. `actors` None means one for each GPU or node; with more of them than that, some
    share one.

    Raises:
        UsageError: if no node is alive.
    """
    alive = [each for each in nodes if each["Alive"]]
    if not alive:
        raise UsageError("the Ray cluster has no node that is alive", "start one, or unset RAY_ADDRESS")
    units = [each["NodeID"] for each in alive for _ in range(int(each["Resources"].get("GPU", 0)))]
    on_gpus = bool(units)
    units = units or [each["NodeID"] for each in alive]
    count = len(units) if actors is None else actors
    chosen = [units[number % len(units)] for number in range(count)]
    if on_gpus:
        share = 1.0 if count <= len(units) else _SHARES // ceil(count / len(units)) / _SHARES
        return [Place(node=node, gpus=share) for node in chosen]
    processors = {each["NodeID"]: int(each["Resources"].get("CPU", 0)) for each in alive}
    crowd = Counter(chosen)
    return [Place(node=node, threads=_share(processors[node], crowd[node])) for node in chosen]


def _share(processors: int, engines: int) -> int | None:
    """Return the processors of each engine of a node, None if it is the only one or their number is not known."""
    return max(1, processors // engines) if engines > 1 and processors else None
