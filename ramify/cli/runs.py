"""`ramify runs`: the history of searches, and the saving of a run and its tree."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from ..files import export_text
from . import terminal
from .option_types import TREE_SUFFIXES, TreeFile

if TYPE_CHECKING:
    from ramify.engine.history import RunSummary, SavedRun
    from ramify.search.export.terminal import Paint, Signs
    from ramify.search.tree import SearchTree

    from ..solution import Solution

PIPE_COLUMNS = 100
"""Width of a line without a terminal and without COLUMNS."""
_ANSWER_COLUMNS = 16
_QUESTION_COLUMNS = 24

run_argument = click.argument("run_id", metavar="ID")
tree_file_argument = click.argument("file", type=TreeFile(), required=False)
tree_format_option = click.option(
    "--format", "form", type=click.Choice([each[1:] for each in TREE_SUFFIXES]), help="Instead of the ending."
)
width_option = click.option(
    "--width", type=click.IntRange(min=40), metavar="COLUMNS", help="Width of a line.  [default: the terminal's]"
)


@click.group(epilog="ID is an id, the beginning of one, or 'last' for the newest run.")
def runs() -> None:
    """Look at past searches; `solve` saves each run."""


@runs.command("list")
@click.option("--query", default="", metavar="WORDS", help="Only runs in which all these words occur.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the newest so many.")
@click.option("--json", "as_json", is_flag=True, help="Write a JSON array.")
def list_runs(query: str, limit: int | None, as_json: bool) -> None:
    """List runs, newest first.

    Words are looked for in question, answer, strategy, model, stop reason and id, in whatever case.
    """
    from .config import open_store

    listing = open_store().scan(query, limit)
    with terminal.owned_stdout():
        if as_json:
            rows = [asdict(run) | {"created": run.created.isoformat()} for run in listing.runs]
            terminal.write_json(rows, indent=2)
        elif listing.runs:
            _write_table(listing.runs)
    for each in listing.unreadable:
        terminal.note(f"run {each.id} cannot be read: {each.reason}; `ramify runs delete {each.id}` removes it")
    if not listing.runs and not as_json:
        terminal.note("no run says that" if query else 'there are no runs yet; ramify "QUESTION" makes one')


@runs.command()
@run_argument
@width_option
@click.option("--all", "everything", is_flag=True, help="Show every step, however many there are.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object, with the tree and the options.")
def show(run_id: str, width: int | None, everything: bool, as_json: bool) -> None:
    """Draw a run's tree in the terminal.

    Each line has a step's score, a mark and its text: * is the winning path, x was given up, with the reason. With
    --all the scores of a combined reward's parts stand before the text.
    """
    run = _load(run_id)
    with terminal.owned_stdout():
        if as_json:
            solution = run.solution.to_dict(tree=True)
            terminal.write_json(
                {"id": run.id, "created": run.created.isoformat(), "options": dict(run.options), "solution": solution}
            )
            return
        for line in _shown(run, width or _columns(), everything):
            terminal.write(line, styled=True)


@runs.command()
@run_argument
@width_option
def replay(run_id: str, width: int | None) -> None:
    """Write a run's steps in the order they were made."""
    run = _load(run_id)
    tree = _tree(run)
    with terminal.owned_stdout():
        for line in _replayed(tree, width or _columns()):
            terminal.write(line, styled=True)


@runs.command()
@run_argument
@click.argument("file", type=TreeFile(), required=False)
@click.option(
    "--format", "form", type=click.Choice([each[1:] for each in TREE_SUFFIXES]), help="Instead of the ending."
)
@click.option("--with", "others", multiple=True, metavar="ID", help="Run to compare with, html only; may be repeated.")
def export(run_id: str, file: Path | None, form: str | None, others: tuple[str, ...]) -> None:
    """Write a run's tree to FILE, or to stdout in the format that --format names.

    The ending of FILE says the format: .json, .graphml, .dot, .mmd (Mermaid), .svg or .html, a page that folds,
    searches and replays the tree in any browser.
    """
    ending = export_ending(file, form)
    if others and ending != ".html":
        raise UsageError(f"--with does not go with {ending}", "compare runs in a page, --format html")
    runs = [_load(each) for each in (run_id, *others)]
    text = _page_of(runs) if ending == ".html" else exported(runs[0].solution, ending)
    write_export(file, text)


@runs.command()
@click.argument("run_ids", metavar="ID...", nargs=-1, required=True)
def delete(run_ids: tuple[str, ...]) -> None:
    """Delete runs from the history."""
    from .config import open_store

    store = open_store()
    for run_id in run_ids:
        terminal.say(f"deleted {store.delete(run_id)}")


def _load(run_id: str) -> SavedRun:
    from .config import open_store

    return open_store().load(run_id)


def _tree(run: SavedRun) -> SearchTree:
    if run.solution.tree is None:
        raise UsageError(f"run {run.id} has no tree", "runs that pool several searches have none")
    return run.solution.tree


