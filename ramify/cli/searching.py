"""Search of one question from the command line, with its fallback and its interrupts."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from ramify.engine.control.meter import LEAST_SECONDS
from ramify.engine.engine import Engine
from ramify.engine.ensembles.cascade import certainty
from ramify.engine.ensembles.fallback import LABEL, fallback_note, own_format, solve_with_fallback
from ramify.engine.interrupts import as_it_stands
from ramify.engine.loading import chosen_reward
from ramify.search.budget import Budget

from ..config import DEFAULT_BUDGET, DEFAULT_RUN, EngineConfig
from ..errors import ExitCode
from .options import reward_note

if TYPE_CHECKING:
    from ramify.engine.ensembles.fallback import Fallback
    from ramify.engine.run import Run

    from ..problem import Problem
    from ..solution import Solution
    from .options import SearchPlan
    from .progress import SearchProgress


@dataclass(frozen=True, slots=True)
class SearchOutcome:
    """Result of a search; `solution` is None only if it was interrupted before it had one."""

    solution: Solution | None
    interrupted: bool


class Interrupts:
    """Handler of Ctrl-C: the first stops the search with its best answer, the second cancels it, the third exits."""

    def __init__(self) -> None:
        self.count = 0
        self.scope = anyio.CancelScope()
        self._stop: Callable[[], None] = self.scope.cancel

    def soften(self, stop: Callable[[], None]) -> None:
        """Let the first interrupt call `stop` instead of cancelling."""
        self._stop = stop

    def press(self) -> None:
        """Handle one interrupt."""
        self.count += 1
        if self.count == 1:
            self._stop()
        elif self.count == 2:
            self.scope.cancel()
        else:
            os._exit(ExitCode.INTERRUPTED)

    @contextmanager
    def listening(self) -> Generator[None]:
        """Handle the interrupts of this process during the block; the second cancels it."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self.press)
        try:
            with self.scope:
                yield
        finally:
            loop.remove_signal_handler(signal.SIGINT)


async def search(
    plan: SearchPlan, problem: Problem, progress: SearchProgress, fallback: Fallback | None, called_s: float
) -> SearchOutcome:
    """Solve one problem as planned; `fallback` is asked as well if the answer is not certain.

    The budget's seconds count from `called_s`, by the monotonic clock: the time that a user waits includes the
    start of the program and the loading.

    Raises:
        RamifyError: if the model cannot be loaded, the question is wrong or the search fails.
    """
    interrupts = Interrupts()
    so_far: list[Callable[[], Solution]] = []
    with interrupts.listening():
        on_loading = progress.loading(plan.model)
        opened = Engine(plan.model, plan.reward, on_loading=on_loading, profile=plan.profile, **plan.engine_options)
        async with opened as engine:
            strategy = plan.strategy(
                has_reward=engine.reward is not None, width=engine.default_width, temperature=engine.default_temperature
            )

            def begun(run: Run) -> None:
                interrupts.soften(run.stop)
                so_far.append(partial(as_it_stands, run, strategy, seed=seed, model=named))
                scored, votes = engine.reward is not None, run.answers.kind.votes
                note = reward_note(plan.model, plan.reward, has_reward=scored, votes=votes)
                if note is not None and strategy.width > 1:
                    progress.note(note)

            options: dict[str, Any] = {**plan.run_options, "strategy": strategy, "progress": progress.interactive}
            seed = options.get("seed", DEFAULT_RUN.seed)
            named = {"policy": engine.policy.name, "reward": None if engine.reward is None else engine.reward.name}
            options["budget"] = budget_left(options.get("budget", DEFAULT_BUDGET), time.monotonic() - called_s)
            solution = await _run_to_end(engine, problem, options, progress, begun)
        if fallback is not None and not interrupts.count:
            solution = await _with_fallback(plan, problem, fallback, solution, options, progress, interrupts)
        return SearchOutcome(solution, bool(interrupts.count))
    # Cancelled by a second Ctrl-C; the steps written until then are still there.
    return SearchOutcome(so_far[0]() if so_far else None, interrupted=True)


def budget_left(budget: Budget, seconds: float) -> Budget:
    """Return the budget after so many seconds of it have passed; where none are left, it allows no step."""
    return budget if budget.seconds is None else replace(budget, seconds=max(LEAST_SECONDS, budget.seconds - seconds))


async def _run_to_end(
    engine: Engine, problem: Problem, options: dict[str, Any], progress: SearchProgress, begun: Callable[[Run], None]
) -> Solution:
    """Search with progress, and return the solution; `begun` gets the run when it has begun."""
    async with engine.run(problem, **options) as run:
        begun(run)
        async for event in run:
            progress.take(event)
        return await run.result()


async def _with_fallback(
    plan: SearchPlan,
    problem: Problem,
    fallback: Fallback,
    first: Solution,
    options: dict[str, Any],
    progress: SearchProgress,
    interrupts: Interrupts,
) -> Solution:
    """Return the first model's solution, or that of the fallback if the first is not certain; usage of both.

    An interrupt before the fallback has begun leaves the first model's solution.

    Raises:
        RamifyError: if the fallback cannot be asked and the first model has no answer.
    """
    reward = chosen_reward(plan.model, plan.reward)
    reward = reward if options["strategy"].uses_reward else None
    settings = own_format(EngineConfig(**plan.engine_options))
    runs: list[Run] = []

    def begun(run: Run) -> None:
        runs.append(run)
        interrupts.soften(run.stop)

    async def ask() -> Solution:
        on_loading = progress.loading(str(fallback.model))
        async with Engine(fallback.model, reward, config=settings, on_loading=on_loading) as engine:
            # The second model's answers count as they are.
            plain = {name: value for name, value in options.items() if name != "risk"}
            return await _run_to_end(engine, problem, plain, progress, begun)

    with anyio.CancelScope() as asking:
        interrupts.soften(asking.cancel)
        found = await solve_with_fallback(first, fallback, ask, spent=lambda: runs[0].usage if runs else None)
        note = fallback_note(found)
        if note is not None:
            progress.note(note)
        elif found.model[LABEL]["decided"]:
            progress.note(f"{plan.model} left doubt (certainty {certainty(first):.2f}), so {fallback.model} answered")
        return found
    return first
