"""Protocols between a search, a reward model and the scorer that runs its tokens.

A reward model opens one session a question. A session scores paths of one tree; which tokens of them were evaluated
before is the business of the `TokenScorer` below it, which the engine injects.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar, runtime_checkable

Kept = TypeVar("Kept")


@dataclass(frozen=True, slots=True)
class ToldPart:
    """A part of a path that was put in, such as the result of a tool: no model chose its tokens.

    `step` counts the steps of the path from 0. `span` is where the part stands in the bytes of the step's text, and
    `tokens` where it stands among the step's tokens, None if these are not known; both are from and to.
    """

    step: int
    span: tuple[int, int]
    tokens: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredStep:
    """A path to be scored.

    `node` is the id of the node in which it ends, `parent` the id of the node above, None below the root. `path`
    holds the texts of its nodes from the root down, as they were generated. `tokens` holds the tokens of each node of
    the path as the policy generated them, and `logprobs` the sum of their log probabilities at temperature 1 (None
    where the policy does not tell); both are empty if they are not known, and only rewards of the policy itself use
    them. `calculator` says that values after `=` were put in instead of being sampled: they are no evidence of the
    likelihood of a text under a model (see `ramify.reward.calculator.drawn_tokens`). `told` are the parts of the path
    that were put in, which are no such evidence either. `members` are the ids of the nodes of the last step, in their
    order; empty if that is `node` alone.
    """

    node: int
    parent: int | None
    path: tuple[str, ...]
    tokens: tuple[tuple[int, ...], ...] = ()
    logprobs: tuple[float | None, ...] = ()
    calculator: bool = False
    told: tuple[ToldPart, ...] = ()
    members: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreUsage:
    """Tokens that a session has used so far; all 0 for a reward that runs no tokens.

    `evaluated_tokens` cost a forward pass for the first time, `cached_tokens` were taken from the cache instead,
    `reevaluated_tokens` were evaluated again because the cache had dropped them. `generated_tokens` were written by a
    reward that writes. Of the evaluated and generated ones `stored_tokens` were taken from a store, and
    `prefilled_tokens` were evaluated on top of the others (see `ramify.usage.RoleUsage`). `flops` are the FLOPs of all
    of them where models of several sizes read them, None for 2 x the reward's parameters a token.
    """

    evaluated_tokens: int = 0
    cached_tokens: int = 0
    reevaluated_tokens: int = 0
    generated_tokens: int = 0
    flops: float | None = None
    stored_tokens: int = 0
    prefilled_tokens: int = 0

    @classmethod
    def of(cls, result: ReadResult) -> ScoreUsage:
        """Return the tokens of one read."""
        return cls(
            evaluated_tokens=result.evaluated_tokens,
            cached_tokens=result.cached_tokens,
            reevaluated_tokens=result.reevaluated_tokens,
            stored_tokens=result.stored_tokens,
            prefilled_tokens=result.prefilled_tokens,
        )

    def flops_of(self, parameters: int) -> float:
        """Return the FLOPs of the tokens, for a reward of so many parameters unless `flops` is known."""
        tokens = self.evaluated_tokens + self.generated_tokens + self.reevaluated_tokens
        return 2.0 * parameters * tokens if self.flops is None else self.flops

    def __add__(self, other: ScoreUsage) -> ScoreUsage:
        return ScoreUsage(
            evaluated_tokens=self.evaluated_tokens + other.evaluated_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            reevaluated_tokens=self.reevaluated_tokens + other.reevaluated_tokens,
            generated_tokens=self.generated_tokens + other.generated_tokens,
            flops=None if self.flops is None and other.flops is None else (self.flops or 0.0) + (other.flops or 0.0),
            stored_tokens=self.stored_tokens + other.stored_tokens,
            prefilled_tokens=self.prefilled_tokens + other.prefilled_tokens,
        )


class RewardSession(Protocol):
    """The reward model's view of one question's tree."""

    @property
    def usage(self) -> ScoreUsage:
        """Tokens used since the session was opened."""
        ...

    async def score(self, steps: Sequence[ScoredStep]) -> list[float]:
        """Return one score in [0, 1] for each path, in order.

        Raises:
            RewardContextExceeded: if paths are too long; nothing has been evaluated then.
            RewardError: if a path cannot be scored.
        """
        ...

    async def release(self, nodes: Sequence[int]) -> None:
        """Free the state kept for these nodes; nothing below them will be scored."""
        ...

    async def close(self) -> None:
        """Free the whole session."""
        ...


class ModelFreeSession(ABC, Generic[Kept]):
    """The paths of one question for a reward that runs no model, so that `usage` stays 0.

    `_kept` has the subclass's state of each node, until the node is released.
    """

    def __init__(self) -> None:
        self.usage = ScoreUsage()
        self._kept: dict[int, Kept] = {}

    @abstractmethod
    async def score(self, steps: Sequence[ScoredStep]) -> list[float]:
        """Return one score in [0, 1] for each path, in order.

        Raises:
            RewardError: if a path cannot be scored.
        """

    async def release(self, nodes: Sequence[int]) -> None:
        """Drop the state kept of these nodes."""
        for node in nodes:
            self._kept.pop(node, None)

    async def close(self) -> None:
        """Forget all nodes."""
        self._kept.clear()


@runtime_checkable
class RewardModel(Protocol):
    """A process reward model."""

    @property
    def name(self) -> str:
        """Name of the reward in results."""
        ...

    @property
    def parameters(self) -> int:
        """Number of weights, for FLOPs; 0 if unknown or if no model is run."""
        ...

    async def open(self, question: str) -> RewardSession:
        """Start a session.

        Raises:
            RewardContextExceeded: if the question alone is too long.
        """
        ...


class Tokenizer(Protocol):
    """A vocabulary, as far as prompts and rewards need it."""

    def encode(self, text: str, *, special: bool) -> list[int]:
        """Return token ids without a leading BOS; `special` says whether special tokens in `text` are recognised."""
        ...

    def piece(self, id: int, /) -> bytes:
        """Return the bytes of a token; a special token gives its text."""
        ...


Reading = Literal["logits", "states", "tokens", "pooled", "rank"]
"""Outputs that are read at a position of a path.

