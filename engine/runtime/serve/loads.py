"""Loads of models in the worker, each in a thread of its own, so that several load side by side."""

from __future__ import annotations

import os
import queue
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from ramify.errors import ModelLoadError, RamifyError
from ramify.host_resources import memory
from ramify.text import size_text

from ..llama.config import ModelConfig, ModelInfo
from ..llama.gguf_check import GgufSummary
from ..llama.library import library
from ..llama.memory import LEAST_CELLS, default_cells, fitting_cells, memory_need
from ..llama.native import Model, model_info
from ..messages import Load, LoadFailed, LoadProgress, Warm
from .pools import Pools

REPORT_S = 0.1
"""Shortest time in seconds between two reports of a load."""


class WorkerModel:
    """One model with its contexts, its decoders and its description. Those of the same file share the weights."""

    def __init__(self, number: int, config: ModelConfig, model: Model) -> None:
        self.number = number
        self.config = config
        self.model = model
        self.pools = Pools(model, config)
        self.info: ModelInfo = model_info(model, self.pools.context, config.path)

    @property
    def busy(self) -> bool:
        """True if there is anything to do."""
        return self.pools.busy

    @property
    def urgent(self) -> bool:
        """True if there is anything to do for a run that is not in the background."""
        return self.pools.urgent


@dataclass(eq=False)
class _Weights:
    """Weights of one file as one configuration places them; None until a load has them."""

    model: Model | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class _Report:
    """Progress of one load: llama.cpp's own, and before it begins the part of the file that is in memory.

    llama.cpp maps the file first, which on a cold disk takes nearly all of the time, and tells nothing meanwhile.
    """

    def __init__(self, number: int, summary: GgufSummary) -> None:
        self.number = number
        self.total_bytes = summary.file_bytes
        self.fraction: float | None = None
        self.told: tuple[int, bool] | None = None

    def message(self, mapped_bytes: int) -> LoadProgress | None:
        """Return the progress since the last report, None without any; `mapped_bytes` are in memory."""
        done = max(mapped_bytes, int((self.fraction or 0.0) * self.total_bytes))
        state = min(done, self.total_bytes), self.fraction is not None
        if self.told is not None and (state == self.told or state[0] < self.told[0]):
            return None
        self.told = state
        return LoadProgress(self.number, state[0], self.total_bytes, vocabulary_ready=state[1])


