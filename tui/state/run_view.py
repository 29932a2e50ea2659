"""One run as it is shown: takes events, keeps counts, and says what has changed by version numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import TYPE_CHECKING

from ramify.events import (
    AnswerUpdate,
    BudgetChanged,
    BudgetUsed,
    Event,
    NodeAdded,
    NodePinned,
    NodePruned,
    NodeScored,
    NodesDispatched,
    RunFinished,
    RunPaused,
    RunResumed,
    RunStarted,
    StepProgress,
)
from ramify.search.node import FinishReason, NodeState

from .nodes import NodeView

if TYPE_CHECKING:
    from ramify.search.budget import Budget
    from ramify.solution import Solution
    from ramify.usage import Usage

ROOT = 0


class Phase(StrEnum):
    """Where a run stands."""

    WAITING = auto()
    """Not started, or the models are being loaded."""
    RUNNING = auto()
    PAUSED = auto()
    STOPPING = auto()
    """Asked to stop; what is in flight is being cut."""
    FINISHED = auto()
    FAILED = auto()
    """It ended with an error, or was cancelled before it had anything."""

    @property
    def over(self) -> bool:
        """True once nothing more will come."""
        return self in (Phase.FINISHED, Phase.FAILED)

    @property
    def live(self) -> bool:
        """True while the search can be steered."""
        return self in (Phase.RUNNING, Phase.PAUSED)


@dataclass(frozen=True, slots=True)
class Group:
    """An answer, the paths that gave it and the sum of their scores."""

    answer: str
    votes: int
    weight: float


class RunView:
    """A run's tree, vote and cost, from its events alone.

    `version` grows with every change, `shape` with every node that is added. `vote` is the name of the rule that
    decides ("majority", "weighted" or "best"). `budget` None means that the limits are not known.
    """

    def __init__(self, question: str = "", *, vote: str = "majority", budget: Budget | None = None) -> None:
        self.question = question
        self.vote = vote
        self.budget = budget
        self.version = 0
        self.shape = 0
        self.phase = Phase.WAITING
        self.strategy = ""
        self.prompt_tokens = 0
        self.groups: tuple[Group, ...] = ()
        self.answer: str | None = None
        self.pinned: int | None = None
        self.usage: Usage | None = None
        self.fraction: float | None = None
        self.solution: Solution | None = None
        self.finished: list[int] = []
        self.pruned_count = 0
        self.scored = False
        self._nodes: dict[int, NodeView] = {ROOT: NodeView(id=ROOT, parent=None, depth=0, state=NodeState.OPEN)}
        self._pending: dict[int, None] = {}
        self._done_tokens = 0
        self._live_tokens = 0
        self._winner: int | None = None

    # Reading

    @property
    def generated_tokens(self) -> int:
        """Tokens so far, those of steps in the making included."""
        return self._done_tokens + self._live_tokens

    @property
    def pending_count(self) -> int:
        """Number of steps being written now."""
        return len(self._pending)

    def __len__(self) -> int:
        """Number of steps; the question is none."""
        return len(self._nodes) - 1

    def __contains__(self, node_id: int) -> bool:
        return node_id in self._nodes

    def __iter__(self) -> Iterator[NodeView]:
        return iter(self._nodes.values())

    def node(self, node_id: int) -> NodeView:
        """Return a node; raises KeyError if there is none of this id."""
        return self._nodes[node_id]

    def path(self, node_id: int) -> list[NodeView]:
        """Return the steps from the first to this one; none for the question."""
        found = list[NodeView]()
        node = self._nodes[node_id]
        while node.parent is not None:
            found.append(node)
            node = self._nodes[node.parent]
        found.reverse()
        return found

    def path_text(self, node_id: int) -> str:
        """Return the text of a path as it was written."""
        return "".join(node.text for node in self.path(node_id))

    def best(self) -> int | None:
        """Return the node whose path would be the result now; without an answer, the most promising one."""
        if self._winner is None:
            self._winner = self._find_best()
        return self._winner if self._winner != ROOT else None

    def best_path(self) -> set[int]:
        """Return the ids of the best path, the question's included; none before the first step."""
        best = self.best()
        return set() if best is None else {ROOT, *(node.id for node in self.path(best))}

    def best_score(self, answer: str) -> float | None:
        """Return the highest score of a finished path with this answer, None if none has one."""
        scores = (self._nodes[each].score for each in self.finished if self._nodes[each].answer == answer)
        return max((score for score in scores if score is not None), default=None)

    # Changing

    def apply(self, event: Event) -> None:
        """Take in an event; kinds that are not known are left alone."""
        self.version += 1
        self._winner = None
        match event:
            case StepProgress():
                self._progress(event)
            case NodesDispatched():
                for node in event.nodes:
                    self._add(node, event.parent)
                    self._pending[node] = None
            case NodeAdded():
                self._complete(event)
            case NodeScored():
                self._score(event)
            case NodePruned():
                self._prune(event)
            case AnswerUpdate():
                self.answer = event.answer
                self.groups = tuple(Group(*group) for group in event.groups)
            case BudgetUsed():
                self.usage, self.fraction = event.usage, event.fraction
            case NodePinned():
                self.pinned = event.node
            case BudgetChanged():
                self.budget = event.budget
            case RunStarted():
                self.strategy, self.prompt_tokens = event.strategy, event.prompt_tokens
                if self.phase is Phase.WAITING:
                    self.phase = Phase.RUNNING
            case RunPaused():
                self.phase = Phase.PAUSED
            case RunResumed():
                self.phase = Phase.RUNNING
            case RunFinished():
                self._finish(event.solution)

    def set_phase(self, phase: Phase) -> None:
        """Say from outside where the run stands."""
        self.phase = phase
        self.version += 1

    def _add(self, node_id: int, parent: int) -> NodeView:
        above = self._nodes[parent]
        node = self._nodes[node_id] = NodeView(id=node_id, parent=parent, depth=above.depth + 1)
        above.children.append(node_id)
        self.shape += 1
        return node

    def _progress(self, event: StepProgress) -> None:
        node = self._nodes.get(event.node)
        if node is not None and node.state is NodeState.PENDING:
            self._live_tokens += event.generated_tokens - node.tokens
            node.tokens, node.text = event.generated_tokens, event.text

    def _complete(self, event: NodeAdded) -> None:
        node = self._nodes.get(event.node)
        if node is None:
            # The search announces its own steps before they are written, so this one came from a person.
            node = self._add(event.node, event.parent)
            node.by_hand = True
        self._pending.pop(node.id, None)
        self._live_tokens -= node.tokens
        self._done_tokens += event.generated_tokens
        node.text, node.tokens, node.logprob = event.text, event.generated_tokens, event.logprob
        node.finish_reason, node.answer = event.finish_reason, event.answer
        ended = event.answer is not None or event.finish_reason is FinishReason.EOS
        node.state = NodeState.FINISHED if ended else event.state
        if ended:
            self.finished.append(node.id)

    def _score(self, event: NodeScored) -> None:
        node = self._nodes.get(event.node)
        if node is not None:
            node.score = event.score
            self.scored = True

    def _prune(self, event: NodePruned) -> None:
        node = self._nodes.get(event.node)
        if node is None or node.state is NodeState.PRUNED:
            return
        if node.state is NodeState.FINISHED:
            self.finished.remove(node.id)
        self._pending.pop(node.id, None)
        node.state, node.prune_reason = NodeState.PRUNED, event.reason
        self.pruned_count += 1

    def _finish(self, solution: Solution) -> None:
        self.solution, self.usage = solution, solution.usage
        self.answer = solution.answer
        self.phase = Phase.FINISHED

    def _find_best(self) -> int:
        chosen = self._chosen()
        if chosen is not None:
            return chosen
        wanted = [each for each in self.finished if self.answer is not None and self._nodes[each].answer == self.answer]
        if wanted:
            return max(wanted, key=lambda each: (self._nodes[each].score or 0.0, -each))
        living = (node for node in self._nodes.values() if not node.ended and not node.children and node.depth)
        return max(living, key=lambda node: (self._worth(node), node.depth, -node.id), default=self._nodes[ROOT]).id

    def _chosen(self) -> int | None:
        """Return what the result or a person has chosen."""
        if self.solution is not None:
            same = (
                each.node
                for each in self.solution.candidates
                if each.text == self.solution.text and each.score == self.solution.score
            )
            found = next(same, None) if self.solution.answer is not None else None
            return found if found in self._nodes else None
        return self.pinned

    def _worth(self, node: NodeView) -> float:
        """Return the score of a step, or of the step above while it has none."""
        while node.score is None and node.parent is not None:
            node = self._nodes[node.parent]
        return node.score or 0.0
