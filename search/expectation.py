"""How many tokens the rest of a path will take, from what the tree holds so far."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil

from .tree import SearchTree

STEPS = 8
"""Steps of a path where none has finished yet: solutions of school problems have about as many."""


def expected_rest(tree: SearchTree, node_ids: Iterable[int]) -> int:
    """Return the mean number of tokens that paths from these nodes to their ends are expected to take.

    Finished paths tell how long paths are; without any, the steps so far do. 0 where nothing is known yet.
    """
    here = [tree.path_token_count(node) for node in node_ids]
    finished = [tree.path_token_count(node.id) for node in tree.finished_nodes()]
    steps = [node.token_count for node in tree if node.token_count]
    if not here or not steps:
        return 0
    step = sum(steps) / len(steps)
    whole = sum(finished) / len(finished) if finished else STEPS * step
    return ceil(sum(max(step, whole - each) for each in here) / len(here))
