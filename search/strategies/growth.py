"""Ways to grow a tree that several strategies share: independent chains, level by level, best leaves to their ends."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from ..strategy import Ask, Expansion
from ..tree import ROOT, Node, NodeState, PruneReason, SearchTree

STEPS_PER_PATH = 4
"""Steps explored for each path of the width, unless a strategy says otherwise."""
Share = Callable[[Sequence[Node], int, int], Sequence[int]]
"""Gives the number of children of each rival: (rivals in path order, width that is left, depth) to counts."""


def grow_chains(
    tree: SearchTree, *, width: int, max_depth: int, temperature: float | None = None, scored: bool = False
) -> Ask:
    """Return the next step of each of `width` chains that share only the question; none waits for another.

    With `scored`, a step is continued once it has its score.
    """
    expansions, prune, waiting = list[Expansion](), list[tuple[int, PruneReason]](), False
    absent = width - tree.child_count(ROOT)
    if absent > 0 and tree.root.state is NodeState.OPEN:
        expansions.append(Expansion(ROOT, absent, temperature))
    for leaf in tree.open_leaves():
        if leaf.id == ROOT:
            continue
        if scored and leaf.score is None:
            waiting = True
        elif leaf.depth >= max_depth:
            prune.append((leaf.id, PruneReason.DEPTH))
        else:
            expansions.append(Expansion(leaf.id, 1, temperature))
    unscored = scored and tree.unscored_count > 0
    done = not (expansions or waiting or unscored or tree.pending_count)
    return Ask(tuple(expansions), tuple(prune), done)


def grow_level(
    tree: SearchTree,
    *,
    width: int,
    max_depth: int,
    share: Share,
    duplicates: Callable[[SearchTree, int], Collection[int]] | None = None,
) -> Ask:
    """Return the next level's expansions and prunes, or nothing while the present level is incomplete or unscored.

    The root gets `width` children. The finished paths leave a later level, and `share` divides the rest of the
    width among the others; those that get nothing are pruned, and so are `duplicates` before.
    """
    if tree.pending_count or tree.unscored_count:
        return Ask()
    leaves = tree.open_leaves()
    if not leaves:
        # The budget may have refused some of the first children, and their siblings have all ended already.
        absent = width - tree.child_count(ROOT) if tree.depth == 1 and tree.root.state is NodeState.OPEN else 0
        return Ask((Expansion(ROOT, absent),)) if absent > 0 else Ask(done=True)
    # Leaves of an earlier depth remain only where an ask was applied in part; they go first.
    depth = leaves[0].depth
    if depth == 0:
        return Ask((Expansion(ROOT, width),))
    if depth >= max_depth:
        return Ask(prune=tuple((leaf.id, PruneReason.DEPTH) for leaf in leaves), done=True)
    repeated = duplicates(tree, depth) if duplicates else ()
    # Those that this depth's allocation already expanded or pruned count again, so that a repeated ask agrees.
    rivals = [node for node in tree.level(depth) if competes(node) and node.id not in repeated]
    left = width - sum(node.depth <= depth for node in tree.finished_nodes())
    counts = share(rivals, left, depth) if left > 0 and rivals else [0] * len(rivals)
    shares = dict(zip((node.id for node in rivals), counts, strict=True))
    expansions, prune = list[Expansion](), list[tuple[int, PruneReason]]()
    for leaf in leaves:
        if leaf.depth != depth:
            continue
        if leaf.id in repeated:
            prune.append((leaf.id, PruneReason.DUPLICATE))
        elif shares[leaf.id]:
            expansions.append(Expansion(leaf.id, shares[leaf.id]))
        else:
            prune.append((leaf.id, PruneReason.ALLOCATION))
    return Ask(tuple(expansions), tuple(prune), done=not expansions and tree.depth == depth)


def competes(node: Node) -> bool:
    """Tell whether a node takes part in its level's allocation: it is open, or only an allocation closed it."""
    return node.state is NodeState.OPEN or node.prune_reason is PruneReason.ALLOCATION


def explores(tree: SearchTree, *, width: int, steps: int | None, winding_down: bool) -> bool:
    """Tell whether to explore on: up to `steps` steps, None for STEPS_PER_PATH steps for each path of the width."""
    most = STEPS_PER_PATH * width if steps is None else steps
    going = tree.root.state is NodeState.OPEN and missing(tree, width) > 0 and not winding_down
    return going and len(tree) <= most


def missing(tree: SearchTree, width: int) -> int:
    """Return the number of paths that must still finish."""
    return max(0, width - tree.finished_count)


def finish_leaves(tree: SearchTree, *, width: int, max_depth: int) -> Ask:
    """Return the rests of the paths that are brought to their ends, best scores first; other leaves are pruned."""
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
    """Deal paths to leaves in turn; the first ones get one more where they do not come out even."""
    each, more = divmod(paths, len(leaves))
    return tuple(Expansion(leaf.id, each + (place < more), to_the_end=True) for place, leaf in enumerate(leaves))
