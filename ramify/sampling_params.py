"""Sampling parameters, step formats and node seeds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

from .settings import INTEGER, NUMBER, setting, verify


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """Parameters of the sampling of tokens.

    `temperature` 0 is greedy (ties to the lowest id). `top_k` 0, `top_p` 1.0 and `min_p` 0.0 switch the filter off.
    Filters apply in the order top-k, top-p, min-p to the distribution at temperature 1, then the temperature.
    Numbers out of range are refused when a run is started.
    """

    temperature: float = setting(
        1.0,
        NUMBER,
        low=0,
        group="sampling",
        letter="t",
        help="Of sampling; 0 greedy.",
        explanation="1.0 by default; 0 always takes the likeliest token",
        identity="always",
    )
    top_k: int = setting(
        0,
        INTEGER,
        low=0,
        group="sampling",
        help="Sample from the K likeliest; 0 off.",
        explanation="take only from the K likeliest tokens; 0, which is off, by default",
        identity="always",
    )
    top_p: float = setting(
        1.0,
        NUMBER,
        low=0,
        high=1,
        low_excluded=True,
        group="sampling",
        help="Nucleus sampling; 1 off.",
        explanation="take only from the likeliest tokens that make up the share P; 1, which is off, by default",
        identity="always",
    )
    min_p: float = setting(
        0.0,
        NUMBER,
        low=0,
        high=1,
        group="sampling",
        help="Least share of the likeliest token; 0 off.",
        explanation="take only from tokens of at least the share P of the likeliest; 0, which is off, by default",
        identity="always",
    )


@lru_cache(maxsize=256)
def check_sampling(params: SamplingParams) -> None:
    """Check sampling parameters.

    Raises:
        UsageError: if a number is out of range.
    """
    verify(params)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFormat:
    """End of a step: the first token after which `pattern` is found in the step's text, leading space aside."""

    name: str
    pattern: str


def node_seed(run_seed: int, path: tuple[int, ...]) -> int:
    """Return the 64-bit seed of the node at `path` (child numbers from the root) in a run seeded with `run_seed`.

    It depends on the place of a step in the tree alone, not on the time of its decoding or on the rest of the batch.
    """
    key = f"{run_seed}:{'.'.join(map(str, path))}".encode()
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "little")
