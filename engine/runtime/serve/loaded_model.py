"""A loaded model: its runs, and what the worker says about them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import anyio

from ramify.errors import QuestionTooLong, RamifyError, UsageError

from ..llama.config import ModelConfig, ModelInfo
from ..messages import LaneRequest, LaneResult, Progress, ReadRequest, ReadResult, Statistics
from .books import RunBooks, ignore
from .handle import RunHandle

if TYPE_CHECKING:
    from .client import Runtime


@dataclass(eq=False, slots=True)
class _Reply:
    """Counters that somebody waits for."""

    done: anyio.Event = field(default_factory=anyio.Event)
    value: Statistics | None = None
    error: RamifyError | None = None


class LoadedModel:
    """A loaded model. Made by `Runtime.load`."""

    def __init__(self, runtime: Runtime, number: int, config: ModelConfig) -> None:
        self.number = number
        self.config = config
        self._runtime = runtime
        self._info: ModelInfo | None = None
        self._ready = anyio.Event()
        self._there = False
        self._error: RamifyError | None = None
        self._runs: dict[int, RunBooks] = {}
        self._next_run = 0
        self._vocabulary: Any = None
        self._statistics_there: _Reply | None = None
        self._others: tuple[LoadedModel, ...] = ()

    @property
    def runtime(self) -> Runtime:
        """The runtime that the model belongs to."""
        return self._runtime

    @property
    def info(self) -> ModelInfo:
        """Description of the model."""
        assert self._info is not None
        return self._info

    @property
    def tokenizer(self) -> Any:
        """The model's vocabulary, for use in the caller's thread; loaded without weights at the first use."""
        if self._vocabulary is None:
            from ..llama.native import Model

            # The worker has loaded the file, so its vocabulary is known to be sound.
            self._vocabulary = Model(self.config, vocabulary_only=True)
        return self._vocabulary.vocabulary

    async def open_run(self, prompt: Sequence[int], *, background: bool = False) -> RunHandle:
        """Start a run whose node 0 is the prompt; a background run waits while others in the worker have work.

        Raises:
            UsageError: if the prompt is empty or holds ids that are not in the vocabulary.
            QuestionTooLong: if it does not fit the context.
        """
        least = min((self, *self._others), key=lambda each: len(each._runs))
        if least is not self:
            return await least.open_run(prompt, background=background)
        tokens = tuple(int(each) for each in prompt)
        if not tokens:
            raise UsageError("the prompt is empty", "give it at least one token")
        self.check_tokens(tokens)
        if len(tokens) > self.info.context_tokens:
            raise QuestionTooLong(len(tokens), self.info.context_tokens)
        number, self._next_run = self._next_run, self._next_run + 1
        self.send("open_run", number, tokens, background)
        self._runs[number] = RunBooks(tokens, background)
        return RunHandle(self, number, self._runs[number])

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
        self.send("statistics")
        there = self._statistics_there = self._statistics_there or _Reply()
        await there.done.wait()
        if there.error is not None:
            raise there.error
        assert there.value is not None
        return there.value

    def share_with(self, others: Iterable[LoadedModel]) -> None:
        """Let runs be opened in models of other workers too, in whichever has the fewest; all hold the same model."""
        self._others = tuple(others)

    @property
    def waits(self) -> bool:
        """Whether somebody waits for results, the worker having loaded the model."""
        return self._there and any(books.waits for books in self._runs.values())

    async def wait_loaded(self) -> None:
        """Wait until the worker has loaded the model; raises what went wrong."""
        await self._ready.wait()
        if self._error is not None:
            raise self._error

    def send(self, kind: str, *rest: Any) -> None:
        """Queue a message about this model."""
        self._runtime.send(kind, self.number, *rest)

    def tell(self, kind: str, *rest: Any) -> None:
        """Queue a message about this model that only the worker of now needs."""
        self._runtime.tell(kind, self.number, *rest)

    def forget(self, run: int) -> None:
        """Drop a closed run."""
        self._runs.pop(run, None)

    def close(self) -> None:
        """Free the vocabulary."""
        if self._vocabulary is not None:
            self._vocabulary.close()
            self._vocabulary = None

    # Replies

    def take_info(self, info: ModelInfo) -> None:
        """Take the news that the model is ready."""
        self._info = info
        self._there = True
        self._ready.set()

    def fail(self, error: RamifyError, run: int | None = None) -> None:
        """Let everybody who waits for this model fail, or for one run of it."""
        if run is None:
            if not self._ready.is_set():
                self._error = error
                self._ready.set()
            self._answer_statistics(None, error)
        for number, books in self._runs.items():
            if run is not None and number != run:
                continue
            for wait in books.waits:
                wait.error = error
                wait.done.set()
            books.waits.clear()

    def take_statistics(self, statistics: Statistics) -> None:
        """Take the counters."""
        self._answer_statistics(statistics, None)

    def _answer_statistics(self, value: Statistics | None, error: RamifyError | None) -> None:
        there, self._statistics_there = self._statistics_there, None
        if there is not None:
            there.value, there.error = value, error
            there.done.set()

    def take_results(self, results: Iterable[tuple[int, LaneResult | ReadResult]]) -> None:
        """Hand results to those who wait for them."""
        for run, result in results:
            books = self._runs.get(run)
            if books is None:
                continue
            node = result.child if isinstance(result, LaneResult) else result.node
            wait = next((each for each in books.waits if node in each.left), None)
            if wait is None:
                continue
            request = wait.left.pop(node)
            if isinstance(result, LaneResult) and isinstance(request, LaneRequest):
                books.nodes[node] = (request.parent, result.tokens)
                if wait.allowance is not None:
                    wait.allowance -= len(result.tokens)
            try:
                wait.take(result)
            except Exception as error:
                # It is the caller's own error: he gets it where he waits.
                wait.failure = error
                wait.take = ignore
                wait.done.set()
            if not wait.left:
                books.waits.remove(wait)
                wait.done.set()

    def take_progress(self, reports: Iterable[Progress]) -> None:
        """Hand reports to those who watch."""
        for each in reports:
            books = self._runs.get(each.run)
            for wait in () if books is None else books.waits:
                if each.child not in wait.left or wait.progress is None:
                    continue
                try:
                    wait.progress(each.child, each.tokens, each.text)
                except Exception as error:
                    wait.failure = error
                    wait.progress = None
                    wait.done.set()

    def replay(self) -> None:
        """Tell a new worker everything that it needs to go on."""
        if self._error is not None:
            return
        self._there = False
        self.send("load", self.config)
        if self._statistics_there is not None:
            self.send("statistics")
        for number, books in self._runs.items():
            self.send("open_run", number, books.prompt, books.background)
            for node, (parent, tokens) in books.nodes.items():
                self.send("restore", number, node, parent, tokens)
            for wait in [each for each in books.waits if each.abandoned]:
                books.waits.remove(wait)
                wait.done.set()
            for wait in books.waits:
                lanes = [each for each in wait.left.values() if isinstance(each, LaneRequest)]
                reads = [each for each in wait.left.values() if isinstance(each, ReadRequest)]
                if lanes:
                    self.send("expand", number, lanes, wait.allowance)
                    if wait.interrupted:
                        self.send("interrupt", number, frozenset(wait.left))
                if reads:
                    self.send("read", number, [_rootless(each) for each in reads])


def _rootless(request: ReadRequest) -> ReadRequest:
    """Return a read that does not rely on nodes of a worker that is gone."""
    return replace(request, parent=None)
