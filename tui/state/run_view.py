"""One run as it is shown: its search tree, its vote and its cost, with version numbers that say when to draw again."""

from __future__ import annotations

from enum import StrEnum, auto
from typing import TYPE_CHECKING, NamedTuple

from ramify.events import (
    AnswerUpdate,
    BudgetChanged,
    BudgetUsed,
    Event,
    NodeAdded,
    NodePinned,
    NodePruned,
    RunFinished,
    RunPaused,
    RunResumed,
    RunStarted,
    StepProgress,
)
from ramify.search.node import Node, NodeState
from ramify.search.tree import ROOT, SearchTree

if TYPE_CHECKING:
    from ramify.answers.thoughts import ThoughtMarks
    from ramify.conversation import Conversation
    from ramify.search.budget import Budget
    from ramify.solution import Solution
    from ramify.usage import Usage


class Phase(StrEnum):
    """Phase of a run."""

    WAITING = auto()
    """Not started, or the models are being loaded."""
    RUNNING = auto()
    PAUSED = auto()
    STOPPING = auto()
    """Asked to stop; the steps in flight are being cut."""
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


class AnswerVotes(NamedTuple):
    """An answer, the number of finished paths that gave it, and the sum of their scores."""

    answer: str
    votes: int
    weight: float


class RunView:
    """A run for the screens: reads the search tree itself, and takes the rest from events.

    `tree` is that of the running search or of a saved solution; it is never written to. `version` grows with every
    change. `vote` is the name of the rule that decides ("majority", "weighted" or "best"). `budget` None means that
    the limits are not known. `fraction` is the share used of the tightest limit, None without one. `marks` are those of
    the model's thoughts, None if it has none. `conversation` holds the turns before the question, None if it stands
    alone.
    """

    def __init__(
        self,
        question: str = "",
        *,
        tree: SearchTree | None = None,
        vote: str = "majority",
        budget: Budget | None = None,
    ) -> None:
        self.question = question
        self.tree = SearchTree() if tree is None else tree
        self.vote = vote
        self.budget = budget
        self.version = 0
        self.phase = Phase.WAITING
        self.strategy = ""
        self.votes: tuple[AnswerVotes, ...] = ()
        self.answer: str | None = None
        self.pinned: int | None = None
        self.usage: Usage | None = None
        self.fraction: float | None = None
        self.marks: ThoughtMarks | None = None
        self.conversation: Conversation | None = None
        self.solution: Solution | None = None
        self._progress: dict[int, StepProgress] = {}
        self._best: int | None = None
        self._indexed = self.tree
        self._children: list[list[int]] = []

    # Reading

    @property
    def asked(self) -> str:
        """The question, after the messages and examples before it if there are any."""
        if self.conversation is None:
            return self.question
        messages = self.conversation.messages(None)
        return "\n\n".join(f"{each.role.capitalize()}: {each.content}" for each in messages)

    @property
    def step_count(self) -> int:
        """Number of steps; the question is none."""
        return len(self.tree) - 1

    @property
    def generated_tokens(self) -> int:
        """Tokens so far, those of unfinished steps included."""
        return self.tree.generated_tokens + sum(
            each.generated_tokens for each in self._progress.values() if self._pending(each.node)
        )

    @property
    def scored(self) -> bool:
        """True once a step has a score."""
        return self.tree.root.visits > 0

    def children(self) -> list[list[int]]:
        """Return the children of every node by its id, in the order in which they were begun; only to be read.

        `SearchTree.children` checks and sorts, which is too much for every node in every frame.
        """
        tree = self.tree
        if self._indexed is not tree:
            self._indexed, self._children = tree, []
        children = self._children
        for node_id in range(len(children), len(tree)):
            children.append([])
            parent = tree.node(node_id).parent
            if parent is not None:
                children[parent].append(node_id)
        return children

    def text_of(self, node: Node) -> str:
        """Return the text of a step as far as it is written."""
        written = self._progress.get(node.id) if node.state is NodeState.PENDING else None
        return node.text if written is None else written.text

    def tokens_of(self, node: Node) -> int:
        """Return the number of tokens of a step as far as it is written."""
        written = self._progress.get(node.id) if node.state is NodeState.PENDING else None
        return node.token_count if written is None else written.generated_tokens

    def path_text(self, node_id: int) -> str:
        """Return the text of a path as far as it is written; "" for the question."""
        return "".join(map(self.text_of, self.tree.path_nodes(node_id)))

    def best(self) -> int | None:
        """Return the node whose path would be the result now; without an answer, the most promising one.

        None before the first step.
        """
        if self._best is None:
            self._best = self._find_best()
        return self._best if self._best != ROOT else None

    def best_path(self) -> set[int]:
        """Return the ids of the best path, the question's included; none before the first step."""
        best = self.best()
        return set() if best is None else {ROOT, *(node.id for node in self.tree.path_nodes(best))}

    def best_score(self, answer: str) -> float | None:
        """Return the highest score of a finished path with this answer, None if none has one."""
        scores = (node.score for node in self.tree.finished_nodes() if node.answer == answer)
        return max((score for score in scores if score is not None), default=None)

    # Changing

    def apply(self, event: Event) -> None:
        """Take in an event; of kinds that the tree answers for, only that something has changed."""
        match event:
            case StepProgress():
                self._progress[event.node] = event
            case NodeAdded() | NodePruned():
                self._progress.pop(event.node, None)
            case AnswerUpdate():
                self.answer = event.answer
                self.votes = tuple(AnswerVotes(*group) for group in event.groups)
            case BudgetUsed():
                self.usage, self.fraction = event.usage, event.fraction
            case NodePinned():
                self.pinned = event.node
            case BudgetChanged():
                self.budget = event.budget
            case RunStarted():
                self.strategy = event.strategy
                if self.phase is Phase.WAITING:
                    self.phase = Phase.RUNNING
            case RunPaused():
                self.phase = Phase.PAUSED
            case RunResumed():
                self.phase = Phase.RUNNING
            case RunFinished():
                self.solution, self.usage = event.solution, event.solution.usage
                self.answer = event.solution.answer
                self.phase = Phase.FINISHED
            case _:
                pass
        self.touch()

    def set_phase(self, phase: Phase) -> None:
        """Say from outside where the run stands."""
        self.phase = phase
        self.touch()

    def touch(self) -> None:
        """Have everything drawn again, as something has changed."""
        self.version += 1
        self._best = None

    def _pending(self, node_id: int) -> bool:
        return self.tree.node(node_id).state is NodeState.PENDING

    def _find_best(self) -> int:
        chosen = self.pinned if self.solution is None else self.solution.winner
        if chosen is not None and chosen in self.tree:
            return chosen
        if self.answer is not None:
            wanted = [node for node in self.tree.finished_nodes() if node.answer == self.answer]
            if wanted:
                return max(wanted, key=lambda node: (node.score or 0.0, -node.id)).id
        children = self.children()
        growing = (node for node in self.tree if node.state in _GROWING and not children[node.id])
        return max(growing, key=self._promise, default=self.tree.root).id

    def _promise(self, node: Node) -> tuple[float, int, int]:
        """Return the sort key of an unfinished path: a step without a score counts as the scored one above it."""
        scored = node
        while scored.score is None and scored.parent is not None:
            scored = self.tree.node(scored.parent)
        return scored.score or 0.0, node.depth, -node.id


_GROWING = (NodeState.PENDING, NodeState.OPEN)
