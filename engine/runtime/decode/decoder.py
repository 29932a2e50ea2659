"""Decoder of one context: takes the requests of many runs and performs one step at a time for all of them together.

Every token of a tree is evaluated once. A step's last token stays pending until its node is expanded; then it is
evaluated on one sequence, and all children draw their first token from that one row of logits.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict

import numpy as np
import numpy.typing as npt

from ramify.reward.protocol import ReadRequest, ReadResult
from ramify.sampling_params import StepFormat
from ramify.search.node import FinishReason

from ..messages import (
    ROOT,
    Adopt,
    CloseRun,
    DecodeTimes,
    Expand,
    Interrupt,
    OpenRun,
    Progress,
    Read,
    Release,
    RunRequest,
    RunResult,
    Statistics,
    StepRequest,
)
from .batch import Batch, DecodeContext
from .counters import DecodeCounters, DecodeTimer
from .drafts import Drafter
from .jobs import Job, PrefixJob, ReadJob
from .path_jobs import PathJobs
from .prefix_cache import LogitsCache, PrefixCache, PrefixNode
from .run_state import RunState
from .sampler import Sampler, SamplerVocabulary
from .scheduler import Scheduler
from .shared_prefixes import SharedPrefixes
from .shared_sequences import RequestGroup, SharedSequence, shared_sequences_of


class Decoder:
    """Performs the steps of one context; `step` does one decode and returns its results.

    `max_lanes` bounds the shared sequences that generate at a time. `muted` are ids that are never drawn.
    `batch_tokens` bounds the tokens of a decode; None for as many as the context takes. `timed` says whether the time
    of decodes is kept. `draft_cost` is the time of a further token in a decode in terms of a decode of one; None means
    no drafts. `threads` are those that draw tokens.
    """

    def __init__(
        self,
        context: DecodeContext,
        vocabulary: SamplerVocabulary,
        *,
        max_lanes: int,
        muted: tuple[int, ...] = (),
        batch_tokens: int | None = None,
        timed: bool = False,
        draft_cost: float | None = None,
        threads: int = 1,
    ) -> None:
        self._context = context
        self._batch_tokens = min(batch_tokens or context.batch_tokens, context.batch_tokens)
        self._sampler = Sampler(
            vocabulary, context.vocabulary_size, muted=muted, longest_path=context.longest_path, threads=threads
        )
        self._cache = PrefixCache(context)
        self._scheduler = Scheduler(self._cache, sequences=context.sequences, max_lanes=max_lanes)
        self._runs = self._scheduler.runs
        self._prefixes = SharedPrefixes(self._cache, context)
        self._logits = LogitsCache(context.vocabulary_size)
        self._paths = PathJobs(self._cache, self._scheduler, self._logits, begin=self._begin, report=self._report)
        self._counters = DecodeCounters()
        self._timer = DecodeTimer() if timed else None
        self._drafter = None if draft_cost is None else Drafter(context, draft_cost)
        self._too_full_for_drafts = False
        self._results: list[RunResult] = []
        self._failures: dict[int, str] = {}

    # Requests

    def handle(self, request: RunRequest) -> None:
        """Take a request about a run."""
        run = request.run
        match request:
            case OpenRun():
                self.open_run(
                    run, request.prompt, background=request.background, shared=request.shared, state=request.state
                )
            case Adopt():
                if request.stored:
                    self._runs[run].adopt_stored(request.node, request.parent, request.tokens)
                else:
                    self.adopt(run, request.node, request.parent, request.tokens, generated=request.generated)
            case Expand():
                self.expand(run, request.requests, request.allowance, step=request.step, watched=request.watched)
            case Read():
                self.read(run, request.requests)
            case Release():
                self.release(run, request.nodes)
            case Interrupt():
                self.interrupt(run, request.children)
            case CloseRun():
                self.close_run(run)

    def open_run(
        self, run: int, prompt: tuple[int, ...], *, background: bool = False, shared: int = 0, state: str = ""
    ) -> None:
        """Start a run whose node 0 is the prompt; children of a background run begin after those of all others.

        The first `shared` tokens are evaluated once for all runs whose prompts begin with them. The file `state` keeps
        their cells for later processes, "" for none.
        """
        above = self._prefixes.open(run, prompt[:shared], state) if shared else None
        opened = self._runs[run] = RunState({}, background, unread_prefix=shared)
        root = opened.name(ROOT, PrefixNode.of_path(run, above, prompt))
        root.is_prompt = True

    def adopt(self, run: int, node: int, parent: int, tokens: tuple[int, ...], *, generated: bool = True) -> None:
        """Add a node that was not generated here; it is evaluated when it is needed. See `RunState.adopt`."""
        self._runs[run].adopt(node, parent, tokens, generated=generated)

    def expand(
        self,
        run: int,
        requests: Iterable[StepRequest],
        allowance: int | None,
        *,
        step: StepFormat | None = None,
        watched: bool = False,
    ) -> None:
        """Generate children; see `Expand`."""
        state = self._runs.get(run)
        if state is None:
            self._failures[run] = "the run has ended"
            return
        wanted = [(state.nodes[request.parent], request) for request in requests]
        refused = self._sampler.refused_grammar(each.answer.grammar for _, each in wanted if each.answer is not None)
        if refused is not None:
            self._failures[run] = refused
            return
        group = RequestGroup(allowance, watched)
        state.enqueue(shared_sequences_of(wanted, step, group, self._sampler.unfinished))

    def read(self, run: int, requests: Iterable[ReadRequest]) -> None:
        """Read outputs along paths."""
        state = self._runs.get(run)
        if state is None:
            self._failures[run] = "the run has ended"
            return
        for request in requests:
            if len(request.tokens) > self._context.longest_path:
                self._results.append((run, ReadResult(node=request.node, logits=(), too_long=True)))
                continue
            node = state.nodes.get(request.node)
            if node is None or node.path != request.tokens:
                if node is not None:
                    self.release(run, (request.node,))
                # After a crash this decoder may not know the parent; the prompt gives the same result, only slower.
                above = state.nodes.get(ROOT if request.parent is None else request.parent, state.nodes[ROOT])
                node = state.name(request.node, PrefixNode.of_path(run, above, request.tokens))
            outputs = frozenset(request.read)
            if request.what == "tokens":
                # The row after the last token tells the first token of each step that follows.
                outputs |= {len(node.path) - 1}
            self._paths.begin_read(ReadJob(node, request.tokens, outputs, request=request))

    def release(self, run: int, nodes: Iterable[int]) -> None:
        """Free the cache of nodes, unless it is kept for others too."""
        state = self._runs.get(run)
        if state is None:
            return
        for id in nodes:
            node = state.nodes.get(id)
            if node is not None:
                node.ids.discard(id)
                if not node.ids:
                    self._cache.release(node)

    def interrupt(self, run: int, children: frozenset[int] | None = None) -> None:
        """End children of a run now, None for all; each gives its result with the tokens that it has."""
        state = self._runs.get(run)
        if state is None:
            return
        for shared in [*state.waiting]:
            if self._cut(shared, children):
                state.waiting.remove(shared)
        for job in self._scheduler:
            if isinstance(job, PrefixJob):
                job.waiting = [
                    each
                    for each in job.waiting
                    if not (each.node.run == run and isinstance(each, SharedSequence) and self._cut(each, children))
                ]
                self._paths.stop_unwanted(job)
            elif isinstance(job, SharedSequence) and job.node.run == run:
                self._cut(job, children)

    def _cut(self, shared: SharedSequence, children: frozenset[int] | None) -> bool:
        """End these children; return whether nothing is left of the sequence."""
        cut = shared.select(children)
        whole = len(cut) == len(shared.children)
        if whole:
            self._scheduler.remove(shared)
        if cut:
            self._end(shared if whole else shared.branch(cut), FinishReason.CANCELLED)
        return whole

    def take_failures(self) -> dict[int, str]:
        """Return the runs that cannot go on, with the reason, and forget them."""
        failures, self._failures = self._failures, {}
        for run in failures:
            self.close_run(run)
        return failures

    def close_run(self, run: int) -> None:
        """Forget a run; its children give no result."""
        state = self._runs.pop(run, None)
        if state is None:
            return
        for job in self._scheduler:
            if isinstance(job, PrefixJob) and self._prefixes.uses(run, job.node):
                job.waiting = [each for each in job.waiting if each.node.run != run]
                self._paths.stop_unwanted(job)
            elif job.node.run == run:
                self._scheduler.remove(job)
                if job.sequence is not None:
                    self._cache.free(job.sequence)
        self._prefixes.keep(run)
        for node in state.nodes.values():
            self._logits.forget(node)
            for sequence in [*node.sequences]:
                self._cache.free(sequence)
        self._prefixes.close(run)
        if self._drafter is not None:
            self._drafter.close_run(run)
        self._results = [each for each in self._results if each[0] != run]

    # Reports

    def progress(self) -> list[Progress]:
        """Return the progress of the children that are watched."""
        return [
            Progress(run=job.node.run, child=child.request.child, tokens=len(job.tokens), text=job.text.text)
            for job in self._scheduler.working
            if isinstance(job, SharedSequence) and job.group.watched
            for child in job.children
        ]

    @property
    def busy(self) -> bool:
        """True if there is anything to do."""
        return bool(self._results or self._failures) or self._scheduler.busy

    @property
    def urgent(self) -> bool:
        """True if there is anything to do for a run that is not in the background."""
        return self._scheduler.urgent

    def statistics(self) -> Statistics:
        """Return the counters as they stand."""
        return Statistics(
            **asdict(self._counters), sequences_used=self._cache.sequences_used, cells_used=self._cache.cells_used
        )

    def times(self) -> DecodeTimes:
        """Return the time of decode calls so far; empty for a model that is fast enough not to be timed."""
        return DecodeTimes() if self._timer is None else self._timer.times()

    # The step

    def step(self) -> list[RunResult]:
        """Do one decode and return its results; there may be none while there is more to do."""
        self._admit()
        context, scheduler = self._context, self._scheduler
        batch = scheduler.next_batch(room=self._batch_tokens, singles=context.single_tokens)
        if context.consecutive and batch.entries:
            self._cache.arrange(entry.job.sequence for entry in batch.entries if entry.job.sequence is not None)
            batch = batch.by_sequence()
        elif self._drafter is not None and not self._too_full_for_drafts:
            self._drafter.extend(batch, self._batch_tokens)
        if batch.entries:
            started_s = time.perf_counter()
            code = context.decode(batch.tokens, batch.positions, batch.sequences, batch.outputs)
            decoded_s = time.perf_counter()
            if code == 0:
                self._too_full_for_drafts = False
                self._counters.count(batch)
                scheduler.decoded(batch)
                self._take(batch)
            elif batch.drafts:
                # They would not fit; the same without them may.
                self._too_full_for_drafts = True
            elif not scheduler.make_room():
                self._give_up(batch.entries[0].job)
            ended_s = time.perf_counter()
            self._counters.decode_s += decoded_s - started_s
            self._counters.sampling_s += ended_s - decoded_s
            if self._timer is not None and code == 0:
                self._timer.count(batch, ended_s - started_s)
        results, self._results = self._results, []
        return [each for each in results if each[0] not in self._failures]

    def _admit(self) -> None:
        """Start queued jobs and waiting sequences, as far as there is room."""
        while job := self._scheduler.start_queued():
            self._paths.complete_if_cached(job)
        while shared := self._scheduler.next_waiting():
            if shared.tokens:
                self._paths.start(shared)
            else:
                self._begin(shared)

    def _begin(self, shared: SharedSequence) -> None:
        """Start a sequence from its parent's row of logits, or let it wait for that row."""
        parent = shared.node
        if len(parent.path) >= self._context.longest_path:
            self._end(shared, FinishReason.CONTEXT)
            return
        if parent.logits is not None and not self._scheduler.prefix_of(parent):
            sequence = self._cache.fork(parent, len(parent.path))
            if sequence is not None and sequence.length == len(parent.path):
                shared.sequence = sequence
                shared.cached_tokens += sequence.length
                self._scheduler.add(shared)
                run = self._runs[parent.run]
                if run.first_token_at is None:
                    run.first_token_at = time.monotonic()
                self._draw([shared], parent.logits[None, :])
                return
            if sequence is not None:
                self._cache.free(sequence)
        outputs = frozenset((len(parent.path) - 1,))
        above = None if parent.is_prompt else parent.parent
        if above is not None and above.logits is None and any(child.request.beside for child in shared.children):
            outputs |= {len(above.path) - 1}
        self._paths.after_prefix(shared, parent, outputs=outputs)

    def _take(self, batch: Batch) -> None:
        """Record an evaluated batch and hand out its rows."""
        total = sum(entry.rows for entry in batch.entries)
        drafted = sum(len(draft.tokens) for draft in batch.drafts)
        rows = self._context.logits(total + drafted) if total else np.empty((0, 0), dtype=np.float32)
        logits = rows
        drawing: list[SharedSequence] = []
        drawn_rows: list[int] = []
        first = 0
        for job, start, end, count in batch.entries:
            job.advance(end)
            if isinstance(job, SharedSequence):
                if count:
                    drawing.append(job)
                    drawn_rows.append(first)
            elif isinstance(job, ReadJob):
                if job.request.what == "pooled" and logits is rows:
                    logits = self._context.logits_beside_states()
                self._paths.take_read(job, start, end, rows[first : first + count], logits[first : first + count])
            elif isinstance(job, PrefixJob):
                above = job.node.parent
                if count and len(job.outputs) > 1 and above is not None and start < len(above.path) <= end:
                    self._logits.keep(above, rows[first])
                if job.complete:
                    self._prefixes.evaluated(job.node, job.sequence)
                    self._paths.finish_prefix(job, rows[first + count - 1] if count else None)
            first += count
        if drawing:
            for draft in batch.drafts:
                draft.job.unverified = len(draft.tokens)
            self._draw(drawing, rows[:total] if len(drawn_rows) == total else rows[drawn_rows])
            if self._drafter is not None and batch.drafts:
                self._drafter.verify(batch.drafts, rows, self._scheduler.working, self._draw)

    def _draw(self, sequences: list[SharedSequence], rows: npt.NDArray[np.float32]) -> None:
        """Draw a token for each child from its sequence's row, branch sequences, and end those that are complete."""
        result = self._sampler.draw(sequences, rows)
        for shared in result.broken:
            self._failures[shared.node.run] = "the model gave logits that are not numbers"
            result.ended.append((shared, FinishReason.CANCELLED))
        if not result.branches and not result.ended:
            return
        ended = {id(shared): reason for shared, reason in result.ended}
        for source, branch in result.branches:
            self._branch_off(source, branch, ended.get(id(branch)))
        for shared, reason in result.ended:
            self._scheduler.remove(shared)
            self._end(shared, reason)

    def _branch_off(self, source: SharedSequence, branch: SharedSequence, ended: FinishReason | None) -> None:
        """Give a branch its cached sequence; it waits if there is no room for it."""
        assert source.sequence is not None
        if (ended or self._scheduler.may_branch) and _goes_on(branch, ended):
            branch.sequence = self._cache.branch(source.sequence)
        if ended:
            return
        state = self._runs[branch.node.run]
        if branch.sequence is None:
            if source.sequence.length > len(branch.node.path):
                branch.kept = self._cache.keep(source.sequence, branch.path)
            state.put_back(branch)
        else:
            self._scheduler.add(state.begin(branch))

    def _end(self, shared: SharedSequence, reason: FinishReason) -> None:
        """End a sequence: keep its cells if anything may follow, and add its children's results."""
        if self._drafter is not None:
            self._drafter.drop(shared)
        node, sequence = shared.node.child(tuple(shared.tokens)), shared.sequence
        if sequence is None and shared.kept is not None:
            sequence = self._cache.take(shared.kept)
        if not node.ids:
            # A step that was written before and released: what is evaluated of it now is this one's.
            node.evaluated = 0
        # A token was drawn from the logits of the token before it.
        node.evaluated = max(node.evaluated, shared.evaluated if shared.tokens else 0)
        if sequence is not None:
            node.evaluated = max(node.evaluated, sequence.length)
            if shared.tokens and _goes_on(shared, reason):
                self._cache.move(sequence, node)
                self._cache.park(sequence)
            else:
                self._cache.free(sequence)
        run = shared.node.run
        self._results += [(run, each) for each in self._runs[run].end(shared, node, reason)]

    def _report(self, run: int, result: ReadResult) -> None:
        self._results.append((run, result))

    def _give_up(self, job: Job) -> None:
        """End a job that does not fit the cache even alone."""
        self._scheduler.remove(job)
        if job.sequence is not None and not isinstance(job, SharedSequence):
            self._cache.free(job.sequence)
        if isinstance(job, SharedSequence):
            self._end(job, FinishReason.CONTEXT)
        elif isinstance(job, ReadJob):
            self._results.append((job.node.run, ReadResult(node=job.request.node, logits=(), too_long=True)))
        elif isinstance(job, PrefixJob):
            for each in job.waiting:
                self._give_up(each)


def _goes_on(shared: SharedSequence, reason: FinishReason | None) -> bool:
    """Tell whether a sequence that ended for `reason`, None if it did not, may have anything to follow it."""
    return reason != FinishReason.EOS or shared.followed
