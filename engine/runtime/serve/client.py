"""Client of a worker: loads models, carries requests and replies, and replaces a worker that has crashed.

Everything that the worker needs to go on with a run (prompt and tokens of its nodes) is kept at this end too, so that
after a crash a new worker gets it and continues where the old one was.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from types import TracebackType
from typing import TYPE_CHECKING, Any

import anyio
from anyio import lowlevel, to_thread

from ramify.errors import EngineClosed, ModelCrashed
from ramify.event_loop import run_in_event_loop
from ramify.events import ModelLoading

from ..llama.config import ModelConfig
from ..messages import Alive, Broken, Load, Reply, Request, Results, Stop
from .loaded_model import LoadedModel
from .processes import JOIN_S, Isolation, WorkerHandle, start_worker
from .vocabulary import SharedVocabulary

if TYPE_CHECKING:
    from ...store.rows import RowStore

log = logging.getLogger(__name__)

HANG_S = 600.0
"""Longest time in seconds without a reply; one decode of 512 tokens takes seconds even for a large model."""
POLL_S = 0.25
"""Seconds between two checks of a worker that does not reply."""


class Runtime:
    """A worker with its models; use it with `async with`.

    `isolation` "process" runs native code in a process of its own, "thread" in a thread of this one. A process that has
    work and does not reply for `hang_s` seconds is taken to hang: it is killed, and replaced as after a crash. None
    waits for ever. Loading a model has no time limit. `on_progress` is called while files are loaded. `restarts` counts
    the workers that were started in place of a dead one. Results of earlier runs are taken from `store`; None
    for no store.
    """

    def __init__(
        self,
        isolation: Isolation = "process",
        *,
        hang_s: float | None = HANG_S,
        store: RowStore | None = None,
        on_progress: Callable[[ModelLoading], None] | None = None,
    ) -> None:
        self._isolation: Isolation = isolation
        self._hang_s = hang_s
        self._heard_s = time.monotonic()
        self._worker: WorkerHandle | None = None
        self._outbox: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._models: dict[int, LoadedModel] = {}
        self._vocabularies: dict[tuple[int, int, int], SharedVocabulary] = {}
        self.on_progress = on_progress
        self.store = store
        self._crashes = 0
        self.restarts = 0
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
        self._outbox.put(Stop())
        self._outbox.put(None)
        closed = EngineClosed("the engine was closed meanwhile", "keep it open until its runs have ended")
        for model in self._models.values():
            model.fail(closed)
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(self._join)
            for vocabulary in self._vocabularies.values():
                await to_thread.run_sync(vocabulary.close)
        for model in self._models.values():
            model.close()

    @property
    def worker(self) -> WorkerHandle:
        """The worker that runs now; another one after a crash."""
        if self._worker is None:
            raise EngineClosed("the runtime is not open", "use it inside `async with`")
        return self._worker

    async def load(self, config: ModelConfig) -> LoadedModel:
        """Load a model and wait until it is ready.

        Raises:
            ModelLoadError: if it cannot be loaded.
            ModelCrashed: if the worker dies over it, twice.
        """
        model = await self.begin_load(config)
        await model.wait_loaded()
        return model

    async def begin_load(self, config: ModelConfig, *, needs_vocabulary: bool = True) -> LoadedModel:
        """Begin to load a model, beside others; `LoadedModel.wait_loaded` waits until it is ready.

        Without `needs_vocabulary` it is ready before its vocabulary is loaded in this process too.

        Raises:
            ModelLoadError: if its file is missing or damaged.
        """
        from ..llama.gguf_check import check_gguf
        from ..llama.probe import usable_buffers

        summary = await to_thread.run_sync(check_gguf, config.path)
        if config.extra_buffers == "all":
            config = replace(config, extra_buffers=await to_thread.run_sync(usable_buffers, config.path))
        vocabulary = self._vocabularies.setdefault(summary.file_state, SharedVocabulary(config, summary))
        model = LoadedModel(self, len(self._models), config, summary, vocabulary, needs_vocabulary=needs_vocabulary)
        self._models[model.number] = model
        self.send(Load(model.number, config, summary))
        return model

    def send(self, request: Request) -> None:
        """Queue a request for the worker, which is started again if it was given up; never blocks.

        Raises:
            EngineClosed: if the runtime is closed.
        """
        if self._closing:
            raise EngineClosed("the engine is closed", "open a new one")
        if self._given_up:
            self._restart()
        self._outbox.put(request)

    def tell(self, request: Request) -> None:
        """Queue a request for the present worker; it is dropped if there is none."""
        if not self._closing and not self._given_up:
            self._outbox.put(request)

    # Worker

    def _start(self) -> None:
        worker = self._worker = start_worker(self._isolation)
        outbox = self._outbox
        self._threads = [
            threading.Thread(target=self._write, args=(worker.connection, outbox), daemon=True, name="ramify-write"),
            threading.Thread(target=self._read, args=(worker,), daemon=True, name="ramify-read"),
        ]
        for thread in self._threads:
            thread.start()

    def _write(self, connection: Connection, outbox: queue.SimpleQueue[Request | None]) -> None:
        while (request := outbox.get()) is not None:
            try:
                connection.send(request)
            except (OSError, ValueError):
                return  # The reader sees the end as well, and acts on it.

    def _read(self, worker: WorkerHandle) -> None:
        poll_s = None if self._hang_s is None else min(POLL_S, self._hang_s / 4)
        with suppress(EOFError, OSError):
            while True:
                if worker.connection.poll(poll_s):
                    self._call(self._take, worker, worker.connection.recv())
                else:
                    self._call(self._check_hang, worker)
        if not self._closing:
            how = worker.describe_end()
            worker.join(JOIN_S)
            worker.connection.close()
            self._call(self._crashed, worker, how)

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        try:
            run_in_event_loop(self._token, function, *arguments)
        except RuntimeError:
            # The event loop has ended, and with it every caller.
            log.debug("a reply came after the event loop had ended", exc_info=True)

    def _check_hang(self, worker: WorkerHandle) -> None:
        """Kill a worker that hangs; that it has ended is noticed as for any other."""
        if self._hang_s is None or worker is not self._worker or self._closing:
            return
        if not any(model.waits for model in self._models.values()):
            self._heard_s = time.monotonic()
        elif time.monotonic() - self._heard_s > self._hang_s and worker.kill():
            self._broken = f"it gave no sign of life for {self._hang_s:g} s"
            self._heard_s = time.monotonic()

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
        for model in self._models.values():
            model.fail(error)

    def _restart(self) -> None:
        self.restarts += 1
        self._given_up = False
        self._outbox = queue.SimpleQueue()
        self._heard_s = time.monotonic()
        self._start()
        for model in self._models.values():
            model.replay()

    def _take(self, worker: WorkerHandle, reply: Reply) -> None:
        if worker is not self._worker:
            return
        self._heard_s = time.monotonic()
        match reply:
            case Alive():
                return
            case Broken():
                self._broken = reply.text
                return
            case Results():
                self._crashes = 0
            case _:
                pass
        self._models[reply.model].take(reply)
