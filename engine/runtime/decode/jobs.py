"""What a decoder works on: prompts and prefixes to be completed, strands that generate, paths to be read."""

from __future__ import annotations

from collections.abc import Sequence as TokenSequence
from dataclasses import dataclass, field

from ..messages import ReadRequest
from .prefix_cache import PathNode, Sequence


@dataclass(eq=False, slots=True)
class Job:
    """Tokens to be evaluated on one sequence.

    `target` is the whole path to be held; reading starts where the sequence ends. `outputs` are the positions whose
    logits are wanted.
    """

    node: PathNode
    target: TokenSequence[int]
    outputs: frozenset[int]
    sequence: Sequence | None = None
    cached: int = 0
    fresh: int = 0
    again: int = 0

    @property
    def next_position(self) -> int:
        """First position that has not been evaluated."""
        return 0 if self.sequence is None else self.sequence.length

    def wants(self, position: int) -> bool:
        """Tell whether the logits at a position are wanted."""
        return position in self.outputs

    @property
    def first_output(self) -> int:
        """First position whose logits are wanted, the end of the target if none are."""
        return min(self.outputs, default=len(self.target))

    def advance(self, end: int) -> None:
        """Take in that all up to position `end` is evaluated now, and tell new tokens from repeated ones."""
        assert self.sequence is not None
        start, self.sequence.length = self.sequence.length, end
        again = max(0, min(end, self._known_before()) - start)
        self.again += again
        self.fresh += end - start - again
        self.node.evaluated = max(self.node.evaluated, min(end, len(self.node.path)))

    def _known_before(self) -> int:
        """Return up to which position the target was evaluated before."""
        return self.node.known

    @property
    def complete(self) -> bool:
        """Whether all of the target is in the cache."""
        return self.next_position >= len(self.target)


@dataclass(eq=False, slots=True)
class PrefixJob(Job):
    """Completes a node's path once for all that go on from there: strands, which need its row of logits, and reads."""

    waiting: list[Job] = field(default_factory=list[Job])


@dataclass(eq=False, slots=True)
class ReadJob(Job):
    """Reads logits of given ids at given positions."""

    request: ReadRequest | None = None
    rows: dict[int, tuple[float, ...]] = field(default_factory=dict[int, "tuple[float, ...]"])
