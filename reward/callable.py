"""Reward from a plain Python function."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from inspect import isawaitable, iscoroutinefunction
from typing import Any, cast

import anyio
import anyio.to_thread

from ramify.errors import RewardError

from .protocol import ModelFreeSession, ScoredStep
from .scores import checked_scores

ScoreOne = Callable[[str, tuple[str, ...]], "float | Awaitable[float]"]
ScoreMany = Callable[[str, list[tuple[str, ...]]], "Sequence[float] | Awaitable[Sequence[float]]"]


class CallableReward:
    """Scores with a function `(question, steps) -> float`, or with `batch=True` `(question, paths) -> floats`.

    `steps` are the texts of the path's nodes. The function may be async. A sync one runs in a worker thread, so that
    it holds up nothing else; `thread=False` calls it in the event loop, for functions that take no time. Scores are
    numbers from 0 to 1.
    """

    parameters = 0

    def __init__(
        self, function: ScoreOne | ScoreMany, *, batch: bool = False, thread: bool = True, name: str | None = None
    ) -> None:
        self._function = cast("Callable[[str, Any], Any]", function)
        self._batch = batch
        self._thread = thread
        self.name = name or getattr(function, "__name__", type(function).__name__)

    async def open(self, question: str) -> CallableSession:
        """Start a session."""
        return CallableSession(self, question)

    async def call(self, question: str, steps: Sequence[ScoredStep]) -> list[float]:
        """Return the checked scores of the paths.

        Raises:
            RewardError: if the function fails or returns something else than scores.
        """
        if self._batch:
            values = await self._await(question, [step.path for step in steps], steps[0].node)
        else:
            values = [await self._await(question, step.path, step.node) for step in steps]
        return checked_scores(self.name, steps, values)

    async def _await(self, question: str, argument: Any, node: int) -> Any:
        try:
            if self._thread and not _is_async(self._function):
                value = await anyio.to_thread.run_sync(self._function, question, argument)
            else:
                value = self._function(question, argument)
            return await value if isawaitable(value) else value
        except Exception as error:
            raise RewardError(
                f"the reward {self.name!r} failed on node {node}: {type(error).__name__}: {error}", node=node
            ) from error


class CallableSession(ModelFreeSession[None]):
    """A question of a CallableReward; nothing is kept."""

    def __init__(self, reward: CallableReward, question: str) -> None:
        super().__init__()
        self._reward = reward
        self._question = question

    async def score(self, steps: Sequence[ScoredStep]) -> list[float]:
        """Return one score in [0, 1] for each path, in order.

        Raises:
            RewardError: if the function fails or returns something else than scores.
        """
        return await self._reward.call(self._question, steps) if steps else []


def _is_async(function: Callable[..., Any]) -> bool:
    return iscoroutinefunction(function) or iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004
