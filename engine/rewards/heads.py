"""Rewards by a trained head on a judge: likelihood heads, also on the policy itself, and states heads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from ramify.errors import ModelLoadError, RewardContextExceeded, RewardError
from ramify.reward.combined import CombinedReward
from ramify.reward.likelihood_head import (
    LikelihoodHead,
    PathFeatures,
    path_features,
    pooled_features,
    state_features,
    step_counts,
)
from ramify.reward.noise import NoisyReward
from ramify.reward.protocol import ReadRequest, RewardModel, ScoredStep, ScoreUsage
from ramify.reward.scores import checked_scores

from ..runtime.serve.token_tree import TokenTree
from .likelihood import LikelihoodModel, LikelihoodSession, PathLikelihood

Row = tuple[float, ...]
"""Features at the end of a step."""
Told = Mapping[int, tuple[float | None, ...]]
"""Log probabilities of the tokens of nodes as the policy drew them, None for those of the calculator."""
SplitSteps = Callable[[str], list[str]]
"""Cuts the text of a node into steps."""


class FeatureSession(Protocol):
    """The paths of one question, of which features are read."""

    @property
    def usage(self) -> ScoreUsage:
        """Tokens used since the session was opened."""
        ...

    async def features(self, steps: Sequence[ScoredStep]) -> list[Row]:
        """Return the features at the end of each path.

        Raises:
            RewardContextExceeded: if paths are too long; nothing has been evaluated then.
        """
        ...

    async def close(self) -> None:
        """Free all that is cached for the question."""
        ...


class HeadSession(ABC):
    """The paths of one question that a head scores.

    `_sums` has the sums of features up to the end of each node's path, with the path's tokens after the prompt or with
    all of them, as the subclass counts.
    """

    def __init__(self, name: str, head: LikelihoodHead) -> None:
        self._name = name
        self._head = head
        self._sums: dict[int, tuple[tuple[int, ...], PathFeatures]] = {}

    async def score(self, steps: Sequence[ScoredStep]) -> list[float]:
        """Return one score in [0, 1] for each path, in order.

        Raises:
            RewardContextExceeded: if paths are too long; nothing has been evaluated then.
        """
        rows = await self.features(steps)
        return checked_scores(self._name, steps, self._head.chances(rows)) if steps else []

    async def release(self, nodes: Sequence[int]) -> None:
        """Free the cache of these nodes."""
        for node in nodes:
            self._sums.pop(node, None)
        await self._free(nodes)

    async def close(self) -> None:
        """Free all that is cached for the question."""
        self._sums.clear()
        await self._free(None)

    @abstractmethod
    async def features(self, steps: Sequence[ScoredStep]) -> list[Row]:
        """Return the head's features at the end of each path.

        Raises:
            RewardContextExceeded: if paths are too long; nothing has been evaluated then.
        """

    @abstractmethod
    async def _free(self, nodes: Sequence[int] | None) -> None:
        """Free the judge's cache of these nodes, None for all."""


class LikelihoodHeadReward:
    """Chance that a path is right so far, by a likelihood head on a judge's log probabilities.

    It reads the same log probabilities as "mean-logprob" of the judge, at the same cost. `split` cuts the text of a
    node into steps, None takes each node as one step. With `ends`, the tokens that end a text, the judge is the policy
    itself: log probabilities that the policy told as it wrote are then not read again.
    """

    def __init__(
        self,
        head: LikelihoodHead,
        judge: LikelihoodModel,
        *,
        name: str,
        split: SplitSteps | None = None,
        ends: frozenset[int] | None = None,
    ) -> None:
        self.name = name
        self.head = head
        self.judge = judge
        self.parameters = judge.parameters + head.parameters
        self.split = split
        self.ends = ends

    async def open(self, question: str, told: Told | None = None) -> LikelihoodHeadSession:
        """Start a session; `told` are the policy's own log probabilities by node, None if they are not known.

        Raises:
            RewardContextExceeded: if the question alone fills the context.
        """
        return LikelihoodHeadSession(self, await self.judge.open(question), told if self.ends is not None else None)


