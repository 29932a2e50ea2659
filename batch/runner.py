"""Runs a batch: resumes what is there, searches the rest, and writes each item down as soon as it is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from ramify.engine.engine import Engine
from ramify.problem import Problem

from .adaptive import AdaptiveLeg
from .control import BatchControl
from .executors.opening import open_executor
from .executors.resolve import Setup, make_setup
from .leg import Leg
from .report.report import BatchReport, summarise
from .store.config import BatchConfig
from .store.folder import RunFolder, read_manifest
from .store.plan import all_items, select
from .tally import BatchProgress, Tally

FRAME_S = 0.1
"""Shortest time between two looks at a batch while tokens come in."""

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
) -> BatchReport:
    """Search all problems that are not done yet in the run folder `out`, and report on all that are.

    Each item is on disk as soon as it is done, so the call may end in any way, and the next one with the same
    arguments goes on; without anything left to do no model is loaded. An item that fails keeps its error and stops
    nothing. `engine`, if it is open already, is used in place of the configuration's models. `control` ends the batch
    softly. `watch` is called with the progress when it has changed, at most every FRAME_S while tokens come in, and
    `note` with what the caller may not expect; both in the event loop's thread.

    Raises:
        RunFolderError: if `out` is in use, full, or belongs to another configuration (the message names what differs)
            or to other problems.
        ModelLoadError: if a model cannot be loaded.
        UsageError: if an id does not exist, the strategy needs a reward model and there is none, or Ray is asked for
            and cannot be had.
        EnginesLost: if all engines of a cluster are gone; what was written down is kept.
    """
    config = config or BatchConfig()
    folder = RunFolder(Path(out))
    manifest = await run_sync(read_manifest, folder.path)
    setup = await run_sync(make_setup, config, engine, manifest)
    control = control or BatchControl()
    with ExitStack() as stack:
        leg = await run_sync(_prepare, stack, folder, setup, problems, config)
        for line in leg.notes:
            if note is not None:
                note(line)
        reason = "completed"
        try:
            if leg.pending:
                async with open_executor(engine, config, setup) as executor:
                    reason = await leg.run(executor, control, _Viewer(leg.tally, watch), note or _unheard)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await run_sync(_conclude, folder, leg, "aborted")
            raise
        return await run_sync(_conclude, folder, leg, reason)


def _unheard(text: str) -> None:
    """Take a note that nobody reads."""


class _Viewer:
    """Shows the progress: at once when an item has ended, now and then while tokens come in."""

    def __init__(self, tally: Tally, watch: Watch | None) -> None:
        self._tally = tally
        self._watch = watch
        self._last_s = 0.0

    def __call__(self, *, soon: bool = True) -> None:
        now_s = time.monotonic()
        if self._watch is not None and (soon or now_s - self._last_s >= FRAME_S):
            self._last_s = now_s
            self._watch(self._tally.progress())


def _prepare(
    stack: ExitStack, folder: RunFolder, setup: Setup, problems: Sequence[Problem], config: BatchConfig
) -> Leg:
    """Lock the folder until the stack is closed, check it against what is asked for, and find what is left to do."""
    items = all_items(problems, config.repeat, setup.configuration_hash)
    wanted = select(items, config)
    stack.enter_context(folder)
    folder.claim(setup.manifest(config, problems=len(problems), items=len(wanted)))
    leg = AdaptiveLeg(folder, setup, config) if config.allocation == "adaptive" else Leg(folder, setup, config)
    leg.take_stock(problems, wanted)
    return leg


def _conclude(folder: RunFolder, leg: Leg, stop_reason: str) -> BatchReport:
    leg.log_end(stop_reason)
    report = summarise(folder.path, planned=leg.wanted_keys, stop_reason=stop_reason)
    folder.write_report(report.to_dict())
    return report
