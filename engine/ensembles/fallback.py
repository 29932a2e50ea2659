"""Second model for the questions on which the first is not sure."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import anyio
from anyio.abc import TaskGroup, TaskStatus

from ramify.config import EngineConfig
from ramify.errors import (
    ModelCrashed,
    ModelLoadError,
    ModelUnreachable,
    QuestionTooLong,
    RamifyError,
    UsageError,
)
from ramify.solution import Solution
from ramify.usage import Usage

from ..engine import Engine
from .cascade import certainty

RETRY_AFTER_S = 60.0
"""Seconds after which a model that could not be reached is tried again."""
OUT_OF_REACH = (ModelCrashed, ModelLoadError, ModelUnreachable, QuestionTooLong)
"""Errors of the second model after which the first one's answer counts."""
LABEL = "fallback"
"""Key of `Solution.model` under which the part of the second model is recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback:
    """A second model, asked where the certainty of the first one's answer is below `confidence`, above 0 and up to 1.

    `model` is a name that `Engine` takes: bundled, a path, or `openai:URL#MODEL`. See `cascade.certainty`.

    Raises:
        UsageError: if the confidence is out of range.
    """

    model: str | Path
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not 0 < self.confidence <= 1:
            raise UsageError(f"the confidence is {self.confidence}", "use a number above 0, up to 1")

    def is_needed(self, solution: Solution) -> bool:
        """Return whether the certainty of the first model's answer is below the confidence.

        Of a search with a risk it is needed if the answer is not sure at that risk.
        """
        return solution.not_sure if solution.risk is not None else certainty(solution) < self.confidence

    def at(self, model: str | Path) -> Fallback:
        """Return the same with another name for the model."""
        return replace(self, model=model)

    def unneeded(self, first: Solution) -> Solution:
        """Return the first model's solution, recorded as sure."""
        return self._labelled(first, first, asked=False, decided=False)

    def settled(self, first: Solution, second: Solution) -> Solution:
        """Return the second model's solution, the first one's if the second has no answer; usage of both."""
        decided = second.answer is not None
        chosen = replace(second if decided else first, usage=first.usage + second.usage, risk=first.risk)
        return self._labelled(chosen, first, asked=True, decided=decided)

    def missed(self, first: Solution, error: RamifyError, usage: Usage | None = None) -> Solution:
        """Return the first model's solution, with a note of the second one's error and its cost `usage`.

        `usage` None means that the second model was not started.

        Raises:
            RamifyError: `error` itself, if the first model has no answer either, not even one that is not sure.
        """
        if first.answer is None and not first.not_sure:
            raise error
        kept = first if usage is None else replace(first, usage=first.usage + usage)
        note = f"{self.model} could not be asked ({error.message}), so the answer is the first model's"
        return self._labelled(kept, first, asked=True, decided=False, note=note)

    def _labelled(
        self, chosen: Solution, first: Solution, *, asked: bool, decided: bool, note: str | None = None
    ) -> Solution:
        label = {
            "model": str(self.model),
            "asked": asked,
            "decided": decided,
            "certainty": round(certainty(first), 6),
            "note": note,
        }
        return replace(chosen, model={**chosen.model, LABEL: label})


async def solve_with_fallback(
    first: Solution,
    fallback: Fallback,
    ask: Callable[[], Awaitable[Solution]],
    *,
    spent: Callable[[], Usage | None] = lambda: None,
) -> Solution:
    """Return the first model's solution, or the second one's where the first leaves doubt; usage of both.

    `ask` solves the same problem with the second model, and is called only if that is needed. `spent` returns the cost
    of that model until its error, None if it was not started.

    Raises:
        RamifyError: the second model's error, if the first model has no answer either.
    """
    if not fallback.is_needed(first):
        return fallback.unneeded(first)
    try:
        second = await ask()
    except OUT_OF_REACH as error:
        return fallback.missed(first, error, spent())
    return fallback.settled(first, second)


def fallback_note(solution: Solution) -> str | None:
    """Return the note of the second model's error, None if there was none or it was not needed."""
    label: dict[str, Any] = solution.model.get(LABEL) or {}
    return label.get("note")


def own_format(settings: EngineConfig) -> EngineConfig:
    """Return the settings for another model, whose prompts are in its own format."""
    return replace(settings, prompt_preset=None, step_format=None)


class LateEngine:
    """An engine that is opened when it is first asked for, and closed with the `async with` block.

    After an error it is tried again in `retry_after_s` seconds at the earliest; until then `get` returns the error.
    """

    def __init__(
        self,
        make: Callable[[], Engine],
        *,
        retry_after_s: float = RETRY_AFTER_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make = make
        self._retry_after_s = retry_after_s
        self._clock = clock
        self._retry_at_s = 0.0
        self._failure: RamifyError | None = None
        self._engine: Engine | None = None
        self._opening = anyio.Lock()
        self._stack = AsyncExitStack()
        self._tasks: TaskGroup | None = None

    async def __aenter__(self) -> LateEngine:
        self._tasks = await self._stack.enter_async_context(anyio.create_task_group())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._tasks is not None
        self._tasks.cancel_scope.cancel()
        # The error is not passed in, so that the task group does not wrap it; it propagates by itself.
        await self._stack.aclose()

    async def get(self) -> Engine | RamifyError:
        """Return the open engine, or the error with which it could not be reached."""
        assert self._tasks is not None
        async with self._opening:
            if self._engine is not None and self._failure is None:
                return self._engine
            if self._failure is not None and self._clock() < self._retry_at_s:
                return self._failure
            self._failure = None
            if self._engine is None:
                try:
                    self._engine = cast("Engine", await self._tasks.start(self._hold))
                except OUT_OF_REACH as error:
                    self.back_off(error)
                    return error
            return self._engine

    def back_off(self, error: RamifyError) -> None:
        """Return `error` from `get` for the next `retry_after_s` seconds: other searches would meet it too."""
        self._failure, self._retry_at_s = error, self._clock() + self._retry_after_s

    async def _hold(self, *, task_status: TaskStatus[Engine]) -> None:
        # An engine has to be closed by the task that opened it, and no single search outlives the others.
        async with self._make() as engine:
            task_status.started(engine)
            await anyio.sleep_forever()
