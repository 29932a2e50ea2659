"""Sampling parameters and step formats: how tokens are drawn and where a step ends."""

from __future__ import annotations

import math
from dataclasses import dataclass
from hashlib import blake2b

from .errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How tokens are drawn.

    `temperature` 0 is greedy (ties to the lowest id). `top_k` 0, `top_p` 1.0 and `min_p` 0.0 switch the filter off.
    Filters apply in the order top-k, top-p, min-p to the distribution at temperature 1, then the temperature.
    Numbers out of range are refused when a run is started.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0


def check_sampling(params: SamplingParams) -> None:
    """Check that tokens can be drawn like this.

    Raises:
        UsageError: if a number is out of range.
    """
    if not (math.isfinite(params.temperature) and params.temperature >= 0):
        raise UsageError(f"temperature is {params.temperature}", "use a number from 0 upwards")
    if params.top_k < 0:
        raise UsageError(f"top_k is {params.top_k}", "use 0 (off) or more")
    for name in ("top_p", "min_p"):
        if not 0 <= getattr(params, name) <= 1:
            raise UsageError(f"{name} is {getattr(params, name)}", "use a number from 0 to 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFormat:
    """What ends a step: the first token after which `pattern` is found in the step's text, beyond leading space."""

    name: str
    pattern: str


def node_seed(run_seed: int, path: tuple[int, ...]) -> int:
    """Return the 64-bit seed of the node at `path` (child numbers from the root) in a run seeded with `run_seed`.

    It depends on where a step stands in the tree, never on when or beside what it is decoded.
    """
    key = f"{run_seed}:{'.'.join(map(str, path))}".encode()
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "little")
