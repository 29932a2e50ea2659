"""`ramify solve`: one question, one answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ramify.engine.errors import ExitCode, NoAnswer, UsageError

from . import diagnostics, output
from .exits import Finished
from .options import SearchPlan, search_options
from .progress import Progress
from .question import read_question
from .values import TreeFile

if TYPE_CHECKING:
    from ramify.engine.solution import Solution

_NEXT_STEPS = {
    "budget_generated_tokens": "raise --max-generated-tokens",
    "budget_total_tokens": "raise --max-total-tokens",
    "budget_flops": "raise --max-flops",
    "budget_seconds": "raise --max-seconds",
    "budget_nodes": "raise --max-nodes",
}


@click.command(
    epilog="Strategies: rebase, beam, dvts, particle, mcts, ab-mcts, weighted and best-of-n need a reward model; "
    "majority and greedy do not; auto takes what was measured to be best within the budget. "
    "Stop rules, joined with commas: beta[:0.95], posterior[:0.95], window[:5], score[:0.98], patience[:8], and lead, "
    "which never changes the answer. "
    "Without a limit the run ends after 8192 generated tokens or 120 s; giving any limit replaces these two."
)
@click.argument("question", nargs=-1)
@search_options
@click.option("--json", "as_json", is_flag=True, help="Write the whole solution as one JSON object.")
@click.option("--save-tree", type=TreeFile(), help="Write the search tree to a .json, .graphml or .dot file.")
@click.option("--quiet", "-q", is_flag=True, help="No progress, no summary.")
def solve(question: tuple[str, ...], as_json: bool, save_tree: Path | None, quiet: bool, **options: Any) -> None:
    """Solve QUESTION and write the answer to stdout; progress goes to stderr.

    The question may also come from stdin; with both, stdin's text comes first. Ctrl-C ends the search and writes the
    best answer so far.
    """
    plan = SearchPlan.from_options(options)
    text = read_question(question)
    progress = Progress(quiet=quiet)
    with output.owned_stdout():
        try:
            solution, interrupted = _search(plan, text, progress)
        finally:
            progress.clear()
        if solution is not None:
            _report(solution, progress, as_json=as_json, save_tree=save_tree)
    if interrupted:
        if solution is None or solution.answer is None:
            diagnostics.error("interrupted before any path finished")
        raise Finished(ExitCode.INTERRUPTED)
    if solution is None or solution.answer is None:
        raise _no_answer(solution)


def _search(plan: SearchPlan, question: str, progress: Progress) -> tuple[Solution | None, bool]:
    import anyio

    from .searching import search

    outcome = anyio.run(search, plan, question, progress)
    return outcome.solution, outcome.interrupted


def _report(solution: Solution, progress: Progress, *, as_json: bool, save_tree: Path | None) -> None:
    if save_tree is not None:
        _save_tree(solution, save_tree)
    if as_json:
        output.write_json(solution.to_dict())
    elif solution.answer is not None:
        output.write(solution.answer)
    progress.summary(solution)


def _save_tree(solution: Solution, path: Path) -> None:
    from ramify.search.export import to_dot, to_graphml

    assert solution.tree is not None
    chosen = (each for each in solution.candidates if each.text == solution.text and each.score == solution.score)
    winner = next((each.node for each in chosen), None) if solution.answer is not None else None
    if path.suffix.lower() == ".json":
        text = json.dumps(solution.tree.to_dict(), ensure_ascii=False) + "\n"
    else:
        text = (to_dot if path.suffix.lower() == ".dot" else to_graphml)(solution.tree, winner=winner)
    try:
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", "choose another --save-tree") from error


def _no_answer(solution: Solution | None) -> NoAnswer:
    reason = "" if solution is None else str(solution.stop_reason)
    if reason in _NEXT_STEPS:
        return NoAnswer("no answer: the budget ended before a path finished with one", _NEXT_STEPS[reason])
    return NoAnswer("no answer: no path finished with one", "try another --seed, more --width or another model")
