"""Protocol of policies, the models that write steps: llama.cpp, remote servers and scripts implement it.

A policy opens one session for each question. A session knows the nodes of one tree by their ids and writes children of
them, one step each. The session decides how children share prefixes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ramify.answers.kinds import AnswerKind
from ramify.answers.thoughts import ThoughtMarks
from ramify.conversation import Conversation
from ramify.errors import UsageError
from ramify.problem import Problem
from ramify.tools.forms import CallForm
from ramify.tools.tool import Tool

from ..metering.plan import Place
from ..runtime.messages import StepRequest, StepResult, Turn
from ..runtime.serve.rates import Rates


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptedNode:
    """A node of a saved tree, or one that a person wrote.

    `tokens` are those that the same model generated, the end-of-sequence token included; empty if `text` has to be
    tokenised. Those of a tool's result were `told` to the model instead.
    """

    node: int
    parent: int
    text: str
    tokens: tuple[int, ...] = ()
    told: bool = False


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
        """Add nodes that this session did not write, parents first, so that they can be expanded."""
        ...

    async def interrupt(self) -> None:
        """End the steps that are being generated; each completes with `FinishReason.CANCELLED` and its text so far."""
        ...

    async def release(self, nodes: Sequence[int]) -> None:
        """Free the state kept for these nodes; they will not be expanded again."""
        ...

    async def close(self) -> None:
        """Free the whole session."""
        ...


@runtime_checkable
class ForeseesInput(Protocol):
    """A session of a policy that reads more for a step than the prompt, which is read once.

    A budget reserves that before the step is written; the result then has the number of tokens really read.
    """

    def input_tokens(self, prefix: str, turns: Sequence[Turn]) -> int:
        """Return the tokens that a step is expected to cost as input; the arguments are those of StepRequest."""
        ...


@runtime_checkable
class ForeseesPaths(Protocol):
    """A session of a policy that arranges its memory by how many paths there will be at a time."""

    def expect_paths(self, paths: int) -> None:
        """Take note, before the first step is asked for, that the search opens with fewer paths than it will have."""
        ...


@runtime_checkable
class ReusesSteps(Protocol):
    """A session that may take steps from a store instead of writing them."""

    def count_reused(self, counted: bool) -> None:
        """Say, before the first step, whether steps from the store use up the allowance of those beside them."""
        ...


@runtime_checkable
class EndsItself(Protocol):
    """A policy that says whether its paths end with the first answer in them.

    Those of a policy that does not say do. Those of other models end where the model or a stop sequence ends the text,
    or at a limit, and the last answer in it counts.
    """

    @property
    def ends_at_answer(self) -> bool:
        """True if a path ends with the step that holds its first answer."""
        ...


@runtime_checkable
class PromptsByKind(Protocol):
    """A policy whose prompt follows from the kind of the answer."""

    @property
    def answer_kind(self) -> str | None:
        """The form of answer that its prompt asks for (see `answer_form`); None if it follows from the question."""
        ...

    @property
    def check(self) -> str | None:
        """The checker that its prompt names, for problems that name none; None for the usual one."""
        ...

    async def open_as(self, question: str, kind: AnswerKind) -> PolicySession:
        """Start a session for an answer of a kind; raises as `PolicyModel.open`."""
        ...


@runtime_checkable
class Converses(Protocol):
    """A policy that takes a question at the end of a conversation; others take a question alone."""

    @property
    def takes_conversations(self) -> bool:
        """True if earlier turns, system messages and examples can be put before a question."""
        ...

    async def open_as(self, question: str | Conversation, kind: AnswerKind) -> PolicySession:
        """Start a session for an answer of a kind.

        Raises:
            QuestionTooLong: if the prompt leaves no room in the context.
            UsageError: if the question is empty, or the model cannot take the turns in their order.
        """
        ...


@runtime_checkable
class Calculates(Protocol):
    """A policy that says whether it can write with a calculator (StepRequest.calculator); others cannot."""

    @property
    def calculates(self) -> bool:
        """True if values of expressions can be put in instead of being sampled."""
        ...


@runtime_checkable
class CallsTools(Protocol):
    """A policy whose model can call tools; others cannot."""

    def call_form(self, tools: Sequence[Tool]) -> CallForm:
        """Return the form in which the model calls these tools.

        Raises:
            UsageError: if it knows no way to call them.
        """
        ...

    async def open_with(self, question: str | Conversation, kind: AnswerKind, tools: Sequence[Tool]) -> ToolSession:
        """Start a session in which tools may be called; raises as `PolicyModel.open`."""
        ...


class ToolSession(PolicySession, Protocol):
    """A session in which tools may be called."""

    def result_tokens(self, said: tuple[int, ...], results: Sequence[str]) -> tuple[int, ...]:
        """Return the tokens that put the results of a step's calls into its path; `said` are the step's own tokens.

        Empty if the policy tokenises texts itself.
        """
        ...

    @property
    def thought_after_result(self) -> str:
        """Text that opens a thought after a result, "" where the policy goes on with its reply."""
        ...


@runtime_checkable
class WritesForms(Protocol):
    """A policy that writes answers by a schema (StepRequest.answer); others cannot."""

    @property
    def writes_forms(self) -> bool:
        """True: it does."""
        ...


@runtime_checkable
class Thinks(Protocol):
    """A policy that says whether it thinks before it replies; the texts of others are replies as a whole."""

    @property
    def thoughts(self) -> ThoughtMarks | None:
        """The marks of its thoughts, None if it does not think."""
        ...


@runtime_checkable
class ExtendsThoughts(Protocol):
    """A policy that says whether thoughts can be kept going where the model would end them; others cannot."""

    @property
    def keeps_thinking(self) -> bool:
        """True if its steps can end before the mark that closes a thought, which takes one token for that."""
        ...


@runtime_checkable
class EndsThoughts(Protocol):
    """A session in whose paths thoughts can be ended, kept going and probed."""

    def told_tokens(self, text: str) -> tuple[int, ...]:
        """Return the tokens of a text that is put into paths, marks of thoughts as special tokens.

        Empty if the policy tokenises texts itself.
        """
        ...

    async def probe(self, node: int, told: str, max_tokens: int) -> StepResult:
        """Return the greedy text of one line that follows a node after `told`; nothing of it is kept.

        The node's path goes on beside it.
        """
        ...


@runtime_checkable
class TellsRates(Protocol):
    """A policy whose speed is measured while it works."""

    @property
    def rates(self) -> Rates | None:
        """The speed of one worker, as far as it is known; None for a model that is fast enough not to be measured."""
        ...

    @property
    def workers(self) -> int:
        """Number of workers that write steps side by side."""
        ...


@runtime_checkable
class TellsPlace(Protocol):
    """A policy that can tell where its model runs, which decides the counter of its energy."""

    @property
    def place(self) -> Place:
        """The processor, GPUs of this machine, or a server."""
        ...


@runtime_checkable
class HasMemory(Protocol):
    """A policy whose solved problems are kept in a store."""

    @property
    def memory_name(self) -> str | None:
        """Name of the policy and its prompt in the store; None without a store."""
        ...


class PolicyModel(Protocol):
    """A model that writes reasoning steps."""

    @property
    def name(self) -> str:
        """Name of the model in results."""
        ...

    @property
    def parameters(self) -> int:
        """Number of weights that each token is multiplied with, for FLOPs; 0 if unknown."""
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


def told_of(problem: Problem) -> str | Conversation:
    """Return what a policy reads of a problem: the question, or the conversation if there is more than that."""
    return problem.question if problem.is_plain else problem.conversation


async def open_as(policy: PolicyModel, question: str | Conversation, kind: AnswerKind) -> PolicySession:
    """Start a session for an answer of a kind, in which a policy without prompts for it takes no interest.

    Raises:
        QuestionTooLong: if the prompt leaves no room in the context.
        UsageError: if the question is empty, or the policy does not take conversations, or not this one.
    """
    if isinstance(question, Conversation):
        if isinstance(policy, Converses) and policy.takes_conversations:
            return await policy.open_as(question, kind)
        raise UsageError(f"{policy.name} takes one question alone", "leave messages, system message and examples out")
    if isinstance(policy, PromptsByKind):
        return await policy.open_as(question, kind)
    return await policy.open(question)
