"""Counts the answers of one run as its paths finish."""

from __future__ import annotations

from collections.abc import Callable

from ramify.events import AnswerUpdate, Event
from ramify.search.strategy import Strategy
from ramify.search.tree import SearchTree
from ramify.search.votes import Candidate, Vote, candidates, decide


class VoteCounter:
    """The vote over what has finished so far; counted again only when something has changed.

    `same` tells whether two answers are equal. `news` is true from a change until a stop rule has looked.
    """

    def __init__(
        self,
        tree: SearchTree,
        strategy: Strategy,
        same: Callable[[str, str], bool],
        emit: Callable[[Event], None],
    ) -> None:
        self.news = False
        self._tree = tree
        self._strategy = strategy
        self._same = same
        self._emit = emit
        self._vote: Vote | None = None

    @property
    def strategy(self) -> Strategy:
        """The strategy whose vote, aggregation and width count as the tree stands."""
        return self._strategy.settled(self._tree)

    def candidates(self) -> list[Candidate]:
        """Return the finished paths, in path order; those without an answer do not vote."""
        return candidates(self._tree, self.strategy.aggregation)

    def vote(self) -> Vote:
        """Return the vote over what has finished so far."""
        if self._vote is None:
            self._vote = decide(self.candidates(), self.strategy.vote, self._same)
        return self._vote

    def recount(self) -> None:
        """Count again after a path has finished or two answers turned out to be equal."""
        self._vote, self.news = None, True
        vote = self.vote()
        groups = tuple((group.answer, group.count, group.weight) for group in vote.groups)
        self._emit(AnswerUpdate(answer=vote.answer, groups=groups))
