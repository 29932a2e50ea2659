"""Monte Carlo tree search over reasoning steps, with a process reward in place of random playouts.

Selection goes from the root to a node that may get more children, always to the child with the highest bound: UCT or
PUCT over Q, the mean of the scores at and below a node (`Node.value_sum / Node.visits`). Selections of one batch see
each other as visits that brought nothing (virtual loss; Chaslot et al., "Parallel Monte-Carlo Tree Search", 2008,
section 3.3), so that they spread over the tree instead of choosing the same leaf. New steps are evaluated by their
reward, which is backed up to all ancestors as a running mean (Wu et al., arXiv 2408.00724, appendix B). With `widening`
k and exponent a, a node visited N times may have ceil(k N^a) children (progressive widening; Couetoux et al.,
"Continuous Upper Confidence Trees", 2011).

The paper's MCTS loses because many of its paths stay unfinished and do not vote. Here the search explores for a
number of steps or a share of the budget, and then brings the best leaves to their ends, so that `width` paths vote.
A round of selections is decoded as one batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum, auto
from math import ceil, exp, log, sqrt
from typing import ClassVar

from ..budget import MOST_PATHS
from ..strategy import Ask, Expansion, Strategy, check_count, check_flag, check_positive, check_share, choice
from ..tree import ROOT, Node, NodeState, SearchTree
from ..votes import Aggregation, VoteRule
from .growth import explores, finish_leaves, missing

MOST_WIDENING_EXPONENT = 4.0
"""Highest exponent of progressive widening: powers of a node's visits stay numbers."""
PUCT_BASE = 19_652
"""Growth of PUCT's exploration constant with the visits, as in AlphaZero (Silver et al., Science 362, 2018)."""