class LikelihoodHeadSession(HeadSession):
    """The paths of one question."""

    def __init__(self, reward: LikelihoodHeadReward, paths: LikelihoodSession, told: Told | None = None) -> None:
        super().__init__(reward.name, reward.head)
        self._reward = reward
        self._paths = paths
        self._told = told

    @property
    def usage(self) -> ScoreUsage:
        """Tokens used since the session was opened."""
        return self._paths.usage

    async def features(self, steps: Sequence[ScoredStep]) -> list[Row]:
        """Return the features [14] at the end of each path.

        Raises:
            RewardContextExceeded: if paths are too long; nothing has been evaluated then.
        """
        rows = [self._told_features(step) for step in steps]
        asked = [step for step, row in zip(steps, rows, strict=True) if row is None]
        read = iter(await self._paths.read(asked) if asked else [])
        return [self._features(step, next(read)) if row is None else row for step, row in zip(steps, rows, strict=True)]

    def _features(self, step: ScoredStep, path: PathLikelihood) -> Row:
        """Return the features at the end of a path that was read, from those of its parent where they are known."""
        tokens = path.tokens[len(path.tokens) - len(path.logprobs) :]
        known = None if step.parent is None else self._sums.get(step.parent)
        drawn = self._reward.judge.drawn(step, tokens)
        texts, first, before = step.path, 0, None
        # A vocabulary that tokenises the whole path may write the text above in another way now.
        if known is not None and tokens[: len(known[0])] == known[0]:
            texts, first, before = step.path[-1:], len(known[0]), known[1]
        return self._take(step.node, texts, tokens, first, path.logprobs[first:], drawn[first:], before)

    def _told_features(self, step: ScoredStep) -> Row | None:
        """Return the features from the policy's log probabilities of the path's last node, None without these."""
        told = self._told_step(step)
        known = ((), None) if step.parent is None else self._sums.get(step.parent)
        own = list(step.tokens[-1]) if step.tokens else list[int]()
        if not told or len(told) != len(own) or known is None or len(step.tokens) != len(step.path):
            return None
        ends = self._reward.ends or frozenset[int]()
        count = len(own) - (bool(own) and own[-1] in ends)
        if not count or sum(map(len, step.tokens[:-1])) != len(known[0]):
            return None
        logprobs = [0.0 if each is None else each for each in told[:count]]
        drawn = [each is not None for each in told[:count]]
        tokens = (*known[0], *own[:count])
        return self._take(step.node, step.path[-1:], tokens, len(known[0]), logprobs, drawn, known[1])

    def _told_step(self, step: ScoredStep) -> list[float | None] | None:
        """Return the policy's log probabilities of a path's last step, None for each token that was put in there.

        None if the policy did not tell them.
        """
        if self._told is None:
            return None
        last = len(step.path) - 1
        put_in = {part.tokens[0]: part.tokens[1] for part in step.told if part.step == last and part.tokens is not None}
        found = list[float | None]()
        for member in step.members or (step.node,):
            values = self._told.get(member)
            end = put_in.get(len(found)) if values is None else None
            if values is None and end is None:
                return None
            found += [None] * (end - len(found)) if values is None and end is not None else values or ()
        return found

    def _take(
        self,
        node: int,
        texts: Sequence[str],
        tokens: tuple[int, ...],
        first: int,
        logprobs: Sequence[float],
        drawn: Sequence[bool],
        before: PathFeatures | None,
    ) -> Row:
        """Return the features after `texts`, whose tokens begin at `first`, and keep the node's sums."""
        pieces = self._reward.judge.pieces(tokens[first:])
        steps = steps_of(texts, self._reward.split)
        sums, rows = path_features(logprobs, pieces, steps, before, drawn)
        self._sums[node] = tokens, sums
        return rows[-1]

    async def _free(self, nodes: Sequence[int] | None) -> None:
        await (self._paths.close() if nodes is None else self._paths.release(nodes))


class StatesHeadReward:
    """Chance that a path is right so far, by a states head on a judge that was loaded for its hidden states.

    `split` is as in LikelihoodHeadReward.

    Raises:
        ModelLoadError: if the head is for hidden states of another width.
    """

    def __init__(
        self, head: LikelihoodHead, judge: LikelihoodModel, *, name: str, split: SplitSteps | None = None
    ) -> None:
        if len(head.mean) != state_features(judge.width):
            raise ModelLoadError(
                f"the head {name} reads {len(head.mean)} features and its judge has {state_features(judge.width)}",
                "train it on this judge",
            )
        self.name = name
        self.head = head
        self.judge = judge
        self.parameters = judge.parameters + head.parameters
        self.split = split

    async def open(self, question: str) -> StatesHeadSession:
        """Start a session.

        Raises:
            RewardContextExceeded: if the question alone fills the context.
        """
        return StatesHeadSession(self, *await self.judge.open_tree(question))


