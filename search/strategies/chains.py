"""Independent chains that share only the question: what greedy decoding and the sampling strategies have in common."""

from __future__ import annotations

from ..strategy import Ask, Expansion
from ..tree import ROOT, NodeState, PruneReason, SearchTree


def ask_chains(
    tree: SearchTree, *, width: int, max_depth: int, temperature: float | None = None, scored: bool = False
) -> Ask:
    """Return what keeps `width` chains growing, each on its own, without waiting for one another.

    With `scored`, a step is continued once it has its score.
    """
    expansions, prune, waiting = list[Expansion](), list[tuple[int, PruneReason]](), False
    missing = width - tree.child_count(ROOT)
    if missing > 0 and tree.root.state is NodeState.OPEN:
        expansions.append(Expansion(ROOT, missing, temperature))
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
