"""Searches that go level by level: all steps of a depth are complete and scored before the next one is planned."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from ..strategy import Ask, Expansion
from ..tree import ROOT, Node, NodeState, PruneReason, SearchTree

Share = Callable[[Sequence[Node], int, int], Sequence[int]]
"""Says how many children each rival gets: (rivals in path order, width that is left, depth) to counts."""


def ask_levels(
    tree: SearchTree,
    *,
    width: int,
    max_depth: int,
    share: Share,
    duplicates: Callable[[SearchTree, int], Collection[int]] | None = None,
) -> Ask:
    """Return the next level's expansions and prunes, or nothing while the present level is incomplete.

    The root gets `width` children. Of a later level the finished paths leave, and `share` deals what is left of the
    width to the others; those that get nothing are pruned, and so are `duplicates` before.
    """
    if tree.pending_count or tree.unscored_count:
        return Ask()
    leaves = tree.open_leaves()
    if not leaves:
        return Ask(done=True)
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