class SelectionRule(StrEnum):
    """Upper bound by which a search selects among the children of a node."""

    UCT = auto()
    """Q + c sqrt(ln N(parent) / N) (Kocsis and Szepesvari, 2006; as in Wu et al., arXiv 2408.00724, appendix B)."""
    PUCT = auto()
    """Q + c P sqrt(N(parent)) / (1 + N), where the prior P comes from the policy (AlphaZero)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MCTS(Strategy):
    """Explore by bounds, then finish the best leaves.

    `width` is the number of finished paths that end the search. `selection` and `exploration` make the bound; the
    paper's constant is 1. The root gets `root_children` (None: half the width), other nodes `children`. `batch`
    selections are made before their steps are generated together. Exploring ends after `explore_steps` steps (None: 4
    for each path of the width) or `explore_share` of the budget. `widening` 0 is off. With `rollouts` every new step
    is first continued to its end, and the reward of that path is backed up too. `vote` decides the answer from the
    scores that `aggregation` makes. `max_depth` is the most steps on a path.

    Raises:
        StrategyError: if an option is out of range.
    """

    name: ClassVar[str] = "mcts"
    guided: ClassVar[bool] = True
    width: int = 16
    selection: SelectionRule = SelectionRule.UCT
    exploration: float = 1.0
    root_children: int | None = None
    children: int = 2
    batch: int = 8
    explore_steps: int | None = None
    explore_share: float = 0.5
    widening: float = 0.0
    widening_exponent: float = 0.5
    rollouts: bool = False
    aggregation: Aggregation = Aggregation.LAST
    vote: VoteRule = VoteRule.WEIGHTED
    max_depth: int = 25

    def __post_init__(self) -> None:
        Strategy.__post_init__(self)
        for name in ("children", "batch"):
            check_count(name, getattr(self, name))
        for name in ("root_children", "explore_steps"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name))
        check_positive("exploration", self.exploration)
        check_positive("widening_exponent", self.widening_exponent, most=MOST_WIDENING_EXPONENT)
        if self.widening != 0:
            check_positive("widening", self.widening, most=MOST_PATHS)
        check_flag("rollouts", self.rollouts)
        check_share("explore_share", self.explore_share)
        object.__setattr__(self, "selection", choice("selection", SelectionRule, self.selection))

    def decide(self, tree: SearchTree, *, winding_down: bool = False) -> Ask:
        """Return the next round once the last one is complete and scored."""
        if tree.pending_count or tree.unscored_count:
            return Ask()
        if explores(tree, width=self.width, steps=self.explore_steps, winding_down=winding_down):
            plan = self._rollouts(tree) or self._round(tree)
            if plan:
                return Ask(plan)
        return finish_leaves(tree, width=self.width, max_depth=self.max_depth)

    # Exploring

    def _rollouts(self, tree: SearchTree) -> tuple[Expansion, ...]:
        if not self.rollouts or len(tree) == 1:
            return ()
        leaves = [leaf for leaf in tree.open_leaves() if leaf.depth < self.max_depth][: missing(tree, self.width)]
        return tuple(Expansion(leaf.id, 1, to_the_end=True) for leaf in leaves)

    def _round(self, tree: SearchTree) -> tuple[Expansion, ...]:
        plan, virtual, exhausted = Counter[int](), Counter[int](), set[int]()
        room = missing(tree, self.width)
        for _ in range(self.batch):
            trail = self._select(tree, plan, virtual, exhausted) if room else []
            if not trail:
                break
            chosen = trail[-1]
            count = min(room, self._places(tree, chosen) - plan[chosen.id])
            plan[chosen.id] += count
            room -= count
            virtual.update(node.id for node in trail)
        return tuple(Expansion(node, count) for node, count in plan.items())

    def _select(self, tree: SearchTree, plan: Counter[int], virtual: Counter[int], exhausted: set[int]) -> list[Node]:
        """Return the nodes from the root to one that may get more children; empty if there is none."""
        trail = [tree.root]
        while trail:
            node = trail[-1]
            if self._places(tree, node) > plan[node.id]:
                return trail
            below = [child for child in tree.next_steps(node.id) if self._alive(tree, child, exhausted)]
            if below:
                ranks = bounds(self.selection, node, below, self.exploration, virtual)
                trail.append(below[max(range(len(below)), key=lambda i: ranks[i])])
            else:
                exhausted.add(node.id)
                trail.pop()
        return []

    def _alive(self, tree: SearchTree, node: Node, exhausted: set[int]) -> bool:
        if node.state is not NodeState.OPEN or node.id in exhausted:
            return False
        return bool(self.widening) or self.rollouts or tree.live_leaves(node.id) > 0

    def _places(self, tree: SearchTree, node: Node) -> int:
        """Return how many more children a node may get now."""
        if node.state is not NodeState.OPEN or node.depth >= self.max_depth:
            return 0
        first = self._root_children() if node.id == ROOT else self.children + self.rollouts
        wide = ceil(self.widening * node.visits**self.widening_exponent) if self.widening else 0
        return max(first, wide) - tree.child_count(node.id)

    def _root_children(self) -> int:
        return max(1, self.width // 2) if self.root_children is None else self.root_children


def bounds(
    rule: SelectionRule, parent: Node, children: Sequence[Node], exploration: float, virtual: Mapping[int, int]
) -> list[float]:
    """Return the upper bound of each scored child, in order.

    `virtual` holds the selections of this batch by node id. `exploration` is c of UCT; PUCT adds it to the slowly
    growing ln((N + base + 1) / base).
    """
    above = parent.visits + virtual.get(parent.id, 0)
    visits = [max(1, child.visits + virtual.get(child.id, 0)) for child in children]
    means = [child.value_sum / count for child, count in zip(children, visits, strict=True)]
    if rule is SelectionRule.UCT:
        spread = log(max(1, above))
        return [mean + exploration * sqrt(spread / count) for mean, count in zip(means, visits, strict=True)]
    weight = (log((above + PUCT_BASE + 1) / PUCT_BASE) + exploration) * sqrt(above)
    return [
        mean + weight * prior / (1 + count) for mean, prior, count in zip(means, priors(children), visits, strict=True)
    ]


def priors(siblings: Sequence[Node]) -> list[float]:
    """Return P of each sibling: proportional to exp of its step's mean log-probability, equal if one is unknown."""
    if any(node.logprob is None or not node.token_count for node in siblings):
        return [1 / len(siblings)] * len(siblings)
    weights = [exp((node.logprob or 0.0) / node.token_count) for node in siblings]
    total = sum(weights)
    return [weight / total for weight in weights] if total else [1 / len(siblings)] * len(siblings)