"logits": the logits at given ids. "states": the final hidden state, after the model's last norm. "tokens": the log
probability of the path's next token, and the self-certainty of the distribution that it was drawn from. "pooled": of
that distribution the log probability of the next token, the entropy and the margin between its two likeliest tokens,
and the hidden states at groups of positions, pooled. "rank": the outputs of the file's own classifier, at the path's
end.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRequest:
    """One path of which outputs are read.

    `tokens` is the whole path, prompt included. Only tokens that are not cached are evaluated: those after the longest
    common prefix with `parent` (None: with the prompt). `read` holds the absolute positions that are read, ascending,
    `what` is the kind of output read there, and `ids` are the vocabulary ids whose logits are returned, empty for other
    readings. `groups` has the numbers of successive positions that are pooled together, empty for other readings.
    `keep` says that generation will go on from the end of the path, which is read.
    """

    node: int
    parent: int | None
    tokens: tuple[int, ...]
    read: tuple[int, ...]
    ids: tuple[int, ...]
    what: Reading = "logits"
    groups: tuple[int, ...] = ()
    keep: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadResult:
    """Outputs that a ReadRequest asked for, with their cost.

    `logits` has a row for each position of `read`: a value for each of `ids`, the hidden state, (log probability,
    self-certainty), (log probability, entropy, margin) or the classifier's outputs. After those of a "pooled" reading
    come two rows for each group: the mean of its hidden states, and the last one, zeros for a group of no positions. It
    is empty if the path was `too_long` for the context. `stored_tokens` and `prefilled_tokens` are as in ScoreUsage.
    """

    node: int
    logits: tuple[tuple[float, ...], ...]
    evaluated_tokens: int = 0
    cached_tokens: int = 0
    reevaluated_tokens: int = 0
    too_long: bool = False
    stored_tokens: int = 0
    prefilled_tokens: int = 0


class ScorerRun(Protocol):
    """The cached paths of one question in the model that runs the reward's tokens."""

    async def evaluate(self, requests: Sequence[ReadRequest]) -> list[ReadResult]:
        """Evaluate the new tokens of each path; results come in any order.

        Raises:
            RewardError: if a path does not fit the context.
        """
        ...

    async def release(self, nodes: Sequence[int]) -> None:
        """Free the cache of these nodes."""
        ...

    async def close(self) -> None:
        """Free all of the run."""
        ...


class TokenScorer(Protocol):
    """Runs tokens of the reward model; injected by the engine."""

    async def open_run(self, prompt: Sequence[int]) -> ScorerRun:
        """Start a question. `prompt` are the tokens that every path is expected to start with."""
        ...