class StatesHeadSession(HeadSession):
    """The paths of one question in the judge."""

    def __init__(self, reward: StatesHeadReward, prompt: tuple[int, ...], tree: TokenTree, limit: int) -> None:
        super().__init__(reward.name, reward.head)
        self._reward = reward
        self._prompt = prompt
        self._tree = tree
        self._limit = limit
        self.usage = ScoreUsage()
        """Tokens used since the session was opened."""

    async def features(self, steps: Sequence[ScoredStep]) -> list[Row]:
        """Return the features [20 + 2 width] at the end of each path.

        Raises:
            RewardContextExceeded: if paths are too long; nothing has been evaluated then.
            RewardError: if a path has no text.
        """
        judge = self._reward.judge
        paths = [self._prompt + judge.tokens(step) for step in steps]
        for step, path in zip(steps, paths, strict=True):
            if len(path) == len(self._prompt):
                raise RewardError(f"node {step.node} has no text to score", node=step.node)
        long = [(step.node, len(path)) for step, path in zip(steps, paths, strict=True) if len(path) > self._limit]
        if long:
            raise RewardContextExceeded(nodes=[node for node, _ in long], tokens=long[0][1], limit=self._limit)
        asked = [self._request(step, path) for step, path in zip(steps, paths, strict=True)]
        found = await self._tree.read([request for request, _, _ in asked])
        rows = list[Row]()
        for step, (request, texts, before), result in zip(steps, asked, found, strict=True):
            if result.too_long:
                raise RewardContextExceeded(nodes=[step.node], tokens=len(request.tokens), limit=self._limit)
            self.usage += ScoreUsage.of(result)
            rows.append(self._features(step, request, texts, before, result.logits))
        return rows

    def _request(self, step: ScoredStep, path: tuple[int, ...]) -> tuple[ReadRequest, list[str], PathFeatures | None]:
        """Return the request for a path, the steps that its groups of positions stand for, and the sums before them."""
        known = None if step.parent is None else self._sums.get(step.parent)
        texts, first, before = step.path, len(self._prompt), None
        if known is not None and path[: len(known[0])] == known[0] and len(path) > len(known[0]):
            texts, first, before = step.path[-1:], len(known[0]), known[1]
        own = steps_of(texts, self._reward.split)
        # Each token is judged at the position before it; the path's last token is not evaluated.
        request = ReadRequest(
            node=step.node,
            parent=None if known is None else step.parent,
            tokens=path,
            read=tuple(range(first - 1, len(path) - 1)),
            ids=(),
            what="pooled",
            groups=tuple(step_counts(self._reward.judge.pieces(path[first:]), own)),
        )
        return request, own, before

    def _features(
        self,
        step: ScoredStep,
        request: ReadRequest,
        texts: Sequence[str],
        before: PathFeatures | None,
        rows: Sequence[Row],
    ) -> Row:
        count, first = len(request.read), request.read[0] + 1
        pieces = self._reward.judge.pieces(request.tokens[first:])
        drawn = self._reward.judge.drawn(step, request.tokens[len(self._prompt) :])[first - len(self._prompt) :]
        sums, likelihoods = path_features([row[0] for row in rows[:count]], pieces, texts, before, drawn)
        self._sums[step.node] = request.tokens, sums
        last = range(count - request.groups[-1], count)
        return pooled_features(likelihoods[-1], [rows[place][1:] for place in last if drawn[place]], rows[-2:])

    async def _free(self, nodes: Sequence[int] | None) -> None:
        if nodes is None:
            self._tree.close()
        else:
            self._tree.release(nodes)


HeadReward = LikelihoodHeadReward | StatesHeadReward


def steps_of(texts: Sequence[str], split: SplitSteps | None) -> list[str]:
    """Return the steps of nodes' texts."""
    return [each for text in texts for each in ([text] if split is None else split(text) or [text])]


def rebase_temperature(reward: RewardModel) -> float | None:
    """Return the temperature of REBASE that a head was tried with, None for any other reward.

    A combination has that of its first head, noise does not change it.
    """
    if isinstance(reward, NoisyReward):
        return rebase_temperature(reward.inner)
    if isinstance(reward, CombinedReward):
        found = (rebase_temperature(part) for part in reward.models)
        return next((each for each in found if each is not None), None)
    return reward.head.temperature if isinstance(reward, HeadReward) else None
