"""REBASE, reward balanced search (Wu et al., "Inference Scaling Laws", ICLR 2025, arXiv 2408.00724, section 3.2).

The root gets B_0 = `width` children. When all steps of a depth are complete and scored, the finished ones leave:
B_i = width - paths finished so far. The others share B_i by eq. 1 (see `ramify.search.allocation`); those that get
nothing are pruned. It ends when B_i is 0, nothing can be expanded, or at `max_depth`.

Where the paper is silent: only finished paths lower B_i, so the share of a path that died otherwise (empty step, too
long) goes back to the living, where the authors' code loses it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..aggregation import Aggregation, aggregate
from ..allocation import RoundingRule, allocate
from ..strategy import Ask, Expansion, NoState, check_count, check_positive, check_told, choice
from ..tree import ROOT, Node, NodeState, PruneReason, SearchTree
from ..votes import VoteRule


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebase:
    """Share a width among the steps of each depth by their reward.

    `width` is the number of paths. `temperature` balances exploration (high) and exploitation (low); the paper uses
    0.1, the authors' published configuration 0.2. `aggregation` makes the score that shares are computed from.
    `merge_duplicates` prunes a step that repeats an earlier sibling's text, but for white space, before shares are
    computed, so that a direction is not paid twice (the concern of DORA, arXiv 2506.15707). `vote` decides the
    answer. `max_depth` is the most steps on a path.
    """

    name: ClassVar[str] = "rebase"
    width: int = 16
    temperature: float = 0.1
    aggregation: Aggregation = Aggregation.LAST
    rounding: RoundingRule = RoundingRule.CEIL
    merge_duplicates: bool = False
    vote: VoteRule = VoteRule.WEIGHTED
    max_depth: int = 25

    def __post_init__(self) -> None:
        check_count("width", self.width)
        check_count("max_depth", self.max_depth)
        check_positive("temperature", self.temperature)
        object.__setattr__(self, "aggregation", choice("aggregation", Aggregation, self.aggregation))
        object.__setattr__(self, "rounding", choice("rounding", RoundingRule, self.rounding))
        object.__setattr__(self, "vote", choice("vote", VoteRule, self.vote))

    @property
    def uses_reward(self) -> bool:
        """Always: the shares come from scores."""
        return True

    def start(self) -> NoState:
        """Return the state of a new run."""
        return NoState()

    def ask(self, tree: SearchTree, state: NoState) -> Ask:
        """Return the next depth's expansions and prunes, or nothing while the present depth is incomplete."""
        if tree.pending_count or tree.unscored_count:
            return Ask()
        leaves = tree.open_leaves()
        if not leaves:
            return Ask(done=True)
        # Leaves of an earlier depth remain only where an ask was applied in part; they go first.
        depth = leaves[0].depth
        if depth == 0:
            return Ask((Expansion(ROOT, self.width),))
        if depth >= self.max_depth:
            return Ask(prune=tuple((leaf.id, PruneReason.DEPTH) for leaf in leaves), done=True)
        return self._share(tree, depth, [leaf for leaf in leaves if leaf.depth == depth])

    def tell(self, tree: SearchTree, state: NoState, node_ids: Iterable[int]) -> NoState:
        """Check that every step is scored; the tree holds all there is to know."""
        check_told(tree, node_ids, scored=True)
        return state

    def _share(self, tree: SearchTree, depth: int, leaves: Sequence[Node]) -> Ask:
        duplicates = self._duplicates(tree, depth)
        # Those that this depth's allocation already expanded or pruned count again, so that a repeated ask agrees.
        rivals = [node for node in tree.level(depth) if _competes(node) and node.id not in duplicates]
        shares = dict(zip((node.id for node in rivals), self._shares(tree, depth, rivals), strict=True))
        expansions, prune = list[Expansion](), list[tuple[int, PruneReason]]()
        for leaf in leaves:
            if leaf.id in duplicates:
                prune.append((leaf.id, PruneReason.DUPLICATE))
            elif shares[leaf.id]:
                expansions.append(Expansion(leaf.id, shares[leaf.id]))
            else:
                prune.append((leaf.id, PruneReason.ALLOCATION))
        return Ask(tuple(expansions), tuple(prune), done=not expansions and tree.depth == depth)

    def _shares(self, tree: SearchTree, depth: int, rivals: Sequence[Node]) -> list[int]:
        width = self.width - sum(node.depth <= depth for node in tree.finished_nodes())
        if width <= 0:
            return [0] * len(rivals)
        scores = [aggregate(tree.path_scores(node.id), self.aggregation) for node in rivals]
        return allocate(scores, width, self.temperature, self.rounding)

    def _duplicates(self, tree: SearchTree, depth: int) -> set[int]:
        if not self.merge_duplicates:
            return set()
        seen, duplicates = set[tuple[int | None, str]](), set[int]()
        for node in tree.level(depth):
            if not _competes(node):
                continue
            key = (node.parent, " ".join(node.text.split()))
            if key in seen:
                duplicates.add(node.id)
            seen.add(key)
        return duplicates


def _competes(node: Node) -> bool:
    return node.state is NodeState.OPEN or node.prune_reason is PruneReason.ALLOCATION
