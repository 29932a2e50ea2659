"""Saved runs that the screens show, whole or up to one of their steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .run_view import AnswerVotes, Phase, RunView
from .session import Session

if TYPE_CHECKING:
    from ramify.answers.thoughts import ThoughtMarks
    from ramify.search.budget import Budget
    from ramify.search.strategy import Strategy
    from ramify.search.tree import SearchTree
    from ramify.search.votes import Aggregation
    from ramify.solution import Solution

    from .spec import RunSpec


class SavedSession(Session):
    """A run from the history or a batch, whole or up to one of its steps."""

    live = False

    def __init__(self, spec: RunSpec, solution: Solution, run_id: str | None = None) -> None:
        from .replay import PartialTree, with_tree

        self.solution = with_tree(solution)
        tree = self.solution.tree
        assert tree is not None
        self._strategy = _saved_strategy(solution.strategy)
        rule, self._aggregation = _vote_of(self._strategy, tree)
        # Of an item of a batch the limits are not known.
        budget = None if run_id is None else _budget(spec)
        super().__init__(spec, RunView(solution.question, tree=tree, vote=rule, budget=budget))
        self.view.strategy = str(solution.strategy.get("name", ""))
        self.view.marks, self.view.conversation = _marks_of(tree), solution.conversation
        self.run_id = run_id
        self.models = " + ".join(str(name) for name in solution.model.values() if name)
        self.has_reward = self.uses_reward = solution.model.get("reward") is not None
        self._whole = tree
        self._part = PartialTree(tree)
        self.position = len(self)
        self._show_whole()

    @property
    def strategy(self) -> Strategy | None:
        """The strategy, None if this version does not know it."""
        return self._strategy

    def __len__(self) -> int:
        """Number of positions of a replay: the question, each step, and the end with the vote that decided."""
        return len(self._whole) + 1

    def seek(self, position: int) -> None:
        """Show the run at a position, 1 for the question alone; forwards is cheap, backwards begins again."""
        self.position = min(max(position, 1), len(self))
        if self.position == len(self):
            self._show_whole()
        else:
            self._part.seek(self.position - 1)
            self._show_part()
        self.view.touch()

    def _show_whole(self) -> None:
        from .replay import final_votes

        view = self.view
        view.tree, view.phase = self._whole, Phase.FINISHED if self.solution.stop_reason != "failed" else Phase.FAILED
        view.solution, view.usage = self.solution, self.solution.usage
        view.answer, view.votes = self.solution.answer, final_votes(self.solution)

    def _show_part(self) -> None:
        from ramify.answers.kinds import AnswerKind
        from ramify.search.votes import VoteRule, candidates, decide_by_text

        view, tree = self.view, self._part.tree
        reading = self.solution.reading
        kind = AnswerKind.BOX if reading is None else reading.kind
        vote = decide_by_text(candidates(tree, self._aggregation), VoteRule(view.vote), kind)
        view.tree, view.phase = tree, Phase.RUNNING
        view.solution = view.usage = None
        view.answer = vote.answer
        view.votes = tuple(AnswerVotes(each.answer, each.count, each.weight) for each in vote.groups)


def _marks_of(tree: SearchTree) -> ThoughtMarks | None:
    """Return the marks of the thoughts in a saved tree, None if it has none that is closed."""
    from ramify.answers.thoughts import KNOWN_MARKS, marks_in

    closing = [marks.close for marks in KNOWN_MARKS]
    return marks_in(tree.path_text(node.id) for node in tree if any(close in node.text for close in closing))


def _budget(spec: RunSpec) -> Budget:
    from ramify.config import DEFAULT_BUDGET
    from ramify.search.budget import Budget

    from .spec import LIMITS

    limits = {name.removeprefix("max_"): spec.get(name) for name in LIMITS if spec.get(name) is not None}
    return Budget(**limits) if limits else DEFAULT_BUDGET


def _saved_strategy(saved: Mapping[str, Any]) -> Strategy | None:
    """Return a saved strategy, None if this version does not know it."""
    from ramify.search.registry import make_strategy

    try:
        return make_strategy(**saved)
    except (TypeError, ValueError):
        return None


def _vote_of(strategy: Strategy | None, tree: SearchTree) -> tuple[str, Aggregation]:
    """Return vote and aggregation of a strategy, majority and last without one."""
    from ramify.search.votes import Aggregation

    if strategy is None:
        return "majority", Aggregation.LAST
    return str(strategy.vote), strategy.settled(tree).aggregation
