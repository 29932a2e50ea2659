"""A node as it is shown."""

from __future__ import annotations

from dataclasses import dataclass, field

from ramify.search.node import FinishReason, NodeState, PruneReason


@dataclass(slots=True)
class NodeView:
    """A step as far as it is known. `text` and `tokens` grow while it is written; `by_hand` marks an edited step."""

    id: int
    parent: int | None
    depth: int
    children: list[int] = field(default_factory=list[int])
    text: str = ""
    tokens: int = 0
    logprob: float | None = None
    score: float | None = None
    state: NodeState = NodeState.PENDING
    finish_reason: FinishReason | None = None
    prune_reason: PruneReason | None = None
    answer: str | None = None
    by_hand: bool = False

    @property
    def ended(self) -> bool:
        """True if the path ends here, with an answer or given up."""
        return self.state in (NodeState.FINISHED, NodeState.PRUNED)


def reason_text(reason: PruneReason | None) -> str:
    """Return why a node was given up, in words."""
    return "" if reason is None else _REASONS.get(str(reason), str(reason).replace("_", " "))


_REASONS = {
    "allocation": "got no share",
    "budget": "budget ended",
    "confidence": "unlikely tokens",
    "depth": "too deep",
    "duplicate": "says the same",
    "empty": "empty step",
    "path_length": "path too long",
    "stopped": "run stopped",
    "user": "pruned by hand",
}
