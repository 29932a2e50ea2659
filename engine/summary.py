"""Turns a search into a Solution: one that has ended, or one that cannot be waited for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from ramify.engine.config import RunConfig
from ramify.engine.controller import SearchController
from ramify.engine.ledger import Ledger
from ramify.engine.problem import Problem
from ramify.engine.solution import Solution, SolutionCandidate
from ramify.search.node import NodeState, PruneReason
from ramify.search.registry import strategy_to_dict
from ramify.search.stopping import StopReason
from ramify.search.strategy import AnyStrategy, settled
from ramify.search.tree import SearchTree
from ramify.search.votes import Candidate, Vote, VoteRule, candidates, decide

if TYPE_CHECKING:
    from ramify.engine.run import Run


class Outcome(TypedDict):
    """What a vote says in a solution."""

    answer: str | None
    text: str
    score: float | None
    candidates: tuple[SolutionCandidate, ...]


def outcome(paths: Sequence[Candidate], vote: Vote, *, pinned: int | None = None) -> Outcome:
    """Return the outcome of a vote among finished paths; the path at the node `pinned` wins in any case."""
    winner = next((each for each in paths if each.node == pinned), vote.winner)
    groups = {member.node: group for group in vote.groups for member in group.members}
    return Outcome(
        answer=None if winner is None else winner.answer,
        text="" if winner is None else winner.text,
        score=None if winner is None else winner.score,
        candidates=tuple(SolutionCandidate.of(each, groups.get(each.node)) for each in paths),
    )


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
    return Solution(
        **outcome(done.candidates(), done.vote(), pinned=done.hand.pinned),
        problem_id=problem.id,
        question=problem.question,
        stop_reason=done.stop_reason or StopReason.COMPLETED,
        stop=done.stopped_by,
        usage=ledger.usage(),
        seed=config.seed,
        strategy=strategy_to_dict(done.strategy),
        model=model,
        tree=done.tree,
    )


def as_it_stands(
    run: Run, strategy: AnyStrategy, *, seed: int, model: Mapping[str, Any], pinned: int | None = None
) -> Solution:
    """Return the solution of a run that cannot be waited for; the run itself stays as it is.

    What was unfinished is pruned in a copy of the tree. Answers count as equal only if they are written alike, and
    the majority decides if a path has no score. `pinned` is the node whose answer was chosen by hand, if one was.
    """
    tree = SearchTree.from_dict(run.tree.to_dict())
    for node in (*tree.pending(), *tree.open_leaves()):
        if node.parent is not None and node.state is not NodeState.PRUNED:
            tree.prune(node.id, PruneReason.STOPPED)
    chosen = settled(strategy, tree)
    paths = candidates(tree, chosen.aggregation)
    scored = all(each.score is not None for each in paths if each.answer is not None)
    vote = decide(paths, chosen.vote if scored else VoteRule.MAJORITY, str.__eq__)
    return Solution(
        **outcome(paths, vote, pinned=pinned),
        problem_id=run.problem.id,
        question=run.problem.question,
        stop_reason=StopReason.USER,
        usage=run.usage,
        seed=seed,
        strategy=strategy_to_dict(strategy),
        model=model,
        tree=tree,
    )
