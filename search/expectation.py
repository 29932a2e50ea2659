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
    if not here or not tree.written_count:
        return 0
    step = tree.generated_tokens / tree.written_count
    whole = tree.finished_tokens / tree.finished_count if tree.finished_count else STEPS * step
    return ceil(sum(max(step, whole - each) for each in here) / len(here))
