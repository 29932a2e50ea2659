"""Going on with a search that was cut."""

from __future__ import annotations

from typing import Any

from .node import FinishReason, NodeState, Origin, PruneReason
from .tree import VALUE_UNIT, SearchTree

CUT = (PruneReason.BUDGET, PruneReason.STOPPED)
"""Reasons that the end of a run gives to what it had not finished."""
CUT_SHORT = (FinishReason.BUDGET, FinishReason.CANCELLED)
"""Reasons after which a step's text is not complete."""
_UNWRITTEN: dict[str, Any] = {
    "state": str(NodeState.PENDING),
    "text": "",
    "tokens": [],
    "token_count": 0,
    "logprob": None,
    "score": None,
    "finish_reason": None,
    "prune_reason": None,
}


def restart(tree: SearchTree) -> SearchTree:
    """Return a copy in which what the end of a run cut can go on.

    Steps that were complete are open again. Steps in the making and those cut short are pending, to be written anew:
    under the same path, and so with the same draws. What was written only to save the best unfinished path when the
    budget ended (`Origin.RESCUE`) is left out.
    """
    data = tree.to_dict()
    entries: list[dict[str, Any]] = data["nodes"]
    # A rescue is the last thing that a run writes, so leaving it out moves no other node's number.
    while entries[-1]["origin"] == Origin.RESCUE:
        _take_back(entries, entries.pop())
    for node, entry in zip(tree, entries, strict=False):
        if node.finish_reason in CUT_SHORT:
            entry |= _UNWRITTEN
        elif node.prune_reason in CUT:
            entry |= {"state": str(NodeState.OPEN), "prune_reason": None}
    return SearchTree.from_dict(data)


def _take_back(entries: list[dict[str, Any]], left_out: dict[str, Any]) -> None:
    """Take the score of a node that is left out back from the sums of its ancestors."""
    if left_out["score"] is None:
        return
    value: float = round(left_out["score"] / VALUE_UNIT) * VALUE_UNIT
    above: int | None = left_out["parent"]
    while above is not None:
        entries[above]["visits"] -= 1
        entries[above]["value_sum"] -= value
        above = entries[above]["parent"]
