"""Local policy model, which writes steps through the llama.cpp runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from ramify.answers.kinds import AnswerKind
from ramify.answers.thoughts import ThoughtMarks
from ramify.conversation import Conversation
from ramify.errors import QuestionTooLong
from ramify.host_resources import processors
from ramify.reward.protocol import Tokenizer
from ramify.sampling_params import TokenSampling
from ramify.tools.forms import CallForm
from ramify.tools.tool import Tool

from ..metering.plan import Place
from ..runtime.decode.step_text import open_block, open_call
from ..runtime.messages import SLOW_PARAMETERS, StepRequest, StepResult, Turn
from ..runtime.serve.loaded_model import LoadedModel
from ..runtime.serve.rates import Rates
from ..runtime.serve.token_tree import TokenTree
from .defaults import WIDEST, recommended_sampling, suitable_width
from .prompts.presets import PRESET_KEY
from .prompts.prompt_format import PromptFormat
from .prompts.step_formats import STEP_FORMATS
from .prompts.tool_prompt import ToolPrompt
from .protocol import AdoptedNode


class LlamaPolicy:
    """A GGUF model that writes steps in the format that its prompt asks for."""

    def __init__(self, model: LoadedModel, prompt: PromptFormat, name: str) -> None:
        self.model = model
        self.prompt = prompt
        self.name = name

    @property
    def parameters(self) -> int:
        """Number of weights that each token is multiplied with."""
        return self.model.info.token_parameters

    @property
    def place(self) -> Place:
        """Place of the model: GPUs or the processor."""
        return "gpu" if self.model.info.offloaded else "processor"

    @property
    def sampling(self) -> TokenSampling:
        """The sampling that suits the model."""
        return self.prompt.preset.sampling.resolved(recommended_sampling(self.model.info.metadata))

    @property
    def width(self) -> int:
        """Number of paths where the user gives none; a GPU takes many at once."""
        if self.model.info.offloaded:
            return WIDEST
        return suitable_width(self.parameters, self.model.config.threads or processors())

    @property
    def ends_at_answer(self) -> bool:
        """True if a path ends with its first answer: so do those of models that were trained for ramify."""
        return PRESET_KEY in self.model.info.metadata

    @property
    def answer_kind(self) -> str | None:
        """The form of answer that its prompt asks for; None if the prompt follows from the question."""
        return self.prompt.answer

    @property
    def thoughts(self) -> ThoughtMarks | None:
        """The marks of its thoughts, None for a model that does not think."""
        return self.prompt.thoughts

    @property
    def keeps_thinking(self) -> bool:
        """True if the mark that closes its thoughts is one token."""
        marks = self.prompt.thoughts
        return marks is not None and len(self.model.tokenizer.encode(marks.close, special=True)) == 1

    @property
    def check(self) -> str | None:
        """The checker that its prompt names, None for the usual one."""
        return self.prompt.preset.check

    @property
    def calculates(self) -> bool:
        """True: the decoder takes the values of expressions from its calculator where that is asked for."""
        return True

    @property
    def writes_forms(self) -> bool:
        """True: the decoder draws the tokens of an answer by the grammar of its schema."""
        return True

    @property
    def rates(self) -> Rates | None:
        """The speed of one worker, as far as it is known; None for a model that is fast enough not to be measured."""
        return None if self.parameters < SLOW_PARAMETERS else self.model.rates.present

    @property
    def workers(self) -> int:
        """Number of workers that write steps side by side."""
        return self.model.workers

    @property
    def memory_name(self) -> str | None:
        """The hash of its file and the name of its preset; None without a store."""
        return None if self.model.stored_hash is None else f"{self.model.stored_hash} {self.prompt.preset.name}"

    @property
    def context_tokens(self) -> int:
        """Longest path, prompt included."""
        return self.model.info.context_tokens

    @property
    def takes_conversations(self) -> bool:
        """True: the chat template, or the preset for models without one, renders them."""
        return True

    async def open(self, question: str) -> LlamaPolicySession:
        """Start a session.

        Raises:
            QuestionTooLong: if the prompt leaves no room in the context.
            UsageError: if the question is empty.
        """
        return await self.open_as(question, AnswerKind.BOX)

    def call_form(self, tools: Sequence[Tool]) -> CallForm:
        """Return the form in which the model calls these tools.

        Raises:
            UsageError: if its chat template knows no tools.
        """
        return self.prompt.tool_prompt(tools, self.name).form

    async def open_with(
        self, question: str | Conversation, kind: AnswerKind, tools: Sequence[Tool]
    ) -> LlamaPolicySession:
        """Start a session in which tools may be called; raises as `open`, and as `call_form`."""
        return await self._open(question, kind, self.prompt.tool_prompt(tools, self.name))

    async def open_as(self, question: str | Conversation, kind: AnswerKind) -> LlamaPolicySession:
        """Start a session for an answer of a kind; raises as `open`."""
        return await self._open(question, kind, None)

    async def _open(
        self, question: str | Conversation, kind: AnswerKind, tools: ToolPrompt | None
    ) -> LlamaPolicySession:
        prompt, question = self.prompt.suiting(kind).with_system_of(question)
        prompt.preset.check_tools([] if tools is None else [each.name for each in tools.tools])
        if tools is not None:
            prompt = prompt.with_tools(tools)
            # Their results are tokenised in the middle of the search.
            await self.model.load_vocabulary()

        def write(tokenizer: Tokenizer) -> tuple[tuple[int, ...], int]:
            tokens = prompt.encode(question, tokenizer)
            return tokens, prompt.shared_tokens(question, tokens, tokenizer)

        tokens, shared = await self.model.tokenise(write)
        if len(tokens) >= self.context_tokens:
            raise QuestionTooLong(len(tokens), self.context_tokens)
        return LlamaPolicySession(await self.model.open_run(tokens, shared=shared), prompt, self.model)


class LlamaPolicySession:
    """One question's tree in the policy's model."""

    def __init__(self, tree: TokenTree, prompt: PromptFormat, model: LoadedModel) -> None:
        self._tree = tree
        self._prompt = prompt
        self._model = model
        self._tokenizer = model.vocabulary
        self._conversations = _Conversations(tree, prompt, self._tokenizer)
        self._keeps_ends = False
        self._step = prompt.step
        self._plain_step = replace(prompt.step, calls=()) if prompt.step.calls else prompt.step
        self._logprobs: dict[int, tuple[float | None, ...]] | None = None

    @property
    def prompt_tokens(self) -> int:
        """Length of the prompt in tokens."""
        return len(self._tree.prompt)

    def expect_paths(self, paths: int) -> None:
        """Arrange the cells for so many paths at a time; see ForeseesPaths."""
        self._tree.expected_paths = paths

    def count_reused(self, counted: bool) -> None:
        """Say whether steps from a store use up the allowance of those beside them; see ReusesSteps."""
        self._tree.counts_reused = counted

    async def expand(
        self,
        requests: Sequence[StepRequest],
        *,
        allowance: int | None,
        on_result: Callable[[StepResult], None],
        on_progress: Callable[[int, int, str], None] | None = None,
    ) -> None:
        """Write all requested children; see PolicySession.expand."""
        known = self._logprobs
        if any(request.turns for request in requests):
            await self._model.load_vocabulary()

        def take(result: StepResult) -> None:
            if known is not None:
                known[result.child] = result.token_logprobs
            on_result(result)

        await self._tree.expand(
            [self._placed(request) for request in requests],
            allowance=allowance,
            on_result=on_result if known is None else take,
            on_progress=on_progress,
            step=self._step if any(request.calls_tools for request in requests) else self._plain_step,
        )

    def result_tokens(self, said: tuple[int, ...], results: Sequence[str]) -> tuple[int, ...]:
        """Return the tokens that put the results of a step's calls into its path; `said` are the step's own tokens."""
        return self._prompt.result(results, said, self._tokenizer)

    @property
    def thought_after_result(self) -> str:
        """Text that opens a thought after a result, where the chat template does that for each reply."""
        return self._prompt.thought_after_result

    def told_tokens(self, text: str) -> tuple[int, ...]:
        """Return the tokens of a text that is put into paths, marks of thoughts as special tokens."""
        return tuple(self._tokenizer.encode(text, special=True))

    async def probe(self, node: int, told: str, max_tokens: int) -> StepResult:
        """Return the greedy text of one line that follows a node after `told`; nothing of it is kept."""
        above, child, found = self._tree.new_id(), self._tree.new_id(), list[StepResult]()
        self._tree.adopt(above, node, self.told_tokens(told), generated=False)
        greedy = TokenSampling(temperature=0.0)
        request = StepRequest(parent=above, child=child, seed=0, max_tokens=max_tokens, sampling=greedy, beside=True)
        await self._tree.expand([request], allowance=None, on_result=found.append, step=STEP_FORMATS["line"])
        self._tree.release((child, above))
        return found[0]

    def input_tokens(self, prefix: str, turns: Sequence[Turn]) -> int:
        """Return the number of tokens of the instruction before a critique or a revision, 0 before a step."""
        return len(self._prompt.bridge(turns[-1].instruction, turns[-1].tokens, self._tokenizer)) if turns else 0

    async def adopt(self, nodes: Sequence[AdoptedNode]) -> None:
        """Add nodes of a saved tree or of a person; their tokens are evaluated when they are expanded."""
        if any(not node.tokens for node in nodes):
            await self._model.load_vocabulary()
        for node in nodes:
            tokens = node.tokens or tuple(self._tokenizer.encode(node.text, special=False))
            self._tree.adopt(node.node, node.parent, tokens, generated=bool(node.tokens) and not node.told)

    async def interrupt(self) -> None:
        """End the steps that are being generated."""
        self._tree.interrupt()

    async def release(self, nodes: Sequence[int]) -> None:
        """Free the state kept for these nodes."""
        for node in nodes:
            (self._logprobs or {}).pop(node, None)
        self._tree.release(nodes)

    async def close(self) -> None:
        """Free the whole session."""
        self._tree.close()

    def token_logprobs(self) -> Mapping[int, tuple[float | None, ...]]:
        """Return the log probabilities of the tokens of each node that is written from now on, as they come.

        A token of the calculator has None. Nodes of saved trees and those of a person have none.
        """
        self._logprobs = {} if self._logprobs is None else self._logprobs
        return self._logprobs

    def read_along(self) -> TokenTree:
        """Return the tree for a reward that reads the policy's own states; ends of paths are kept for it."""
        self._keeps_ends = True
        return self._tree

    def _placed(self, request: StepRequest) -> StepRequest:
        """Return a request below the node of the tree that it follows."""
        thoughts = self._prompt.thoughts
        # What a thought left open is over with the thought.
        thinking = thoughts is not None and thoughts.is_thinking(request.prefix)
        said = request.prefix if thoughts is None or thinking else thoughts.reply(request.prefix)
        if self._prompt.step.whole_blocks and not request.turns:
            request = replace(request, opened=open_block(said))
        if request.calls_tools and not request.turns:
            request = replace(request, call=open_call(said, self._step.calls))
        if request.calculator and not request.turns:
            request = replace(request, line=request.prefix[request.prefix.rfind("\n") + 1 :])
        if request.answer is not None and thoughts is not None and thinking:
            request = replace(request, answer=replace(request.answer, mark=thoughts.close + request.answer.mark))
        if request.calls_tools:
            # In a conversation the text after a result stands where it was written.
            self._conversations.written.add(request.child)
        if self._logprobs is not None:
            request = replace(request, tell_logprobs=True)
        if not request.turns and (request.keep or not self._keeps_ends):
            return request
        parent = self._conversations.parent_of(request) if request.turns else request.parent
        return replace(request, parent=parent, keep=request.keep or self._keeps_ends)


