"""What a decoder works on: prompts and prefixes to be completed, lanes that generate, paths to be read."""

from __future__ import annotations

from collections.abc import Sequence as TokenSequence
from dataclasses import dataclass, field
from functools import lru_cache

from ramify.engine.runtime.cache import PathNode, Sequence
from ramify.engine.runtime.messages import LaneRequest, ReadRequest, SamplingParams
from ramify.engine.runtime.steps import StepText

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
    """Completes a node's path once for all that go on from there: lanes, which need its row of logits, and reads."""

    waiting: list[Job] = field(default_factory=list[Job])


@dataclass(eq=False, slots=True)
class ReadJob(Job):
    """Reads logits of given ids at given positions."""

    request: ReadRequest | None = None
    rows: dict[int, tuple[float, ...]] = field(default_factory=dict[int, "tuple[float, ...]"])


@dataclass(eq=False, slots=True, init=False)
class Lane(Job):
    """Generates one step. `node` is the parent until the step is complete; `tokens` are what was drawn so far.

    The logits after its last token are what it wants. `numbers` are the next ones of its own stream, last one first.
    """

    wanted: LaneRequest
    group: Group
    text: StepText
    sampling: SamplingParams
    seed: int
    tokens: list[int]
    numbers: list[float]
    logprob: float
    active: bool
    _path: list[int]

    def __init__(self, parent: PathNode, request: LaneRequest, group: Group) -> None:
        self._path = list(parent.path)
        Job.__init__(self, parent, self._path, frozenset())
        self.wanted, self.group, self.text = request, group, StepText(request.step)
        self.sampling = _one_of_its_kind(request.sampling)
        self.seed = request.seed & _SEED_MASK
        self.tokens, self.numbers = [], []
        self.logprob, self.active = 0.0, False

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
            super(Lane, self).advance(end)
            return
        # The way up the tree to what is known is spared on each token.
        # All but its last token had been evaluated: that was drawn from the logits after the one before.
        self.again += end - 1 - sequence.length
        self.fresh += 1
        sequence.length = end

    def _known_before(self) -> int:
        # Of its own tokens, all but the last: whatever was drawn from had been evaluated.
        return max(self.node.known, len(self._path) - 1 if len(self.tokens) > 1 else 0)

    def draw(self, token: int, logprob: float) -> None:
        """Take a drawn token; it is evaluated next, if the lane goes on."""
        self.tokens.append(token)
        self._path.append(token)
        self.logprob += logprob
