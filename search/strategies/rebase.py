"""REBASE, reward balanced search (Wu et al., "Inference Scaling Laws", ICLR 2025, arXiv 2408.00724, section 3.2).

The root gets B_0 = `width` children. When all steps of a depth are complete and scored, the finished ones leave:
B_i = width - paths finished so far. The others share B_i by eq. 1 (see `ramify.search.allocation`); those that get
nothing are pruned. It ends when B_i is 0, nothing can be expanded, or at `max_depth`.

The paper does not treat paths that end without finishing (empty step, too long). Here only finished
paths lower B_i, so the share of such a path goes back to the others; the authors' code loses it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from ..allocation import RoundingRule, allocate
from ..strategy import Ask, Strategy, check_count, check_flag, check_positive, choice
from ..tree import Node, SearchTree
from ..votes import Aggregation, VoteRule, aggregate
from .growth import competes, grow_level

PAPER_TEMPERATURE = 0.1
"""Temperature of the paper's experiments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebase(Strategy):
    """Share a width among the steps of each depth by their reward.

    `width` is the number of paths. `temperature` balances exploration (high) and exploitation (low); the paper uses
    0.1, the authors' published configuration 0.2. None takes the one that the reward was tried with in an engine, and
    PAPER_TEMPERATURE where there is none. `aggregation` makes the score that shares are computed from.
    `merge_duplicates` prunes a step that repeats an earlier sibling's text, but for white space, before shares are
    computed, so that a direction is not paid twice (the concern of DORA, arXiv 2506.15707). `depth_widths` caps the
    width that the steps of depth 1, 2, ... share, the last number that of all deeper ones too; a number alone caps
    every depth, empty none. `vote` decides the answer. `max_depth` is the most steps on a path.

    Raises:
        StrategyError: if an option is out of range.
    """

    name: ClassVar[str] = "rebase"
    guided: ClassVar[bool] = True
    leaves_only: ClassVar[bool] = True
    width: int = 16
    temperature: float | None = None
    aggregation: Aggregation = Aggregation.LAST
    rounding: RoundingRule = RoundingRule.CEIL
    merge_duplicates: bool = False
    depth_widths: tuple[int, ...] = ()
    vote: VoteRule = VoteRule.WEIGHTED
    max_depth: int = 25

    def __post_init__(self) -> None:
        Strategy.__post_init__(self)
        if self.temperature is not None:
            check_positive("temperature", self.temperature)
        check_flag("merge_duplicates", self.merge_duplicates)
        object.__setattr__(self, "depth_widths", _listed(self.depth_widths))
        for each in self.depth_widths:
            check_count("depth_widths", each)
        object.__setattr__(self, "rounding", choice("rounding", RoundingRule, self.rounding))

    def decide(self, tree: SearchTree, *, winding_down: bool = False) -> Ask:
        """Return the next depth's expansions and prunes, or nothing while the present depth is incomplete."""
        return grow_level(
            tree,
            width=self.width,
            max_depth=self.max_depth,
            share=lambda rivals, left, depth: self._shares(tree, rivals, left),
            duplicates=_duplicates if self.merge_duplicates else None,
        )

    def _shares(self, tree: SearchTree, rivals: Sequence[Node], width: int) -> list[int]:
        scores = [aggregate(tree.path_scores(node.id), self.aggregation) for node in rivals]
        temperature = PAPER_TEMPERATURE if self.temperature is None else self.temperature
        return allocate(scores, min(width, self._cap(rivals[0].depth)), temperature, self.rounding)

    def _cap(self, depth: int) -> int:
        """Return the most children that a depth may get."""
        return self.depth_widths[min(depth, len(self.depth_widths)) - 1] if self.depth_widths else self.width


def _duplicates(tree: SearchTree, depth: int) -> set[int]:
    seen, duplicates = set[tuple[int | None, str]](), set[int]()
    for node in tree.level(depth):
        if not competes(node):
            continue
        key = (node.parent, " ".join(node.text.split()))
        if key in seen:
            duplicates.add(node.id)
        seen.add(key)
    return duplicates


def _listed(widths: object) -> tuple[Any, ...]:
    return tuple(cast("Iterable[Any]", widths)) if isinstance(widths, Iterable) else (widths,)
