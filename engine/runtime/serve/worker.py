"""Worker: the loop that owns the models, takes requests from a connection, decodes, and sends replies back.

It runs as a process of its own (`python -m ramify.engine.runtime.serve.worker FD`) or in a thread.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from multiprocessing.connection import Connection

from ramify.errors import ModelLoadError, RamifyError

from ..llama.library import leave_out_high_level_binding
from ..messages import (
    Alive,
    AskStatistics,
    AskVocabulary,
    Broken,
    DecodeTimes,
    Load,
    Loaded,
    LoadFailed,
    ProgressReport,
    Reply,
    Request,
    Results,
    RunFailed,
    RunRequest,
    StatisticsReport,
    Stop,
    TimesReport,
    VocabularyReport,
    Warm,
)
from .loads import Loads, WorkerModel
from .pools import Turns

PROGRESS_S = 0.1
"""Shortest time in seconds between two reports of progress."""

LOADING_MS = 100
"""Time in milliseconds between two looks at the progress of loads."""

ALIVE_S = 0.5
"""Shortest time in seconds between two `Alive` replies."""


class Worker:
    """Serves one connection until it is closed or told to stop.

    With `ends_process` the process ends with it, and frees the memory of native code.
    """

    def __init__(self, connection: Connection, *, ends_process: bool = False) -> None:
        self._connection = connection
        self._ends_process = ends_process
        self._loaded: dict[int, WorkerModel] = {}
        self._loads = Loads()
        self._early: dict[int, list[RunRequest | AskStatistics | AskVocabulary]] = {}
        self._running = True
        self._reported_s = 0.0
        self._alive_s = 0.0
        self._times: dict[int, DecodeTimes] = {}
        self._turns = Turns()
        self._waiting = select.poll()
        self._waiting.register(connection.fileno(), select.POLLIN)
        self._waiting.register(self._loads.wake, select.POLLIN)

    def run(self) -> None:
        """Serve; returns when the other end has closed or asked to stop."""
        try:
            while self._running:
                self._take_requests()
                self._step()
        except (EOFError, OSError):
            pass  # The engine is gone, and no one is left to reply to.
        except Exception as error:
            self._send(Broken(f"{type(error).__name__}: {error}"))
            raise
        finally:
            self._close()

    def _take_requests(self) -> None:
        # Connection.poll makes a selector anew each time, which costs a good part of a tiny model's step.
        while self._running:
            # Models that load do so in other threads; their progress is reported from this one.
            wait_ms = 0 if self._busy else LOADING_MS if self._loads.under_way else None
            ready = self._waiting.poll(wait_ms)
            if not ready:
                return
            for descriptor, _ in ready:
                if descriptor != self._loads.wake:
                    self._handle(self._connection.recv())
            if any(descriptor == self._loads.wake for descriptor, _ in ready):
                self._take_loads()
                return

    def _handle(self, request: Request) -> None:
        match request:
            case Load():
                self._early[request.model] = []
                self._loads.start(request)
            case Warm():
                self._loads.warm(request)
            case Stop():
                self._running = False
            case _ if request.model in self._early:
                self._early[request.model].append(request)
            case _ if request.model not in self._loaded:
                return  # Its load failed, which has ended everything about it.
            case AskStatistics():
                self._send(StatisticsReport(request.model, self._loaded[request.model].pools.statistics()))
            case AskVocabulary():
                self._send(VocabularyReport(request.model, request.number, self._found(request)))
            case _:
                self._loaded[request.model].pools.handle(request)

    def _found(self, request: AskVocabulary) -> tuple[tuple[int, bytes], ...] | RamifyError:
        """Return the tokens and pieces that are asked of a vocabulary, or the error."""
        vocabulary = self._loaded[request.model].model.vocabulary
        try:
            asked = request.asked
            tokens = [asked] if isinstance(asked, int) else vocabulary.encode(asked, special=request.special)
            return tuple((token, vocabulary.piece(token)) for token in tokens)
        except RamifyError as error:
            return error

    def _take_loads(self) -> None:
        """Serve the models that are ready now, first the requests that came while they loaded."""
        for each in self._loads.take():
            if isinstance(each, LoadFailed):
                del self._early[each.model]
                self._send(each)
                continue
            self._loaded[each.number] = each
            self._send(Loaded(each.number, each.info))
            for request in self._early.pop(each.number):
                self._handle(request)

    @property
    def _busy(self) -> bool:
        return any(loaded.busy for loaded in self._loaded.values())

    def _step(self) -> None:
        for progress in self._loads.progress():
            self._send(progress)
        for loaded in self._turns.due(list(self._loaded.values())):
            number, results = loaded.number, loaded.pools.step()
            if results:
                self._send(Results(number, tuple(results)))
            for run, why in loaded.pools.take_failures().items():
                error = ModelLoadError(f"{loaded.config.path} does not work: {why}", "its file may be damaged")
                self._send(RunFailed(number, run, error))
        now_s = time.monotonic()
        if now_s - self._reported_s >= PROGRESS_S:
            self._reported_s = now_s
            for number, loaded in self._loaded.items():
                if progress := loaded.pools.progress():
                    self._send(ProgressReport(number, tuple(progress)))
            if now_s - self._alive_s >= ALIVE_S:
                self._alive_s = now_s
                self._send(Alive())
                self._report_times()

    def _report_times(self) -> None:
        """Report the times of models that have been at work since the last report."""
        for number, loaded in self._loaded.items():
            times = loaded.pools.times()
            if times not in (DecodeTimes(), self._times.get(number)):
                self._times[number] = times
                self._send(TimesReport(number, times))

    def _send(self, reply: Reply) -> None:
        self._connection.send(reply)

    def _close(self) -> None:
        if self._ends_process:
            return
        for loaded in self._loaded.values():
            loaded.pools.close()
        self._loads.close()
        self._connection.close()


def main() -> None:
    """Serve the connection whose file descriptor is the first argument."""
    # Ctrl-C goes to the whole terminal; the engine acts on it and closes the connection.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    leave_out_high_level_binding()
    Worker(Connection(int(sys.argv[1])), ends_process=True).run()
    # Not by the end of the interpreter, which waits for loads under way: nobody is left to take their models.
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
