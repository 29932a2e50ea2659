"""Estimates of a plan's cost in tokens and FLOPs, and of the time that the rest of it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ramify.engine.library.catalog import list_bundled
from ramify.engine.rewards.naming import read_reward_name
from ramify.engine.runtime.llama.gguf_check import check_gguf
from ramify.errors import RamifyError
from ramify.problem import Problem

from .config import ScalingConfig, Unit
from .measure import reward_name
from .quantizations import files_of

TOKENS_PER_PATH = 80
"""Generated tokens of a path of the bundled task by the bundled policies."""
LONG_PATH_TOKENS = 200
"""Generated tokens of a path of other models on other problems."""
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


def cost_of(unit: Unit, problems: int, config: ScalingConfig) -> Cost:
    """Return the expected cost of a unit on a number of problems."""
    files = len(files_of(unit.policy, unit.quantizations)) if unit.part == "quantization" else 1
    longest = config.max_path_tokens or LONG_PATH_TOKENS
    tokens = (
        unit.width * problems * files * (TOKENS_PER_PATH if config.file is None else min(LONG_PATH_TOKENS, longest))
    )
    policy = parameters_of(config.source(unit.policy))
    rewards = [parameters_of(config.source(each)) for each in unit.rewards]
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
    """Return the number of weights of a model or a reward that an engine takes, a typical one if it is not known."""
    known = {entry.name: entry.parameters for entry in list_bundled()}
    if known.get(name.partition(":")[0]):
        return known[name.partition(":")[0]] or TYPICAL_PARAMETERS
    try:
        read = read_reward_name(name)
        paths = [each.path for each in read.singles if each.path is not None and each.path.is_file()]
        return sum(check_gguf(path).token_parameters for path in paths) or TYPICAL_PARAMETERS
    except RamifyError:
        return TYPICAL_PARAMETERS


async def pilot(
    unit: Unit, problems: Sequence[Problem], config: ScalingConfig, threads: int | None, width: int = 8
) -> float:
    """Return the seconds for a unit of `Cost.work` on this machine, from a narrow search of a few problems."""
    from ramify.engine.engine import Engine
    from ramify.search.budget import Budget
    from ramify.search.strategies.sampling import MajorityVote, WeightedVote

    reward = reward_name(unit, config)
    strategy = MajorityVote(width=width) if reward is None else WeightedVote(width=width)
    async with Engine(config.source(unit.policy), reward, threads=threads) as engine:
        started = time.monotonic()
        tokens = 0
        async for solution in engine.solve_many(problems, parallel=len(problems), strategy=strategy, budget=Budget()):
            tokens += solution.usage.policy.generated_tokens
        seconds = time.monotonic() - started
    cost = cost_of(unit, 1, config)
    return seconds / max(1, tokens) / (cost.work / cost.generated_tokens)


class TimeEstimate:
    """Estimates the time left from the time of the finished work, at first from `seconds_per_work`, None if unknown."""

    def __init__(
        self, total: Cost, seconds_per_work: float | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
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
        prior = 0.0 if self._rate is None else (self._done + self._left) / 20
        known = elapsed_s + (self._rate or 0.0) * prior
        rate = known / (self._done + prior) if self._done + prior > 0 else 0.0
        return max(0.0, self._left) * rate