class _Conversations:
    """Nodes of critiques and revisions in the token tree, each below the text that it follows.

    Instructions to the policy, and copies of texts of saved trees, are nodes beside those of the search.
    """

    def __init__(self, tree: TokenTree, prompt: PromptFormat, tokenizer: Tokenizer) -> None:
        self._tree = tree
        self._prompt = prompt
        self._tokenizer = tokenizer
        self.written = set[int]()

    def parent_of(self, request: StepRequest) -> int:
        """Return the id of the node below which the requested text is to be written."""
        place = request.turns[0].node
        for before, turn in pairwise(request.turns):
            place = turn.node if turn.node in self.written else self._copy(turn, self._tell(before, place))
        self.written.add(request.child)
        return self._tell(request.turns[-1], place)

    def _tell(self, turn: Turn, place: int) -> int:
        """Add a turn's instruction below a node."""
        return self._adopt(self._prompt.bridge(turn.instruction, turn.tokens, self._tokenizer), place)

    def _copy(self, turn: Turn, place: int) -> int:
        """Add a text of a saved tree where it was written: in that tree it stands below the question."""
        return self._adopt(turn.tokens or tuple(self._tokenizer.encode(turn.text, special=False)), place)

    def _adopt(self, tokens: Sequence[int], place: int) -> int:
        node = self._tree.new_id()
        self._tree.adopt(node, place, tokens, generated=False)
        return node
