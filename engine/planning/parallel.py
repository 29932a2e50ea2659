"""Number of problems that run at a time on one engine: the one asked for, or the one that the measured speed allows."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import anyio

from ramify.search.budget import Budget
from ramify.search.stopping import StopReason
from ramify.solution import Solution

from ..control.opening import PATH_TOKENS
from ..policy.protocol import PolicyModel, TellsRates
from ..runtime.serve.rates import Rates

USUAL = 4
"""Problems at a time where none are asked for and time is not short."""
SHARE_OF_TIME = 0.5
"""Share of a problem's time in which its first path is planned to end."""
PROMPT_TOKENS = 256
"""Tokens of a prompt, for the plan."""
LOOK_S = 0.25
"""Seconds between two looks at the speed."""


def problems_at_a_time(rates: Rates, seconds: float, *, most: int = USUAL, path_tokens: int = PATH_TOKENS) -> int:
    """Return the number of problems that may share one worker so that the first path of each ends in good time.

    `seconds` is the time limit of each. One at a time while the present speed is not known.
    """
    if not rates.now:
        return 1

    def fit(count: int) -> bool:
        needed_s = rates.seconds(count, prompt_tokens=PROMPT_TOKENS, tokens=path_tokens)
        return needed_s is not None and needed_s <= SHARE_OF_TIME * seconds

    return next((count for count in range(most, 1, -1) if fit(count)), 1)


class ParallelLimit:
    """Bounds the problems that run at a time; `turn` waits until one more may start.

    `most` is the bound. With `allowed`, which returns how many the speed allows, it moves between 1 and `most`: it is
    halved when a limit of time cuts a problem with no answer, and grows by one with each answer.
    """

    def __init__(self, most: int, allowed: Callable[[], int] | None = None) -> None:
        self.most = most
        self._allowed = allowed
        self._bound = most
        self._running = 0
        self._changed = anyio.Event()

    @classmethod
    def of(cls, parallel: int | None, policy: PolicyModel, budget: Budget) -> ParallelLimit:
        """Return the limit for `parallel` problems; None leaves it to the speed of a slow model under a limit of time.

        Other models, and those whose speed is not measured, run USUAL problems at a time then.
        """
        seconds = budget.seconds
        if parallel is not None:
            return cls(parallel)
        if seconds is None or not isinstance(policy, TellsRates) or policy.rates is None:
            return cls(USUAL)
        workers = policy.workers

        def allowed() -> int:
            return workers * problems_at_a_time(policy.rates or Rates(), seconds)

        return cls(USUAL * workers, allowed)

    @property
    def present(self) -> int:
        """Number of problems that may run now."""
        return self._bound if self._allowed is None else max(1, min(self._bound, self._allowed()))

    def note(self, solution: Solution) -> None:
        """Take the outcome of a problem into account."""
        if self._allowed is None:
            return
        if solution.answer is None and solution.stop_reason is StopReason.BUDGET_SECONDS:
            self._bound = max(1, min(self._bound, self._running) // 2)
        elif solution.answer is not None:
            self._bound = min(self.most, self._bound + 1)

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[None]:
        """Wait until one more problem may run, and count it as running during the block."""
        await self.begin()
        try:
            yield
        finally:
            self.end()

    async def begin(self) -> None:
        """Wait until one more problem may run, and count it; `end` has to follow."""
        while self._running >= self.present:
            with anyio.move_on_after(LOOK_S if self._allowed is not None else None):
                await self._changed.wait()
        self._running += 1

    def end(self) -> None:
        """Count a problem as ended."""
        self._running -= 1
        self._changed.set()
        self._changed = anyio.Event()
