"""JSON form of a tree's nodes, and the change of it that lets a cut search continue.

Values read back are checked, since tree files come from outside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any, TypeVar, cast

from ramify.errors import TreeError

from .node import FinishReason, Node, NodeState, Origin, PruneReason, summed

T = TypeVar("T")


def node_to_dict(node: Node) -> dict[str, Any]:
    """Return a node's fields as JSON-ready values."""
    return {
        "id": node.id,
        "parent": node.parent,
        "path": list(node.path),
        "state": str(node.state),
        "text": node.text,
        "tokens": list(node.tokens),
        "token_count": node.token_count,
        "logprob": node.logprob,
        "score": node.score,
        "finish_reason": None if node.finish_reason is None else str(node.finish_reason),
        "prune_reason": None if node.prune_reason is None else str(node.prune_reason),
        "answer": node.answer,
        "visits": node.visits,
        "value_sum": node.value_sum,
        "origin": str(node.origin),
        "about": node.about,
        **({} if node.scores is None else {"scores": dict(node.scores)}),
    }


def nodes_from_dict(data: object) -> list[Node]:
    """Return the nodes of a saved tree in id order.

    Raises:
        TreeError: if the data is damaged; the message names the first node that does not fit.
    """
    if not isinstance(data, Sequence) or isinstance(data, str) or not data:
        raise TreeError("the saved tree has no list of nodes; give the value that SearchTree.to_dict returned")
    nodes, paths = list[Node](), set[tuple[int, ...]]()
    for position, entry in enumerate(cast("Sequence[object]", data)):
        node = _node(position, entry)
        _check_place(node, position, nodes)
        if node.parent is not None:
            above = nodes[node.parent]
            node.depth = above.depth + (above.state is not NodeState.CONTINUED)
        if node.path in paths:
            raise TreeError(f"node {node.id} has the path of another node; the file is damaged")
        paths.add(node.path)
        nodes.append(node)
    return nodes


CUT = (PruneReason.BUDGET, PruneReason.STOPPED)
"""Reasons of nodes that were not finished at the end of a run."""
CUT_SHORT = (FinishReason.BUDGET, FinishReason.CANCELLED)
"""Reasons after which a step's text is not complete."""
_UNWRITTEN: dict[str, Any] = {
    "state": str(NodeState.PENDING),
    "text": "",
    "tokens": [],
    "token_count": 0,
    "logprob": None,
    "score": None,
    "visits": 0,
    "value_sum": 0.0,
    "finish_reason": None,
    "prune_reason": None,
}


def reopen_cut_nodes(entries: list[dict[str, Any]]) -> None:
    """Change the saved nodes of a tree so that a run can continue steps that another run's end cut.

    See `SearchTree.restarted`.
    """
    # A rescue is the last thing that a run writes, so leaving it out moves no other node's number.
    rescued = False
    while entries[-1]["origin"] == Origin.RESCUE:
        _take_back(entries, entries.pop())
        rescued = True
    if rescued and entries[-1]["origin"] == Origin.FORCED and entries[-1]["state"] == NodeState.CONTINUED:
        # The text that closed the thought of the path that was rescued.
        entries.pop()
    for entry in entries:
        if entry["finish_reason"] in CUT_SHORT and entry["prune_reason"] != PruneReason.USER:
            _take_back(entries, entry)
            entry |= _UNWRITTEN
        elif entry["prune_reason"] in CUT:
            entry |= {"state": str(NodeState.OPEN), "prune_reason": None}


def _take_back(entries: list[dict[str, Any]], left_out: dict[str, Any]) -> None:
    """Subtract the score of a node that is left out, or unwritten, from the sums of its ancestors."""
    if left_out["score"] is None:
        return
    value = summed(left_out["score"])
    above: int | None = left_out["parent"]
    while above is not None:
        entries[above]["visits"] -= 1
        entries[above]["value_sum"] -= value
        above = entries[above]["parent"]


def _node(position: int, entry: object) -> Node:
    if not isinstance(entry, Mapping):
        raise TreeError(f"node {position} is not a mapping; the file is damaged")
    values = cast("Mapping[str, object]", entry)

    def field(name: str, read: Callable[[object], T], *, optional: bool = False) -> T:
        if name not in values and not optional:
            raise TreeError(f"node {position} has no {name}; the file is damaged")
        try:
            return read(values.get(name))
        except (TypeError, ValueError):
            raise TreeError(f"node {position} has {name} {values[name]!r}; the file is damaged") from None

    path = field("path", _counts)
    return Node(
        depth=0,
        id=field("id", _count),
        parent=field("parent", _optional(_count)),
        index=path[-1] if path else 0,
        path=path,
        text=field("text", _text),
        tokens=field("tokens", _counts),
        token_count=field("token_count", _count),
        logprob=field("logprob", _optional(_number)),
        score=field("score", _optional(_unit)),
        state=field("state", NodeState),
        finish_reason=field("finish_reason", _optional(FinishReason)),
        prune_reason=field("prune_reason", _optional(PruneReason)),
        answer=field("answer", _optional(_text)),
        visits=field("visits", _count),
        value_sum=field("value_sum", _number),
        origin=field("origin", Origin),
        about=field("about", _optional(_count), optional=True),
        scores=field("scores", _optional(_units), optional=True),
    )


def _check_place(node: Node, position: int, above: Sequence[Node]) -> None:
    if node.id != position:
        raise TreeError(f"node {node.id} stands at place {position}; nodes must be listed in the order of their ids")
    if position == 0:
        if node.parent is not None or node.path or node.state in (NodeState.PENDING, NodeState.FINISHED):
            raise TreeError("node 0 must be the root, open and without parent and path; the file is damaged")
    elif node.parent is None or node.parent >= position or node.path[:-1] != above[node.parent].path or not node.path:
        raise TreeError(f"node {node.id} has parent {node.parent} and path {node.path}, which do not fit each other")
    elif above[node.parent].state in (NodeState.PENDING, NodeState.FINISHED):
        raise TreeError(f"node {node.id} stands below node {node.parent}, which is {above[node.parent].state}")
    if node.about is not None and (node.about >= position or above[node.about].state is not NodeState.FINISHED):
        raise TreeError(f"node {node.id} is about node {node.about}, which is no finished node before it")
    if (node.prune_reason is not None) != (node.state is NodeState.PRUNED):
        raise TreeError(f"node {node.id} is {node.state} with prune reason {node.prune_reason}; the file is damaged")


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(value)
    return value


def _counts(value: object) -> tuple[int, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ValueError(value)
    return tuple(_count(each) for each in cast("Sequence[object]", value))


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ValueError(value)
    return float(value)


def _unit(value: object) -> float:
    number = _number(value)
    if not 0.0 <= number <= 1.0:
        raise ValueError(value)
    return number


def _units(value: object) -> dict[str, float]:
    if not isinstance(value, Mapping):
        raise TypeError(value)
    return {_text(name): _unit(each) for name, each in cast("Mapping[object, object]", value).items()}


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(value)
    return value


def _optional(read: Callable[[Any], T]) -> Callable[[object], T | None]:
    return lambda value: None if value is None else read(value)
