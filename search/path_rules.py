"""Path rules: they end single unfinished paths instead of the whole search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor
from typing import ClassVar, Protocol

from ramify.errors import SearchError

from .tree import Node, SearchTree


class PathRule(Protocol):
    """A choice of the unfinished paths that are not worth continuing. It changes nothing."""

    name: ClassVar[str]

    def __call__(self, tree: SearchTree) -> list[int]:
        """Return the open leaves to be pruned, in path order."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PathConfidence:
    """Cut paths whose running confidence falls below a percentile of the first finished ones.

    Confidence is the mean log-probability of a path's tokens. The first `warm_up` paths by their child numbers are
    never cut; once all of them have ended, the `percentile` of the finished ones is the threshold for the rest.
    Online thinking with confidence (Fu et al., DeepConf, arXiv 2508.15260, section 3.3) adapted: the paper uses the
    log-probabilities of the k likeliest tokens in a sliding window and cuts within a step; here only the sampled tokens
    are known, and paths are cut between steps.

    Raises:
        SearchError: if an option is out of range.
    """

    name: ClassVar[str] = "confidence"
    percentile: float = 10.0
    warm_up: int = 4

    def __post_init__(self) -> None:
        if not 0 < self.percentile < 100:
            raise SearchError(f"percentile is {self.percentile}; use a number between 0 and 100")
        if self.warm_up < 1:
            raise SearchError(f"warm_up is {self.warm_up}; use 1 or more")

    def __call__(self, tree: SearchTree) -> list[int]:
        """Return the open leaves to be pruned, in path order; takes time in proportion to open and finished paths."""
        waiting = [node for node in (*tree.pending(), *tree.open_leaves()) if node.path and node.path[0] < self.warm_up]
        if waiting:
            return []
        first = [
            confidence
            for node in tree.finished_nodes()
            if node.path[0] < self.warm_up and (confidence := path_confidence(tree, node)) is not None
        ]
        if not first:
            return []
        threshold = _percentile(first, self.percentile)
        return [
            leaf.id
            for leaf in tree.open_leaves()
            if leaf.path and (confidence := path_confidence(tree, leaf)) is not None and confidence < threshold
        ]


def path_confidence(tree: SearchTree, node: Node) -> float | None:
    """Return the mean natural log-probability of a path's tokens, None if a step's is not known."""
    steps = tree.path_nodes(node.id)
    tokens = sum(step.token_count for step in steps)
    logprobs = [step.logprob for step in steps if step.logprob is not None]
    return None if len(logprobs) < len(steps) or not tokens else sum(logprobs) / tokens


def _percentile(values: Sequence[float], percentile: float) -> float:
    """Return the value at a percentile, the lower one of two."""
    ranked = sorted(values)
    return ranked[floor((len(ranked) - 1) * percentile / 100)]
