"""A saved run told again: its tree as the events that could have made it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from ramify.events import (
    AnswerUpdate,
    Event,
    NodeAdded,
    NodePruned,
    NodeScored,
    NodesDispatched,
    RunFinished,
    RunStarted,
)
from ramify.search.node import FinishReason, Node, NodeState, Origin
from ramify.search.votes import Candidate

from .run_view import RunView

if TYPE_CHECKING:
    from ramify.search.tree import SearchTree
    from ramify.solution import Solution

Beat = tuple[Event, ...]
"""Events that are shown as one."""


def beats(solution: Solution, vote: str = "majority") -> list[Beat]:
    """Return a run step by step, in the order in which the steps were begun; the last beat ends it.

    A tree does not say when something was given up: it is shown when the search goes on below that depth. `vote` is
    what ranked the answers meanwhile.
    """
    tree = solution.tree
    start = RunStarted(
        question=solution.question,
        strategy=str(solution.strategy.get("name", "")),
        prompt_tokens=solution.usage.policy.prompt_tokens,
    )
    middle = [] if tree is None else [*_grown(tree, vote)]
    return [(start,), *middle, (_final(solution), RunFinished(solution=solution))]


def replayed(solution: Solution, *, vote: str = "majority", until: int | None = None) -> RunView:
    """Return the view of a saved run after its first `until` beats, None for all."""
    view = RunView(solution.question, vote=vote)
    for beat in beats(solution, vote)[:until]:
        for event in beat:
            view.apply(event)
    return view


def with_tree(solution: Solution) -> Solution:
    """Return a solution that has a tree: its own, else one of its finished paths, each in one step."""
    if solution.tree is not None:
        return solution
    from ramify.search.tree import ROOT, SearchTree

    tree, moved = SearchTree(), list[Candidate]()
    for candidate in solution.candidates:
        node = tree.add_pending(ROOT, origin=Origin.REST)
        tree.complete(node.id, candidate.text, (), None, FinishReason.EOS, token_count=candidate.generated_tokens)
        if candidate.score is not None:
            tree.score(node.id, candidate.score)
        tree.finish(node.id, candidate.answer)
        moved.append(replace(candidate, node=node.id))
    return replace(solution, tree=tree, candidates=tuple(moved))


def _grown(tree: SearchTree, vote: str) -> Iterator[Beat]:
    votes = dict[str, tuple[int, float]]()
    waiting = list[Node]()
    for node in tree:
        if node.parent is None:
            continue
        early = [each for each in waiting if each.depth < node.depth]
        waiting = [each for each in waiting if each.depth >= node.depth]
        told: list[Event] = [*map(_pruned, early), *_made(node)]
        if node.answer is not None and node.state is NodeState.FINISHED:
            count, weight = votes.get(node.answer, (0, 0.0))
            votes[node.answer] = count + 1, weight + (1.0 if node.score is None else node.score)
            told.append(_update(votes, vote))
        if node.state is NodeState.PRUNED:
            waiting.append(node)
        yield tuple(told)
    if waiting:
        yield tuple(map(_pruned, waiting))


def _made(node: Node) -> Iterator[Event]:
    assert node.parent is not None
    if node.origin is not Origin.HAND:
        yield NodesDispatched(parent=node.parent, nodes=(node.id,))
    if node.state is NodeState.PENDING:
        return
    yield NodeAdded(
        node=node.id,
        parent=node.parent,
        depth=node.depth,
        text=node.text,
        generated_tokens=node.token_count,
        logprob=node.logprob,
        state=NodeState.FINISHED if node.state is NodeState.FINISHED else NodeState.OPEN,
        finish_reason=node.finish_reason or FinishReason.STEP,
        answer=node.answer,
    )
    if node.score is not None:
        yield NodeScored(node=node.id, score=node.score)


def _pruned(node: Node) -> Event:
    assert node.prune_reason is not None
    return NodePruned(node=node.id, reason=node.prune_reason)


def _update(votes: dict[str, tuple[int, float]], vote: str) -> Event:
    groups = [(answer, count, weight) for answer, (count, weight) in votes.items()]
    by_weight = vote == "weighted"
    ranked = sorted(groups, key=lambda each: (each[2], each[1]) if by_weight else (each[1], each[2]), reverse=True)
    return AnswerUpdate(answer=ranked[0][0], groups=tuple(ranked))


def _final(solution: Solution) -> Event:
    """Return the vote that decided: equal answers count together even where they are written differently."""
    alike = Counter(each.answer for each in solution.candidates)
    groups = dict[tuple[int, float, str], tuple[str, int, float]]()
    for each in solution.candidates:
        if each.answer is not None:
            apart = each.answer if alike[each.answer] == each.votes else ""
            groups.setdefault((each.votes, round(each.weight, 9), apart), (each.answer, each.votes, each.weight))
    ranked = sorted(groups.values(), key=lambda group: (group[0] != solution.answer, -group[1], -group[2]))
    return AnswerUpdate(answer=solution.answer, groups=tuple(ranked))
