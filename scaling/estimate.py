"""Estimates of a plan's cost in tokens and FLOPs, and of the time that the rest of it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ramify.engine.library.catalog import list_bundled
from ramify.problem import Problem
from ramify.reward.noise import NOISY, split_noisy

from .config import Unit
from .measure import reward_name
from .quantizations import files_of

TOKENS_PER_PATH = 80
"""Generated tokens of a path of the bundled task by the bundled policies."""
TYPICAL_PARAMETERS = 1_000_000
"""Weights of models whose size is not known without loading them."""
TOKEN_WORK = 1_500_000
"""Cost of a token beside its weights, as a number of weights: sampling and bookkeeping. Measured on two cores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """A cost: searches of one problem, tokens that the policies generate, FLOPs of policies and rewards.

    `work` is in proportion to the expected time.
    """

    searches: int = 0
    generated_tokens: int = 0
    flops: float = 0.0
    work: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            searches=self.searches + other.searches,
            generated_tokens=self.generated_tokens + other.generated_tokens,
            flops=self.flops + other.flops,
            work=self.work + other.work,
        )


def cost_of(unit: Unit, problems: int) -> Cost:
    """Return the expected cost of a unit on a number of problems."""
    files = len(files_of(unit.policy, unit.quantizations)) if unit.part == "quantization" else 1
    tokens = unit.width * TOKENS_PER_PATH * problems * files
    policy, rewards = parameters_of(unit.policy), [parameters_of(each) for each in unit.rewards]
    # A reward reads about every token that the policy generates.
    weights = policy + sum(rewards)
    overhead = TOKEN_WORK * (1 + len(rewards))
    return Cost(
        searches=problems * files,
        generated_tokens=tokens,
        flops=2.0 * weights * tokens,
        work=(weights + overhead) * tokens,
    )


def parameters_of(name: str) -> int:
    """Return the number of weights of a model or reward by name, a typical one if it is not known."""
    if name.startswith(NOISY):
        name = split_noisy(name)[1]
    if ":" in name and not name.startswith("demo-"):
        name = name.partition(":")[2]
    bare = name.partition(":")[0]
    known = {entry.name: entry.parameters for entry in list_bundled()}
    return known.get(bare) or TYPICAL_PARAMETERS


async def pilot(unit: Unit, problems: Sequence[Problem], threads: int | None, width: int = 8) -> float:
    """Return the seconds for a unit of `Cost.work` on this machine, from a narrow search of a few problems."""
    from ramify.engine.engine import Engine
    from ramify.search.budget import Budget
    from ramify.search.strategies.sampling import MajorityVote, WeightedVote

    reward = reward_name(unit)
    strategy = MajorityVote(width=width) if reward is None else WeightedVote(width=width)
    async with Engine(unit.policy, reward, threads=threads) as engine:
        started = time.monotonic()
        tokens = 0
        async for solution in engine.solve_many(problems, parallel=len(problems), strategy=strategy, budget=Budget()):
            tokens += solution.usage.policy.generated_tokens
        seconds = time.monotonic() - started
    cost = cost_of(unit, 1)
    return seconds / max(1, tokens) / (cost.work / cost.generated_tokens)


class TimeEstimate:
    """Estimates the time left from the time of the finished work, at first from `seconds_per_work`."""

    def __init__(self, total: Cost, seconds_per_work: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._left = total.work
        self._done = 0.0
        self._rate = seconds_per_work
        self._clock = clock
        self._started_s = clock()

    def add(self, done: Cost) -> None:
        """Add finished work."""
        self._done += done.work
        self._left -= done.work

    @property
    def share(self) -> float:
        """Finished share of the work, 1.0 without any work."""
        total = self._done + self._left
        return self._done / total if total > 0 else 1.0

    @property
    def seconds_left(self) -> float:
        """Expected seconds for the rest of the work."""
        elapsed_s = self._clock() - self._started_s
        # The first rows say little, so the first estimate counts like a twentieth of the work.
        prior = (self._done + self._left) / 20
        rate = (elapsed_s + self._rate * prior) / (self._done + prior) if self._done + prior > 0 else 0.0
        return max(0.0, self._left) * rate
