"""What the command line writes to files: trees, and the run history."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from . import diagnostics

if TYPE_CHECKING:
    from ..solution import Solution


def winning_node(solution: Solution) -> int | None:
    """Return the node at which the path behind the answer ends, None without an answer or a tree."""
    if solution.answer is None or solution.tree is None:
        return None
    chosen = (each for each in solution.candidates if each.text == solution.text and each.score == solution.score)
    return next((each.node for each in chosen), None)


def write_tree(solution: Solution, path: Path) -> None:
    """Write a run's tree in the format that the path's ending names.

    Raises:
        UsageError: if there is no tree or the file cannot be written.
    """
    from ramify.search.export import export_tree

    if solution.tree is None:
        raise UsageError("this run has no tree", "runs that pool several searches have none")
    text = export_tree(solution.tree, path.suffix, winner=winning_node(solution), question=solution.question)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", "choose another file") from error


def keep_run(solution: Solution, options: dict[str, Any]) -> None:
    """Save a run to the history. What goes wrong is only noted, because the answer is already there."""
    from .settings import open_store

    try:
        open_store().save(solution, options)
    except UsageError as error:
        diagnostics.note(f"the run was not saved: {error}")
