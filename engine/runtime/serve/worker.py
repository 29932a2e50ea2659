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

from ..llama.config import ModelConfig, ModelInfo
from ..llama.gguf_check import GgufSummary
from ..llama.native import Model, model_info
from ..messages import (
    Alive,
    AskStatistics,
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
    StatisticsReport,
    Stop,
    TimesReport,
)
from .pools import Pools, Turns

PROGRESS_S = 0.1
"""Shortest time in seconds between two reports of progress."""

ALIVE_S = 0.5
"""Shortest time in seconds between two `Alive` replies."""


class WorkerModel:
    """One model with its contexts and decoders. Those of the same file share the weights."""

    def __init__(self, number: int, config: ModelConfig, model: Model) -> None:
        self.number = number
        self.config = config
        self.model = model
        self.pools = Pools(model, config)

    @property
    def busy(self) -> bool:
        """Whether there is anything to do."""
        return self.pools.busy

    @property
    def urgent(self) -> bool:
        """Whether there is anything to do for a run that is not in the background."""
        return self.pools.urgent

    @property
    def info(self) -> ModelInfo:
        """Description of the model."""
        return model_info(self.model, self.pools.context, self.config.path)


class Worker:
    """Serves one connection until it is closed or told to stop."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._loaded: dict[int, WorkerModel] = {}
        self._weights: dict[tuple[object, ...], Model] = {}
        self._running = True
        self._reported_s = 0.0
        self._alive_s = 0.0
        self._times: dict[int, DecodeTimes] = {}
        self._turns = Turns()
        self._waiting = select.poll()
        self._waiting.register(connection.fileno(), select.POLLIN)

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
        while self._running and self._waiting.poll(0 if self._busy else None):
            self._handle(self._connection.recv())

    def _handle(self, request: Request) -> None:
        match request:
            case Load():
                self._load(request.model, request.config, request.summary)
            case AskStatistics():
                self._send(StatisticsReport(request.model, self._loaded[request.model].pools.statistics()))
            case Stop():
                self._running = False
            case _:
                self._loaded[request.model].pools.handle(request)

    @property
    def _busy(self) -> bool:
        return any(loaded.busy for loaded in self._loaded.values())

    def _step(self) -> None:
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

    def _load(self, number: int, config: ModelConfig, summary: GgufSummary) -> None:
        placed = (config.gpu_layers, config.main_gpu, config.tensor_split, config.gpu_turn)
        key = (os.path.realpath(config.path), config.extra_buffers, *placed)
        try:
            summary.verify_same(config.path)
            model = self._weights.get(key)
            if model is None:
                model = self._weights[key] = Model(config, summary)
            self._loaded[number] = loaded = WorkerModel(number, config, model)
        except RamifyError as error:
            self._send(LoadFailed(number, error))
        else:
            self._send(Loaded(number, loaded.info))

    def _send(self, reply: Reply) -> None:
        self._connection.send(reply)

    def _close(self) -> None:
        for loaded in self._loaded.values():
            loaded.pools.close()
        for model in self._weights.values():
            model.close()
        self._connection.close()


def main() -> None:
    """Serve the connection whose file descriptor is the first argument."""
    # Ctrl-C goes to the whole terminal; the engine decides what it means and closes the connection.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Worker(Connection(int(sys.argv[1]))).run()


if __name__ == "__main__":
    main()
