"""A scripted policy for tests of code that uses ramify: no model, no weights, exact results."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

import anyio

from ramify.answers.kinds import AnswerKind
from ramify.conversation import Conversation
from ramify.errors import UsageError
from ramify.search.node import FinishReason
from ramify.tools.forms import CallForm
from ramify.tools.tool import Tool

from .policy.protocol import AdoptedNode
from .runtime.messages import StepRequest, StepResult, Turn

LONGEST_PATH = 100
"""Steps after which a path written to the end in one go is given up."""
_PIECE = re.compile(r"\S+\s*|\s+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedStep:
    """One scripted step.

    `end` says whether the path ends here; None means that it ends if the text does not end in a newline.
    """

    text: str
    end: bool | None = None


Script = Mapping[tuple[int, ...], "str | ScriptedStep"] | Callable[[str, tuple[int, ...]], "str | ScriptedStep"]


class ScriptedModel:
    """A policy that reads its steps from a script keyed by the node's path (child numbers from the root).

    `script` is a mapping from path to step, or a function of (question, path). A token is a run of non-space
    characters with the space that follows; the end of a path is one more token. Each token has log-probability -1.
    `delay_s` is slept before each step. `probes` gives the answer of a probe after the node at a path, with the log
    probability of all of it together.
    """

    def __init__(
        self,
        script: Script,
        *,
        parameters: int = 1_000_000,
        context_tokens: int | None = None,
        delay_s: float = 0.0,
        name: str = "scripted",
        probes: Callable[[tuple[int, ...]], tuple[str, float]] | None = None,
    ) -> None:
        self._script = script
        self.parameters = parameters
        self.context_tokens = context_tokens
        self.delay_s = delay_s
        self.name = name
        self.probes = probes
        self.expanded: list[tuple[int, ...]] = []
        """Paths in the order in which they were written."""
        self.turns: dict[tuple[int, ...], tuple[Turn, ...]] = {}
        """Conversations that critiques and revisions went on from, by path."""
        self.adopted: list[AdoptedNode] = []
        """Nodes that were not written by this model, in the order in which they were taken in."""
        self.released: list[int] = []
        """Node ids in the order in which they were released."""

    def call_form(self, tools: Sequence[Tool]) -> CallForm:
        """Scripts call tools in the form of Hermes."""
        return CallForm.HERMES

    async def open_with(self, question: str | Conversation, kind: AnswerKind, tools: Sequence[Tool]) -> ScriptedSession:
        """Start a session in which tools may be called; raises as `open`."""
        return await self.open(Conversation.of(question).question)

    async def open(self, question: str) -> ScriptedSession:
        """Start a session.

        Raises:
            UsageError: if the question is empty.
        """
        if not question.strip():
            raise UsageError("the question is empty", "pass some text")
        return ScriptedSession(self, question)

    def step(self, question: str, path: tuple[int, ...]) -> ScriptedStep:
        """Return the scripted step at `path`.

        Raises:
            KeyError: if the script has no such path.
        """
        step = self._script(question, path) if callable(self._script) else self._script[path]
        return ScriptedStep(text=step) if isinstance(step, str) else step


class ScriptedSession:
    """The session of a ScriptedModel."""

    def __init__(self, model: ScriptedModel, question: str) -> None:
        self._model = model
        self._question = question
        self._prompt_read = False
        self._interrupts = 0
        self._paths: dict[int, tuple[int, ...]] = {}

    @property
    def prompt_tokens(self) -> int:
        """Length of the question in scripted tokens."""
        return len(_PIECE.findall(self._question))

    async def expand(
        self,
        requests: Sequence[StepRequest],
        *,
        allowance: int | None,
        on_result: Callable[[StepResult], None],
        on_progress: Callable[[int, int, str], None] | None = None,
    ) -> None:
        """Write all requested children in order; see PolicySession.expand."""
        left = allowance
        interrupts = self._interrupts
        for request in requests:
            cut = interrupts != self._interrupts
            await anyio.sleep(0.0 if cut else self._model.delay_s)
            result = self._write(request, left) if interrupts == self._interrupts else _cut(request)
            if left is not None:
                left -= result.generated_tokens
            if on_progress is not None:
                on_progress(request.child, result.generated_tokens, result.text)
            on_result(result)

    def _write(self, request: StepRequest, left: int | None) -> StepResult:
        self._paths[request.child] = request.path
        to_the_end = request.to_the_end and request.thought is None
        pieces, end = self._pieces(request.path, to_the_end, calls=request.calls_tools)
        kept_open = (
            request.thought is not None and request.thought.keeps_on and request.thought.close in "".join(pieces)
        )
        if request.thought is not None and kept_open:
            pieces = _PIECE.findall("".join(pieces).partition(request.thought.close)[0])
        if request.turns:
            self._model.turns[request.path] = request.turns
        room = request.max_tokens if left is None else min(request.max_tokens, left)
        needed = len(pieces) + end
        reason = FinishReason.EOS if end else FinishReason.STEP
        if needed > room:
            reason = FinishReason.LENGTH if room == request.max_tokens else FinishReason.BUDGET
        kept = pieces[:room]
        generated = min(needed, room)
        prompt_tokens = 0 if self._prompt_read else self.prompt_tokens
        self._prompt_read = True
        return StepResult(
            child=request.child,
            text="".join(kept),
            tokens=tuple(crc32(piece.encode()) % 50_000 for piece in kept) + ((0,) if generated > len(kept) else ()),
            generated_tokens=generated,
            logprob=-float(generated),
            finish_reason=reason,
            prompt_tokens=prompt_tokens,
            cached_tokens=self.prompt_tokens - prompt_tokens + len(_PIECE.findall(request.prefix)),
            kept_open=kept_open,
        )

    def told_tokens(self, text: str) -> tuple[int, ...]:
        """Scripts recognise an insertion into their paths by its text."""
        return ()

    async def probe(self, node: int, told: str, max_tokens: int) -> StepResult:
        """Return the scripted answer of a probe."""
        assert self._model.probes is not None
        text, logprob = self._model.probes(self._paths[node])
        pieces = _PIECE.findall(text)
        tokens = tuple(crc32(piece.encode()) % 50_000 for piece in pieces)
        return StepResult(
            child=-1,
            text=text,
            tokens=tokens,
            generated_tokens=len(pieces),
            logprob=logprob,
            finish_reason=FinishReason.STEP,
        )

    def _pieces(self, path: tuple[int, ...], to_the_end: bool, *, calls: bool = False) -> tuple[list[str], bool]:
        """Return the tokens of the step at `path`, or of all steps from there along first children, and if it ends.

        A step with a call of a tool is the last one where `calls` are made.
        """
        self._model.expanded.append(path)
        step = self._model.step(self._question, path)
        pieces = _PIECE.findall(step.text)
        end = not step.text.endswith("\n") if step.end is None else step.end
        if to_the_end and not end and len(path) < LONGEST_PATH and not (calls and "</tool_call>" in step.text):
            more, end = self._pieces((*path, 0), to_the_end, calls=calls)
            pieces += more
        return pieces, end

    def result_tokens(self, said: tuple[int, ...], results: Sequence[str]) -> tuple[int, ...]:
        """Scripts tell results by their texts."""
        return ()

    @property
    def thought_after_result(self) -> str:
        """Scripts write the marks of their thoughts themselves."""
        return ""

    async def adopt(self, nodes: Sequence[AdoptedNode]) -> None:
        """Note the adopted nodes in `ScriptedModel.adopted`."""
        self._model.adopted.extend(nodes)

    async def interrupt(self) -> None:
        """Cut the steps that have not been written yet."""
        self._interrupts += 1

    async def release(self, nodes: Sequence[int]) -> None:
        """Note the released nodes in `ScriptedModel.released`."""
        self._model.released.extend(nodes)

    async def close(self) -> None:
        """Do nothing; a script holds nothing."""


def _cut(request: StepRequest) -> StepResult:
    return StepResult(
        child=request.child,
        text="",
        tokens=(),
        generated_tokens=0,
        logprob=None,
        finish_reason=FinishReason.CANCELLED,
    )
