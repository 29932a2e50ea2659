"""`ramify solve`: the answer to one question, which comes from the arguments, stdin or both."""

from __future__ import annotations

import os
import select
import stat
import sys
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ExitCode, NoAnswer, NotSure, RamifyError
from . import terminal
from .config import save_option, without_unfit_defaults
from .exits import Finished
from .help import GroupedCommand
from .option_types import TreeFile
from .options import SearchPlan, engine_settings, fallback_from, fallback_options, risk_option, search_options
from .progress import SearchProgress
from .runs import keep_run, write_tree

if TYPE_CHECKING:
    from ramify.engine.ensembles.fallback import Fallback

    from ..problem import Problem
    from ..solution import Solution

_NEXT_STEPS = {
    "budget_generated_tokens": "raise --max-generated-tokens",
    "budget_total_tokens": "raise --max-total-tokens",
    "budget_flops": "raise --max-flops",
    "budget_seconds": "raise --max-seconds",
    "budget_nodes": "raise --max-nodes",
    "budget_joules": "raise --max-joules",
    "budget_cost": "raise --max-cost",
}


@click.command(
    cls=GroupedCommand,
    example='ramify solve -m FILE.gguf -r mean-logprob --max-seconds 30s "What is 3+4?"',
    epilog="Strategies: ab-mcts, beam, best-of-n, dvts, mcts, particle, rebase and weighted need a reward model; "
    "greedy, majority, refine and widening do not; auto takes what was measured to be best within the budget. "
    "Without a limit the run ends after 8192 generated tokens or 120 s; giving any limit replaces these two.",
    details="Stop rules, joined with commas: beta[:0.95], posterior[:0.95], window[:5], score[:0.98], patience[:8] "
    "and lead, which never changes the answer.",
    rare=("messages", "examples", "save"),
)
@click.argument("question", nargs=-1)
@click.option("--messages", metavar="FILE", help="JSON file of a conversation, which QUESTION goes on with if given.")
@click.option("--examples", metavar="FILE", help="Worked examples, JSON lines with question and answer.")
@search_options
@risk_option
@fallback_options
@click.option("--json", "as_json", is_flag=True, help="Write the whole solution as one JSON object.")
@click.option(
    "--save-tree", type=TreeFile(), help="Write the tree to a .json, .graphml, .dot, .mmd, .svg or .html file."
)
@save_option
@click.option("--quiet", "-q", is_flag=True, help="No progress, no summary.")
def solve(
    question: tuple[str, ...],
    messages: str | None,
    examples: str | None,
    as_json: bool,
    save_tree: Path | None,
    save: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Solve QUESTION and write the answer to stdout; progress goes to stderr.

    The question may also come from stdin, whose text comes first. Ctrl-C ends the search and writes the best answer
    so far.
    """
    options = without_unfit_defaults(options)
    told = told_files(messages, examples)
    with _warmed(options):
        _solve(question, told, options, as_json=as_json, save_tree=save_tree, save=save, quiet=quiet)


def told_files(messages: str | None, examples: str | None) -> dict[str, Any]:
    """Return the parts of a conversation that the files hold, as `Problem` takes them.

    Raises:
        UsageError: if a file cannot be read, or holds something else.
    """
    found = dict[str, Any]()
    if messages is not None or examples is not None:
        from ..conversation import examples_from_file, messages_from_file

        if messages is not None:
            found["messages"] = messages_from_file(messages)
        if examples is not None:
            found["examples"] = examples_from_file(examples)
    return found


def _asked(question: tuple[str, ...], told: dict[str, Any]) -> Problem:
    """Return the problem: the question, or the messages with the question, if there is one, as the last."""
    from ..problem import Problem

    if "messages" not in told:
        return Problem("0", read_question(question), **told)
    asked = [{"role": "user", "content": read_question(question)}] if question else []
    return Problem("0", messages=[*told["messages"], *asked], examples=told.get("examples", ()))


def _solve(
    question: tuple[str, ...],
    told: dict[str, Any],
    options: dict[str, Any],
    *,
    as_json: bool,
    save_tree: Path | None,
    save: bool,
    quiet: bool,
) -> None:
    plan = SearchPlan.from_options(options)
    fallback = fallback_from(options)
    asked_s = time.monotonic()
    problem = _asked(question, told)
    # The limit of seconds counts from the start of the process, but not while another program writes the question.
    called_s = click.get_current_context().find_root().obj + time.monotonic() - asked_s
    progress = SearchProgress(quiet=quiet, limit_tokens=options.get("max_generated_tokens"))
    with terminal.owned_stdout():
        try:
            solution, interrupted = _search(plan, fallback, problem, progress, called_s)
        finally:
            progress.clear()
        if solution is not None:
            try:
                _report(solution, progress, as_json=as_json)
            finally:
                if save:
                    keep_run(solution, _plain(options))
                if save_tree is not None:
                    write_tree(solution, save_tree)
    if interrupted:
        if solution is None or solution.answer is None:
            terminal.error("interrupted before any path finished")
        raise Finished(ExitCode.INTERRUPTED)
    if solution is not None and solution.not_sure and solution.risk is not None:
        raise not_sure(solution.risk)
    if solution is None or solution.answer is None:
        raise _no_answer(solution)


@contextmanager
def _warmed(options: dict[str, Any]) -> Generator[None]:
    """Let a worker load the model of the options while the rest of the program is imported.

    Faults of the options or the model are found again, and told, when they are used.
    """
    from ramify.engine.library.catalog import resolve_model
    from ramify.engine.policy.remote.address import is_remote
    from ramify.engine.runtime.serve.processes import spare_worker

    with ExitStack() as stack:
        with suppress(RamifyError):
            if not is_remote(options["model"]):
                path = resolve_model(options["model"]).path
                stack.enter_context(spare_worker(str(path), engine_settings(options)))
        yield


def _search(
    plan: SearchPlan, fallback: Fallback | None, problem: Problem, progress: SearchProgress, called_s: float
) -> tuple[Solution | None, bool]:
    import anyio

    from .searching import search

    outcome = anyio.run(search, plan, problem, progress, fallback, called_s)
    return outcome.solution, outcome.interrupted


def _report(solution: Solution, progress: SearchProgress, *, as_json: bool) -> None:
    if as_json:
        terminal.write_json(solution.to_dict())
    elif solution.answer is not None:
        terminal.write(solution.answer)
    elif solution.text.strip() and not solution.not_sure:
        terminal.note("no path finished with an answer; this is the one that came furthest:")
        terminal.write(solution.text.strip())
    progress.summary(solution)


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    """Return the given options in plain JSON types."""
    plain = {name: value for name, value in options.items() if value is not None}
    return plain | {"strategy_extras": dict(options["strategy_extras"])}


def not_sure(risk: Mapping[str, Any]) -> NotSure:
    """Return the error of an answer that is not sure, from `Solution.risk`."""
    found, needed = risk["posterior"], risk["threshold"]
    why = (
        f"its posterior is {found:.4f} and {needed:.4f} is needed"
        if needed is not None and found < needed
        else "the search was cut short"
        if needed is not None
        else f"{risk['calibration_problems']} calibration problems certify no threshold at this risk"
    )
    return NotSure(
        f"not sure: at a risk of {risk['level']:g} no answer is given ({why})",
        "add --fallback MODEL, allow a higher --risk, or calibrate on more problems",
    )


def _no_answer(solution: Solution | None) -> NoAnswer:
    reason = "" if solution is None else str(solution.stop_reason)
    if reason == "budget_seconds" and solution is not None and not solution.usage.policy.generated_tokens:
        start = "no answer: the start, loading and the question took all the time"
        return NoAnswer(start, _NEXT_STEPS[reason])
    if reason in _NEXT_STEPS:
        return NoAnswer("no answer: the budget ended before a path finished with one", _NEXT_STEPS[reason])
    return NoAnswer("no answer: no path finished with one", "try another --seed, more --width or another model")


PATIENCE_S = 1.0
"""Longest wait for stdin when the arguments have a question."""
STDIN_MARK = "-"


def read_question(words: Sequence[str]) -> str:
    """Return the question: the text of stdin and the arguments, joined by a blank line.

    Without arguments, or with `-` among them, it waits for stdin. Otherwise it waits PATIENCE_S, because programs often
    start others with a pipe as stdin that nobody writes to or closes.

    Raises:
        click.UsageError: if there is no question, or stdin is not text.
    """
    argument = argument_text(word for word in words if word != STDIN_MARK)
    wanted = not words or STDIN_MARK in words
    parts = [_stdin(wanted=wanted).strip(), argument]
    question = "\n\n".join(part for part in parts if part)
    if not question:
        raise click.UsageError(
            "the question is empty" if words else 'there is no question, try: ramify "What is 3 + 4?"'
        )
    return question


def argument_text(words: Iterable[str]) -> str:
    """Return the words of a question as one text.

    Raises:
        click.UsageError: if they are not text.
    """
    text = " ".join(words).strip()
    try:
        text.encode()
    except UnicodeEncodeError:
        raise click.UsageError("the question is not UTF-8 text") from None
    return text


def _stdin(*, wanted: bool) -> str:
    try:
        descriptor = sys.stdin.fileno()
        is_terminal = sys.stdin.isatty()
    except (AttributeError, OSError, ValueError):
        # Closed, or replaced by something that is no file and so need not be waited for.
        return "" if sys.stdin is None or sys.stdin.closed else sys.stdin.read()  # pyright: ignore[reportUnnecessaryComparison]
    if is_terminal or not (wanted or _has_text(descriptor)):
        return ""
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise click.UsageError("stdin is not UTF-8 text") from None
    except OSError:
        return ""


def _has_text(descriptor: int) -> bool:
    """Tell whether stdin has text or has ended."""
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:
        return False
    if stat.S_ISREG(mode):
        return True
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        return False
    ready, _, _ = select.select([descriptor], [], [], PATIENCE_S)
    if not ready:
        terminal.note("nothing came on stdin, so the question is the argument alone; add - to wait for stdin")
    return bool(ready)
