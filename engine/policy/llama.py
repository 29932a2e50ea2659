"""Local policy model: writes steps through the llama.cpp runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from ramify.errors import QuestionTooLong
from ramify.reward.protocol import Tokenizer
from ramify.search.node import FinishReason

from ..runtime.messages import LaneRequest, LaneResult
from ..runtime.serve.handle import RunHandle
from ..runtime.serve.loaded_model import LoadedModel
from .prompts.prompt_format import PromptFormat
from .protocol import AdoptedNode, StepRequest, StepResult, Turn


class LlamaPolicy:
    """A GGUF model that writes steps in the format that its prompt asks for."""

    def __init__(self, model: LoadedModel, prompt: PromptFormat, name: str) -> None:
        self.model = model
        self.prompt = prompt
        self.name = name

    @property
    def parameters(self) -> int:
        """Number of weights in the file."""
        return self.model.info.parameters

    @property
    def context_tokens(self) -> int:
        """Longest path, prompt included."""
        return self.model.info.context_tokens

    async def open(self, question: str) -> LlamaPolicySession:
        """Start a session.

        Raises:
            QuestionTooLong: if the prompt leaves no room in the context.
            UsageError: if the question is empty.
        """
        tokens = self.prompt.encode(question, self.model.tokenizer)
        if len(tokens) >= self.context_tokens:
            raise QuestionTooLong(len(tokens), self.context_tokens)
        run = await self.model.open_run(tokens)
        return LlamaPolicySession(run, self.prompt, len(tokens), self.model.tokenizer)


class LlamaPolicySession:
    """One question's tree in the policy's model."""

    def __init__(self, run: RunHandle, prompt: PromptFormat, prompt_tokens: int, tokenizer: Tokenizer) -> None:
        self._run = run
        self._prompt = prompt
        self.prompt_tokens = prompt_tokens
        self._tokenizer = tokenizer
        self._conversations = _Conversations(run, prompt, tokenizer)
        self._read_along = False

    async def expand(
        self,
        requests: Sequence[StepRequest],
        *,
        allowance: int | None,
        on_result: Callable[[StepResult], None],
        on_progress: Callable[[int, int, str], None] | None = None,
    ) -> None:
        """Write all requested children; see PolicySession.expand."""
        await self._run.expand(
            [self._lane(request, watched=on_progress is not None) for request in requests],
            allowance=allowance,
            on_result=lambda result: on_result(_step_result(result)),
            on_progress=on_progress,
        )

    async def adopt(self, nodes: Sequence[AdoptedNode]) -> None:
        """Take in nodes of a saved tree or by hand; their tokens are evaluated when they are expanded."""
        for node in nodes:
            tokens = node.tokens or tuple(self._tokenizer.encode(node.text, special=False))
            self._run.adopt(node.node, node.parent, tokens, generated=bool(node.tokens))

    async def interrupt(self) -> None:
        """Cut the steps in the making."""
        self._run.interrupt()

    async def release(self, nodes: Sequence[int]) -> None:
        """Free what is kept for these nodes."""
        self._run.release(nodes)

    async def close(self) -> None:
        """Free the whole session."""
        self._run.close()

    def read_along(self) -> RunHandle:
        """Return the tree for a reward that reads the policy's own states; ends of paths are kept for it."""
        self._read_along = True
        return self._run

    def _lane(self, request: StepRequest, *, watched: bool) -> LaneRequest:
        return LaneRequest(
            parent=self._conversations.go_on(request) if request.turns else request.parent,
            child=request.child,
            seed=request.seed,
            max_tokens=request.max_tokens,
            sampling=request.sampling,
            step=None if request.to_the_end else self._prompt.step,
            watched=watched,
            keep=request.keep or self._read_along,
        )


class _Conversations:
    """Puts critiques and revisions into the runtime's tree, each below the text that it follows.

    Negative numbers stand for what is there beside the nodes of the search: what the policy was told, and copies.
    """

    def __init__(self, run: RunHandle, prompt: PromptFormat, tokenizer: Tokenizer) -> None:
        self._run = run
        self._prompt = prompt
        self._tokenizer = tokenizer
        self._written = set[int]()
        self._adopted = 0

    def go_on(self, request: StepRequest) -> int:
        """Return the number below which the requested text is to be written."""
        place = request.turns[0].node
        for before, turn in pairwise(request.turns):
            place = turn.node if turn.node in self._written else self._copy(turn, self._tell(before, place))
        self._written.add(request.child)
        return self._tell(request.turns[-1], place)

    def _tell(self, turn: Turn, place: int) -> int:
        return self._adopt(self._prompt.bridge(turn.instruction, turn.tokens, self._tokenizer), place)

    def _copy(self, turn: Turn, place: int) -> int:
        """Take in a text of a saved tree where it was written: in that tree it stands below the question."""
        return self._adopt(turn.tokens or tuple(self._tokenizer.encode(turn.text, special=False)), place)

    def _adopt(self, tokens: Sequence[int], place: int) -> int:
        self._adopted += 1
        self._run.adopt(-self._adopted, place, tokens, generated=False)
        return -self._adopted


def _step_result(result: LaneResult) -> StepResult:
    return StepResult(
        child=result.child,
        text=result.text,
        tokens=result.tokens,
        generated_tokens=len(result.tokens),
        logprob=result.logprob,
        finish_reason=FinishReason(result.finish_reason),
        prompt_tokens=result.prompt_tokens,
        cached_tokens=result.cached_tokens,
        reevaluated_tokens=result.reevaluated_tokens,
        shared_tokens=result.shared_tokens,
    )
