"""A second model for the questions on which the first is not sure."""

from __future__ import annotations

import time
from collections.abc import Callable
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

REST_S = 60.0
"""How long a model that could not be opened is left alone."""
OUT_OF_REACH = (ModelCrashed, ModelLoadError, ModelUnreachable, QuestionTooLong)
"""Errors of the second model that leave the first one's answer standing."""
LABEL = "fallback"
"""Where `Solution.model` says what came of the second model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback:
    """Which model is asked where the first one's answer has a certainty below `confidence`.

    `model` is what `Engine` takes by name: bundled, a path, or `openai:URL#MODEL`. See `cascade.certainty`.
    """

    model: str | Path
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not 0 < self.confidence <= 1:
            raise UsageError(f"the confidence is {self.confidence}", "use a number above 0, up to 1")

    def is_needed(self, solution: Solution) -> bool:
        """Tell whether the first model's answer leaves too much doubt."""
        return certainty(solution) < self.confidence

    def at(self, model: str | Path) -> Fallback:
        """Return the same with another name for the model."""
        return replace(self, model=model)

    def unneeded(self, first: Solution) -> Solution:
        """Return the first model's solution, with a remark that it was sure."""
        return self._labelled(first, first, asked=False, decided=False)

    def settled(self, first: Solution, second: Solution) -> Solution:
        """Return the second model's solution, the first one's if the second has no answer; usage of both."""
        decided = second.answer is not None
        chosen = replace(second if decided else first, usage=first.usage + second.usage)
        return self._labelled(chosen, first, asked=True, decided=decided)

    def missed(self, first: Solution, error: RamifyError, usage: Usage | None = None) -> Solution:
        """Return the first model's solution, with a note why the second one did not help and what it cost.

        Raises:
            RamifyError: the error itself, if the first model has no answer either.
        """
        if first.answer is None:
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


def fallback_note(solution: Solution) -> str | None:
    """Return why the second model did not help, None if it did or was not needed."""
    label: dict[str, Any] = solution.model.get(LABEL) or {}
    return label.get("note")


def own_format(settings: EngineConfig) -> EngineConfig:
    """Return the settings for another model, whose prompts are in its own form."""
    return replace(settings, prompt_preset=None, step_format=None)


class LateEngine:
    """An engine that is opened when it is first asked for, and closed with the `async with` block.

    One that could not be opened is tried again after `rest_s`; until then nobody waits for it.
    """

    def __init__(
        self, make: Callable[[], Engine], *, rest_s: float = REST_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._make = make
        self._rest_s = rest_s
        self._clock = clock
        self._again_s = 0.0
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
        """Return the open engine, or the error why there is none at present."""
        assert self._tasks is not None
        async with self._opening:
            if self._engine is not None and self._failure is None:
                return self._engine
            if self._failure is not None and self._clock() < self._again_s:
                return self._failure
            self._failure = None
            if self._engine is None:
                try:
                    self._engine = cast("Engine", await self._tasks.start(self._hold))
                except OUT_OF_REACH as error:
                    self.rest(error)
                    return error
            return self._engine

    def rest(self, error: RamifyError) -> None:
        """Leave the engine alone for a while, after an error that others would meet too."""
        self._failure, self._again_s = error, self._clock() + self._rest_s

    async def _hold(self, *, task_status: TaskStatus[Engine]) -> None:
        # An engine has to be closed by the task that opened it, and no single search outlives the others.
        async with self._make() as engine:
            task_status.started(engine)
            await anyio.sleep_forever()
