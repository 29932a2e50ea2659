"""Lanes that have drawn the same tokens so far: one path, one sequence, one row of logits for all of them.

Samples of one problem start alike, and those of a small or a confident model stay alike for long. Each lane draws its
next token from the common row with a number of its own. Those that drew the same one stay together, and the others
branch off; so every lane writes what it would have written alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from ramify.sampling_params import SamplingParams

from ..messages import LaneRequest
from .jobs import Job
from .prefix_cache import PathNode
from .step_text import StepText

_SEED_MASK = (1 << 64) - 1


@lru_cache(maxsize=256)
def _one_of_its_kind(sampling: SamplingParams) -> SamplingParams:
    """Return the same object for equal settings, so that a batch's can be compared by identity."""
    return sampling


@dataclass(eq=False, slots=True)
class Group:
    """Lanes that were requested together. `left` is the number of tokens they may still generate, None for any."""

    left: int | None


@dataclass(eq=False, slots=True)
class Lane:
    """A child in the making. `numbers` are the next ones of its own stream, last one first."""

    wanted: LaneRequest
    seed: int
    numbers: list[float] = field(default_factory=list[float])


@dataclass(eq=False, slots=True, init=False)
class Strand(Job):
    """Generates a step for its lanes. `node` is the parent until the step is complete.

    `tokens` are what all lanes drew so far, and the logits after the last one are what it wants. Its lanes agree in
    all that decides where a step ends. `shared` counts the tokens that were evaluated for one lane instead of more.
    """

    lanes: list[Lane]
    group: Group
    text: StepText
    sampling: SamplingParams
    max_tokens: int
    tokens: list[int]
    logprob: float
    active: bool
    shared: int
    _path: list[int]

    def __init__(self, parent: PathNode, like: LaneRequest, group: Group) -> None:
        self._path = list(parent.path)
        Job.__init__(self, parent, self._path, frozenset())
        self.lanes, self.group, self.text = [], group, StepText(like.step)
        self.sampling, self.max_tokens = _one_of_its_kind(like.sampling), like.max_tokens
        self.tokens, self.logprob, self.active, self.shared = [], 0.0, False, 0

    def branch(self, lanes: list[Lane]) -> Strand:
        """Move some of the lanes, in their order, to a new strand that has no sequence yet."""
        other = Strand(self.node, lanes[0].wanted, self.group)
        other._path += self.tokens
        other.tokens += self.tokens
        other.text = self.text.copy()
        other.logprob, other.cached = self.logprob, self.cached
        leaving = {id(lane) for lane in lanes}
        other.lanes = lanes
        self.lanes = [lane for lane in self.lanes if id(lane) not in leaving]
        return other

    def lanes_of(self, children: Collection[int] | None) -> list[Lane]:
        """Return the lanes of these children; None means all."""
        return [lane for lane in self.lanes if children is None or lane.wanted.child in children]

    def wants(self, position: int) -> bool:
        """Tell whether the logits at a position are wanted."""
        return position == len(self._path) - 1

    @property
    def first_output(self) -> int:
        """Position of the last token."""
        return len(self._path) - 1

    def advance(self, end: int) -> None:
        """Take in that all up to position `end` is evaluated now, and tell new tokens from repeated ones."""
        sequence = self.sequence
        assert sequence is not None
        if sequence.length < len(self.node.path) or end < len(self._path):
            super(Strand, self).advance(end)
            return
        # The way up the tree to what is known is spared on each token.
        # All but its last token had been evaluated: that was drawn from the logits after the one before.
        self.again += end - 1 - sequence.length
        self.fresh += 1
        self.shared += len(self.lanes) - 1
        sequence.length = end

    def _known_before(self) -> int:
        # Of its own tokens, all but the last: whatever was drawn from had been evaluated.
        return max(self.node.known, len(self._path) - 1 if len(self.tokens) > 1 else 0)

    def draw(self, token: int, logprob: float) -> None:
        """Take a drawn token; it is evaluated next, if the strand goes on."""
        self.tokens.append(token)
        self._path.append(token)
        self.logprob += logprob


def strands_of(requests: Iterable[tuple[PathNode, LaneRequest]], group: Group) -> list[Strand]:
    """Return lanes below their parents, together where nothing but their numbers will tell them apart."""
    found: dict[object, Strand] = {}
    for parent, request in requests:
        key = (parent, request.step, request.sampling, request.max_tokens)
        strand = found.get(key)
        if strand is None:
            strand = found[key] = Strand(parent, request, group)
        strand.lanes.append(Lane(request, request.seed & _SEED_MASK))
    return list(found.values())
