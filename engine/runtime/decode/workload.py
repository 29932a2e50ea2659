"""Which jobs are in work and which queue for a sequence: as many work at a time as there are ids and cells for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from .batch import Batch
from .jobs import Job, PrefixJob
from .prefix_cache import PathCache, PathNode
from .shared_sequences import Strand


class Workload:
    """Owner of both lists of jobs; a job has its sequence while it is in work, and none while it queues."""

    def __init__(self, cache: PathCache, sequences: int) -> None:
        self.jobs: list[Job] = []
        self._queue: deque[Job] = deque()
        self._cache = cache
        # Falls when the cache is full, and rises again by one with each job that ends.
        self._ceiling = sequences

    def __iter__(self) -> Iterator[Job]:
        """Iterate over all jobs as they are now, those in work first."""
        return iter([*self.jobs, *self._queue])

    @property
    def empty(self) -> bool:
        """Whether there is no job."""
        return not self.jobs and not self._queue

    @property
    def has_room(self) -> bool:
        """Whether one more job may work, and none has waited for longer."""
        return not self._queue and len(self.jobs) < self._ceiling

    def add(self, job: Job) -> None:
        """Let a job work that has its sequence already."""
        self.jobs.append(job)

    def start(self, job: Job) -> bool:
        """Let a job work, or queue; return whether it works."""
        if self.has_room and self._lend(job):
            self.jobs.append(job)
            return True
        self._queue.append(job)
        return False

    def start_next(self) -> Job | None:
        """Let the job work that has queued for longest, and return it; None if there is none, or no room."""
        if not self._queue or len(self.jobs) >= self._ceiling or not self._lend(self._queue[0]):
            return None
        self.jobs.append(self._queue.popleft())
        return self.jobs[-1]

    def _lend(self, job: Job) -> bool:
        """Give a job its sequence; False if there is no id to be had."""
        # The last token is evaluated even if it is cached when its logits are wanted and not kept.
        keep = job.first_output
        sequence = self._cache.fork(job.node, keep) if isinstance(job, Strand) else self._cache.open(job.node, keep)
        if sequence is None:
            return False
        job.sequence = sequence
        job.cached += sequence.length
        return True

    def remove(self, job: Job) -> None:
        """Take a job out; its sequence stays lent to it."""
        if job in self.jobs:
            self.jobs.remove(job)
            self._ceiling += 1
        elif job in self._queue:
            self._queue.remove(job)

    def prefix_of(self, node: PathNode) -> PrefixJob | None:
        """Return the job that completes a node's path, if there is one."""
        return next((job for job in self if isinstance(job, PrefixJob) and job.node is node), None)

    def take_turns(self, batch: Batch) -> None:
        """Let jobs that did not fit this batch come first in the next one."""
        if len(batch.feeds) < len(self.jobs):
            served = {id(feed.job) for feed in batch.feeds}
            self.jobs.sort(key=lambda job: id(job) in served)

    def make_room(self) -> bool:
        """Free cells: evict what is parked, else suspend half of the jobs; False if there is but one."""
        if self._cache.parked:
            self._cache.evict(max(1, self._cache.parked // 4))
            return True
        if len(self.jobs) < 2:
            return False
        for job in self.jobs[len(self.jobs) // 2 :]:
            self._suspend(job)
        self._ceiling = len(self.jobs)
        return True

    def _suspend(self, job: Job) -> None:
        """Let a job queue without its cells; it starts again when another one ends."""
        assert job.sequence is not None
        self.jobs.remove(job)
        self._cache.free(job.sequence)
        job.sequence = None
        self._queue.append(job)
