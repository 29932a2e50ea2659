"""A batch from the command line: progress in one line, and Ctrl-C that loses nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..text import duration_text
from . import diagnostics
from .progress import REDRAW_S

if TYPE_CHECKING:
    from ramify.batch import BatchConfig, BatchProgress, BatchReport

    from ..problem import Problem

REPEAT_S = 10.0
"""Shortest time between two lines where a line cannot be rewritten."""


class BatchLine:
    """Shows the progress of a batch on stderr; `quiet` says nothing at all."""

    def __init__(self, *, quiet: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._quiet = quiet
        self._interactive = diagnostics.is_interactive()
        self._clock = clock
        self._status = diagnostics.StatusLine()
        self._last_s = clock()
        self._draining = False

    def watch(self, progress: BatchProgress) -> None:
        """Show where the batch stands, if it is time to."""
        now_s = self._clock()
        if self._quiet or now_s - self._last_s < (REDRAW_S if self._interactive else REPEAT_S):
            return
        self._last_s = now_s
        line = progress_line(progress, draining=self._draining)
        if self._interactive:
            self._status.show(line)
        else:
            diagnostics.say(line)

    def drain(self) -> None:
        """Say that the batch is being ended."""
        self._draining = True
        self.note("finishing the items in flight; Ctrl-C again stops at once")

    def note(self, line: str) -> None:
        """Say something that the user may not expect."""
        if not self._quiet:
            self._status.clear()
            diagnostics.note(line)

    def clear(self) -> None:
        """Remove the line, so that something else can be written."""
        self._status.clear()

    def summary(self, report: BatchReport, out: Path) -> None:
        """Say what the run folder holds now."""
        if not self._quiet:
            diagnostics.say(summary_line(report, out))


def progress_line(progress: BatchProgress, *, draining: bool = False) -> str:
    """Return where a batch stands, in one line."""
    parts = [f"{progress.done}/{progress.items} done"]
    if progress.failed:
        parts.append(f"{progress.failed} failed")
    if progress.graded:
        share = progress.correct / progress.graded
        parts.append(f"{share:.1%} correct ({progress.low:.0%}-{progress.high:.0%})")
    parts.append(f"{progress.tokens_per_s:,.0f} tokens/s")
    if progress.budget_fraction is not None:
        parts.append(f"budget {progress.budget_fraction:.0%}")
    if draining:
        parts.append(f"finishing {progress.in_flight}")
    elif progress.eta_s is not None:
        parts.append(f"{duration_text(progress.eta_s)} left")
    return " · ".join(parts)


def summary_line(report: BatchReport, out: Path) -> str:
    """Return what a run folder holds, in one line."""
    parts = [f"{report.done} of {report.items} done"] if report.pending else [f"{report.done} done"]
    if report.failed:
        parts.append(f"{report.failed} failed")
    if report.accuracy is not None:
        parts.append(
            f"{report.correct} of {report.graded} correct, {report.accuracy:.1%} ({report.low:.1%}-{report.high:.1%})"
        )
    parts.append(f"{report.usage.policy.generated_tokens:,} tokens generated")
    parts.append(duration_text(report.wall_seconds))
    if report.stop_reason not in (None, "completed"):
        parts.append(_ENDS[str(report.stop_reason)])
    parts.append(str(out))
    return " · ".join(parts)


_ENDS = {
    "interrupted": "interrupted, the same command goes on",
    "budget": "--budget-total is used up",
    "failures": "stopped by --max-failures",
}


def run_interruptibly(
    problems: Sequence[Problem], out: Path, config: BatchConfig, line: BatchLine
) -> BatchReport | None:
    """Run a batch to its end, or None if it was stopped at once by a second Ctrl-C.

    Raises:
        RamifyError: as `run_batch`.
    """
    import anyio

    from ramify.batch import BatchControl, run_batch

    from .searching import Interrupts

    async def work() -> BatchReport | None:
        control = BatchControl()
        interrupts = Interrupts()

        def soften() -> None:
            control.drain()
            line.drain()

        interrupts.soften(soften)
        with interrupts.listening():
            return await run_batch(problems, out, config, control=control, watch=line.watch, note=line.note)
        return None

    return anyio.run(work)
