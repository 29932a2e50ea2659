"""Session of a reward behind an endpoint, which is asked for some paths at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import anyio

from ramify.errors import RewardError
from ramify.event_loop import start_task
from ramify.reward.protocol import ScoredStep, ScoreUsage
from ramify.reward.scores import checked_scores

PARALLEL_REQUESTS = 8


class EndpointReward(Protocol):
    """A reward that scores paths by one request to an endpoint."""

    @property
    def name(self) -> str:
        """The reward's name in messages and results."""
        ...

    async def ask(self, question: str, steps: Sequence[ScoredStep], /) -> tuple[Sequence[float], ScoreUsage]:
        """Return the scores of some paths, in order, and their usage.

        Raises:
            RewardError: if the endpoint fails.
        """
        ...


class EndpointSession:
    """The paths of one question; nothing is held for them, so each request has whole paths.

    `per_request` is the most paths of one request.
    """

    def __init__(self, reward: EndpointReward, question: str, *, per_request: int) -> None:
        self._reward = reward
        self._question = question
        self._per_request = per_request
        self.usage = ScoreUsage()
        """Tokens that the endpoint has reported."""

    async def score(self, steps: Sequence[ScoredStep]) -> list[float]:
        """Return one score in [0, 1] for each path, in order.

        Raises:
            RewardError: if the endpoint fails on one of them.
        """
        scores = dict[int, float]()
        failures: list[RewardError] = []
        limiter = anyio.CapacityLimiter(PARALLEL_REQUESTS)

        async def ask(part: Sequence[ScoredStep]) -> None:
            async with limiter:
                if failures:
                    return
                try:
                    values, usage = await self._reward.ask(self._question, part)
                except RewardError as error:
                    failures.append(error)
                    return
                scores.update((step.node, value) for step, value in zip(part, values, strict=True))
                self.usage += usage

        async with anyio.create_task_group() as tasks:
            for start in range(0, len(steps), self._per_request):
                start_task(tasks, ask, steps[start : start + self._per_request])
        if failures:
            raise failures[0]
        return checked_scores(self._reward.name, steps, [scores[step.node] for step in steps])

    async def release(self, nodes: Sequence[int]) -> None:
        """Do nothing; nothing is held."""

    async def close(self) -> None:
        """Do nothing; nothing is held."""
