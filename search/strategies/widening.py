"""Sampling in waves that double while the vote is uncertain.

A wave of chains is written together; the next one, as large as all before it, starts only if the vote is still open:
the leading answer's posterior is below `confidence` (see `ramify.search.votes`) and the chance that the
next wave changes the answer is at least `min_change`. Doubling bounds the surplus of samples by a factor of two
and keeps the batch full, where sampling one by one (Adaptive-Consistency, arXiv 2305.11860) leaves it empty.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ramify.errors import StrategyError

from ..strategy import Ask, Strategy, check_count
from ..tree import ROOT, Node, SearchTree
from ..votes import Aggregation, VoteRule, aggregate, chance_of_change, majority_posterior, weighted_posteriors
from .growth import grow_chains


@dataclass(frozen=True, slots=True, kw_only=True)
class Widening(Strategy):
    """Sample in doubling waves, from `start_width` paths to at most `width`.

    `confidence` is the posterior at which sampling ends, `min_change` the least chance of another answer that a
    further wave is worth. `vote` "majority" counts and needs no reward; "weighted" sums the scores that `aggregation`
    makes. Answers that are written differently count as different here, which can only lead to more samples.
    `max_depth` is the most steps on a path.

    Raises:
        StrategyError: if an option is out of range.
    """

    name: ClassVar[str] = "widening"
    leaves_only: ClassVar[bool] = True
    ends_early: ClassVar[bool] = True
    start_width: int = 4
    width: int = 64
    confidence: float = 0.95
    min_change: float = 0.02
    vote: VoteRule = VoteRule.MAJORITY
    aggregation: Aggregation = Aggregation.LAST
    max_depth: int = 25

    def __post_init__(self) -> None:
        Strategy.__post_init__(self)
        check_count("start_width", self.start_width)
        for name in ("confidence", "min_change"):
            value: object = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise StrategyError(f"{name} is {value!r}; use a number from 0 to 1")
        if self.vote is VoteRule.BEST:
            raise StrategyError("vote cannot be 'best': a best score has no posterior; use majority or weighted")

    def decide(self, tree: SearchTree, *, winding_down: bool = False) -> Ask:
        """Return the next step of every chain that waits for one, or the next wave."""
        begun = tree.child_count(ROOT)
        wave = begun or min(self.start_width, self.width)
        ask = grow_chains(tree, width=wave, max_depth=self.max_depth, scored=self.uses_reward)
        if not ask.done or begun >= self.width or self._decided(tree, begun):
            return ask
        more = grow_chains(tree, width=min(self.width, 2 * begun), max_depth=self.max_depth, scored=self.uses_reward)
        return Ask(more.expansions, more.prune)

    def _decided(self, tree: SearchTree, wave: int) -> bool:
        answered = [node for node in tree.finished_nodes() if node.answer is not None]
        counts = [count for _, count in Counter(node.answer for node in answered).most_common(2)]
        if not counts:
            return False
        leader, runner_up = counts[0], counts[1] if len(counts) > 1 else 0
        if chance_of_change(leader, runner_up, wave) < self.min_change:
            return True
        if self.vote is VoteRule.MAJORITY:
            return majority_posterior(leader, runner_up) >= self.confidence
        return max(weighted_posteriors(self._scores(tree, answered))) >= self.confidence

    def _scores(self, tree: SearchTree, answered: Sequence[Node]) -> list[list[float]]:
        scores: dict[str | None, list[float]] = {}
        for node in answered:
            scores.setdefault(node.answer, []).append(aggregate(tree.path_scores(node.id), self.aggregation))
        return list(scores.values())
