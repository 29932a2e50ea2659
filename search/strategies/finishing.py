"""How a search that explores ends: its best leaves are brought to their ends, so that `width` paths can vote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..strategy import Ask, Expansion
from ..tree import ROOT, Node, NodeState, PruneReason, SearchTree

STEPS_PER_PATH = 4
"""Steps explored for each path of the width, unless `explore_steps` says otherwise."""


@dataclass(frozen=True, slots=True)
class Exploring:
    """State of a search that explores; `winding_down`: the budget nears its end, so paths are only finished."""

    winding_down: bool = False

    def explores(self, tree: SearchTree, width: int, steps: int | None) -> bool:
        """Tell whether to explore on: up to `steps` steps, None for 4 for each path of the width."""
        most = STEPS_PER_PATH * width if steps is None else steps
        going = tree.root.state is NodeState.OPEN and missing(tree, width) > 0 and not self.winding_down
        return going and len(tree) <= most


def missing(tree: SearchTree, width: int) -> int:
    """Return how many paths must still finish."""
    return max(0, width - tree.finished_count)


def finish(tree: SearchTree, *, width: int, max_depth: int) -> Ask:
    """Return the paths that are brought to their ends, best scores first; all other leaves are given up."""
    leaves, paths = tree.open_leaves(), missing(tree, width)
    ready = [leaf for leaf in leaves if leaf.depth < max_depth]
    chosen = sorted(ready, key=lambda leaf: (-(leaf.score or 0.0), leaf.order))[:paths]
    kept = {leaf.id for leaf in chosen} | {ROOT}
    prune = tuple(
        (leaf.id, PruneReason.DEPTH if leaf.depth >= max_depth else PruneReason.ALLOCATION)
        for leaf in leaves
        if leaf.id not in kept
    )
    return Ask(_dealt(chosen, paths) if chosen else (), prune, done=not chosen)


def _dealt(leaves: Sequence[Node], paths: int) -> tuple[Expansion, ...]:
    """Deal paths to leaves in turn, the first ones getting more where it does not come out even."""
    each, more = divmod(paths, len(leaves))
    return tuple(Expansion(leaf.id, each + (place < more), to_the_end=True) for place, leaf in enumerate(leaves))
