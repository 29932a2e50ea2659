"""Events of a run: a closed set of frozen records that can be written as JSON."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ramify.search.budget import Budget
    from ramify.search.node import FinishReason, NodeState, PruneReason

    from .solution import Solution
    from .usage import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLoading:
    """So many of a model file's bytes are in memory; sent while an engine opens, so it is no event of a run."""

    path: str
    loaded_bytes: int
    total_bytes: int


class LoadingFiles:
    """Model files that are being loaded, by the last event of each."""

    def __init__(self) -> None:
        self._last: dict[str, ModelLoading] = {}

    def take(self, event: ModelLoading) -> None:
        """Take an event."""
        self._last[event.path] = event

    @property
    def text(self) -> str:
        """Each file with the megabytes of it that are in memory; "" without files."""
        return ", ".join(
            f"{os.path.basename(each.path)} {each.loaded_bytes // 10**6:,} of {each.total_bytes // 10**6:,} MB"
            for each in self._last.values()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """The prompt is ready and the search begins."""

    question: str
    strategy: str
    prompt_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NodesDispatched:
    """Children of one node are being generated; `nodes` are their new ids."""

    parent: int
    nodes: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepProgress:
    """Tokens and text so far of a step that is being generated; sent on request, at most ten times a second."""

    node: int
    generated_tokens: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeAdded:
    """A step is complete. `answer` is set if it ended its path with a readable answer."""

    node: int
    parent: int
    depth: int
    text: str
    generated_tokens: int
    logprob: float | None
    state: NodeState
    finish_reason: FinishReason
    answer: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeScored:
    """The reward model scored the path that ends in this node; `score` is in [0, 1].

    `scores` are those of the parts of a combined reward by name, None if it has no parts.
    """

    node: int
    score: float
    scores: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePruned:
    """The path that ends in this node will not be continued."""

    node: int
    reason: PruneReason


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetUsed:
    """Usage so far. `fraction` is the used share of the tightest limit; 0.0 without a limit."""

    usage: Usage
    fraction: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerUpdate:
    """State of the vote: the leading answer, and the number and weight of each answer's paths, best first."""

    answer: str | None
    groups: tuple[tuple[str, int, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPaused:
    """No new steps are started; those that are being generated are finished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResumed:
    """The search goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetChanged:
    """The run has other limits from now on."""

    budget: Budget


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePinned:
    """The answer of this finished path will be the result; after None the vote decides again."""

    node: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished:
    """The last event of a run that was not cancelled."""

    solution: Solution


Event = (
    RunStarted
    | NodesDispatched
    | StepProgress
    | NodeAdded
    | NodeScored
    | NodePruned
    | BudgetUsed
    | AnswerUpdate
    | RunPaused
    | RunResumed
    | BudgetChanged
    | NodePinned
    | RunFinished
)
