"""Rewards from likelihoods without a head: a model's confidence in a path, and the log ratio of two models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from ramify.reward.protocol import ScoredStep, ScoreUsage
from ramify.reward.scores import checked_scores, sigmoid

from .likelihood import LikelihoodModel, LikelihoodSession, PathLikelihood

ConfidenceName = Literal["self-certainty", "mean-logprob", "sum-logprob"]
CONFIDENCES: tuple[ConfidenceName, ...] = ("self-certainty", "mean-logprob", "sum-logprob")
"""Names of the rewards that need nothing but the policy; `NAME:MODEL` reads another language model instead."""


class ConfidenceReward:
    """Confidence of a language model in a path, from 0 to 1.

    "mean-logprob" is exp of the mean log probability, the geometric mean of the tokens' probabilities, "sum-logprob"
    that of the sum, the probability of the path. Where the policy is that model and told its log probabilities as it
    wrote, no model is run for these two (`own`). "self-certainty" is the mean
    divergence c of its distributions from the uniform one (Kang et al., arXiv 2502.18581, eq. 7) as c / (c + log V):
    ours is only the mapping to [0, 1], which keeps the order.
    """

    def __init__(
        self, kind: ConfidenceName, model: LikelihoodModel, *, vocabulary_size: int, name: str, own: bool
    ) -> None:
        self.name = name
        self._kind: ConfidenceName = kind
        self._model = model
        self._half = math.log(vocabulary_size)
        self._own = own

    @property
    def parameters(self) -> int:
        """Number of weights of the model."""
        return self._model.parameters

    async def open(self, question: str) -> ConfidenceSession:
        """Start a session.

        Raises:
            RewardContextExceeded: if the question alone fills the context.
        """
        return ConfidenceSession(self.name, await self._model.open(question), self)

    def told(self, step: ScoredStep) -> float | None:
        """Return the confidence if the policy is the model and told the log probabilities of all tokens, else None."""
        if not self._own or self._kind == "self-certainty":
            return None
        tokens = [token for node in step.tokens for token in node]
        told = [value for value in step.logprobs if value is not None]
        if not tokens or len(told) < len(step.path):
            return None
        return self._confidence(math.fsum(told), sum(self._model.drawn(step, tokens)))

    def value(self, step: ScoredStep, path: PathLikelihood) -> float:
        """Return the confidence in a path that was read."""
        drawn = self._model.drawn(step, path.tokens[len(path.tokens) - len(path.logprobs) :])
        if self._kind != "self-certainty":
            kept = [value for value, own in zip(path.logprobs, drawn, strict=True) if own]
            return self._confidence(math.fsum(kept), len(kept))
        kept = [value for value, own in zip(path.certainties, drawn, strict=True) if own]
        certainty = max(0.0, math.fsum(kept) / max(1, len(kept)))
        return certainty / (certainty + self._half)

    def _confidence(self, total: float, tokens: int) -> float:
        """Return the confidence by the sum of the log probabilities of so many tokens."""
        return math.exp(min(0.0, total / max(1, tokens) if self._kind == "mean-logprob" else total))


class ConfidenceSession:
    """The paths of one question."""

    def __init__(self, name: str, paths: LikelihoodSession, reward: ConfidenceReward) -> None:
        self._name = name
        self._paths = paths
        self._reward = reward

    @property
    def usage(self) -> ScoreUsage:
        """Tokens used since the session was opened."""
        return self._paths.usage

    async def score(self, steps: Sequence[ScoredStep]) -> list[float]:
        """Return one score in [0, 1] for each path, in order.

        Raises:
            RewardContextExceeded: if paths are too long; nothing has been evaluated then.
        """
        scores = [self._reward.told(step) for step in steps]
        asked = [step for step, score in zip(steps, scores, strict=True) if score is None]
        read = iter(await self._paths.read(asked) if asked else [])
        values = [
            self._reward.value(step, next(read)) if score is None else score
            for step, score in zip(steps, scores, strict=True)
        ]
        return checked_scores(self._name, steps, values)

    async def release(self, nodes: Sequence[int]) -> None:
        """Free the cache of these nodes."""
        await self._paths.release(nodes)

    async def close(self) -> None:
        """Free all that is cached for the question."""
        await self._paths.close()


class LogRatioReward:
    """An implicit process reward model: two language models whose log ratio is the reward.

    The value of a path is the sigmoid of beta times the sum, over its generated tokens, of log(p / p_reference)
    (Yuan et al., arXiv 2412.01981, prop. 3.1 and eq. 6: the sum is the expected outcome reward, whose sigmoid is
    trained to be the chance of a right answer).
    """

    def __init__(self, name: str, model: LikelihoodModel, reference: LikelihoodModel, *, beta: float) -> None:
        self.name = name
        self._model = model
        self._reference = reference
        self._beta = beta

    @property
    def parameters(self) -> int:
        """Number of weights that each token passes: both models'."""
        return self._model.parameters + self._reference.parameters

    async def open(self, question: str) -> LogRatioSession:
        """Start a session.

        Raises:
            RewardContextExceeded: if the question alone fills a context.
        """
        model = await self._model.open(question)
        try:
            return LogRatioSession(self.name, model, await self._reference.open(question), self._beta)
        except BaseException:
            await model.close()
            raise


class LogRatioSession:
    """The paths of one question in both models."""

    def __init__(self, name: str, model: LikelihoodSession, reference: LikelihoodSession, beta: float) -> None:
        self._name = name
        self._model = model
        self._reference = reference
        self._beta = beta

    @property
    def usage(self) -> ScoreUsage:
        """Tokens used since the session was opened; each counts once though it passes two models."""
        return self._model.usage

    async def score(self, steps: Sequence[ScoredStep]) -> list[float]:
        """Return one score in [0, 1] for each path, in order.

        Raises:
            RewardContextExceeded: if paths are too long for one of the models.
        """
        if not steps:
            return []
        sums = [
            [session.logprob_of(step, path) for step, path in zip(steps, await session.read(steps), strict=True)]
            for session in (self._model, self._reference)
        ]
        ratios = [model - reference for model, reference in zip(*sums, strict=True)]
        return checked_scores(self._name, steps, [sigmoid(self._beta * ratio) for ratio in ratios])

    async def release(self, nodes: Sequence[int]) -> None:
        """Free the cache of these nodes."""
        await self._model.release(nodes)
        await self._reference.release(nodes)

    async def close(self) -> None:
        """Free all that is cached for the question."""
        await self._model.close()
        await self._reference.close()
