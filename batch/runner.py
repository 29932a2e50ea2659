"""Runner of batches: resumes a run folder, searches the pending items and reports on all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from ramify.engine.engine import Engine
from ramify.events import ModelLoading
from ramify.problem import Problem

from .adaptive_run import AdaptiveBatchRun
from .batch_run import BatchRun
from .executors import open_executor
from .executors.setup import Setup, make_setup
from .progress import BatchControl, BatchProgress, ProgressCounter
from .report.totals import BatchReport, summarise
from .store.config import BatchConfig
from .store.folder import RunFolder, read_manifest
from .store.rows import all_items, select

FRAME_S = 0.1
"""Shortest time in seconds between two reports of progress while an item is searched."""

Watch = Callable[[BatchProgress], None]


async def run_batch(
    problems: Sequence[Problem],
    out: str | Path,
    config: BatchConfig | None = None,
    *,
    engine: Engine | None = None,
    control: BatchControl | None = None,
    watch: Watch | None = None,
    note: Callable[[str], None] | None = None,
    on_loading: Callable[[ModelLoading], None] | None = None,
) -> BatchReport:
    """Search all problems that have no row yet in the run folder `out`, and report on all that have.

    Each item is on disk as soon as it is done, so the call may end in any way, and the next one with the same
    arguments goes on; with no pending items no model is loaded. An item that fails keeps its error and stops
    nothing. `engine`, if it is open already, is used in place of the configuration's models. `control` ends the batch
    softly. `watch` is called with the progress when it has changed, at most every FRAME_S while tokens come in, and
    `note` with facts that the caller may not expect; both in the event loop's thread. `on_loading` is for the models
    that are loaded in this process; see `Engine`.

    Raises:
        RunFolderError: if `out` is in use, full, or belongs to another configuration (the message names the
        differences)
            or to other problems.
        ModelLoadError: if a model cannot be loaded.
        UsageError: if an id does not exist, the strategy needs a reward model and there is none, or Ray is asked for
            and cannot be had.
        EnginesLost: if all engines of a cluster are gone; the rows written are kept.
    """
    config = config or BatchConfig()
    folder = RunFolder(Path(out))
    manifest = await run_sync(read_manifest, folder.path)
    setup = await run_sync(make_setup, config, engine, manifest)
    control = control or BatchControl()
    with ExitStack() as stack:
        batch_run = await run_sync(_prepare, stack, folder, setup, problems, config)
        for line in batch_run.notes:
            if note is not None:
                note(line)
        reason = "completed"
        try:
            if batch_run.pending:
                async with open_executor(engine, config, setup, on_loading) as executor:
                    reason = await batch_run.run(
                        executor, control, _ProgressReporter(batch_run.counter, watch), note or _ignore
                    )
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await run_sync(_conclude, folder, batch_run, "aborted")
            raise
        return await run_sync(_conclude, folder, batch_run, reason)


def _ignore(text: str) -> None:
    """Ignore a note."""


class _ProgressReporter:
    """Calls `watch` with the progress: at once when an item has ended, at intervals while items are searched."""

    def __init__(self, counter: ProgressCounter, watch: Watch | None) -> None:
        self._counter = counter
        self._watch = watch
        self._last_s = 0.0

    def __call__(self, *, soon: bool = True) -> None:
        now_s = time.monotonic()
        if self._watch is not None and (soon or now_s - self._last_s >= FRAME_S):
            self._last_s = now_s
            self._watch(self._counter.progress())


def _prepare(
    stack: ExitStack, folder: RunFolder, setup: Setup, problems: Sequence[Problem], config: BatchConfig
) -> BatchRun:
    """Lock the folder until the stack is closed, check its configuration, and queue the pending items."""
    items = all_items(problems, config.repeat, setup.configuration_hash)
    wanted = select(items, config)
    stack.enter_context(folder)
    folder.claim(setup.manifest(config, problems=len(problems), items=len(wanted)))
    made = AdaptiveBatchRun if config.allocation == "adaptive" else BatchRun
    batch_run = made(folder, setup, config)
    batch_run.prepare(problems, wanted)
    return batch_run


def _conclude(folder: RunFolder, batch_run: BatchRun, stop_reason: str) -> BatchReport:
    batch_run.log_end(stop_reason)
    report = summarise(folder.path, planned=batch_run.wanted_keys, stop_reason=stop_reason)
    folder.write_report(report.to_dict())
    return report
