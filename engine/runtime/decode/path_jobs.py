"""Paths that are evaluated for others, and paths that are read: how such jobs start, wait for each other and end."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ramify.reward.protocol import ReadResult

from ..messages import ROOT
from .jobs import Job, PrefixJob, ReadJob, read_row
from .prefix_cache import LogitsCache, PrefixCache, PrefixNode
from .scheduler import Scheduler
from .shared_sequences import SharedSequence


class PathJobs:
    """Starts and completes the prefix jobs and the reads of one context.

    `begin` starts a sequence whose prefix is complete, `report` takes the result of a read and its run.
    """

    def __init__(
        self,
        cache: PrefixCache,
        scheduler: Scheduler,
        logits: LogitsCache,
        *,
        begin: Callable[[SharedSequence], None],
        report: Callable[[int, ReadResult], None],
    ) -> None:
        self._cache = cache
        self._scheduler = scheduler
        self._logits = logits
        self._begin = begin
        self._report = report

    def stop_unwanted(self, job: PrefixJob) -> None:
        """End the completion of a path that nothing waits for any more; let another run that waits pay for the rest."""
        if job.waiting:
            job.node.run = job.waiting[0].node.run
            return
        self._scheduler.remove(job)
        if job.sequence is not None:
            self._cache.park(job.sequence)

    def after_prefix(self, job: Job, node: PrefixNode, *, outputs: frozenset[int]) -> None:
        """Let a job wait until a node's path is complete; a prompt comes after the prefix that other runs share.

        Where the steps of the path were taken from a store, the prompt comes first too.
        """
        run = self._scheduler.runs[job.node.run]
        if run.has_stored and self._lacks_prompt(run.nodes[ROOT]):
            node, outputs = run.nodes[ROOT], outputs if node is run.nodes[ROOT] else frozenset()
        above = node.parent if node.is_prompt else None
        if above is not None and self._cache.cached(above, len(above.path)) < len(above.path):
            node, outputs = above, frozenset()
        prefix = self._scheduler.prefix_of(node)
        if prefix is None:
            prefix = PrefixJob(node, node.path, outputs)
            prefix.waiting.append(job)
            if not node.ids:
                node.run = job.node.run
            self.start(prefix)
        else:
            prefix.waiting.append(job)

    def _lacks_prompt(self, root: PrefixNode) -> bool:
        """Tell whether a run's prompt has not been evaluated in it, and is not in the cache."""
        return root.evaluated < len(root.path) and self._cache.cached(root, len(root.path)) < len(root.path)

    def start(self, job: Job) -> None:
        """Start a job, and complete it if nothing of it is left to evaluate."""
        if self._scheduler.start(job):
            self.complete_if_cached(job)

    def complete_if_cached(self, job: Job) -> None:
        """Complete a job whose tokens other jobs have all evaluated since it was requested: no decode will."""
        if not job.complete:
            return
        if isinstance(job, PrefixJob):
            self.finish_prefix(job, None)
        elif isinstance(job, ReadJob):
            self._finish_read(job)

    def finish_prefix(self, job: PrefixJob, row: npt.NDArray[np.float32] | None) -> None:
        """Keep the row, and start the jobs that waited for the path."""
        assert job.sequence is not None
        self._scheduler.remove(job)
        self._scheduler.runs[job.node.run].count_prefix(job)
        if row is not None:
            self._logits.keep(job.node, row)
        self._cache.park(job.sequence)
        for each in job.waiting:
            if isinstance(each, SharedSequence):
                self._begin(each)
            elif isinstance(each, ReadJob):
                self._start_read(each) if each.node.parent is job.node else self.begin_read(each)
            else:
                self.start(each)

    def begin_read(self, job: ReadJob) -> None:
        """Start a read, after its parent's path if that is not cached: siblings share it."""
        parent, common = job.node.parent, job.node.common
        if parent is not None and common and self._cache.cached(job.node, common) < common:
            follows = job.request.what == "tokens" and job.first_output == len(parent.path) - 1
            self.after_prefix(job, parent, outputs=frozenset((job.first_output,)) if follows else frozenset())
        else:
            self._start_read(job)

    def _start_read(self, job: ReadJob) -> None:
        """Start a read; a value that its parent's kept row gives is not evaluated again."""
        parent, first = job.node.parent, job.first_output
        if job.follows_parent(first) and parent is not None and parent.logits is not None and first not in job.values:
            job.values[first] = read_row(job.request, first, parent.logits)
            job.outputs -= {first}
        self.start(job)

    def take_read(
        self, job: ReadJob, start: int, end: int, rows: npt.NDArray[np.float32], logits: npt.NDArray[np.float32]
    ) -> None:
        """Keep the outputs of a batch: `rows` are the context's own outputs, `logits` those beside its states."""
        pooled = job.request.what == "pooled"
        positions = [at for at in sorted(job.outputs) if start <= at < end]
        for position, row, beside in zip(positions, rows, logits, strict=True):
            last = position == len(job.node.path) - 1
            if last and (job.request.keep or job.request.what == "tokens"):
                self._logits.keep(job.node, row)
            if last and job.request.what == "tokens":
                continue
            job.values[position] = read_row(job.request, position, beside if pooled else row)
            if pooled:
                job.states[position] = row
            if job.follows_parent(position) and job.node.parent is not None:
                self._logits.keep(job.node.parent, row)
        if job.complete:
            self._finish_read(job)

    def _finish_read(self, job: ReadJob) -> None:
        assert job.sequence is not None
        self._scheduler.remove(job)
        self._cache.park(job.sequence)
        self._report(job.node.run, self._scheduler.runs[job.node.run].read_result(job))
