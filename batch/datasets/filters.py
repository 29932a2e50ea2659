"""Filters of paths: right by the gold answer, in a clear vote, or well scored; each tells good paths from bad ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ramify.answers.grader import Grader
from ramify.engine.planning.risk import posterior
from ramify.errors import UsageError
from ramify.search.votes import Candidate
from ramify.text import nearest

from .sources import SolvedProblem

Verdict = bool | None
"""Verdict on a path: True for good, False for bad, None where that cannot be told."""
Judge = Callable[[Candidate], Verdict]

RIGHT, VOTE, REWARD = "right", "vote", "reward"
_DEFAULTS = {RIGHT: None, VOTE: 0.95, REWARD: 0.5}


@dataclass(frozen=True, slots=True, kw_only=True)
class PathFilter:
    """A filter: `right` by the gold answer, `vote` by a vote with a posterior of `least`, `reward` by such a score.

    `vote` finds paths good that gave the winning answer of a clear vote, and bad that gave another one; of votes that
    are not clear it tells nothing.
    """

    name: str
    least: float | None = None

    def judge(self, problem: SolvedProblem) -> Judge:
        """Return the function that judges the paths of one problem."""
        if self.name == RIGHT:
            return _by_gold(problem)
        if self.name == VOTE:
            return _by_vote(problem, self.least or 0.0)
        least = self.least or 0.0
        return lambda path: None if path.score is None else path.score >= least

    def __str__(self) -> str:
        return self.name if self.least is None else f"{self.name}:{self.least:g}"


def read_filters(text: str) -> tuple[PathFilter, ...]:
    """Return filters from a text such as `right,reward:0.7`; a path has to pass all of them.

    Raises:
        UsageError: if there is no such filter, or its number is not between 0 and 1.
    """
    found = list[PathFilter]()
    for part in text.split(","):
        name, colon, number = part.strip().partition(":")
        if name not in _DEFAULTS:
            raise UsageError(f"there is no filter {name!r}{nearest(name, _DEFAULTS)}")
        try:
            least = float(number) if colon else _DEFAULTS[name]
        except ValueError:
            least = -1.0
        if (colon and name == RIGHT) or (least is not None and not 0 <= least <= 1):
            raise UsageError(
                f"{part.strip()!r} is no filter", "write right, vote:0.95 or reward:0.7, joined with commas"
            )
        found.append(PathFilter(name=name, least=least))
    return tuple(found)


def judge_all(filters: tuple[PathFilter, ...], problem: SolvedProblem) -> Judge:
    """Return the function that judges a path by all filters: good if each finds it good, bad if one finds it bad."""
    judges = [each.judge(problem) for each in filters]

    def judged(path: Candidate) -> Verdict:
        verdicts = [judge(path) for judge in judges]
        if False in verdicts:
            return False
        return None if None in verdicts else True

    return judged


def _by_gold(problem: SolvedProblem) -> Judge:
    if problem.gold is None or problem.check is None:
        return lambda path: None
    grader = Grader(problem.gold, problem.check, question=problem.solution.question)
    return lambda path: grader.right(path.answer)


def _by_vote(problem: SolvedProblem, least: float) -> Judge:
    solution = problem.solution
    if solution.answer is None or posterior(solution) < least:
        return lambda path: None
    own = next(each for each in solution.candidates if each.answer == solution.answer)
    # Members of one group have its count and weight; equal counts of two groups leave a posterior of a half.
    return lambda path: path.answer is not None and (path.votes, path.weight) == (own.votes, own.weight)
