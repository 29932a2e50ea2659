"""Measurement of the units of a plan: a row for each problem, passed on as soon as it is complete."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from itertools import combinations
from pathlib import Path
from types import TracebackType
from typing import Any

from anyio.to_thread import run_sync

from ramify.answers.checkers import PYTHON_TESTS
from ramify.answers.programs import ProgramEquality
from ramify.config import EngineConfig
from ramify.engine.engine import Engine
from ramify.engine.library.catalog import resolve_model
from ramify.engine.loading import load_reward
from ramify.engine.many import for_each
from ramify.engine.policy.protocol import PolicyModel
from ramify.engine.policy.remote.address import is_remote
from ramify.engine.rewards.naming import RewardName, read_reward_name
from ramify.engine.rewards.own_head import same_path
from ramify.errors import ModelLoadError
from ramify.problem import Problem
from ramify.reward.likelihood_head import read_head
from ramify.reward.noise import NOISY
from ramify.reward.protocol import RewardModel
from ramify.search.budget import Budget
from ramify.search.registry import make_strategy, strategy_option_names
from ramify.search.strategies.sampling import Greedy, MajorityVote, WeightedVote
from ramify.solution import Solution
from ramify.usage import Usage

from .chains import chains_of, sample_row, score_chains
from .config import AUTO, AUTO_TOKENS_PER_PATH, ScalingConfig, Unit, split_strategy
from .quantizations import alternate

MOST_PATHS = 128
"""Paths that are generated at a time: narrow searches take several problems together."""
MOST_PARALLEL = 16
"""Most problems at a time."""

WARM_UP, WARM_UP_TOKENS = "What is 2 + 3?", 4
"""Question of the first search of an engine, which is not measured, and the tokens of its path."""

Keep = Callable[[dict[str, Any]], None]


class Models:
    """Engine of one task that stays open while the searches have the same models; used with `async with`."""

    def __init__(self, threads: int | None, folder: Path, metering: Mapping[str, Any] | None = None) -> None:
        self.threads = threads
        self.metering = dict(metering or {})
        """Settings of engines that meter energy and money."""
        self.folder = folder
        """Folder of the model files that have to be made."""
        self._stack = AsyncExitStack()
        self._names: tuple[str, str | None] | None = None
        self._engine: Engine | None = None

    async def __aenter__(self) -> Models:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the engine, if one is open."""
        self._names = self._engine = None
        await self._stack.aclose()

    async def engine(self, policy: str, reward: str | None) -> Engine:
        """Return an open engine; `policy` and `reward` are its arguments.

        Raises:
            RamifyError: if a model cannot be loaded.
        """
        if self._engine is None or self._names != (policy, reward):
            await self.close()
            self._stack = AsyncExitStack()
            self._engine = await open_engine(self._stack, policy, reward, self.threads, self.metering)
            self._names = policy, reward
        return self._engine


async def measure_unit(
    unit: Unit, problems: Sequence[Problem], config: ScalingConfig, models: Models, keep: Keep
) -> None:
    """Measure one unit on the given problems; `keep` gets each row as soon as it is there.

    Raises:
        RamifyError: if a model cannot be loaded or a search fails.
    """
    clock = _Clock()
    policy = config.source(unit.policy)

    def finish(problem: Problem, more: dict[str, Any]) -> None:
        keep(_head(unit, problem) | more | {"seconds": round(clock.lap(), 4)})

    match unit.part:
        case "samples":
            await models.close()
            await _sample(unit, problems, config, models.threads, clock, finish)
        case "search" | "noise":
            engine = await models.engine(policy, reward_name(unit, config))
            clock.start()
            await _search(unit, problems, config, engine, finish)
        case "timing":
            engine = await models.engine(policy, None)
            clock.start()
            await _time(unit, problems, config, engine, finish)
        case "quantization":
            await models.close()
            await alternate(
                unit, problems, models.threads, models.folder, keep=lambda at, more: keep(_head(unit, at) | more)
            )


