"""Reward that combines the scores of others, each metered and kept apart."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

from .algebra import Combination, labels_of, parts_of, value_of
from .protocol import RewardModel, RewardSession, ScoredStep, ScoreUsage

OpenPart = Callable[[RewardModel], Awaitable[RewardSession]]
"""Starts the session of a part."""


class CombinedReward:
    """Scores paths by a combination of rewards.

    `models` are the rewards of `parts_of(combination)` in order; a reward that stands there twice is asked once if it
    is the same object. `name` is the combination as text, `parameters` the weights of all models together.
    """

    def __init__(self, combination: Combination, models: Sequence[RewardModel]) -> None:
        self.name = str(combination)
        self.combination = combination
        self.parts = tuple(parts_of(combination))
        self.models = tuple(models)
        self.labels = tuple(labels_of(self.parts))
        distinct = {id(model): model for model in self.models}
        self.parameters = sum(model.parameters for model in distinct.values())

    async def open(self, question: str, open_part: OpenPart | None = None) -> CombinedSession:
        """Start a session of every part, with `open_part` where it is given.

        Raises:
            RewardContextExceeded: if the question alone is too long for one of them.
        """
        async with AsyncExitStack() as stack:
            sessions = dict[int, RewardSession]()
            for model in self.models:
                if id(model) not in sessions:
                    session = await (model.open(question) if open_part is None else open_part(model))
                    sessions[id(model)] = session
                    stack.push_async_callback(session.close)
            stack.pop_all()
        return CombinedSession(self, sessions)


class CombinedSession:
    """The paths of one question in every part."""

    def __init__(self, reward: CombinedReward, sessions: Mapping[int, RewardSession]) -> None:
        self._reward = reward
        self._sessions = sessions
        self._scores = dict[int, dict[str, float]]()

    @property
    def usage(self) -> ScoreUsage:
        """Tokens used by all parts since the session was opened, and their FLOPs."""
        models = {id(model): model for model in self._reward.models}
        total, flops = ScoreUsage(), 0.0
        for key, session in self._sessions.items():
            used = session.usage
            total += used
            flops += used.flops_of(models[key].parameters)
        return replace(total, flops=flops)

    def scores_of(self, node: int) -> Mapping[str, float]:
        """Return the scores of a node's parts by label; empty if it has not been scored here."""
        return self._scores.get(node, {})

    async def score(self, steps: Sequence[ScoredStep]) -> list[float]:
        """Return one score in [0, 1] for each path, in order.

        Raises:
            RewardContextExceeded: if paths are too long for one of the parts.
            RewardError: if a path cannot be scored.
        """
        found = dict[int, list[float]]()
        # Parts without a model come first: they cost nothing, and may fail.
        for key in sorted(self._sessions, key=self._weight):
            found[key] = await self._sessions[key].score(steps)
        values = list[float]()
        for place, step in enumerate(steps):
            parts = [found[id(model)][place] for model in self._reward.models]
            self._scores[step.node] = dict(zip(self._reward.labels, parts, strict=True))
            by_part = {id(part): score for part, score in zip(self._reward.parts, parts, strict=True)}
            values.append(value_of(self._reward.combination, lambda part, by_part=by_part: by_part[id(part)]))
        return values

    def _weight(self, key: int) -> int:
        return next(model.parameters for model in self._reward.models if id(model) == key)

    async def release(self, nodes: Sequence[int]) -> None:
        """Free the state kept for these nodes."""
        for node in nodes:
            self._scores.pop(node, None)
        for session in self._sessions.values():
            await session.release(nodes)

    async def close(self) -> None:
        """Free the sessions of all parts."""
        async with AsyncExitStack() as stack:
            for session in self._sessions.values():
                stack.push_async_callback(session.close)
