"""The loop that owns the models: takes requests from a connection, decodes, sends results back.

It runs as a process of its own (`python -m ramify.engine.runtime.serve.worker FD`) or in a thread. A request is a tuple
that starts with its kind; so is a reply. Replies: ("loaded", loaded, ModelInfo), ("failed", loaded, error),
("results", loaded, [(run, result)]), ("run_failed", loaded, run, error), ("progress", loaded, [Progress]),
("statistics", loaded, Statistics), ("alive",), ("broken", text).
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from ramify.errors import ModelLoadError, RamifyError

from ..llama.config import ModelConfig, ModelInfo
from ..llama.native import Model, model_info
from .pools import Pools, Turns

PROGRESS_S = 0.1
"""Shortest time between two reports of progress."""

ALIVE_S = 0.5
"""Shortest time between two signs of life."""

DECODER_REQUESTS = frozenset({"open_run", "restore", "expand", "read", "release", "interrupt", "close_run"})
"""Requests that are methods of a loaded model's decoder, by name."""


class WorkerModel:
    """One model with its contexts and decoders. Slots of the same file share the model."""

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
        self._weights: dict[tuple[Any, ...], Model] = {}
        self._running = True
        self._reported_s = 0.0
        self._alive_s = 0.0
        self._turns = Turns()
        self._waiting = select.poll()
        self._waiting.register(connection.fileno(), select.POLLIN)
        self._handlers: dict[str, Callable[..., None]] = {
            "load": self._load,
            "unload": self._unload,
            "statistics": self._statistics,
            "stop": self._stop,
        }

    def run(self) -> None:
        """Serve; returns when the other end has closed or asked to stop."""
        try:
            while self._running:
                self._take_requests()
                self._step()
        except (EOFError, OSError):
            pass  # The engine is gone, and nobody is left to answer to.
        except Exception as error:
            self._send(("broken", f"{type(error).__name__}: {error}"))
            raise
        finally:
            self._close()

    def _take_requests(self) -> None:
        # Connection.poll makes a selector anew each time, which costs a good part of a tiny model's step.
        while self._running and self._waiting.poll(0 if self._busy else None):
            kind, *rest = self._connection.recv()
            if kind in DECODER_REQUESTS:
                number, *arguments = rest
                self._loaded[number].pools.request(kind, *arguments)
            else:
                self._handlers[kind](*rest)

    @property
    def _busy(self) -> bool:
        return any(loaded.busy for loaded in self._loaded.values())

    def _step(self) -> None:
        for loaded in self._turns.due(list(self._loaded.values())):
            number, results = loaded.number, loaded.pools.step()
            if results:
                self._send(("results", number, results))
            for run, why in loaded.pools.take_failures().items():
                error = ModelLoadError(f"{loaded.config.path} does not work: {why}", "its file may be damaged")
                self._send(("run_failed", number, run, error))
        now_s = time.monotonic()
        if now_s - self._reported_s >= PROGRESS_S:
            self._reported_s = now_s
            for number, loaded in self._loaded.items():
                if progress := loaded.pools.progress():
                    self._send(("progress", number, progress))
            if now_s - self._alive_s >= ALIVE_S:
                self._alive_s = now_s
                self._send(("alive",))

    def _load(self, number: int, config: ModelConfig) -> None:
        placed = (config.gpu_layers, config.main_gpu, config.tensor_split, config.gpu_turn)
        key = (os.path.realpath(config.path), config.extra_buffers, *placed)
        try:
            model = self._weights.get(key)
            if model is None:
                model = self._weights[key] = Model(config)
            self._loaded[number] = loaded = WorkerModel(number, config, model)
        except RamifyError as error:
            self._send(("failed", number, error))
        else:
            self._send(("loaded", number, loaded.info))

    def _unload(self, number: int) -> None:
        loaded = self._loaded.pop(number, None)
        if loaded is None:
            return
        loaded.pools.close()
        if all(other.model is not loaded.model for other in self._loaded.values()):
            self._weights = {key: model for key, model in self._weights.items() if model is not loaded.model}
            loaded.model.close()

    def _statistics(self, number: int) -> None:
        self._send(("statistics", number, self._loaded[number].pools.statistics()))

    def _stop(self) -> None:
        self._running = False

    def _send(self, reply: tuple[Any, ...]) -> None:
        self._connection.send(reply)

    def _close(self) -> None:
        for number in list(self._loaded):
            self._unload(number)
        self._connection.close()


def main() -> None:
    """Serve the connection whose file descriptor is the first argument."""
    # Ctrl-C goes to the whole terminal; the engine decides what it means and closes the connection.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Worker(Connection(int(sys.argv[1]))).run()


if __name__ == "__main__":
    main()
