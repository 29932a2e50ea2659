"""A saved run at one of its steps: a copy of its search tree that is grown in the order in which steps were begun."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from ramify.search.node import FinishReason, Node, NodeState, Origin, PruneReason
from ramify.search.tree import ROOT, SearchTree
from ramify.search.votes import Candidate

from .run_view import AnswerVotes

if TYPE_CHECKING:
    from ramify.solution import Solution


class PartialTree:
    """The first steps of a finished tree; `tree` holds them, growing forwards is cheap and backwards begins again.

    A tree does not say when something was given up: that is shown when the search goes on below that depth, and not
    before the last step after it has begun.
    """

    def __init__(self, whole: SearchTree) -> None:
        self._whole = whole
        self._last_child = {node.parent: node.id for node in whole}
        self._restart()

    def _restart(self) -> None:
        self.tree = SearchTree()
        self._to_prune: list[Node] = []

    def seek(self, steps: int) -> None:
        """Hold the first `steps` steps, from 0 to all."""
        if steps < len(self.tree) - 1:
            self._restart()
        while len(self.tree) - 1 < steps:
            self._add(self._whole.node(len(self.tree)))

    def _add(self, node: Node) -> None:
        assert node.parent is not None
        kept = list[Node]()
        for each in self._to_prune:
            if each.depth < node.depth and self._last_child.get(each.id, ROOT) < node.id:
                self.tree.prune(each.id, each.prune_reason or PruneReason.STOPPED)
            else:
                kept.append(each)
        self._to_prune = kept
        self.tree.add_pending(node.parent, node.index, origin=node.origin, about=node.about)
        if node.finish_reason is not None or node.id in self._last_child:
            reason = node.finish_reason or FinishReason.STEP
            self.tree.complete(node.id, node.text, node.tokens, node.logprob, reason, token_count=node.token_count)
            if node.score is not None:
                self.tree.score(node.id, node.score, parts=node.scores)
            if node.state is NodeState.FINISHED:
                self.tree.finish(node.id, node.answer)
            if node.state is NodeState.CONTINUED:
                self.tree.go_on(node.id)
        if node.state is NodeState.PRUNED:
            self._to_prune.append(node)


def with_tree(solution: Solution) -> Solution:
    """Return a solution that has a tree: its own, else one of its finished paths, each in one step."""
    if solution.tree is not None:
        return solution
    tree, moved = SearchTree(), list[Candidate]()
    for candidate in solution.candidates:
        node = tree.add_pending(ROOT, origin=Origin.REST)
        tree.complete(node.id, candidate.text, (), None, FinishReason.EOS, token_count=candidate.generated_tokens)
        if candidate.score is not None:
            tree.score(node.id, candidate.score)
        tree.finish(node.id, candidate.answer)
        moved.append(replace(candidate, node=node.id))
    return replace(solution, tree=tree, candidates=tuple(moved))


def final_votes(solution: Solution) -> tuple[AnswerVotes, ...]:
    """Return the vote that decided, the result first.

    Equal answers count together even where they are written differently.
    """
    alike = Counter(each.answer for each in solution.candidates)
    groups = dict[tuple[object, ...], AnswerVotes]()
    leading: tuple[object, ...] | None = None
    for each in solution.candidates:
        if each.answer is None:
            continue
        # Earlier versions did not save the group: equal answers are then those with the same votes and weight.
        apart = each.answer if alike[each.answer] == each.votes else ""
        key = (each.votes, round(each.weight, 9), apart) if each.group is None else (each.group,)
        groups.setdefault(key, AnswerVotes(each.answer, each.votes, each.weight))
        if leading is None and each.answer == solution.answer:
            leading = key
    ranked = sorted(groups, key=lambda key: (key != leading, -groups[key].votes, -groups[key].weight))
    return tuple(groups[key] for key in ranked)
