"""One run as the decoder has it: its nodes, what waits, and costs on their way into a result."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from ..messages import ROOT, FinishWord, LaneResult, ReadResult
from .jobs import PrefixJob, ReadJob
from .prefix_cache import PathNode
from .shared_sequences import Lane, Strand


@dataclass(eq=False, slots=True)
class OpenRun:
    """A run's books.

    `strands` wait, `active` is the number of those in work. `prompt_tokens`, `reevaluated` and `shared`
    are costs that no result has carried yet.
    """

    nodes: dict[int, PathNode]
    background: bool = False
    strands: deque[Strand] = field(default_factory=deque["Strand"])
    active: int = 0
    prompt_tokens: int = 0
    reevaluated: int = 0
    shared: int = 0

    def name(self, number: int, node: PathNode) -> PathNode:
        """Let a number stand for a node, and return that."""
        self.nodes[number] = node
        node.names.add(number)
        return node

    def enqueue(self, strands: list[Strand]) -> None:
        """Line up strands; paths that have begun go first, so that few of them need cells at a time."""
        root = self.nodes[ROOT]
        self.strands.extendleft(reversed([each for each in strands if each.node is not root]))
        self.strands.extend(each for each in strands if each.node is root)

    def begin(self, strand: Strand) -> Strand:
        """Count a strand among those in work, and return it."""
        strand.active = True
        self.active += 1
        return strand

    def put_off(self, strand: Strand) -> None:
        """Let a strand that has begun wait, before all that have not."""
        self.strands.appendleft(strand)

    def evaluated(self, job: PrefixJob) -> None:
        """Count a path that was completed for others to go on from."""
        node = job.node
        # A generated node's one pending token was counted when it was drawn; what the model was told was not.
        told = (
            len(node.path) if node.parent is None else 0 if node.told_from is None else len(node.path) - node.told_from
        )
        self.prompt_tokens += min(job.fresh, told)
        self.reevaluated += job.again

    def end(self, strand: Strand, node: PathNode, reason: FinishWord) -> list[LaneResult]:
        """Return the results of a strand's lanes, whose steps are `node`; the first has all costs that wait for one."""
        if strand.active:
            strand.active = False
            self.active -= 1
        self.reevaluated += strand.again
        self.shared += strand.shared
        text = strand.text.close()
        for lane in strand.lanes:
            self.name(lane.wanted.child, node)
        return [self._lane_result(lane, strand, text, reason) for lane in strand.lanes]

    def _lane_result(self, lane: Lane, strand: Strand, text: str, reason: FinishWord) -> LaneResult:
        result = LaneResult(
            child=lane.wanted.child,
            tokens=tuple(strand.tokens),
            text=text,
            logprob=strand.logprob,
            finish_reason=reason,
            prompt_tokens=self.prompt_tokens,
            cached_tokens=strand.cached,
            reevaluated_tokens=self.reevaluated,
            shared_tokens=self.shared,
        )
        self.prompt_tokens = self.reevaluated = self.shared = 0
        return result

    def read_result(self, job: ReadJob) -> ReadResult:
        """Return a read's result, with all costs that wait for one."""
        assert job.request is not None
        result = ReadResult(
            node=job.request.node,
            logits=tuple(job.rows[position] for position in job.request.read),
            evaluated_tokens=job.fresh + self.prompt_tokens,
            cached_tokens=job.cached,
            reevaluated_tokens=job.again + self.reevaluated,
        )
        self.prompt_tokens = self.reevaluated = 0
        return result
