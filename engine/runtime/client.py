"""The engine's end of a worker: loads models, carries requests and results, survives a crash of the worker once.

Everything that the worker needs to go on with a run (prompt and tokens of its nodes) is kept here too, so that after
a crash a new worker gets it and continues where the old one was.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

import anyio
from anyio import from_thread, lowlevel, to_thread

from ramify.engine.errors import EngineClosed, ModelCrashed, QuestionTooLong, RamifyError, UsageError
from ramify.engine.runtime.messages import (
    LaneRequest,
    LaneResult,
    ModelConfig,
    ModelInfo,
    Progress,
    ReadRequest,
    ReadResult,
    Statistics,
    check_sampling,
)
from ramify.engine.runtime.processes import Isolation, WorkerHandle, start_worker

log = logging.getLogger(__name__)

ROOT = 0
JOIN_S = 5.0
"""How long a worker may take to end before it is killed."""


@dataclass(eq=False, slots=True)
class _Wait:
    """Requests that somebody waits for; `left` are the nodes whose results are missing.

    `interrupted` ones have been asked to end, `abandoned` ones too, and nobody wants their results. `failure` is what
    taking a result raised.
    """

    left: dict[int, LaneRequest | ReadRequest]
    take: Callable[[Any], None]
    allowance: int | None = None
    progress: Callable[[int, int, str], None] | None = None
    done: anyio.Event = field(default_factory=anyio.Event)
    error: RamifyError | None = None
    failure: Exception | None = None
    interrupted: bool = False
    abandoned: bool = False


@dataclass(eq=False, slots=True)
class _Reply:
    """Counters that somebody waits for."""

    done: anyio.Event = field(default_factory=anyio.Event)
    value: Statistics | None = None
    error: RamifyError | None = None


@dataclass(eq=False, slots=True)
class _RunBooks:
    """What a new worker must be told of a run."""

    prompt: tuple[int, ...]
    background: bool = False
    nodes: dict[int, tuple[int, tuple[int, ...]]] = field(default_factory=dict[int, "tuple[int, tuple[int, ...]]"])
    waits: list[_Wait] = field(default_factory=list[_Wait])


class Runtime:
    """A worker with its models; use it with `async with`.

    `isolation` "process" runs native code in a process of its own, "thread" in a thread of this one.
    """

    def __init__(self, isolation: Isolation = "process") -> None:
        self._isolation: Isolation = isolation
        self._worker: WorkerHandle | None = None
        self._outbox: queue.SimpleQueue[tuple[Any, ...] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._slots: dict[int, Slot] = {}
        self._crashes = 0
        self._closing = False
        self._given_up = False
        self._broken = ""
        self._token: Any = None

    async def __aenter__(self) -> Runtime:
        self._token = lowlevel.current_token()
        self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self._outbox.put(("stop",))
        self._outbox.put(None)
        closed = EngineClosed("the engine was closed meanwhile", "keep it open until its runs have ended")
        for slot in self._slots.values():
            slot.fail(closed)
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(self._join)
        for slot in self._slots.values():
            slot.close()

    @property
    def worker(self) -> WorkerHandle:
        """The worker that runs now; another one after a crash."""
        if self._worker is None:
            raise EngineClosed("the runtime is not open", "use it inside `async with`")
        return self._worker

    async def load(self, config: ModelConfig) -> Slot:
        """Load a model and wait until it is ready.

        Raises:
            ModelLoadError: if it cannot be loaded.
            ModelCrashed: if the worker dies over it, twice.
        """
        from ramify.engine.runtime.gguf_check import check_gguf
        from ramify.engine.runtime.probe import extra_buffers_work

        await to_thread.run_sync(check_gguf, config.path)
        if config.extra_buffers and not await to_thread.run_sync(extra_buffers_work, config.path):
            config = replace(config, extra_buffers=False)
        slot = Slot(self, len(self._slots), config)
        self._slots[slot.number] = slot
        self.send("load", slot.number, config)
        await slot.wait_loaded()
        return slot

    def send(self, *message: Any) -> None:
        """Queue a message for the worker, which is started again if it was given up; never blocks.

        Raises:
            EngineClosed: if the runtime is closed.
        """
        if self._closing:
            raise EngineClosed("the engine is closed", "open a new one")
        if self._given_up:
            self._restart()
        self._outbox.put(message)

    def tell(self, *message: Any) -> None:
        """Queue a message that is of no use to a worker that is gone."""
        if not self._closing and not self._given_up:
            self._outbox.put(message)

    # The worker's life

    def _start(self) -> None:
        worker = self._worker = start_worker(self._isolation)
        outbox = self._outbox
        self._threads = [
            threading.Thread(target=self._write, args=(worker.connection, outbox), daemon=True, name="ramify-write"),
            threading.Thread(target=self._read, args=(worker,), daemon=True, name="ramify-read"),
        ]
        for thread in self._threads:
            thread.start()

    def _write(self, connection: Connection, outbox: queue.SimpleQueue[tuple[Any, ...] | None]) -> None:
        while (message := outbox.get()) is not None:
            try:
                connection.send(message)
            except (OSError, ValueError):
                return  # The reader sees the end as well, and acts on it.

    def _read(self, worker: WorkerHandle) -> None:
        with suppress(EOFError, OSError):
            while True:
                self._call(self._take, worker, worker.connection.recv())
        if not self._closing:
            how = worker.describe_end()
            worker.join(JOIN_S)
            worker.connection.close()
            self._call(self._crashed, worker, how)

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        try:
            from_thread.run_sync(function, *arguments, token=self._token)
        except RuntimeError:
            # Without a loop there is nobody left to tell.
            log.debug("a reply came after the event loop had ended", exc_info=True)

    def _join(self) -> None:
        if self._worker is not None:
            self._worker.join(JOIN_S)
            for thread in self._threads:
                thread.join(JOIN_S)
            self._worker.connection.close()

    def _crashed(self, worker: WorkerHandle, how: str) -> None:
        """Start a new worker with everything that the dead one had, unless it has died over this already."""
        if self._closing or worker is not self._worker:
            return
        self._crashes += 1
        how = self._broken or how
        self._broken = ""
        log.warning("the model's worker ended (%s)", how)
        self._outbox.put(None)
        if self._crashes <= 1:
            self._restart()
            return
        self._crashes = 0
        # The next request starts another one; starting it now could go on for ever.
        self._given_up = True
        error = ModelCrashed(
            f"the model's worker died twice ({how})", "run `ramify doctor`, or load the model with another build"
        )
        for slot in self._slots.values():
            slot.fail(error)

    def _restart(self) -> None:
        self._given_up = False
        self._outbox = queue.SimpleQueue()
        self._start()
        for slot in self._slots.values():
            slot.replay()

    def _take(self, worker: WorkerHandle, reply: tuple[Any, ...]) -> None:
        kind, *rest = reply
        if worker is not self._worker:
            return
        if kind == "broken":
            self._broken = str(rest[0])
            return
        slot = self._slots[rest[0]]
        if kind == "results":
            self._crashes = 0
            slot.take_results(rest[1])
        elif kind == "loaded":
            slot.loaded(rest[1])
        elif kind == "failed":
            slot.fail(rest[1])
        elif kind == "run_failed":
            slot.fail(rest[2], run=rest[1])
        elif kind == "progress":
            slot.take_progress(rest[1])
        else:
            slot.take_statistics(rest[1])


class Slot:
    """A loaded model. Made by `Runtime.load`."""

    def __init__(self, runtime: Runtime, number: int, config: ModelConfig) -> None:
        self.number = number
        self.config = config
        self._runtime = runtime
        self._info: ModelInfo | None = None
        self._ready = anyio.Event()
        self._error: RamifyError | None = None
        self._runs: dict[int, _RunBooks] = {}
        self._next_run = 0
        self._vocabulary: Any = None
        self._statistics_there: _Reply | None = None

    @property
    def runtime(self) -> Runtime:
        """The runtime that the slot belongs to."""
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
            from ramify.engine.runtime.native import Model

            # The worker has loaded the file, so its vocabulary is known to be sound.
            self._vocabulary = Model(self.config, vocabulary_only=True)
        return self._vocabulary.vocabulary

    async def open_run(self, prompt: Sequence[int], *, background: bool = False) -> RunHandle:
        """Start a run whose node 0 is the prompt; a background run waits while others in the worker have work.

        Raises:
            UsageError: if the prompt is empty or holds ids that are not in the vocabulary.
            QuestionTooLong: if it does not fit the context.
        """
        tokens = tuple(int(each) for each in prompt)
        if not tokens:
            raise UsageError("the prompt is empty", "give it at least one token")
        self.check_tokens(tokens)
        if len(tokens) > self.info.context_tokens:
            raise QuestionTooLong(len(tokens), self.info.context_tokens)
        number, self._next_run = self._next_run, self._next_run + 1
        self.send("open_run", number, tokens, background)
        self._runs[number] = _RunBooks(tokens, background)
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
        """Ask the worker for the slot's counters.

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

    async def wait_loaded(self) -> None:
        """Wait until the worker has loaded the model; raises what went wrong."""
        await self._ready.wait()
        if self._error is not None:
            raise self._error

    def send(self, kind: str, *rest: Any) -> None:
        """Queue a message about this slot."""
        self._runtime.send(kind, self.number, *rest)

    def tell(self, kind: str, *rest: Any) -> None:
        """Queue a message about this slot that only the worker of now needs."""
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

    def loaded(self, info: ModelInfo) -> None:
        """Take the news that the model is ready."""
        self._info = info
        self._ready.set()

    def fail(self, error: RamifyError, run: int | None = None) -> None:
        """Let everybody who waits for this slot fail, or for one run of it."""
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
                wait.take = _ignore
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


