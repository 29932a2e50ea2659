"""How a search that explores ends: its best leaves are brought to their ends, so that `width` paths can vote."""

from __future__ import annotations

from collections.abc import Sequence

from ..strategy import Ask, Expansion
from ..tree import ROOT, Node, PruneReason, SearchTree

STEPS_PER_PATH = 4
"""Steps explored for each path of the width, unless `explore_steps` says otherwise."""


def missing(tree: SearchTree, width: int) -> int:
    """Return how many paths must still finish."""
    return max(0, width - tree.finished_count)


def explored(tree: SearchTree, width: int, explore_steps: int | None) -> bool:
    """Tell whether as many steps were explored as `explore_steps` says; None means 4 for each path of the width."""
    return len(tree) > (STEPS_PER_PATH * width if explore_steps is None else explore_steps)


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
