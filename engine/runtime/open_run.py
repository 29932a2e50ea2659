"""One run as the decoder has it: its nodes, what waits, and costs on their way into a result."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from ramify.engine.runtime.cache import PathNode
from ramify.engine.runtime.jobs import Lane, PrefixJob, ReadJob
from ramify.engine.runtime.messages import ROOT, FinishWord, LaneResult, ReadResult


@dataclass(eq=False, slots=True)
class OpenRun:
    """A run's books. `prompt_tokens` and `reevaluated` are costs that no result has carried yet."""

    nodes: dict[int, PathNode]
    background: bool = False
    lanes: deque[Lane] = field(default_factory=deque["Lane"])
    active: int = 0
    prompt_tokens: int = 0
    reevaluated: int = 0

    def evaluated(self, job: PrefixJob) -> None:
        """Count a path that was completed for others to go on from."""
        node = job.node
        # A generated node's one pending token was counted when it was drawn; what the model was told was not.
        told = len(node.path) if node.id == ROOT else 0 if node.told_from is None else len(node.path) - node.told_from
        self.prompt_tokens += min(job.fresh, told)
        self.reevaluated += job.again

    def lane_result(self, lane: Lane, reason: FinishWord) -> LaneResult:
        """Return a lane's result, with all costs that wait for one."""
        result = LaneResult(
            child=lane.wanted.child,
            tokens=tuple(lane.tokens),
            text=lane.text.close(),
            logprob=lane.logprob,
            finish_reason=reason,
            prompt_tokens=self.prompt_tokens,
            cached_tokens=lane.cached,
            reevaluated_tokens=lane.again + self.reevaluated,
        )
        self.prompt_tokens = self.reevaluated = 0
        return result

    def read_result(self, job: ReadJob) -> ReadResult:
        """Return a read's result, with all costs that wait for one."""
        assert job.request is not None
        result = ReadResult(
            node=job.node.id,
            logits=tuple(job.rows[position] for position in job.request.read),
            evaluated_tokens=job.fresh + self.prompt_tokens,
            cached_tokens=job.cached,
            reevaluated_tokens=job.again + self.reevaluated,
        )
        self.prompt_tokens = self.reevaluated = 0
        return result
