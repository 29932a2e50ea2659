"""What a decoder works on: prompts and prefixes to be completed, lanes that generate, paths to be read."""

from __future__ import annotations

from dataclasses import dataclass, field

from ramify.engine.runtime.cache import PathNode, Sequence
from ramify.engine.runtime.messages import LaneRequest, ReadRequest
from ramify.engine.runtime.steps import StepText


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
    target: tuple[int, ...]
    outputs: frozenset[int]
    sequence: Sequence | None = None
    cached: int = 0
    fresh: int = 0
    again: int = 0

    @property
    def next_position(self) -> int:
        """First position that has not been evaluated."""
        return 0 if self.sequence is None else self.sequence.length

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


@dataclass(eq=False, slots=True)
class Lane(Job):
    """Generates one step. `node` is the parent until the step is complete; `tokens` are what was drawn so far."""

    request: LaneRequest | None = None
    group: Group = field(default_factory=lambda: Group(None))
    text: StepText = field(default_factory=lambda: StepText(None))
    tokens: list[int] = field(default_factory=list[int])
    logprob: float = 0.0
    active: bool = False

    def draw(self, token: int, logprob: float) -> None:
        """Take a drawn token; it is evaluated next, if the lane goes on."""
        self.tokens.append(token)
        self.logprob += logprob
        self.target = (*self.target, token)
        self.outputs = frozenset((len(self.target) - 1,))