def _write_table(summaries: list[RunSummary]) -> None:
    from ..text import cut

    head = ("ID", "SAVED", "STRATEGY", "MODEL", "TOKENS", "SECONDS", "ANSWER", "QUESTION")
    rows = [
        (
            run.id,
            f"{run.created.astimezone():%Y-%m-%d %H:%M}",
            run.strategy,
            cut(run.model, _QUESTION_COLUMNS),
            str(run.generated_tokens),
            f"{run.seconds:.1f}",
            "-" if run.answer is None else cut(run.answer, _ANSWER_COLUMNS),
        )
        for run in summaries
    ]
    taken = sum(max(len(row[place]) for row in (head[:-1], *rows)) + 2 for place in range(len(head) - 1))
    room = max(_QUESTION_COLUMNS, _columns() - taken)
    questions = [cut(run.question, room) for run in summaries]
    terminal.write_table(head, [(*row, question) for row, question in zip(rows, questions, strict=True)])


def _shown(run: SavedRun, width: int, everything: bool) -> Iterator[str]:
    from ramify.search.export.terminal import SHOWN, draw

    from ..text import printable
    from .progress import summary_line

    solution = run.solution
    paint = _paint()
    yield f"run {run.id}, {run.created.astimezone():%Y-%m-%d %H:%M:%S}"
    yield printable(solution.question)
    yield ""
    yield "no answer" if solution.answer is None else f"answer: {paint(printable(solution.answer), 'winning')}"
    yield printable(summary_line(solution))
    yield ""
    if solution.tree is None:
        yield "this run has no tree"
    else:
        limit = None if everything else SHOWN
        tree, winner, signs = solution.tree, solution.winner, _signs()
        yield from draw(tree, winner=winner, width=width, limit=limit, paint=paint, signs=signs, parts=everything)
        if limit is not None and len(solution.tree) > limit:
            yield f"({len(solution.tree) - 1} steps in all; --all shows each)"
    if solution.text.strip():
        yield ""
        yield printable(solution.text.strip())


def _replayed(tree: SearchTree, width: int) -> Iterator[str]:
    from textwrap import wrap

    from ramify.search.export.labels import part_scores

    from ..text import one_line, printable

    paint = _paint()
    for node in tree:
        if node.parent is None:
            continue
        facts = [f"#{node.id} after {f'#{node.parent}' if node.parent else 'the question'}"]
        if node.score is not None:
            facts.append(f"score {node.score:.3f}")
        if parts := part_scores(node):
            facts.append(parts)
        facts.append(f"{node.token_count} tokens")
        if node.answer is not None:
            facts.append(f"answer {one_line(node.answer)}")
        elif node.prune_reason is not None:
            facts.append(f"given up: {node.prune_reason.replace('_', ' ')}")
        yield paint(" · ".join(facts), "winning" if node.answer is not None else "more")
        for line in printable(node.text).expandtabs(4).strip("\n").split("\n"):
            for part in wrap(line, width - 4, drop_whitespace=False) or [""]:
                yield f"    {part}".rstrip()


def _columns() -> int:
    return shutil.get_terminal_size((PIPE_COLUMNS, 24)).columns


def _paint() -> Paint:
    """Return the function that colours a text; without a terminal, or with NO_COLOR, it returns the text."""
    from ramify.search.export.labels import ANSI_STYLES

    wanted = terminal.is_terminal(sys.stdout) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    if not wanted:
        return lambda text, kind: text
    return lambda text, kind: f"\x1b[{ANSI_STYLES[kind]}m{text}\x1b[0m" if kind in ANSI_STYLES else text


def _signs() -> Signs:
    from ramify.search.export.terminal import ASCII, UNICODE

    try:
        "├│└─…".encode(sys.stdout.encoding or "utf-8")
    except (LookupError, UnicodeEncodeError):
        return ASCII
    return UNICODE


def write_tree(solution: Solution, path: Path) -> None:
    """Write the tree of a run in the format that the ending of the path names.

    Raises:
        UsageError: if there is no tree or the file cannot be written.
    """
    write_export(path, exported(solution, path.suffix.lower()))


def exported(solution: Solution, ending: str) -> str:
    """Return the tree of a run in the format of an ending.

    Raises:
        UsageError: if there is no tree.
    """
    from ramify.search.export import export_tree

    if ending == ".html":
        return solution.to_html()
    if solution.tree is None:
        raise UsageError("this run has no tree", "runs that pool several searches have none")
    return export_tree(solution.tree, ending, winner=solution.winner, question=solution.question)


def _page_of(runs: list[SavedRun]) -> str:
    from ramify.viewer import page

    return page([run.solution.view_data(title=run.id, run_id=run.id, created=run.created.isoformat()) for run in runs])


def export_ending(file: Path | None, form: str | None) -> str:
    """Return the ending of a tree format, of `--format` or else of the file.

    Raises:
        UsageError: if there is neither.
    """
    if file is None and form is None:
        raise UsageError("there is neither a FILE nor a --format", "write one of them, such as --format html")
    return f".{form}" if form is not None else "" if file is None else file.suffix.lower()


def write_export(path: Path | None, text: str) -> None:
    """Write an export to a file, or to stdout for None.

    Raises:
        UsageError: if it cannot be written.
    """
    if path is None:
        with terminal.owned_stdout():
            terminal.write(text.removesuffix("\n"))
        return
    try:
        export_text(path, text)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", "choose another file") from error


def keep_run(solution: Solution, options: dict[str, Any]) -> None:
    """Save a run to the history; an error is only noted, because the answer is there already."""
    from .config import open_store

    try:
        open_store().save(solution, options)
    except UsageError as error:
        terminal.note(f"the run was not saved: {error}")
