"""Continuous batching over all runs of one model: each step is one decode with strands, prefixes and reads together.

Every token of a tree is evaluated once: a step's last token stays pending until its node is expanded, then it is
evaluated on one sequence, and all children draw their first token from that one row of logits. Lanes that have drawn
the same tokens so far go on as one strand.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from ..messages import (
    ROOT,
    FinishWord,
    LaneRequest,
    LaneResult,
    Progress,
    ReadRequest,
    ReadResult,
    Statistics,
)
from .batch import Batch, next_batch
from .context import Machine
from .counters import Counters
from .jobs import Job, PrefixJob, ReadJob
from .open_run import OpenRun
from .prefix_cache import PathCache, child_node, new_node
from .reading import read_row
from .rows import RowStore
from .sampler import Drawing, Words
from .shared_sequences import Group, Strand, strands_of
from .workload import Workload

Result = tuple[int, LaneResult | ReadResult]


class Decoder:
    """Works on the requests of many runs; `step` does one decode and returns what it completed.

    `max_lanes` bounds the strands that generate at a time; further ones wait, and runs take turns. `muted` are ids that
    are never drawn.
    """

    def __init__(self, machine: Machine, words: Words, *, max_lanes: int, muted: tuple[int, ...] = ()) -> None:
        self._machine = machine
        self._drawing = Drawing(words, machine.vocabulary_size, muted=muted, longest_path=machine.longest_path)
        # Two ids stay free for prefixes and reads, whatever the number of lanes.
        self._max_lanes = max(1, min(max_lanes, machine.sequences - 2))
        self._cache = PathCache(machine)
        self._runs: dict[int, OpenRun] = {}
        self._work = Workload(self._cache, machine.sequences)
        self._results: list[Result] = []
        self._failures: dict[int, str] = {}
        self._rows = RowStore(machine.vocabulary_size)
        self._counters = Counters()

    # Requests

    def open_run(self, run: int, prompt: tuple[int, ...], background: bool = False) -> None:
        """Start a run whose node 0 is the prompt; lanes of a background run begin after those of all others."""
        books = self._runs[run] = OpenRun({}, background)
        books.name(ROOT, new_node(run, None, prompt))

    def restore(self, run: int, node: int, parent: int, tokens: tuple[int, ...], generated: bool = True) -> None:
        """Tell of a node that comes from elsewhere; it is evaluated when it is needed.

        `generated` says that this model wrote it, so that evaluating it now is a repetition.
        """
        books = self._runs[run]
        above, root = books.nodes[parent], books.nodes[ROOT]
        if generated:
            restored = books.name(node, child_node(above, tokens))
            # All but its last token: that one stays pending until the node is expanded.
            restored.evaluated = max(above.known, len(restored.path) - 1)
            root.evaluated = len(root.path)
        else:
            restored = books.name(node, new_node(run, above, above.path + tokens))
            restored.told_from = len(above.path) if above.told_from is None else above.told_from

    def expand(self, run: int, requests: Iterable[LaneRequest], allowance: int | None) -> None:
        """Generate children; those of one call share the allowance of tokens."""
        books = self._runs.get(run)
        if books is None:
            self._failures[run] = "the run has ended"
            return
        wanted = [(books.nodes[request.parent], request) for request in requests]
        books.enqueue(strands_of(wanted, Group(allowance)))

    def read(self, run: int, requests: Iterable[ReadRequest]) -> None:
        """Read logits along paths."""
        books = self._runs.get(run)
        if books is None:
            self._failures[run] = "the run has ended"
            return
        for request in requests:
            if len(request.tokens) > self._machine.longest_path:
                self._results.append((run, ReadResult(node=request.node, logits=(), too_long=True)))
                continue
            node = books.nodes.get(request.node)
            if node is None or node.path != request.tokens:
                if node is not None:
                    self.release(run, (request.node,))
                # After a crash this decoder may not know the parent; the prompt is then as good, only slower.
                above = books.nodes.get(ROOT if request.parent is None else request.parent, books.nodes[ROOT])
                node = books.name(request.node, new_node(run, above, request.tokens))
            self._begin_read(ReadJob(node, request.tokens, frozenset(request.read), request=request))

    def release(self, run: int, nodes: Iterable[int]) -> None:
        """Free what is kept for nodes, if it is for no others."""
        books = self._runs.get(run)
        if books is None:
            return
        for number in nodes:
            node = books.nodes.get(number)
            if node is not None:
                node.names.discard(number)
                if not node.names:
                    self._cache.release((node,))

    def interrupt(self, run: int, children: frozenset[int] | None = None) -> None:
        """End lanes of a run now, all or those given; each gives its result with what it has so far."""
        books = self._runs.get(run)
        if books is None:
            return
        for strand in [*books.strands]:
            if self._cut(strand, children):
                books.strands.remove(strand)
        for job in self._work:
            if job.node.run != run:
                continue
            if isinstance(job, Strand):
                self._cut(job, children)
            elif isinstance(job, PrefixJob):
                job.waiting = [
                    each for each in job.waiting if not (isinstance(each, Strand) and self._cut(each, children))
                ]
                if not job.waiting:
                    self._work.remove(job)
                    if job.sequence is not None:
                        self._cache.park(job.sequence)

    def _cut(self, strand: Strand, children: frozenset[int] | None) -> bool:
        """End the lanes of these children; return whether nothing is left of the strand."""
        lanes = strand.lanes_of(children)
        whole = len(lanes) == len(strand.lanes)
        if whole:
            self._work.remove(strand)
        if lanes:
            self._end_strand(strand if whole else strand.branch(lanes), "cancelled")
        return whole

    def take_failures(self) -> dict[int, str]:
        """Return the runs that cannot go on, with the reason, and forget them."""
        failures, self._failures = self._failures, {}
        for run in failures:
            self.close_run(run)
        return failures

    def close_run(self, run: int) -> None:
        """Forget a run; its lanes give no result."""
        books = self._runs.pop(run, None)
        if books is None:
            return
        for job in [each for each in self._work if each.node.run == run]:
            self._work.remove(job)
            if job.sequence is not None:
                self._cache.free(job.sequence)
        for node in books.nodes.values():
            self._rows.forget(node)
            for sequence in [each for each in node.holders if each.node is node]:
                self._cache.free(sequence)
        self._results = [each for each in self._results if each[0] != run]

    def progress(self) -> list[Progress]:
        """Return how far the lanes are that somebody watches."""
        return [
            Progress(run=job.node.run, child=lane.wanted.child, tokens=len(job.tokens), text=job.text.text)
            for job in self._work.jobs
            if isinstance(job, Strand)
            for lane in job.lanes
            if lane.wanted.watched
        ]

    # Work

    @property
    def busy(self) -> bool:
        """Whether there is anything to do."""
        return (
            not self._work.empty
            or bool(self._results or self._failures)
            or any(each.strands for each in self._runs.values())
        )

    @property
    def urgent(self) -> bool:
        """Whether there is anything to do for a run that is not in the background."""
        front = {run for run, books in self._runs.items() if not books.background}
        waiting = any(self._runs[run].strands for run in front)
        return waiting or any(job.node.run in front for job in self._work)

    def statistics(self) -> Statistics:
        """Return the counters as they stand."""
        return self._counters.statistics(sequences_used=self._cache.in_use, cells_used=self._cache.cells_used)

    def step(self) -> list[Result]:
        """Do one decode and return what it completed; may return nothing while there is more to do."""
        self._admit()
        batch = next_batch(self._work.jobs, room=self._machine.batch_tokens, singles=self._machine.single_tokens)
        if batch.feeds:
            started = time.perf_counter()
            code = self._machine.decode(batch.tokens, batch.positions, batch.sequences, batch.outputs)
            decoded = time.perf_counter()
            if code == 0:
                self._counters.count(batch)
                self._work.take_turns(batch)
                self._take(batch)
            elif not self._work.make_room():
                self._give_up(batch.feeds[0].job)
            self._counters.spend(decode_s=decoded - started, sampling_s=time.perf_counter() - decoded)
        results, self._results = self._results, []
        return [each for each in results if each[0] not in self._failures]

    def _admit(self) -> None:
        """Give queued jobs and waiting lanes their sequences, as far as there are any."""
        while job := self._work.start_next():
            self._complete_if_cached(job)
        while self._work.has_room:
            waiting = [books for books in self._runs.values() if books.strands]
            if not waiting or self._active >= self._max_lanes:
                return
            books = min(waiting, key=lambda each: (each.background, each.active))
            strand = books.begin(books.strands.popleft())
            if strand.tokens:
                self._start(strand)
            else:
                self._begin(strand)

    @property
    def _active(self) -> int:
        """Number of strands in work."""
        return sum(books.active for books in self._runs.values())

    def _begin(self, strand: Strand) -> None:
        """Start a strand from its parent's row, or line it up for that row."""
        parent = strand.node
        if len(parent.path) >= self._machine.longest_path:
            self._end_strand(strand, "context")
            return
        if parent.row is not None and not self._work.prefix_of(parent):
            sequence = self._cache.fork(parent, len(parent.path))
            if sequence is not None and sequence.length == len(parent.path):
                strand.sequence = sequence
                strand.cached += sequence.length
                self._work.add(strand)
                self._draw([strand], parent.row[None, :])
                return
            if sequence is not None:
                self._cache.free(sequence)
        self._after_prefix(strand, outputs=frozenset((len(parent.path) - 1,)))

    def _begin_read(self, job: ReadJob) -> None:
        """Start a read, after its parent's path if that is not cached: siblings share it."""
        parent, shared = job.node.parent, job.node.shared
        if parent is not None and shared and self._cache.cached(job.node, shared) < shared:
            self._after_prefix(job, outputs=frozenset())
        else:
            self._start(job)

    def _after_prefix(self, job: Job, outputs: frozenset[int]) -> None:
        node = job.node if isinstance(job, Strand) else job.node.parent
        assert node is not None
        prefix = self._work.prefix_of(node)
        if prefix is None:
            prefix = PrefixJob(node, node.path, outputs)
            prefix.waiting.append(job)
            self._start(prefix)
        else:
            prefix.waiting.append(job)

    def _start(self, job: Job) -> None:
        if self._work.start(job):
            self._complete_if_cached(job)

    def _complete_if_cached(self, job: Job) -> None:
        """Complete a job of which somebody else has evaluated all since it was asked for: no decode will."""
        if not job.complete:
            return
        if isinstance(job, PrefixJob):
            self._finish_prefix(job, None)
        elif isinstance(job, ReadJob):
            self._finish_read(job)

    def _take(self, batch: Batch) -> None:
        """Book an evaluated batch and hand out its rows."""
        total = sum(feed.rows for feed in batch.feeds)
        rows = self._machine.logits(total) if total else np.empty((0, 0), dtype=np.float32)
        drawing: list[Strand] = []
        drawn: list[int] = []
        first = 0
        for job, start, end, count in batch.feeds:
            job.advance(end)
            if isinstance(job, Strand):
                if count:
                    drawing.append(job)
                    drawn.append(first)
            elif isinstance(job, ReadJob):
                self._take_read(job, start, end, rows[first : first + count])
            elif isinstance(job, PrefixJob) and job.complete:
                self._finish_prefix(job, rows[first + count - 1] if count else None)
            first += count
        if drawing:
            self._draw(drawing, rows if len(drawn) == total else rows[drawn])

    def _take_read(self, job: ReadJob, start: int, end: int, block: npt.NDArray[np.float32]) -> None:
        assert job.request is not None
        for position, row in zip([at for at in sorted(job.outputs) if start <= at < end], block, strict=True):
            job.rows[position] = read_row(job.request, position, row)
            if job.request.keep and position == len(job.node.path) - 1:
                self._rows.keep(job.node, row)
        if job.complete:
            self._finish_read(job)

    def _finish_read(self, job: ReadJob) -> None:
        assert job.sequence is not None
        self._work.remove(job)
        self._cache.park(job.sequence)
        self._results.append((job.node.run, self._runs[job.node.run].read_result(job)))

    def _finish_prefix(self, job: PrefixJob, row: npt.NDArray[np.float32] | None) -> None:
        """Keep the row, and start what waited for the path."""
        assert job.sequence is not None
        self._work.remove(job)
        self._runs[job.node.run].evaluated(job)
        if row is not None:
            self._rows.keep(job.node, row)
        self._cache.park(job.sequence)
        for each in job.waiting:
            if isinstance(each, Strand):
                self._begin(each)
            else:
                self._start(each)

    def _draw(self, strands: list[Strand], rows: npt.NDArray[np.float32]) -> None:
        """Draw a token for each lane from its strand's row, let strands branch, and end those that are done."""
        drawn = self._drawing.draw(strands, rows)
        for strand in drawn.broken:
            self._failures[strand.node.run] = "the model gave logits that are not numbers"
            drawn.ended.append((strand, "cancelled"))
        if not drawn.branches and not drawn.ended:
            return
        ended: dict[int, FinishWord] = {id(strand): reason for strand, reason in drawn.ended}
        for source, branch in drawn.branches:
            self._branch_off(source, branch, ended.get(id(branch)))
        for strand, reason in drawn.ended:
            self._work.remove(strand)
            self._end_strand(strand, reason)

    def _branch_off(self, source: Strand, branch: Strand, ended: FinishWord | None) -> None:
        """Give a branch its sequence; it waits if there is no room for it."""
        assert source.sequence is not None
        room = ended or (self._active < self._max_lanes and self._work.has_room)
        if room and _may_go_on(branch, ended):
            branch.sequence = self._cache.branch(source.sequence)
        if ended:
            return
        books = self._runs[branch.node.run]
        if branch.sequence is None:
            books.put_off(branch)
        else:
            self._work.add(books.begin(branch))

    def _end_strand(self, strand: Strand, reason: FinishWord) -> None:
        node, sequence = child_node(strand.node, tuple(strand.tokens)), strand.sequence
        # A token was drawn from what is before it.
        node.evaluated = max(node.evaluated, len(node.path) - 1 if strand.tokens else 0)
        if sequence is not None:
            node.evaluated = max(node.evaluated, sequence.length)
            if strand.tokens and _may_go_on(strand, reason):
                self._cache.move(sequence, node)
                self._cache.park(sequence)
            else:
                self._cache.free(sequence)
        run = strand.node.run
        self._results += [(run, each) for each in self._runs[run].end(strand, node, reason)]

    def _give_up(self, job: Job) -> None:
        """End a job that does not fit the cache even alone."""
        self._work.remove(job)
        if job.sequence is not None and not isinstance(job, Strand):
            self._cache.free(job.sequence)
        if isinstance(job, Strand):
            self._end_strand(job, "context")
        elif isinstance(job, ReadJob):
            assert job.request is not None
            self._results.append((job.node.run, ReadResult(node=job.request.node, logits=(), too_long=True)))
        elif isinstance(job, PrefixJob):
            for each in job.waiting:
                self._give_up(each)


def _may_go_on(strand: Strand, reason: FinishWord | None) -> bool:
    """Tell whether a strand that ended for this reason, None if it did not, has anything to follow it."""
    return reason != "eos" or any(lane.wanted.keep for lane in strand.lanes)
