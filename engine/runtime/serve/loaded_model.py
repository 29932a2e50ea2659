"""Loaded model, at the engine's end of the worker's pipe: its runs, its vocabulary and its counters."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, TypeVar

import anyio
from anyio import to_thread

from ramify.errors import QuestionTooLong, RamifyError, UsageError
from ramify.events import ModelLoading
from ramify.reward.protocol import Tokenizer

from ..llama.config import ModelConfig, ModelInfo
from ..llama.gguf_check import GgufSummary
from ..llama.memory import default_cells
from ..messages import (
    AskStatistics,
    AskVocabulary,
    Load,
    Loaded,
    LoadFailed,
    LoadProgress,
    ModelReply,
    OpenRun,
    ProgressReport,
    Request,
    Results,
    RunFailed,
    Statistics,
    StatisticsReport,
    TimesReport,
    VocabularyReport,
)
from .rates import ModelRates
from .token_tree import TokenTree
from .vocabulary import SharedVocabulary, WorkerVocabulary

if TYPE_CHECKING:
    from ..llama.vocabulary import Vocabulary
    from .client import Runtime
    from .stored_results import StoredResults


@dataclass(eq=False, slots=True)
class _PendingStatistics:
    """Counters that callers wait for."""

    done: anyio.Event = field(default_factory=anyio.Event)
    value: Statistics | None = None
    error: RamifyError | None = None


@dataclass(eq=False, slots=True)
class _PendingVocabulary:
    """A question about the worker's vocabulary that a caller waits for."""

    request: AskVocabulary
    done: anyio.Event = field(default_factory=anyio.Event)
    found: tuple[tuple[int, bytes], ...] | RamifyError = ()


T = TypeVar("T")

log = logging.getLogger(__name__)

PROMPTS_ASKED = 2
"""Texts of prompts (that of the load, and the first question's) for which the worker's vocabulary is asked."""