async def _sample(
    unit: Unit,
    problems: Sequence[Problem],
    config: ScalingConfig,
    threads: int | None,
    clock: _Clock,
    finish: Callable[..., None],
) -> None:
    async with AsyncExitStack() as stack:
        told = await run_sync(told_reward, unit, config)
        live = None if told is None else config.source(told)
        engine = await open_engine(stack, config.source(unit.policy), live, threads, config.metering)
        rewards = [
            (name, await open_reward(stack, config.source(name), threads, engine.policy))
            for name in unit.rewards
            if name != told
        ]
        clock.start()
        # A weighted vote draws the same paths, and its reward gets the log probabilities from the policy's own decode.
        vote = MajorityVote(width=unit.width) if told is None else WeightedVote(width=unit.width)
        options = run_options(unit, config) | {"strategy": vote}
        widths = (*config.widths, config.noise_width)

        async def work(problem: Problem) -> None:
            solution = await engine.solve(problem, **options)
            row = await sampled(solution, problem, engine, rewards, widths)
            if told is not None:
                row["scored"][told] = scored_as_written(solution, engine, widths)
            finish(problem, row | _wall(solution, config))

        await for_each(problems, work, parallel=parallel_for(unit.width, config))


def told_reward(unit: Unit, config: ScalingConfig) -> str | None:
    """Return the first reward that costs nothing while the policy writes, and would have to read paths afterwards.

    That is a likelihood head on the policy's own file, also times checks of texts.
    """
    policy = config.source(unit.policy)
    if is_remote(policy):
        return None
    path = resolve_model(policy).path
    for name in unit.rewards:
        parts = read_reward_name(config.source(name)).singles
        if any(_is_own_head(part, path) for part in parts) and all(
            part.checks or part.reads_policy or _is_own_head(part, path) for part in parts
        ):
            return name
    return None


def _is_own_head(reward: RewardName, policy: Path) -> bool:
    if reward.head is None or reward.path is None or reward.sigmas:
        return False
    return same_path(reward.path, policy) and read_head(reward.head).reads == "tokens"


