"""One search from the command line: load, run, listen, and end well when interrupted."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio

from ramify.engine.engine import Engine
from ramify.engine.errors import ExitCode

if TYPE_CHECKING:
    from ramify.engine.solution import Solution

    from .options import SearchPlan
    from .progress import Progress


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a search ended. `solution` is None only if it was interrupted before it had one."""

    solution: Solution | None
    interrupted: bool


class Interrupts:
    """What Ctrl-C does: the first ends the search softly, the second cancels it, the third leaves at once."""

    def __init__(self) -> None:
        self.count = 0
        self.scope = anyio.CancelScope()
        self._stop: Callable[[], None] = self.scope.cancel

    def soften(self, stop: Callable[[], None]) -> None:
        """Let the first interrupt call `stop`, as from now there is something worth keeping."""
        self._stop = stop

    def press(self) -> None:
        """Take one interrupt."""
        self.count += 1
        if self.count == 1:
            self._stop()
        elif self.count == 2:
            self.scope.cancel()
        else:
            os._exit(ExitCode.INTERRUPTED)

    @contextmanager
    def listening(self) -> Generator[None]:
        """Take interrupts of this process during the block, which is cancelled if they ask for it."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self.press)
        try:
            with self.scope:
                yield
        finally:
            loop.remove_signal_handler(signal.SIGINT)


async def search(plan: SearchPlan, question: str, progress: Progress) -> Outcome:
    """Solve one question as planned.

    Raises:
        RamifyError: if the model cannot be loaded, the question is wrong or the search fails.
    """
    interrupts = Interrupts()
    with interrupts.listening():
        progress.loading(plan.model)
        async with Engine(model=plan.model, reward=plan.reward, **plan.engine_options) as engine:
            strategy = plan.strategy(has_reward=engine.reward is not None)
            if engine.reward is None and plan.reward is not None:
                progress.note(f"no reward model goes with {plan.model}, so paths vote by {strategy.name}")
            options: dict[str, Any] = {**plan.run_options, "strategy": strategy, "progress": progress.interactive}
            async with engine.run(question, **options) as run:
                interrupts.soften(run.stop)
                async for event in run:
                    progress.take(event)
                return Outcome(await run.result(), bool(interrupts.count))
    return Outcome(None, interrupted=True)