class Loads:
    """Loads under way, and the weights of those that have ended.

    The file descriptor `wake` becomes readable when `take` has something.
    """

    def __init__(self) -> None:
        self.wake, self._signal = os.pipe()
        self._finished: queue.SimpleQueue[WorkerModel | LoadFailed | BaseException] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._reports: dict[int, _Report] = {}
        self._weights: dict[tuple[object, ...], _Weights] = {}
        self._stopped = False
        self._reported_s = 0.0
        self._mapped_before = 0

    @property
    def under_way(self) -> bool:
        """True if a model is being loaded."""
        return bool(self._reports)

    def start(self, request: Load) -> None:
        """Load a model in a new thread."""
        if not self._reports:
            self._mapped_before = _mapped_bytes()
        self._reports[request.model] = _Report(request.model, request.summary)
        thread = threading.Thread(target=self._load, args=(request,), daemon=True, name="ramify-load")
        self._threads.append(thread)
        thread.start()

    def warm(self, request: Warm) -> None:
        """Load weights in a new thread; an error will come again when a model is loaded from them."""

        def load() -> None:
            with suppress(RamifyError):
                self._model(request.config, request.summary, _Report(-1, request.summary))

        thread = threading.Thread(target=load, daemon=True, name="ramify-warm")
        self._threads.append(thread)
        thread.start()

    def take(self) -> list[WorkerModel | LoadFailed]:
        """Return the loads that have ended since the last call.

        Raises:
            BaseException: an error of a load that has no cause in its model.
        """
        os.read(self.wake, 1024)
        found: list[WorkerModel | LoadFailed] = []
        while not self._finished.empty():
            each = self._finished.get()
            if isinstance(each, BaseException):
                raise each
            self._reports.pop(each.number if isinstance(each, WorkerModel) else each.model)
            found.append(each)
        return found

    def progress(self) -> list[LoadProgress]:
        """Return the progress since the last reports, if these are old enough."""
        now_s = time.monotonic()
        if not self._reports or now_s - self._reported_s < REPORT_S:
            return []
        self._reported_s = now_s
        # Files are mapped one after the other where that takes long, so the first ones are in memory first.
        mapped = max(0, _mapped_bytes() - self._mapped_before)
        found: list[LoadProgress] = []
        for report in self._reports.values():
            message = report.message(min(mapped, report.total_bytes))
            mapped = max(0, mapped - report.total_bytes)
            if message is not None:
                found.append(message)
        return found

    def close(self) -> None:
        """Stop the loads, and free all weights; contexts must be closed before."""
        self._stopped = True
        for thread in self._threads:
            thread.join()
        while not self._finished.empty():
            each = self._finished.get()
            if isinstance(each, WorkerModel):
                each.pools.close()
        for weights in self._weights.values():
            if weights.model is not None:
                weights.model.close()
        os.close(self.wake)
        os.close(self._signal)

    def _load(self, request: Load) -> None:
        config = request.config
        try:
            config = fitted(config, request.summary, loaded=self._are_loaded(config, request.summary))
            model = self._model(config, request.summary, self._reports[request.model])
            self._finish(WorkerModel(request.model, config, model))
        except RamifyError as error:
            self._finish(LoadFailed(request.model, error))
        except BaseException as error:
            self._finish(error)

    def _finish(self, outcome: WorkerModel | LoadFailed | BaseException) -> None:
        self._finished.put(outcome)
        os.write(self._signal, b"x")

    def _are_loaded(self, config: ModelConfig, summary: GgufSummary) -> bool:
        weights = self._weights.get(_placed(config, summary))
        return weights is not None and weights.model is not None

    def _model(self, config: ModelConfig, summary: GgufSummary, report: _Report) -> Model:
        weights = self._weights.setdefault(_placed(config, summary), _Weights())
        with weights.lock:
            if weights.model is None:
                weights.model = Model(config, summary, progress=lambda fraction: self._advance(report, fraction))
            else:
                summary.verify_same(config.path)
                self._advance(report, 1.0)
            return weights.model

    def _advance(self, report: _Report, fraction: float) -> bool:
        """Take llama.cpp's progress; False stops the load."""
        first, report.fraction = report.fraction is None, fraction
        if first:
            self._reported_s = 0.0
            os.write(self._signal, b"x")
        return not self._stopped


def fitted(config: ModelConfig, summary: GgufSummary, *, loaded: bool) -> ModelConfig:
    """Return the configuration with as many cells as free memory has room for, if the user left their number open.

    `loaded` says that the weights are there already; the pages of their file count as free all the same.

    Raises:
        ModelLoadError: if the user's own number does not fit, or nothing that a search could use.
    """
    free = None if config.gpu_layers != 0 and library().llama_supports_gpu_offload() else memory()
    cells = config.context_tokens or default_cells(summary.metadata)
    copies = config.extra_buffers != "none" and not loaded
    need = memory_need(summary, cells=cells, width=config.max_lanes, kinds=config.kv_types, copies=copies)
    if free is None or need is None:
        return config
    # The processes are there already.
    need = replace(need, program_bytes=0)
    if need.total_bytes <= free.free_bytes:
        return config
    fitting = fitting_cells(need, cells, free.free_bytes)
    if config.context_tokens is None and fitting >= LEAST_CELLS:
        return replace(config, context_tokens=fitting)
    repair = (
        f"use --context-tokens {fitting}" if fitting >= LEAST_CELLS else "use a smaller model, or end other programs"
    )
    raise ModelLoadError(
        f"{config.path} does not fit into memory: it needs {size_text(need.total_bytes)} "
        f"({size_text(need.weights_bytes + need.copies_bytes)} of weights, {size_text(need.cache_bytes)} for {cells} "
        f"cells), and {size_text(free.free_bytes)} of {size_text(free.total_bytes)} are free",
        repair,
    )


def _placed(config: ModelConfig, summary: GgufSummary) -> tuple[object, ...]:
    """Return the key of loaded weights: the file, and their place."""
    return (
        *summary.file_state,
        config.extra_buffers,
        config.gpu_layers,
        config.main_gpu,
        config.tensor_split,
        config.gpu_turn,
    )


def _mapped_bytes() -> int:
    """Bytes of files that are mapped into this process and in memory; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[2]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