def scored_as_written(solution: Solution, engine: Engine, widths: Sequence[int]) -> dict[str, Any]:
    """Return the scores of a weighted vote's samples, and the cost of each width beside writing: mostly nothing."""
    assert solution.tree is not None and engine.reward is not None
    chains = chains_of(solution.tree)
    used = solution.usage.reward
    read = used.evaluated_tokens + used.generated_tokens + used.reevaluated_tokens
    counted = sorted({*(each for each in widths if each < len(chains)), len(chains)})
    return {
        "parameters": engine.reward.parameters,
        "scores": [None if chain.nodes[-1].score is None else round(chain.nodes[-1].score, 6) for chain in chains],
        # Where the policy's prompt is not the judge's, paths are read after all.
        "read": {str(width): read * width // len(chains) for width in counted},
        "seconds": {str(width): 0.0 for width in counted},
    }


async def _time(
    unit: Unit, problems: Sequence[Problem], config: ScalingConfig, engine: Engine, finish: Callable[..., None]
) -> None:
    """Sample narrowly, for the seconds alone."""
    for problem in problems:
        solution = await engine.solve(problem, strategy=MajorityVote(width=unit.width), **run_options(unit, config))
        usage = solution.usage.policy
        tokens = {"generated_tokens": usage.generated_tokens, "parameters": engine.policy.parameters}
        finish(problem, tokens | _wall(solution, config))


async def sampled(
    solution: Solution,
    problem: Problem,
    engine: Engine,
    rewards: Sequence[tuple[str, RewardModel]],
    widths: Sequence[int],
) -> dict[str, Any]:
    """Return the row of a solution's samples, scored by each reward."""
    assert solution.tree is not None
    chains = chains_of(solution.tree)
    grader = problem.grader()
    same = grader.checker.same
    if problem.check == PYTHON_TESTS:
        # Programs vote by their returns, as in a search.
        behaviour = ProgramEquality(problem.question)
        for left, right in combinations({chain.answer for chain in chains if chain.answer is not None}, 2):
            behaviour.same(left, right)
        await behaviour.resolve()
        same = behaviour.same
    row = await run_sync(lambda: sample_row(problem.question, chains, same, grader.right))
    scored = dict[str, Any]()
    for name, reward in rewards:
        found = await score_chains(reward, problem.question, chains, widths)
        scored[name] = {
            "parameters": reward.parameters,
            "scores": [None if value is None else round(value, 6) for value in found.values],
            "read": {str(width): tokens for width, tokens in found.tokens.items()},
            "seconds": {str(width): round(seconds, 4) for width, seconds in found.seconds.items()},
        }
    usage = solution.usage.policy
    return row | {
        "parameters": engine.policy.parameters,
        "prompt_tokens": usage.prompt_tokens,
        "reevaluated_tokens": usage.reevaluated_tokens,
        "scored": scored,
        **_metered(solution.usage),
    }


async def _search(
    unit: Unit, problems: Sequence[Problem], config: ScalingConfig, engine: Engine, finish: Callable[..., None]
) -> None:
    name, rules = split_strategy(unit.strategy)
    options = run_options(unit, config) | {"stop": rules}
    if name == AUTO:
        options |= {"strategy": AUTO, "budget": Budget(generated_tokens=AUTO_TOKENS_PER_PATH * unit.width)}
    else:
        sized = "width" in strategy_option_names(name)
        options["strategy"] = make_strategy(name, **({"width": unit.width} if sized else {}))

    async def work(problem: Problem) -> None:
        solution = await engine.solve(problem, **options)
        right = await run_sync(lambda: _right(solution, problem))
        usage = solution.usage
        row: dict[str, Any] = {
            "right": right,
            "answer": solution.answer,
            "generated_tokens": usage.policy.generated_tokens,
            "reward_tokens": usage.reward.evaluated_tokens,
            "policy_flops": usage.policy.flops,
            "reward_flops": usage.reward.flops,
            "parameters": engine.policy.parameters,
            "stop": str(solution.stop_reason),
            **_metered(usage),
        }
        finish(problem, row | _wall(solution, config))

    await for_each(problems, work, parallel=parallel_for(unit.width, config))


def run_options(unit: Unit, config: ScalingConfig) -> dict[str, Any]:
    """Return the options of `Engine.solve` that all searches of a unit have."""
    given = {"max_path_tokens": config.max_path_tokens, "tools": config.tools}
    return {"seed": unit.seed, "budget": Budget(), **{k: v for k, v in given.items() if v is not None}}


def reward_name(unit: Unit, config: ScalingConfig) -> str | None:
    """Return the argument of an engine for the reward of a search, with its noise."""
    if not unit.rewards:
        return None
    reward = config.source(unit.rewards[0])
    return f"{NOISY}{unit.sigma:g}:{reward}" if unit.sigma else reward


async def open_engine(
    stack: AsyncExitStack, policy: str, reward: str | None, threads: int | None, metering: dict[str, Any]
) -> Engine:
    """Open an engine and have it write a few tokens, so that no search pays the extra cost of the first one.

    Raises:
        RamifyError: if a model cannot be loaded.
    """
    engine = await stack.enter_async_context(Engine(policy, reward, threads=threads, **metering))
    await engine.solve(WARM_UP, strategy=Greedy(), budget=Budget(), max_path_tokens=WARM_UP_TOKENS)
    return engine


async def open_reward(
    stack: AsyncExitStack, name: str, threads: int | None, policy: PolicyModel | None = None
) -> RewardModel:
    """Load a reward on its own, or beside the `policy` that it may read.

    Raises:
        ModelLoadError: if there is none of this name.
    """
    reward = await load_reward(stack, name, EngineConfig(threads=threads), policy)
    if reward is None:
        raise ModelLoadError(f"{name!r} names no reward model", "see `ramify models list`")
    return reward


def parallel_for(width: int, config: ScalingConfig) -> int:
    """Return how many problems are searched at a time: enough for MOST_PATHS paths, and two at least.

    `config.together` sets another number.
    """
    return config.together or max(2, min(MOST_PARALLEL, MOST_PATHS // width))


def _head(unit: Unit, problem: Problem) -> dict[str, Any]:
    return {
        "key": unit.key,
        "part": unit.part,
        "policy": unit.policy,
        "rewards": list(unit.rewards),
        "strategy": unit.strategy,
        "width": unit.width,
        "seed": unit.seed,
        "sigma": unit.sigma,
        "problem": problem.id,
    }


def _wall(solution: Solution, config: ScalingConfig) -> dict[str, float]:
    """Return the seconds of a search that ran alone, nothing for one that ran beside others."""
    return {"wall_s": round(solution.usage.seconds, 4)} if config.together == 1 else {}


def _metered(usage: Usage) -> dict[str, Any]:
    """Return the energy and the cost of a search, as far as they are known."""
    energy = {"joules": usage.energy_j, "energy_source": usage.energy_source}
    facts = {**energy, "cost": usage.cost, "currency": usage.currency}
    return {name: value for name, value in facts.items() if value is not None}


def _right(solution: Solution, problem: Problem) -> bool:
    return problem.grader().right(solution.answer)


class _Clock:
    """Divides the wall-clock time of searches in parallel among their results."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Begin anew."""
        self._last_s = time.monotonic()

    def lap(self) -> float:
        """Return the seconds since the last call or the start."""
        before, self._last_s = self._last_s, time.monotonic()
        return self._last_s - before
