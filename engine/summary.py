"""Turns a finished search into a Solution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ramify.engine.config import RunConfig
from ramify.engine.controller import SearchController
from ramify.engine.ledger import Ledger
from ramify.engine.problem import Problem
from ramify.engine.solution import Solution, SolutionCandidate
from ramify.search.registry import strategy_to_dict
from ramify.search.stopping import StopReason
from ramify.search.votes import AnswerGroup, Candidate


def conclude(
    done: SearchController,
    *,
    problem: Problem,
    config: RunConfig,
    ledger: Ledger,
    model: Mapping[str, Any],
) -> Solution:
    """Return the solution of a search that has ended."""
    ledger.stop()
    vote = done.vote()
    paths = done.candidates()
    pinned = next((each for each in paths if each.node == done.hand.pinned), None)
    winner = pinned or vote.winner
    groups = {member.node: group for group in vote.groups for member in group.members}
    return Solution(
        problem_id=problem.id,
        question=problem.question,
        answer=None if winner is None else winner.answer,
        text="" if winner is None else winner.text,
        score=None if winner is None else winner.score,
        stop_reason=done.stop_reason or StopReason.COMPLETED,
        stop=done.stopped_by,
        usage=ledger.usage(),
        candidates=tuple(_candidate(each, groups.get(each.node)) for each in paths),
        seed=config.seed,
        strategy=strategy_to_dict(done.strategy),
        model=model,
        tree=done.tree,
    )


def _candidate(each: Candidate, group: AnswerGroup | None) -> SolutionCandidate:
    found = SolutionCandidate.of(each, group)
    return replace(found, weight=float(group.count)) if group is not None and group.best_score is None else found
