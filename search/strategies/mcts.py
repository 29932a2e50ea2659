"""Monte Carlo tree search over reasoning steps, with a process reward in place of random playouts.

Selection goes from the root to a node that may get more children, always to the child with the highest bound (see
`ramify.search.selection`). New steps are evaluated by their reward, which is backed up to all ancestors as a running
mean (Wu et al., arXiv 2408.00724, appendix B). With `widening` k and exponent a, a node visited N times may have
ceil(k N^a) children (progressive widening; Couetoux et al., "Continuous Upper Confidence Trees", 2011).

The paper's MCTS loses because many of its paths stay unfinished and do not vote. Here the search explores for a
number of steps or a share of the budget, and then brings the best leaves to their ends, so that `width` paths vote.
A round of selections is decoded as one batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil
from typing import ClassVar

from ..aggregation import Aggregation
from ..selection import SelectionRule, bounds
from ..strategy import Ask, Expansion, check_count, check_flag, check_positive, check_share, check_told, choice
from ..tree import ROOT, Node, NodeState, SearchTree
from ..votes import VoteRule
from .finishing import Exploring, finish, missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Mcts:
    """Explore by bounds, then finish the best leaves.

    `width` is the number of finished paths that end the search. `selection` and `exploration` make the bound; the
    paper's constant is 1. The root gets `root_children` (None: half the width), other nodes `children`. `batch`
    selections are made before their steps are written together. Exploring ends after `explore_steps` steps (None: 4
    for each path of the width) or `explore_share` of the budget. `widening` 0 is off. With `rollouts` every new step
    is first continued to its end, and the reward of that path is backed up too. `vote` decides the answer from the
    scores that `aggregation` makes. `max_depth` is the most steps on a path.

    Raises StrategyError if an option is out of range.
    """

    name: ClassVar[str] = "mcts"
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
        for name in ("width", "children", "batch", "max_depth"):
            check_count(name, getattr(self, name))
        for name in ("root_children", "explore_steps"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name))
        check_positive("exploration", self.exploration)
        check_positive("widening_exponent", self.widening_exponent)
        if self.widening != 0:
            check_positive("widening", self.widening)
        check_flag("rollouts", self.rollouts)
        check_share("explore_share", self.explore_share)
        object.__setattr__(self, "selection", choice("selection", SelectionRule, self.selection))
        object.__setattr__(self, "aggregation", choice("aggregation", Aggregation, self.aggregation))
        object.__setattr__(self, "vote", choice("vote", VoteRule, self.vote))

    @property
    def uses_reward(self) -> bool:
        """Always: it evaluates the steps."""
        return True

    def start(self) -> Exploring:
        """Return the state of a new run."""
        return Exploring()

    def ask(self, tree: SearchTree, state: Exploring) -> Ask:
        """Return the next round once the last one is complete and scored."""
        if tree.pending_count or tree.unscored_count:
            return Ask()
        if state.explores(tree, self.width, self.explore_steps):
            plan = self._rollouts(tree) or self._round(tree)
            if plan:
                return Ask(plan)
        return finish(tree, width=self.width, max_depth=self.max_depth)

    def tell(self, tree: SearchTree, state: Exploring, node_ids: Iterable[int]) -> Exploring:
        """Check that every step is scored; the tree backs the scores up."""
        check_told(tree, node_ids, scored=True)
        return state

    def wind_down(self, tree: SearchTree, state: Exploring) -> Exploring:
        """Return the state in which leaves are only finished."""
        return Exploring(winding_down=True)

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
            below = [child for child in tree.children(node.id) if self._alive(tree, child, exhausted)]
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