class RunHandle:
    """One run's tree in a slot. Made by `Slot.open_run`."""

    def __init__(self, slot: Slot, number: int, books: _RunBooks) -> None:
        self._slot = slot
        self._number = number
        self._books = books
        self._closed = False

    async def expand(
        self,
        lanes: Sequence[LaneRequest],
        *,
        allowance: int | None,
        on_result: Callable[[LaneResult], None],
        on_progress: Callable[[int, int, str], None] | None = None,
    ) -> None:
        """Generate children and return when the last is done; `on_result` is called as each completes.

        The lanes share `allowance` tokens, None for no limit. `on_progress` is called at most ten times a second with
        (child, tokens so far, text so far), for lanes that ask for it. If the caller is cancelled, the lanes are cut,
        and their results are not delivered.

        Raises:
            ModelCrashed: if the worker died twice over it.
            UsageError: if a parent is not known, a child is in use, or a limit is out of range.
            EngineClosed: if the run or the engine is closed.
        """
        self._check_lanes(lanes, allowance)
        wait = _Wait({lane.child: lane for lane in lanes}, on_result, allowance, on_progress)
        await self._do(wait, "expand", list(lanes), allowance)

    async def read(self, requests: Sequence[ReadRequest]) -> list[ReadResult]:
        """Return logits along paths, in the order of the requests.

        Raises:
            ModelCrashed: if the worker died twice over it.
            UsageError: if a request reads what is not there.
            EngineClosed: if the run or the engine is closed.
        """
        self._check_reads(requests)
        found: dict[int, ReadResult] = {}

        def take(result: ReadResult) -> None:
            found[result.node] = result

        await self._do(_Wait({each.node: each for each in requests}, take), "read", list(requests))
        return [found[each.node] for each in requests]

    def adopt(self, node: int, parent: int, tokens: Sequence[int], *, generated: bool) -> None:
        """Take in a node that was not generated here; `generated` if this model wrote it in another run.

        Raises:
            UsageError: if its parent is not known, its number is in use, or a token is not in the vocabulary.
        """
        self._check_new(parent, node)
        self._slot.check_tokens(tokens)
        self._slot.send("restore", self._number, node, parent, tuple(tokens), generated)
        self._books.nodes[node] = (parent, tuple(tokens))

    def interrupt(self) -> None:
        """End all lanes of the run; each still gives its result, with reason "cancelled"."""
        for wait in self._books.waits:
            wait.interrupted = True
        self._slot.tell("interrupt", self._number)

    def release(self, nodes: Sequence[int]) -> None:
        """Free what is kept for nodes that will not be expanded again."""
        self._slot.tell("release", self._number, list(nodes))

    def close(self) -> None:
        """Free the run; whoever still waits for results of it gets EngineClosed."""
        if self._closed:
            return
        self._closed = True
        self._slot.fail(EngineClosed("the run was closed meanwhile"), run=self._number)
        self._slot.forget(self._number)
        self._slot.tell("close_run", self._number)

    async def _do(self, wait: _Wait, kind: str, requests: Sequence[Any], *rest: Any) -> None:
        if self._closed:
            raise EngineClosed("the run is closed", "open a new one")
        if not wait.left:
            return
        # In this order: if the worker has to be started for it, it must not be told twice.
        self._slot.send(kind, self._number, requests, *rest)
        self._books.waits.append(wait)
        try:
            await wait.done.wait()
        except BaseException:
            await self._abandon(wait)
            raise
        if wait.failure is not None:
            await self._abandon(wait)
            raise wait.failure
        if wait.error is not None:
            raise wait.error

    async def _abandon(self, wait: _Wait) -> None:
        """End what nobody wants any more, and wait until it has ended."""
        wait.take, wait.progress, wait.abandoned = _ignore, None, True
        if wait not in self._books.waits:
            return
        wait.done = anyio.Event()
        self._slot.tell("interrupt", self._number, frozenset(wait.left))
        with anyio.move_on_after(JOIN_S, shield=True):
            await wait.done.wait()

    def _check_lanes(self, lanes: Sequence[LaneRequest], allowance: int | None) -> None:
        if allowance is not None and allowance < 0:
            raise UsageError(f"the allowance is {allowance} tokens", "use 0 or more, or None")
        if lanes and (self._slot.config.states or self._slot.config.rank):
            raise UsageError("this model was loaded for reading alone", "load it a second time to generate")
        asked = set[int]()
        for lane in lanes:
            self._check_new(lane.parent, lane.child)
            if lane.child in asked:
                raise _taken(lane.child)
            if lane.max_tokens < 1:
                raise UsageError(f"max_tokens is {lane.max_tokens}", "use 1 or more")
            check_sampling(lane.sampling)
            asked.add(lane.child)

    def _check_new(self, parent: int, child: int) -> None:
        if parent != ROOT and parent not in self._books.nodes:
            raise UsageError(f"node {parent} is not in this run", "expand nodes whose step has ended")
        if child == ROOT or child in self._books.nodes or any(child in wait.left for wait in self._books.waits):
            raise _taken(child)

    def _check_reads(self, requests: Sequence[ReadRequest]) -> None:
        size = self._slot.info.vocabulary_size
        if len({each.node for each in requests}) != len(requests):
            raise UsageError("a node is read twice in one call", "ask for all its positions at once")
        for each in requests:
            self._slot.check_tokens(each.tokens)
            if not each.read or min(each.read) < 0 or max(each.read) >= len(each.tokens):
                raise UsageError(f"node {each.node} is read beyond its path", "read at 0 up to its length minus one")
            if not all(0 <= id < size for id in each.ids):
                raise UsageError(f"node {each.node} is read at ids outside the vocabulary", "use the model's own ids")
            config = self._slot.config
            if (each.what == "states", each.what == "rank") != (config.states, config.rank):
                raise UsageError(f"{each.what} are read of a model not loaded for them", "load it with states=...")
            if each.what == "rank" and each.read != (len(each.tokens) - 1,):
                raise UsageError(f"node {each.node} is ranked before its end", "read its last position")
            if each.what == "tokens" and max(each.read) + 1 >= len(each.tokens):
                raise UsageError(f"node {each.node} has no token after its last one", "read before the last token")


def _taken(child: int) -> UsageError:
    return UsageError(f"the number {child} is taken in this run", "give every child a number of its own")


def _ignore(result: Any) -> None:
    """Take a result that nobody wants any more."""


def _rootless(request: ReadRequest) -> ReadRequest:
    """Return a read that does not rely on nodes of a worker that is gone."""
    return replace(request, parent=None)
