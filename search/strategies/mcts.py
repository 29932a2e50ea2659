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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import ClassVar

from ..aggregation import Aggregation
from ..errors import StrategyError
from ..selection import SelectionRule, bounds
from ..strategy import Ask, Expansion, check_count, check_positive, check_told, choice
from ..tree import ROOT, Node, NodeState, PruneReason, SearchTree
from ..votes import VoteRule

STEPS_PER_PATH = 4
"""Steps explored for each path of the width, unless `explore_steps` says otherwise."""


@dataclass(frozen=True, slots=True)
class MctsState:
    """`winding_down`: the budget nears its end, so paths are only finished."""

    winding_down: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Mcts:
    """Explore by bounds, then finish the best leaves.

    `width` is the number of finished paths that end the search. `selection` and `exploration` make the bound; the
    paper's constant is 1. The root gets `root_children` (None: half the width), other nodes `children`. `batch`
    selections are made before their steps are written together. Exploring ends after `explore_steps` steps (None: 4
    for each path of the width) or `explore_share` of the budget. `widening` 0 is off. With `rollouts` every new step
    is first continued to its end, and the reward of that path is backed up too. `vote` decides the answer from the
    scores that `aggregation` makes. `max_depth` is the most steps on a path.
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
        if self.widening:
            check_positive("widening", self.widening)
        if not 0 < self.explore_share <= 1:
            raise StrategyError(f"explore_share is {self.explore_share!r}; use a number above 0, up to 1")
        object.__setattr__(self, "selection", choice("selection", SelectionRule, self.selection))
        object.__setattr__(self, "aggregation", choice("aggregation", Aggregation, self.aggregation))
        object.__setattr__(self, "vote", choice("vote", VoteRule, self.vote))

    @property
    def uses_reward(self) -> bool:
        """Always: it evaluates the steps."""
        return True

    def start(self) -> MctsState:
        """Return the state of a new run."""
        return MctsState()

    def ask(self, tree: SearchTree, state: MctsState) -> Ask:
        """Return the next round once the last one is complete and scored."""
        if tree.pending_count or tree.unscored_count:
            return Ask()
        if self._may_go_on(tree) and not state.winding_down and not self._explored(tree):
            plan = self._rollouts(tree) or self._round(tree)
            if plan:
                return Ask(plan)
        return self._finish(tree)

    def tell(self, tree: SearchTree, state: MctsState, node_ids: Iterable[int]) -> MctsState:
        """Check that every step is scored; the tree backs the scores up."""
        check_told(tree, node_ids, scored=True)
        return state

    def wind_down(self, tree: SearchTree, state: MctsState) -> MctsState:
        """Return the state in which leaves are only finished."""
        return MctsState(winding_down=True)

    # Exploring

    def _missing(self, tree: SearchTree) -> int:
        return max(0, self.width - tree.finished_count)

    def _may_go_on(self, tree: SearchTree) -> bool:
        return self._missing(tree) > 0 and tree.root.state is NodeState.OPEN

    def _explored(self, tree: SearchTree) -> bool:
        steps = STEPS_PER_PATH * self.width if self.explore_steps is None else self.explore_steps
        return len(tree) > steps

    def _rollouts(self, tree: SearchTree) -> tuple[Expansion, ...]:
        if not self.rollouts or len(tree) == 1:
            return ()
        leaves = [leaf for leaf in tree.open_leaves() if leaf.depth < self.max_depth][: self._missing(tree)]
        return tuple(Expansion(leaf.id, 1, to_the_end=True) for leaf in leaves)

    def _round(self, tree: SearchTree) -> tuple[Expansion, ...]:
        plan, virtual, exhausted = Counter[int](), Counter[int](), set[int]()
        room = self._missing(tree)
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

    # Finishing

    def _finish(self, tree: SearchTree) -> Ask:
        """Return the paths that are brought to their ends; all other leaves are given up."""
        leaves = tree.open_leaves()
        ready = sorted(
            (leaf for leaf in leaves if leaf.depth < self.max_depth),
            key=lambda leaf: (-(leaf.score or 0.0), leaf.order),
        )
        chosen = ready[: self._missing(tree)]
        kept = {leaf.id for leaf in chosen} | {ROOT}
        prune = tuple((leaf.id, self._why_not(leaf)) for leaf in leaves if leaf.id not in kept)
        return Ask(_dealt(chosen, self._missing(tree)) if chosen else (), prune, done=not chosen)

    def _why_not(self, leaf: Node) -> PruneReason:
        return PruneReason.DEPTH if leaf.depth >= self.max_depth else PruneReason.ALLOCATION


def _dealt(leaves: Sequence[Node], paths: int) -> tuple[Expansion, ...]:
    """Deal paths to leaves in turn, the first ones getting more where it does not come out even."""
    each, more = divmod(paths, len(leaves))
    return tuple(Expansion(leaf.id, each + (place < more), to_the_end=True) for place, leaf in enumerate(leaves))
