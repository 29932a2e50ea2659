"""Training plans of the bundled policies: sizes, tasks and tokens."""

from __future__ import annotations

from dataclasses import dataclass

from ..tasks.tasks import ARITHMETIC, LISTS, Task
from .network import Shape
from .text import CONTEXT_LENGTH, THINKING_CONTEXT_LENGTH


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy to train.

    `tokens` counts the positions it trains on and `batch_tokens` those of one update, padding included; `rate` is the
    share of the optimizers' full learning rates that it peaks at; `quantizations` are the GGUF files that are bundled.
    `start` is the policy whose exported weights it starts with, of the same shape, None for random ones. `reward` is
    the name of the reward model that starts as it. A policy that `thinks` writes a thought before its reply. Problems
    of the first `short_shards` shards have 1 to 3 steps, those of the next `middle_shards` 1 to 5 and all later ones 1
    to 9, so that single steps are learned sooner.
    """

    shape: Shape
    tokens: int
    task: Task = ARITHMETIC
    rate: float = 1.0
    batch_tokens: int = 8192
    quantizations: tuple[str, ...] = ("f16", "q8_0")
    start: str | None = None
    reward: str = "demo-prm"
    thinks: bool = False
    short_shards: int = 2
    middle_shards: int = 2

    @property
    def context(self) -> int:
        """Longest sequence in tokens."""
        return THINKING_CONTEXT_LENGTH if self.thinks else CONTEXT_LENGTH

    def steps_of_shard(self, index: int) -> tuple[int, int]:
        """Return the range of steps in shard `index`."""
        if index < self.short_shards:
            return 1, 3
        return (1, 5) if index < self.short_shards + self.middle_shards else (1, 9)


_SMALL = Shape(layers=4, width=64, heads=2, hidden=192)
_MEDIUM = Shape(layers=4, width=128, heads=4, hidden=384)
_LARGE = Shape(layers=5, width=256, heads=4, hidden=512)

POLICIES: dict[str, Policy] = {
    "m": Policy(_MEDIUM, 30_000_000),
    "s": Policy(_SMALL, 35_000_000),
    "l": Policy(_LARGE, 63_000_000, rate=0.6, quantizations=("f16", "q8_0", "q4_k_m")),
    "lists": Policy(
        _MEDIUM,
        6_000_000,
        LISTS,
        batch_tokens=4096,
        quantizations=("q8_0",),
        start="m",
        reward="demo-lists-prm",
        short_shards=1,
        middle_shards=0,
    ),
    "think": Policy(
        _MEDIUM,
        8_000_000,
        rate=0.7,
        quantizations=("q8_0",),
        start="m",
        thinks=True,
        short_shards=0,
        middle_shards=0,
    ),
}
"""Policies by the part of their names after "demo-", in the order of training: first those that a reward model needs.

The bundled small and large policies, and that for lists, were stopped and extended on the way, so that their schedules
differ from a fresh run's; their weights cannot be reproduced bit for bit.
"""
