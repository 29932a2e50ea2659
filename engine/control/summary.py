"""Summary of an ended search as a Solution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from ramify.config import RunConfig
from ramify.problem import Problem
from ramify.search.registry import strategy_to_dict
from ramify.search.stopping import StopReason
from ramify.search.votes import Candidate, Vote
from ramify.solution import Solution

from .controller import SearchController


class VotedFields(TypedDict):
    """Fields of a solution that its vote decides."""

    answer: str | None
    text: str
    score: float | None
    candidates: tuple[Candidate, ...]


def voted_fields(paths: Sequence[Candidate], vote: Vote, *, pinned: int | None = None) -> VotedFields:
    """Return what a vote among finished paths decides; the path at the node `pinned` wins in any case."""
    winner = next((each for each in paths if each.node == pinned), vote.winner)
    return VotedFields(
        answer=None if winner is None else winner.answer,
        text="" if winner is None else winner.text,
        score=None if winner is None else winner.score,
        candidates=vote.counted(paths),
    )


def conclude(
    done: SearchController,
    *,
    problem: Problem,
    config: RunConfig,
    model: Mapping[str, Any],
) -> Solution:
    """Return the solution of a search that has ended."""
    done.meter.stop()
    return Solution(
        **voted_fields(done.candidates(), done.vote(), pinned=done.steering.pinned),
        problem_id=problem.id,
        question=problem.question,
        stop_reason=done.stop_reason or StopReason.COMPLETED,
        stop=done.stopped_by,
        usage=done.meter.usage(),
        seed=config.seed,
        strategy=strategy_to_dict(done.strategy),
        model=model,
        tree=done.tree,
    )
