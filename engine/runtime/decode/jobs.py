"""Jobs of a decoder: paths to be completed for others, and paths to be read. Generation is in `shared_sequences`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ramify.reward.protocol import ReadRequest

from .prefix_cache import CachedSequence, PrefixNode


@dataclass(eq=False, slots=True)
class Job:
    """Tokens to be evaluated on one sequence.

    `target` is the whole path to be held; evaluation starts where the sequence ends. `outputs` are the positions whose
    logits are wanted. `cached_tokens` were in the cache when the job started; of the rest, `new_tokens` were evaluated
    for the first time and `reevaluated_tokens` again.
    """

    node: PrefixNode
    target: Sequence[int]
    outputs: frozenset[int]
    sequence: CachedSequence | None = None
    cached_tokens: int = 0
    new_tokens: int = 0
    reevaluated_tokens: int = 0

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
        """Record that all up to position `end` is evaluated now, and tell new tokens from repeated ones."""
        assert self.sequence is not None
        start, self.sequence.length = self.sequence.length, end
        again = max(0, min(end, self._known_before()) - start)
        self.reevaluated_tokens += again
        self.new_tokens += end - start - again
        self.node.evaluated = max(self.node.evaluated, min(end, len(self.node.path)))

    def _known_before(self) -> int:
        """Return up to which position the target was evaluated before."""
        return self.node.known

    @property
    def complete(self) -> bool:
        """True if all of the target is in the cache."""
        return self.next_position >= len(self.target)


@dataclass(eq=False, slots=True)
class PrefixJob(Job):
    """Completes a node's path once for all jobs below: sequences that draw from its row of logits, and reads."""

    waiting: list[Job] = field(default_factory=list[Job])


@dataclass(eq=False, slots=True, kw_only=True)
class ReadJob(Job):
    """Reads the outputs that `request` asks for; `values` and `states` hold those read so far, by position."""

    request: ReadRequest
    values: dict[int, tuple[float, ...]] = field(default_factory=dict[int, "tuple[float, ...]"])
    states: dict[int, npt.NDArray[np.float32]] = field(default_factory=dict[int, "npt.NDArray[np.float32]"])

    def rows(self) -> tuple[tuple[float, ...], ...]:
        """Return all that was asked for, in the order of the result."""
        read, groups = self.request.read, self.request.groups
        rows, first = [self.values[position] for position in read], 0
        for count in groups:
            states = np.array([self.states[position] for position in read[first : first + count]])
            if not count:
                states = np.zeros((1, len(next(iter(self.states.values())))), np.float32)
            rows += [tuple(states.mean(0).tolist()), tuple(states[-1].tolist())]
            first += count
        return tuple(rows)

    def follows_parent(self, position: int) -> bool:
        """Tell whether a position is the parent's last one, whose row tells the first token of this step."""
        parent = self.node.parent
        if self.request.what != "tokens" or parent is None or self.node.common < len(parent.path):
            return False
        return position == len(parent.path) - 1


def read_row(request: ReadRequest, position: int, row: npt.NDArray[np.float32]) -> tuple[float, ...]:
    """Return the outputs that `request` asks for at `position`, from that position's `row`.

    "tokens" gives (log probability of the path's next token, self-certainty). Self-certainty is the divergence of the
    distribution from the uniform one, -1/V sum log(V p) (Kang et al., arXiv 2502.18581, eq. 7), in nats. "pooled" gives
    (log probability of the path's next token, entropy in nats, difference of the two highest probabilities), of a row
    of logits.
    """
    if request.what == "logits":
        return tuple(row[list(request.ids)].tolist())
    if request.what in ("states", "rank"):
        return tuple(row.tolist())
    logits = row.astype(np.float64)
    peak = logits.max()
    weights = np.exp(logits - peak)
    total = peak + np.log(weights.sum())
    logprob = float(logits[request.tokens[position + 1]] - total)
    if request.what == "pooled":
        chances = weights / weights.sum()
        second, first = np.partition(chances, -2)[-2:]
        return logprob, float(total - (chances * logits).sum()), float(first - second)
    return logprob, float(total - logits.mean() - np.log(len(logits)))
