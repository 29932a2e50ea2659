"""Rewards from likelihoods: a model's confidence in a path, a head on its likelihoods, the log ratio of two models."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

from ramify.reward.combined import CombinedReward
from ramify.reward.likelihood_head import LikelihoodHead, PathFeatures, path_features
from ramify.reward.protocol import RewardModel, ScoredStep, ScoreUsage
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
        told = self._kind if self._own and self._kind != "self-certainty" else None
        return ConfidenceSession(self.name, await self._model.open(question), self._value, told=told)

    def _value(self, path: PathLikelihood) -> float:
        if self._kind != "self-certainty":
            return _confidence(self._kind, math.fsum(path.logprobs), len(path.logprobs))
        certainty = max(0.0, math.fsum(path.certainties) / len(path.certainties))
        return certainty / (certainty + self._half)


class ConfidenceSession:
    """The paths of one question."""

    def __init__(
        self,
        name: str,
        paths: LikelihoodSession,
        value: Callable[[PathLikelihood], float],
        *,
        told: ConfidenceName | None,
    ) -> None:
        self._name = name
        self._paths = paths
        self._value = value
        self._told: ConfidenceName | None = told

    @property
    def usage(self) -> ScoreUsage:
        """Tokens used since the session was opened."""
        return self._paths.usage

    async def score(self, steps: Sequence[ScoredStep]) -> list[float]:
        """Return one score in [0, 1] for each path, in order.

        Raises:
            RewardContextExceeded: if paths are too long; nothing has been evaluated then.
        """
        scores = [None if self._told is None else _told(step, self._told) for step in steps]
        asked = [step for step, score in zip(steps, scores, strict=True) if score is None]
        read = iter(await self._paths.read(asked) if asked else [])
        values = [self._value(next(read)) if score is None else score for score in scores]
        return checked_scores(self._name, steps, values)

    async def release(self, nodes: Sequence[int]) -> None:
        """Free what is cached for these nodes."""
        await self._paths.release(nodes)

    async def close(self) -> None:
        """Free all that is cached for the question."""
        await self._paths.close()


class LikelihoodHeadReward:
    """Chance that a path is right so far, by a likelihood head on a judge's log probabilities.

    It reads what "mean-logprob" of the judge reads, and costs as much. `split` cuts the text of a node into steps, None
    takes each node as one step.
    """

    def __init__(
        self,
        head: LikelihoodHead,
        judge: LikelihoodModel,
        *,
        name: str,
        split: Callable[[str], list[str]] | None = None,
    ) -> None:
        self.name = name
        self.head = head
        self.judge = judge
        self.parameters = judge.parameters + head.parameters
        self._split = split

    async def open(self, question: str) -> LikelihoodHeadSession:
        """Start a session.

        Raises:
            RewardContextExceeded: if the question alone fills the context.
        """
        return LikelihoodHeadSession(self, await self.judge.open(question))

    def steps(self, text: str) -> list[str]:
        """Return the steps of a node's text."""
        return [text] if self._split is None else self._split(text) or [text]


class LikelihoodHeadSession:
    """The paths of one question."""

    def __init__(self, reward: LikelihoodHeadReward, paths: LikelihoodSession) -> None:
        self._reward = reward
        self._paths = paths
        self._sums: dict[int, tuple[tuple[int, ...], PathFeatures]] = {}

    @property
    def usage(self) -> ScoreUsage:
        """Tokens used since the session was opened."""
        return self._paths.usage

    async def score(self, steps: Sequence[ScoredStep]) -> list[float]:
        """Return one score in [0, 1] for each path, in order.

        Raises:
            RewardContextExceeded: if paths are too long; nothing has been evaluated then.
        """
        if not steps:
            return []
        found = await self._paths.read(steps)
        rows = [self._features(step, path)[-1] for step, path in zip(steps, found, strict=True)]
        return checked_scores(self._reward.name, steps, self._reward.head.chances(rows))

    async def features(self, steps: Sequence[ScoredStep]) -> list[tuple[float, ...]]:
        """Return the features [14] at the end of each path, for the training of a head.

        Raises:
            RewardContextExceeded: if paths are too long; nothing has been evaluated then.
        """
        found = await self._paths.read(steps)
        return [self._features(step, path)[-1] for step, path in zip(steps, found, strict=True)]

    def _features(self, step: ScoredStep, path: PathLikelihood) -> list[tuple[float, ...]]:
        """Return the features of the path's last steps: those of its last node, where its parent is known."""
        tokens = path.tokens[len(path.tokens) - len(path.logprobs) :]
        known = None if step.parent is None else self._sums.get(step.parent)
        texts, before = step.path, None
        # A vocabulary that tokenises the whole path may write the text above in another way now.
        if known is not None and tokens[: len(known[0])] == known[0]:
            texts, before = step.path[-1:], known[1]
        first = 0 if before is None else before.tokens
        own = [each for text in texts for each in self._reward.steps(text)]
        pieces = self._reward.judge.pieces(tokens[first:])
        sums, rows = path_features(path.logprobs[first:], pieces, own, before)
        self._sums[step.node] = tokens, sums
        return rows

    async def release(self, nodes: Sequence[int]) -> None:
        """Free what is cached for these nodes."""
        for node in nodes:
            self._sums.pop(node, None)
        await self._paths.release(nodes)

    async def close(self) -> None:
        """Free all that is cached for the question."""
        self._sums.clear()
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
        pairs = zip(await self._model.read(steps), await self._reference.read(steps), strict=True)
        ratios = [math.fsum(model.logprobs) - math.fsum(reference.logprobs) for model, reference in pairs]
        return checked_scores(self._name, steps, [sigmoid(self._beta * ratio) for ratio in ratios])

    async def release(self, nodes: Sequence[int]) -> None:
        """Free what is cached for these nodes."""
        await self._model.release(nodes)
        await self._reference.release(nodes)

    async def close(self) -> None:
        """Free all that is cached for the question."""
        await self._model.close()
        await self._reference.close()


def rebase_temperature(reward: RewardModel) -> float | None:
    """Return the temperature of REBASE that a likelihood head was tried with, None for any other reward.

    A combination has that of its first head.
    """
    parts = reward.models if isinstance(reward, CombinedReward) else (reward,)
    heads = [part.head.temperature for part in parts if isinstance(part, LikelihoodHeadReward)]
    return next((each for each in heads if each is not None), None)


def _told(step: ScoredStep, kind: ConfidenceName) -> float | None:
    """Return the confidence if the policy told the log probabilities of all tokens."""
    count = sum(map(len, step.tokens))
    told = [value for value in step.logprobs if value is not None]
    return _confidence(kind, math.fsum(told), count) if count and len(told) == len(step.path) else None


def _confidence(kind: ConfidenceName, total: float, tokens: int) -> float:
    """Return the confidence by the sum of the log probabilities of so many tokens."""
    return math.exp(min(0.0, total / tokens if kind == "mean-logprob" else total))