class LoadedModel:
    """A loaded model. Made by `Runtime.load`."""

    def __init__(
        self,
        runtime: Runtime,
        number: int,
        config: ModelConfig,
        summary: GgufSummary,
        vocabulary: SharedVocabulary,
        *,
        needs_vocabulary: bool = True,
    ) -> None:
        self.number = number
        self.config = config
        self._summary = summary
        self._runtime = runtime
        self._info: ModelInfo | None = None
        self._ready = anyio.Event()
        self._in_worker = False
        self._error: RamifyError | None = None
        self._runs: dict[int, TokenTree] = {}
        self._next_run = 0
        self.vocabulary = vocabulary
        self._needs_vocabulary = needs_vocabulary
        self._worker_vocabulary = WorkerVocabulary(self._ask_vocabulary)
        self._prompts = 0
        self._questions: dict[int, _PendingVocabulary] = {}
        self._next_question = 0
        self._pending_statistics: _PendingStatistics | None = None
        self._others: tuple[LoadedModel, ...] = ()
        self._rates: ModelRates | None = None
        self._results: StoredResults | None = None

    @property
    def rates(self) -> ModelRates:
        """The model's speed in one worker, as far as it is known."""
        if self._rates is None:
            self._rates = ModelRates(self.config)
        return self._rates

    @property
    def stored_hash(self) -> str | None:
        """The hash of the model's file where there is a store, else None."""
        return None if self._results is None else self._results.model

    @property
    def workers(self) -> int:
        """Number of workers that have loaded the model and share its runs."""
        return 1 + len(self._others)

    @property
    def runtime(self) -> Runtime:
        """The runtime that the model is loaded in."""
        return self._runtime

    @property
    def info(self) -> ModelInfo:
        """Description of the model."""
        assert self._info is not None
        return self._info

    @property
    def tokenizer(self) -> Vocabulary:
        """The model's vocabulary, for use in the caller's thread; it is loaded at the first use."""
        return self.vocabulary.load()

    async def load_vocabulary(self) -> None:
        """Load the vocabulary in a thread, unless it is loaded.

        Raises:
            ModelLoadError: if the file has been exchanged.
        """
        if not self.vocabulary.loaded:
            await to_thread.run_sync(self.vocabulary.load)

    async def tokenise(self, write: Callable[[Tokenizer], T]) -> T:
        """Call a function that tokenises a prompt: with the vocabulary here, or in a thread with the worker's.

        The worker's serves the first prompts, so that the start does not wait for a second vocabulary.

        Raises:
            ModelCrashed: if the worker died twice over it.
        """
        self._prompts += 1
        if not self.vocabulary.loaded:
            if self._prompts > PROMPTS_ASKED:
                self.vocabulary.load_ahead()
            return await to_thread.run_sync(write, self._worker_vocabulary, abandon_on_cancel=True)
        return write(self.vocabulary.load())

    async def _ask_vocabulary(self, asked: str | int, special: bool) -> tuple[tuple[int, bytes], ...]:
        number, self._next_question = self._next_question, self._next_question + 1
        pending = _PendingVocabulary(AskVocabulary(self.number, number, asked, special))
        self.send(pending.request)
        self._questions[number] = pending
        try:
            await pending.done.wait()
        finally:
            self._questions.pop(number, None)
        if isinstance(pending.found, RamifyError):
            raise pending.found
        return pending.found

    async def open_run(self, prompt: Sequence[int], *, background: bool = False, shared: int = 0) -> TokenTree:
        """Start a run whose node 0 is the prompt; a background run waits while others in the worker have work.

        The first `shared` tokens are evaluated once for all runs whose prompts begin with them.

        Raises:
            UsageError: if the prompt is empty or holds ids that are not in the vocabulary.
            QuestionTooLong: if it does not fit the context.
        """
        least = min((self, *self._others), key=lambda each: len(each._runs))
        if least is not self:
            return await least.open_run(prompt, background=background, shared=shared)
        tokens = tuple(int(each) for each in prompt)
        if not tokens:
            raise UsageError("the prompt is empty", "give it at least one token")
        self.check_tokens(tokens)
        if len(tokens) > self.info.context_tokens:
            raise QuestionTooLong(len(tokens), self.info.context_tokens)
        number, self._next_run = self._next_run, self._next_run + 1
        shared = max(0, min(shared, len(tokens) - 1))
        state = "" if self._results is None else self._results.state_file(tokens[:shared])
        opened = OpenRun(self.number, number, tokens, background, shared, state)
        # In this order: if the worker has to be started for it, it must not be told twice.
        self.send(opened)
        tree = self._runs[number] = self._tree(opened)
        return tree

    def _tree(self, opened: OpenRun) -> TokenTree:
        if self._results is None:
            return TokenTree(self, opened)
        from .stored_tree import StoredTree

        return StoredTree(self, opened, self._results)

    def check_tokens(self, tokens: Sequence[int]) -> None:
        """Check that ids are in the vocabulary.

        Raises:
            UsageError: if one is not.
        """
        size = self.info.vocabulary_size
        if tokens and not (min(tokens) >= 0 and max(tokens) < size):
            wrong = next(each for each in tokens if not 0 <= each < size)
            raise UsageError(f"token {wrong} is not in the vocabulary of {size}", "use this model's own tokenizer")

    async def statistics(self) -> Statistics:
        """Ask the worker for the model's counters; those of other workers are not in them.

        Raises:
            ModelCrashed: if the worker died twice over it.
        """
        self.send(AskStatistics(self.number))
        pending = self._pending_statistics = self._pending_statistics or _PendingStatistics()
        await pending.done.wait()
        if pending.error is not None:
            raise pending.error
        assert pending.value is not None
        return pending.value

    async def statistics_of_all(self) -> Statistics:
        """Return the counters of all workers that have loaded the model, added up.

        Raises:
            ModelCrashed: if a worker died twice over it.
        """
        every = [await each.statistics() for each in (self, *self._others)]
        return Statistics(**{each.name: sum(getattr(one, each.name) for one in every) for each in fields(Statistics)})

    @property
    def restarts(self) -> int:
        """Number of workers that were started in place of a dead one."""
        return sum(each.runtime.restarts for each in (self, *self._others))

    def share_with(self, others: Iterable[LoadedModel]) -> None:
        """Let runs be opened in other workers too, in whichever has the fewest; all have loaded the same model."""
        self._others = tuple(others)

    @property
    def waits(self) -> bool:
        """True if a call waits for results, the worker having loaded the model."""
        return self._in_worker and (bool(self._questions) or any(tree.pending for tree in self._runs.values()))

    async def wait_loaded(self) -> None:
        """Wait until the worker has loaded the model, and the vocabulary is here if it is needed.

        Raises:
            ModelLoadError: if it cannot be loaded.
            ModelCrashed: if the worker died over it, twice.
        """
        await self._ready.wait()
        if self._error is not None:
            raise self._error
        if self._needs_vocabulary:
            await self.load_vocabulary()
        if self._runtime.store is not None and self._results is None:
            from .stored_results import stored_results

            self._results = await to_thread.run_sync(stored_results, self._runtime.store, self.config, self.info)

    def send(self, request: Request) -> None:
        """Queue a request about this model; see `Runtime.send`."""
        self._runtime.send(request)

    def tell(self, request: Request) -> None:
        """Queue a request about this model that a new worker does not need; see `Runtime.tell`."""
        self._runtime.tell(request)

    def forget(self, run: int) -> None:
        """Drop a closed run."""
        self._runs.pop(run, None)

    def close(self) -> None:
        """Keep the measured rates."""
        if self._rates is not None:
            self._rates.keep()

    # Replies

    def take(self, reply: ModelReply) -> None:
        """Take a reply of the worker about this model."""
        match reply:
            case LoadProgress():
                if reply.vocabulary_ready and self._needs_vocabulary:
                    # Not before: a vocabulary with which llama.cpp crashes must crash the worker, and not this process.
                    self.vocabulary.load_ahead()
                self._tell_progress(reply.loaded_bytes)
            case Loaded():
                self._tell_progress(self._summary.file_bytes)
                self._info = reply.info
                usual = default_cells(reply.info.metadata)
                if self.config.context_tokens is None and reply.info.cells < usual:
                    log.warning(
                        "%s gets %d cells for its paths instead of %d, which do not fit into the free memory",
                        self.config.path,
                        reply.info.cells,
                        usual,
                    )
                self._in_worker = True
                self._ready.set()
            case LoadFailed():
                self.fail(reply.error)
            case Results():
                for run, result in reply.results:
                    if run in self._runs:
                        self._runs[run].take_result(result)
            case RunFailed():
                if reply.run in self._runs:
                    self._runs[reply.run].fail(reply.error)
            case ProgressReport():
                for report in reply.reports:
                    if report.run in self._runs:
                        self._runs[report.run].take_progress(report)
            case StatisticsReport():
                self._answer_statistics(reply.statistics, None)
            case VocabularyReport():
                if reply.number in self._questions:
                    self._questions[reply.number].found = reply.found
                    self._questions[reply.number].done.set()
            case TimesReport():
                self.rates.take(reply.times)

    def _tell_progress(self, loaded_bytes: int) -> None:
        if self._runtime.on_progress is not None:
            self._runtime.on_progress(
                ModelLoading(path=self.config.path, loaded_bytes=loaded_bytes, total_bytes=self._summary.file_bytes)
            )

    def fail(self, error: RamifyError) -> None:
        """End everything that waits for this model with an error."""
        if not self._ready.is_set():
            self._error = error
            self._ready.set()
        self._answer_statistics(None, error)
        for question in self._questions.values():
            question.found = error
            question.done.set()
        for tree in self._runs.values():
            tree.fail(error)

    def _answer_statistics(self, value: Statistics | None, error: RamifyError | None) -> None:
        pending, self._pending_statistics = self._pending_statistics, None
        if pending is not None:
            pending.value, pending.error = value, error
            pending.done.set()

    def replay(self) -> None:
        """Send a new worker everything that it needs to go on."""
        if self._error is not None:
            return
        self._in_worker = False
        self.send(Load(self.number, self.config, self._summary))
        if self._pending_statistics is not None:
            self.send(AskStatistics(self.number))
        for question in self._questions.values():
            self.send(question.request)
        for tree in self._runs.values():
            tree.replay()
