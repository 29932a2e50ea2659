"""Data of runs as the viewer reads it: the JSON of solutions and trees, without the fields that no page shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

_LEFT_OUT = ("tokens", "visits", "value_sum")
"""Fields of a node that the viewer does not show."""


def run_data(
    solution: Mapping[str, Any],
    *,
    winner: int | None = None,
    title: str | None = None,
    run_id: str | None = None,
    created: str | None = None,
) -> dict[str, Any]:
    """Return the viewer's data of a run.

    `solution` is `Solution.to_dict(tree=True)`, `winner` the node at which the path behind the answer ends. `title` is
    the name of the run on the page (None: its id), `created` its time in ISO form.
    """
    rest = {name: value for name, value in solution.items() if name != "tree"}
    if solution.get("tree") is not None:
        # The tree holds these texts already, shared steps once.
        rest["candidates"] = [
            {name: value for name, value in each.items() if name != "text"} for each in rest.get("candidates", ())
        ]
        rest["text"] = ""
    return {
        "id": run_id,
        "title": title,
        "created": created,
        "winner": winner,
        "solution": rest,
        "tree": _shown(solution.get("tree")),
    }


def tree_data(tree: Mapping[str, Any], *, winner: int | None = None, question: str = "") -> dict[str, Any]:
    """Return the viewer's data of a tree alone; `tree` is `SearchTree.to_dict()`, the rest as for `run_data`."""
    return {"winner": winner, "question": question, "tree": _shown(tree)}


def _shown(tree: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if tree is None:
        return None
    nodes = cast("Sequence[Mapping[str, Any]]", tree["nodes"])
    return {"nodes": [{name: value for name, value in node.items() if name not in _LEFT_OUT} for node in nodes]}
