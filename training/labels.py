"""What labels of steps are, how they are to be made, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from ramify.errors import UsageError

MAX_STEP_TOKENS = 64
MAX_ROLLOUT_TOKENS = 256

LabelMode = Literal["soft", "hard", "search"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelPlan:
    """How steps are labelled.

    `solutions` are sampled for each problem. From each of their prefixes `rollouts` more are written: exactly so many
    if labels are "soft", until one is right if they are "hard", and only from the prefixes that a bisection visits in
    a "search" for each wrong solution's first error. `balance` keeps as many wrong as right solutions of a problem,
    and none of a problem that has only one kind. `max_step_tokens` and `max_rollout_tokens` bound what is written in
    one go. `parallel` problems share the cache; more of them only make each lane look at more cells.

    Raises:
        UsageError: if a search has no rollouts.
    """

    solutions: int = 32
    rollouts: int = 0
    mode: LabelMode = "soft"
    balance: bool = False
    seed: int = 0
    parallel: int = 2
    max_step_tokens: int = MAX_STEP_TOKENS
    max_rollout_tokens: int = MAX_ROLLOUT_TOKENS

    def __post_init__(self) -> None:
        if self.mode == "search" and self.rollouts < 1:
            raise UsageError("a search for the first error needs rollouts", "use 1 or more, such as 8")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledSolution:
    """A sampled solution; `values[i]` is the chance of a right answer after `steps[: i + 1]`, 0 or 1 if it is hard.

    `count` is how often it was sampled. Right solutions repeat more often than wrong ones, so what is learned from them
    would be too low if each counted once.
    """

    id: str
    question: str
    steps: tuple[str, ...]
    values: tuple[float, ...]
    count: int = 1

    @property
    def first_error(self) -> int | None:
        """The first step, from 0, after which nothing led to the right answer; None if there is none such."""
        return next((number for number, value in enumerate(self.values) if value == 0), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelCost:
    """What labels cost.

    `rollouts` were written; `all_rollouts` is their number if each prefix had had as many as planned.
    `evaluated_tokens` cost a forward pass, with those generated. `unshared_tokens` is what the same texts would have
    cost if each solution and each rollout had read its question and its prefix anew.
    """

    solutions: int = 0
    rollouts: int = 0
    all_rollouts: int = 0
    generated_tokens: int = 0
    evaluated_tokens: int = 0
    unshared_tokens: int = 0

    def __add__(self, other: LabelCost) -> LabelCost:
        return LabelCost(**{each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(self)})
