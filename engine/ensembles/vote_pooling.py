"""Pooled votes: one solution from several runs on one question, with their summed usage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from operator import add

from anyio.to_thread import run_sync

from ramify.answers.checkers import DEFAULT_CHECK, AnswerEquality, Check, make_checker
from ramify.answers.kinds import AnswerKind
from ramify.errors import UsageError
from ramify.search.votes import Candidate, Vote, VoteRule, decide
from ramify.solution import Solution

from ..control.votes import voted_fields


async def pool(
    solutions: Sequence[Solution], rule: VoteRule | str = VoteRule.MAJORITY, *, check: Check = DEFAULT_CHECK
) -> Solution:
    """Return the vote over the finished paths of all `solutions`, which answer one question.

    The usage is the sum and the stop reason that of the last run. Candidates keep their text and score; their node
    numbers count through all runs, and there is no tree. Where a rule needs scores, paths without one do not vote.
    `check` is that of the problem and says which answers vote together.

    Raises:
        UsageError: if there is nothing to pool, the questions differ, or the rule needs scores and no path has one.
    """
    rule = VoteRule(rule)
    _check(solutions, rule)
    if len(solutions) == 1:
        return solutions[0]
    paths = [
        replace(
            each,
            node=number,
            path=(number,),
            answer=None if rule is not VoteRule.MAJORITY and each.score is None else each.answer,
            votes=0,
            weight=0.0,
        )
        for number, each in enumerate(each for solution in solutions for each in solution.candidates)
    ]
    kind = _kind(solutions)
    vote = await _settled(paths, rule, check, kind)
    reading = next((each.reading for each in solutions if each.reading is not None and each.reading.kind is kind), None)
    return replace(
        solutions[-1],
        **voted_fields(paths, vote),
        reading=None if reading is None else replace(reading, chosen_by=vote.chosen_by),
        usage=reduce(add, (solution.usage for solution in solutions)),
        strategy={"name": "pool", "vote": str(rule), "of": [dict(solution.strategy) for solution in solutions]},
        model={"policy": _names(solutions, "policy"), "reward": _names(solutions, "reward")},
        tree=None,
    )


def _check(solutions: Sequence[Solution], rule: VoteRule) -> None:
    if not solutions:
        raise UsageError("there are no solutions to pool", "give at least one")
    if len({solution.question for solution in solutions}) > 1:
        raise UsageError("the solutions answer different questions", "pool those of one question")
    voting = [each for solution in solutions for each in solution.candidates if each.answer is not None]
    if rule is not VoteRule.MAJORITY and voting and all(each.score is None for each in voting):
        raise UsageError(f"no path has a score to vote by {rule}", "pool by majority, or search with a reward model")


def _kind(solutions: Sequence[Solution]) -> AnswerKind:
    """Return the kind of the answers: one that votes unless all answers are texts."""
    kinds = [AnswerKind.BOX if each.reading is None else each.reading.kind for each in solutions if each.answer]
    return next((kind for kind in kinds if kind.votes), kinds[0] if kinds else AnswerKind.BOX)


def _names(solutions: Sequence[Solution], role: str) -> str | None:
    names = dict.fromkeys(str(name) for solution in solutions if (name := solution.model.get(role)) is not None)
    return " + ".join(names) or None


async def _settled(paths: Sequence[Candidate], rule: VoteRule, check: Check, kind: AnswerKind) -> Vote:
    checker = make_checker(check)
    equality = AnswerEquality(checker.same_quickly, checker.same)
    vote = decide(paths, rule, equality.same, kind)
    while equality.unresolved:
        await equality.resolve()
        vote = await run_sync(decide, paths, rule, equality.same, kind)
    return vote
