"""What can go wrong in the reward layer; each message is one sentence with the cause and the next step.

RewardError (ValueError)
├── RewardSpecError          a spec that is malformed, missing, or does not fit the model's vocabulary
└── RewardContextExceeded    paths, or the question, are longer than the reward model can read
"""

from __future__ import annotations

from collections.abc import Sequence


class RewardError(ValueError):
    """Raised when steps cannot be scored; the message names the node. `node` is its id, None if none is to blame."""

    def __init__(self, message: str, *, node: int | None = None) -> None:
        super().__init__(message)
        self.node = node


class RewardSpecError(RewardError):
    """Raised when a reward spec is malformed, missing, or does not fit the model's vocabulary."""


class RewardContextExceeded(RewardError):
    """Raised, before anything is evaluated, when paths do not fit the reward model's context.

    `nodes` holds the ids of all paths of the request that are too long: prune these and ask again for the others.
    It is empty if the question alone is too long.
    """

    def __init__(self, *, nodes: Sequence[int], tokens: int, limit: int) -> None:
        what = f"the path to node {nodes[0]}" if nodes else "the question"
        more = f" (and {len(nodes) - 1} more)" if len(nodes) > 1 else ""
        super().__init__(
            f"{what}{more} takes {tokens} tokens and the reward model reads {limit}; "
            "use shorter steps, a shorter question or a reward model with a longer context",
            node=nodes[0] if nodes else None,
        )
        self.nodes = tuple(nodes)
        self.tokens = tokens
        self.limit = limit

    def __reduce__(self) -> tuple[object, ...]:
        return _context_exceeded, (self.nodes, self.tokens, self.limit)


def _context_exceeded(nodes: tuple[int, ...], tokens: int, limit: int) -> RewardContextExceeded:
    return RewardContextExceeded(nodes=nodes, tokens=tokens, limit=limit)
