"""Scheduler of one context: jobs with a sequence, jobs that wait for one, and the batch of the next decode."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from .batch import Batch, batch_of
from .jobs import Job, PrefixJob
from .prefix_cache import PrefixCache, PrefixNode
from .run_state import RunState
from .shared_sequences import SharedSequence


class Scheduler:
    """Decides which jobs decode next; `Decoder` performs the step.

    A job works while it holds a sequence of `cache`, and queues otherwise. As many work at a time as there are
    sequence ids and cells for. `max_lanes` bounds the shared sequences that generate at a time; further ones wait in
    their runs, and runs take turns.
    """

    def __init__(self, cache: PrefixCache, *, sequences: int, max_lanes: int) -> None:
        self.runs: dict[int, RunState] = {}
        self.working: list[Job] = []
        self._queue: deque[Job] = deque()
        self._cache = cache
        # Falls when the cache is full, and rises again by one with each job that ends.
        self._most_working = sequences
        # Two ids stay free for prefixes and reads.
        self._max_lanes = max(1, min(max_lanes, sequences - 2))

    def __iter__(self) -> Iterator[Job]:
        """Iterate over a copy of all jobs, those at work first."""
        return iter([*self.working, *self._queue])

    @property
    def busy(self) -> bool:
        """True if there is a job or a waiting sequence."""
        return bool(self.working or self._queue) or any(run.waiting for run in self.runs.values())

    @property
    def urgent(self) -> bool:
        """True if there is a job or a waiting sequence of a run that is not in the background."""
        front = {number for number, run in self.runs.items() if not run.background}
        return any(self.runs[number].waiting for number in front) or any(job.node.run in front for job in self)

    @property
    def has_room(self) -> bool:
        """True if one more job may work, and no job has waited for longer."""
        return not self._queue and len(self.working) < self._most_working

    @property
    def may_branch(self) -> bool:
        """True if one more shared sequence may work."""
        return self._active < self._max_lanes and self.has_room

    @property
    def _active(self) -> int:
        """Number of shared sequences at work."""
        return sum(run.active for run in self.runs.values())

    # Jobs

    def add(self, job: Job) -> None:
        """Add a job that holds its sequence already."""
        self.working.append(job)

    def start(self, job: Job) -> bool:
        """Start a job if there is room, else queue it; return whether it works."""
        if self.has_room and self._lend(job):
            self.working.append(job)
            return True
        self._queue.append(job)
        return False

    def start_queued(self) -> Job | None:
        """Start the job that has queued for longest, and return it; None if there is none, or no room."""
        if not self._queue or len(self.working) >= self._most_working or not self._lend(self._queue[0]):
            return None
        self.working.append(self._queue.popleft())
        return self.working[-1]

    def next_waiting(self) -> SharedSequence | None:
        """Return the next waiting sequence that may begin, counted as active; None if there is none, or no room.

        Runs take turns: the one with the fewest active sequences comes first, those in the background last.
        """
        if not self.has_room:
            return None
        waiting = [run for run in self.runs.values() if run.waiting]
        if not waiting or self._active >= self._max_lanes:
            return None
        run = min(waiting, key=lambda each: (each.background, each.active))
        return run.begin(run.waiting.popleft())

    def remove(self, job: Job) -> None:
        """Remove a job; it keeps its sequence."""
        if job in self.working:
            self.working.remove(job)
            self._most_working += 1
        elif job in self._queue:
            self._queue.remove(job)

    def prefix_of(self, node: PrefixNode) -> PrefixJob | None:
        """Return the job that completes a node's path, None if there is none."""
        return next((job for job in self if isinstance(job, PrefixJob) and job.node is node), None)

    def _lend(self, job: Job) -> bool:
        """Give a job its sequence; False if no id can be had."""
        # The last token is evaluated even if it is cached when its logits are wanted and not kept.
        keep = job.first_output
        generates = isinstance(job, SharedSequence)
        if generates and job.kept is not None:
            job.sequence, job.kept = self._cache.take(job.kept), None
            if job.sequence is not None:
                return True
        sequence = self._cache.fork(job.node, keep) if generates else self._cache.open(job.node, keep)
        if sequence is None:
            return False
        job.sequence = sequence
        job.cached_tokens += sequence.length
        return True

    # Batches

    def next_batch(self, *, room: int, singles: int) -> Batch:
        """Return the batch of the next decode; see `batch_of`."""
        return batch_of(self.working, room=room, singles=singles)

    def decoded(self, batch: Batch) -> None:
        """Put jobs that did not fit a decoded batch before the others, so that they come first in the next one."""
        if len(batch.entries) < len(self.working):
            served = {id(entry.job) for entry in batch.entries}
            self.working.sort(key=lambda job: id(job) in served)

    def make_room(self) -> bool:
        """Free cells: evict parked sequences, else suspend half of the jobs; False if there is only one."""
        if self._cache.parked:
            self._cache.evict(max(1, self._cache.parked // 4))
            return True
        if len(self.working) < 2:
            return False
        for job in self.working[len(self.working) // 2 :]:
            self._suspend(job)
        self._most_working = len(self.working)
        return True

    def _suspend(self, job: Job) -> None:
        """Queue a job and free its cells; it starts again when another one ends."""
        assert job.sequence is not None
        self.working.remove(job)
        self._cache.free(job.sequence)
        job.sequence = None
        self._queue.append(job)
