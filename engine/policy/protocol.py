"""What a search needs from a model that writes steps; llama.cpp, remote servers and scripts all speak it.

A policy opens one session a question. A session knows the nodes of one tree by their ids and writes children of them,
one step each. How prefixes are shared between the children is its own business.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ramify.sampling_params import SamplingParams
from ramify.search.node import FinishReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What the policy wrote earlier in a conversation, and what it was told then.

    `node` holds the text; `tokens` are its tokens, the end-of-sequence token included, empty if `text` has to be
    tokenised. `instruction` is what comes after the text.
    """

    node: int
    text: str
    tokens: tuple[int, ...]
    instruction: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRequest:
    """One child to be written below `parent`.

    `path` holds the child numbers from the root and names the child whatever the order of work; `seed` is derived
    from it. `prefix` is the text generated so far on this path (the question excluded). `max_tokens` bounds the
    step. `to_the_end` asks for the rest of the path in one go instead of one step. `turns`, oldest first, are what was
    written and said between the question and this text; none for a step of a path. `keep` says that this text may be
    followed by a turn, although it ends its path.
    """

    parent: int
    child: int
    path: tuple[int, ...]
    seed: int
    prefix: str
    max_tokens: int
    sampling: SamplingParams
    to_the_end: bool = False
    turns: tuple[Turn, ...] = ()
    keep: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What came of a StepRequest, with its own cost.

    `text` excludes the end-of-sequence token, `tokens` includes it. `logprob` is the sum of the natural log
    probabilities of the tokens at temperature 1, None if the backend does not tell.
    """

    child: int
    text: str
    tokens: tuple[int, ...]
    generated_tokens: int
    logprob: float | None
    finish_reason: FinishReason
    prompt_tokens: int = 0
    cached_tokens: int = 0
    reevaluated_tokens: int = 0
    shared_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptedNode:
    """A node that comes from a saved tree or from a person.

    `tokens` are those that the same model generated, the end-of-sequence token included; empty if `text` has to be
    tokenised.
    """

    node: int
    parent: int
    text: str
    tokens: tuple[int, ...] = ()


class PolicySession(Protocol):
    """The policy's view of one question's tree."""

    @property
    def prompt_tokens(self) -> int:
        """Length of the prompt in tokens."""
        ...

    async def expand(
        self,
        requests: Sequence[StepRequest],
        *,
        allowance: int | None,
        on_result: Callable[[StepResult], None],
        on_progress: Callable[[int, int, str], None] | None = None,
    ) -> None:
        """Write all requested children and return when the last is done.

        `allowance` is the number of tokens the requests may generate together, None for no common limit; steps still
        open when it is used up end with `FinishReason.BUDGET`. `on_result` is called in the event loop as each child
        completes, `on_progress` now and then with (child, tokens so far, text so far).
        """
        ...

    async def adopt(self, nodes: Sequence[AdoptedNode]) -> None:
        """Take in nodes that this session did not write, parents first, so that they can be expanded."""
        ...

    async def interrupt(self) -> None:
        """Cut the steps in the making; each completes with `FinishReason.CANCELLED` and what it has so far."""
        ...

    async def release(self, nodes: Sequence[int]) -> None:
        """Free what is kept for these nodes; they will not be expanded again."""
        ...

    async def close(self) -> None:
        """Free the whole session."""
        ...


class PolicyModel(Protocol):
    """A model that writes reasoning steps."""

    @property
    def name(self) -> str:
        """How the model is named in results."""
        ...

    @property
    def parameters(self) -> int:
        """Number of weights, for FLOPs; 0 if unknown."""
        ...

    @property
    def context_tokens(self) -> int | None:
        """Longest path, prompt included; None if unknown."""
        ...

    async def open(self, question: str) -> PolicySession:
        """Start a session.

        Raises:
            QuestionTooLong: if the prompt leaves no room in the context.
            UsageError: if the question is empty.
        """
        ...
