"""Node of a search tree: a reasoning step, its state, and the reasons and origins that it can have.

A node knows nothing of its tree's indexes: change its state through `SearchTree` only, which keeps them in step.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, auto


class NodeState(StrEnum):
    """State of a node: pending → open → finished or continued, or pruned from pending and open."""

    PENDING = auto()
    """Its step is being generated."""
    OPEN = auto()
    """Its step is complete and the path can go on from here."""
    FINISHED = auto()
    """The path ended here; such a node is never expanded."""
    PRUNED = auto()
    """Pruned; such a node is never expanded and never votes."""
    CONTINUED = auto()
    """Its step goes on in its only child: a tool's result, or the policy's text after one."""


class FinishReason(StrEnum):
    """Reason why the generation of a node's step ended."""

    STEP = auto()
    """The step's closing pattern was found."""
    EOS = auto()
    """The model ended its text, or a stop sequence did."""
    LENGTH = auto()
    """The step reached its token limit."""
    BUDGET = auto()
    """The run's budget cut the step."""
    CANCELLED = auto()
    """The run was cancelled."""
    CONTEXT = auto()
    """The model's context was full."""


class PruneReason(StrEnum):
    """Reason why a node was pruned."""

    ALLOCATION = auto()
    """The strategy gave it no children."""
    DEPTH = auto()
    """It reached the strategy's depth limit without finishing."""
    PATH_LENGTH = auto()
    """Its path reached the limit of tokens per path without finishing."""
    BUDGET = auto()
    """The run's budget ended before its path did."""
    DUPLICATE = auto()
    """An earlier sibling has the same text and represents both."""
    USER = auto()
    """Pruned by the user."""
    STOPPED = auto()
    """The run was stopped."""
    CONFIDENCE = auto()
    """Its tokens were less likely than those of the first paths."""
    EMPTY = auto()
    """The step has no text."""


class Origin(StrEnum):
    """Origin of a node's text."""

    MODEL = auto()
    """The policy wrote one step."""
    REST = auto()
    """The policy wrote the rest of the path in one go."""
    RESCUE = auto()
    """As REST, but only to save the best unfinished path when the budget had ended."""
    GREEDY = auto()
    """As MODEL, but at temperature 0 with every strategy: the first path of a run with hardly time for one."""
    HAND = auto()
    """The user wrote it."""
    CRITIQUE = auto()
    """A critique by the policy of the finished text of another node; it holds no answer and never votes."""
    REVISION = auto()
    """The policy wrote the whole solution anew after its own earlier one."""
    TOOL = auto()
    """The result of the tool that the step above called; it was put into the path, not sampled."""
    FORCED = auto()
    """A text that ends a thought or keeps it going; it was put into the path, not sampled."""


TOLD = (Origin.TOOL, Origin.FORCED)
"""Origins of texts that were put into a path, where the policy reads them."""

_FENCE_END = re.compile(r"^`{3,}\n", re.MULTILINE)
VALUE_UNIT = 2.0**-32
"""Scores are rounded to multiples of this before they are summed in `Node.value_sum`."""


@dataclass(slots=True, kw_only=True)
class Node:
    """A reasoning step with its position in the tree, text, score and statistics.

    `id` counts nodes in creation order, so it depends on scheduling; `path` (child numbers from the root) does not, and
    is the identity that seeds and orderings use. `depth` counts the steps from the root, which has depth 0: a step that
    goes on in its child (NodeState.CONTINUED) and that child are one step. `text` and `tokens` are the step alone, not
    the whole path. `token_count` equals `len(tokens)` unless a backend reports counts only. `logprob` is the sum of
    natural log-probabilities of the step at temperature 1, None if unknown. `score` is the reward model's score in [0,
    1] of the path that ends here, None while unscored; `scores` are those of the parts of a combined reward by name,
    None if it has no parts. `answer` is set on finished nodes, None if none was found. `visits` counts the scored steps
    at and below this node and `value_sum` adds up their scores, in steps of 2^-32. `origin` says where the step comes
    from. `about` is the node whose finished text a critique or a revision follows in conversation, None for all others;
    in the tree itself both stand below the root, as a path of their own.
    """

    id: int
    parent: int | None
    index: int
    path: tuple[int, ...]
    depth: int = 0
    text: str = ""
    tokens: tuple[int, ...] = ()
    token_count: int = 0
    logprob: float | None = None
    score: float | None = None
    state: NodeState = NodeState.PENDING
    finish_reason: FinishReason | None = None
    prune_reason: PruneReason | None = None
    answer: str | None = None
    visits: int = 0
    value_sum: float = 0.0
    origin: Origin = Origin.MODEL
    about: int | None = None
    scores: Mapping[str, float] | None = None

    @property
    def order(self) -> tuple[int, tuple[int, ...]]:
        """Sort key by depth, then path."""
        return self.depth, self.path


def summed(score: float) -> float:
    """Return a score as it is added to `Node.value_sum`.

    Whole multiples of a small power of two add up exactly, so that the order of results cannot change a sum.
    """
    return round(score / VALUE_UNIT) * VALUE_UNIT


def after_fence(text: str) -> str:
    """Return the text after the fence of a tool's result, such as the beginning of a thought; "" for none."""
    ends = [match.end() for match in _FENCE_END.finditer(text)]
    return text[ends[-1] :] if ends else ""
