"""Executor of one process: its engine searches all problems of a batch; the protocol that all executors share."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Protocol

from ramify.config import EngineConfig, RunConfig
from ramify.engine.engine import Engine
from ramify.engine.ensembles.fallback import Fallback, LateEngine, own_format, solve_with_fallback
from ramify.engine.planning.parallel import ParallelLimit
from ramify.engine.rewards.loading import RewardSource
from ramify.errors import ModelCrashed, ModelUnreachable, RamifyError
from ramify.events import BudgetUsed, ModelLoading
from ramify.problem import Problem
from ramify.search.budget import Budget
from ramify.search.strategy import Strategy
from ramify.search.tree import SearchTree
from ramify.settings import values_of
from ramify.solution import Solution
from ramify.usage import RoleUsage, Usage

from ..store.config import BatchConfig
from .setup import Setup, reward_source

OnUsage = Callable[[Usage], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    """One problem to search, in a form to be pickled; `tree` is the tree to go on with, None for a new one."""

    problem: Problem
    strategy: Strategy
    run: RunConfig
    tree: SearchTree | None = None


class Executor(Protocol):
    """Searches the problems of a batch; used with `async with`, by any number of tasks."""

    def limit(self, parallel: int | None, budget: Budget) -> ParallelLimit:
        """Return the limit of problems at a time, if each engine is to have `parallel`, None for a suitable number.

        `budget` is that of each problem.
        """
        ...

    async def search(self, request: SearchRequest, on_usage: OnUsage) -> Solution:
        """Search a problem to its end.

        `on_usage` gets the cost so far, now and then, and at the end or on an error.

        Raises:
            RamifyError: if the search fails.
        """
        ...


class LocalExecutor:
    """One open engine, and a second one where the first leaves doubt; `late` is opened and closed here."""

    def __init__(self, engine: Engine, fallback: Fallback | None = None, late: LateEngine | None = None) -> None:
        self._engine = engine
        self._fallback = fallback
        self._late = late
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> LocalExecutor:
        if self._late is not None:
            await self._stack.enter_async_context(self._late)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def limit(self, parallel: int | None, budget: Budget) -> ParallelLimit:
        """Return the limit of problems at a time; see Executor.limit."""
        return ParallelLimit.of(parallel, self._engine.policy, budget)

    async def search(self, request: SearchRequest, on_usage: OnUsage) -> Solution:
        """Search a problem; see Executor.search."""
        first = await search(self._engine, request, on_usage)
        late = self._late
        if self._fallback is None or late is None:
            return first
        spent: Usage | None = None

        def add(usage: Usage) -> None:
            nonlocal spent
            spent = usage
            on_usage(first.usage + usage)

        async def ask() -> Solution:
            nonlocal spent
            engine = await late.get()
            if isinstance(engine, RamifyError):
                raise engine
            spent = Usage()
            try:
                # The second model's answers count as they are.
                plain = replace(request, run=replace(request.run, risk=None))
                return await search(engine, plain, add)
            except (ModelUnreachable, ModelCrashed) as error:
                late.back_off(error)
                raise

        return await solve_with_fallback(first, self._fallback, ask, spent=lambda: spent)


@asynccontextmanager
async def open_local(
    engine: Engine | None,
    config: BatchConfig,
    setup: Setup,
    on_loading: Callable[[ModelLoading], None] | None = None,
) -> AsyncGenerator[LocalExecutor]:
    """Open the engine of the configuration, or take `engine`, which stays open."""
    if engine is not None:
        reward = engine.reward if setup.strategy.uses_reward else None
        late = late_engine(config.fallback, reward, engine.config)
        async with LocalExecutor(engine, config.fallback, late) as executor:
            yield executor
        return
    reward = reward_source(config, setup)
    late = late_engine(config.fallback, reward, config.engine)
    async with (
        Engine(model=config.model, reward=reward, config=config.engine, on_loading=on_loading) as opened,
        LocalExecutor(opened, config.fallback, late) as executor,
    ):
        yield executor


def late_engine(fallback: Fallback | None, reward: RewardSource, settings: EngineConfig) -> LateEngine | None:
    """Return the engine of the second model, None without one; its prompts are in its own model's format."""
    if fallback is None:
        return None
    return LateEngine(lambda: Engine(model=fallback.model, reward=reward, config=own_format(settings)))


async def search(engine: Engine, request: SearchRequest, on_usage: OnUsage) -> Solution:
    """Search a problem with one engine; see Executor.search."""
    known = Usage()
    async with engine.run(
        request.problem,
        strategy=request.strategy,
        tree=request.tree,
        **values_of(request.run),
    ) as searching:
        before = 0 if request.tree is None else searching.tree.generated_tokens
        try:
            async for event in searching:
                if isinstance(event, BudgetUsed):
                    known = event.usage
                    on_usage(known)
            solution = await searching.result()
        except BaseException:
            written = searching.tree.generated_tokens - before
            on_usage(_at_least(known, written, engine.policy.parameters))
            raise
    on_usage(solution.usage)
    return solution


def _at_least(usage: Usage, generated_tokens: int, parameters: int) -> Usage:
    """Return the usage with all tokens of a tree; the last report of a search that broke off may lack some."""
    more = max(0, generated_tokens - usage.policy.generated_tokens)
    grown = RoleUsage(generated_tokens=more, flops=2.0 * parameters * more)
    return replace(usage, policy=usage.policy + grown)
