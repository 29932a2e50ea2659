"""Vote over the finished paths of one run, and the fields of a solution that a vote decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypedDict

from ramify.answers.kinds import AnswerKind
from ramify.events import AnswerUpdate, Event
from ramify.search.strategy import Strategy
from ramify.search.tree import SearchTree
from ramify.search.votes import Candidate, Vote, candidates, decide


class Usable(Protocol):
    """Tells whether an answer may vote; it is not known of every one at once."""

    def __call__(self, answer: str, /, *, surely: bool = False) -> bool:
        """Return False if the answer is known not to work; with `surely`, True only if it is known to work.

        What was asked with `surely` is known after the next comparison of answers.
        """
        ...


class VoteCounter:
    """The vote over the paths that have finished so far; it is counted again only after a change.

    `same` tells whether two answers are equal, `emit` takes an event after each count. `kind` is that of the answers,
    which says whether they vote. Answers that do not work by `usable` do not vote while there are others. `changed` is
    True from a change until a stop rule has seen it.
    """

    def __init__(
        self,
        tree: SearchTree,
        strategy: Strategy,
        same: Callable[[str, str], bool],
        emit: Callable[[Event], None],
        kind: AnswerKind = AnswerKind.BOX,
        usable: Usable | None = None,
    ) -> None:
        self.changed = False
        self.kind = kind
        self._tree = tree
        self._strategy = strategy
        self._same = same
        self._emit = emit
        self._usable = usable
        self._vote: Vote | None = None
        self._counted_by = strategy

    @property
    def strategy(self) -> Strategy:
        """The strategy whose vote, aggregation and width hold for the present tree."""
        return self._strategy.settled(self._tree)

    def follow(self, strategy: Strategy) -> None:
        """Count for another strategy from now on."""
        self._strategy = strategy
        self._vote = None

    def candidates(self) -> list[Candidate]:
        """Return the finished paths, in path order; those without an answer do not vote."""
        return candidates(self._tree, self.strategy.aggregation)

    def vote(self) -> Vote:
        """Return the vote over the paths that have finished so far."""
        strategy = self.strategy
        if self._vote is None or strategy is not self._counted_by:
            # A strategy may settle on another vote at the end of a path that has no answer.
            self._vote, self._counted_by = decide(self._voters(), strategy.vote, self._same, self.kind), strategy
        return self._vote

    def _voters(self) -> list[Candidate]:
        paths = self.candidates()
        if self._usable is None:
            return paths
        usable = [each for each in paths if each.answer is not None and self._usable(each.answer)]
        return usable or paths

    def certain(self) -> bool:
        """Tell whether the winning answer is known to be one that may vote, so that no later finding replaces it."""
        answer = self.vote().answer
        return self._usable is None or (answer is not None and self._usable(answer, surely=True))

    def recount(self) -> None:
        """Count again, after a path has finished or two answers turned out to be equal."""
        self._vote, self.changed = None, True
        vote = self.vote()
        groups = tuple((group.answer, group.count, group.weight) for group in vote.groups)
        self._emit(AnswerUpdate(answer=vote.answer, groups=groups))


class VotedFields(TypedDict):
    """Fields of a solution that its vote decides."""

    answer: str | None
    text: str
    score: float | None
    candidates: tuple[Candidate, ...]


def voted_fields(paths: Sequence[Candidate], vote: Vote, *, pinned: int | None = None) -> VotedFields:
    """Return the fields that a vote among finished paths decides; the path at the node `pinned` wins in any case."""
    winner = next((each for each in paths if each.node == pinned), vote.winner)
    return VotedFields(
        answer=None if winner is None else winner.answer,
        text="" if winner is None else winner.text,
        score=None if winner is None else winner.score,
        candidates=vote.counted(paths),
    )
