"""`ramify batch`: runs over the problems of a file, their progress, and reports on them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ExitCode, UsageError
from ..files import export_text
from ..text import duration_text
from . import terminal
from .app import ARGUMENTS
from .config import without_unfit_defaults
from .exits import Finished
from .help import GroupedCommand
from .option_types import COUNT, COUNT_RANGE, FieldMap
from .options import SearchPlan, fallback_from, fallback_options, reward_note, risk_option, search_options
from .runs import export_ending, exported, tree_file_argument, tree_format_option, write_export

if TYPE_CHECKING:
    from ramify.batch import BatchConfig, BatchProgress, BatchReport

    from ..errors import BadRecord
    from ..events import ModelLoading
    from ..problem import Problem

REPEAT_S = 10.0
"""Shortest time between two lines of progress where a line cannot be rewritten."""
INPUT_FORMATS = ("jsonl", "csv", "tsv", "parquet")
REPORT_FORMATS = ("text", "json", "csv", "markdown", "html")
REPORT_ENDINGS = {".json": "json", ".csv": "csv", ".md": "markdown", ".html": "html", ".htm": "html"}
"""Formats of reports by the endings of their files; text for others."""

input_options = (
    click.option(
        "--map",
        "mapping",
        type=FieldMap(),
        multiple=True,
        metavar="FIELD=COLUMN",
        help="Column of a field, such as question=prompt, or several, such as question=Body,Question; may be repeated.",
    ),
    click.option("--format", "form", type=click.Choice(INPUT_FORMATS), help="Of the input.  [default: by its name]"),
    click.option("--skip-bad", is_flag=True, help="Leave bad records out, with a note for each."),
)


@click.group()
def batch() -> None:
    """Solve many problems from a file, and report on them."""


def _with_input_options(command: Any) -> Any:
    for option in reversed(input_options):
        command = option(command)
    return command


@batch.command(
    cls=GroupedCommand,
    example="ramify batch run problems.jsonl --out DIR -m FILE.gguf --max-seconds 60s",
    rare=("mapping", "form", "skip_bad", "examples", "shuffle", "shuffle_seed", "retry_failed", "actors"),
    epilog="The folder holds manifest.json, items.jsonl (one row for each item, on disk as soon as it is done), "
    "attempts.jsonl, events.log and report.json. Exit codes: 0 done, 2 usage, bad input or a folder that cannot be "
    "written, 3 model, 5 some items failed, 130 interrupted.",
)
@click.argument("source", metavar="IN")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the run; made if new.")
@_with_input_options
@click.option("--examples", metavar="FILE", help="Worked examples for all problems without their own, as for solve.")
@click.option("--limit", type=COUNT, help="Only the first so many problems.")
@click.option("--ids", help="Only these problems: ids separated by commas.")
@click.option("--shuffle", is_flag=True, help="Take the problems in another order.")
@click.option("--shuffle-seed", type=int, default=0, help="Fixes that order.  [default: 0]")
@click.option("--repeat", type=COUNT_RANGE, default=1, help="Runs of each problem, with other seeds.")
@click.option(
    "--parallel",
    type=COUNT_RANGE,
    help="Problems at a time, on each engine.  [default: 4; under --max-seconds what a slow model's speed allows]",
)
@click.option("--budget-total", type=COUNT, help="Limit of generated tokens of the whole run, such as 2M.")
@click.option(
    "--allocation",
    type=click.Choice(["even", "adaptive"]),
    default="even",
    help="adaptive: spend --budget-total where it is likeliest to change an answer, up to --width paths on a problem.",
)
@click.option("--max-failures", type=COUNT, help="Stop when so many items have failed.")
@click.option(
    "--retry",
    type=click.Choice(["failed", "cut", "all"]),
    help="Run items again that failed before, that a limit cut with no answer, or all of both.",
)
@click.option("--retry-failed", is_flag=True, help="The same as --retry failed.")
@click.option("--save-trees", is_flag=True, help="Keep each search tree in OUT/trees.")
@click.option(
    "--executor",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Search in this process, or on a Ray cluster: that of RAY_ADDRESS, else one on this machine.",
)
@click.option("--actors", type=COUNT_RANGE, help="Engines on the cluster.  [default: one per GPU, or node]")
@click.option("--quiet", "-q", is_flag=True, help="No progress, no summary.")
@search_options
@risk_option
@fallback_options
def run(source: str, out: Path, quiet: bool, **options: Any) -> None:
    """Solve the problems in IN, a .jsonl, .csv, .tsv or .parquet file, or - for stdin.

    The same command goes on where the last one stopped, however it stopped. Ctrl-C once finishes the items in
    flight, twice stops at once.
    """
    plan = SearchPlan.from_options(without_unfit_defaults(options))
    problems = _with_examples(read_input(source, options), options["examples"])
    config = _config(plan, options, command=_command(source))
    note = None if quiet else reward_note(plan.model, plan.reward, has_reward=config.reward is not None)
    if note is not None:
        terminal.note(note)
    line = BatchProgressLine(quiet=quiet)
    with terminal.owned_stdout():
        try:
            report = run_interruptibly(problems, out, config, line)
        finally:
            line.clear()
    if report is None:
        terminal.error("interrupted; the same command goes on with it")
        raise Finished(ExitCode.INTERRUPTED)
    line.summary(report, out)
    _finish(report)


@batch.command()
@click.argument("folders", metavar="DIR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(REPORT_FORMATS),
    help="Of the report.  [default: by the ending of --write; text]",
)
@click.option("--by", multiple=True, metavar="FIELD", help="Group by a field of the problems; may be repeated.")
@click.option("--write", "-w", type=click.Path(path_type=Path), help="File to write to instead of stdout.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw the figures to a .png, .svg or .pdf file.")
def report(
    folders: tuple[Path, ...], form: str | None, by: tuple[str, ...], write: Path | None, plot: Path | None
) -> None:
    """Report on the run in DIR; further folders are compared with the first, problem by problem."""
    from ramify.batch.report.analysis import analyse
    from ramify.batch.report.compare import compare_analyses
    from ramify.batch.report.present import check_format, present, write_tree_pages

    form = form or ("text" if write is None else REPORT_ENDINGS.get(write.suffix.lower(), "text"))
    check_format(form)
    if plot is not None:
        from ..plots import require_matplotlib

        require_matplotlib()

    analyses = [analyse(folder, by=by) for folder in folders]
    comparisons = [compare_analyses(analyses[0], other) for other in analyses[1:]]
    try:
        pages = write_tree_pages(analyses, write) if form == "html" and write is not None else None
    except OSError as error:
        raise UsageError(
            f"pages of trees beside {write} cannot be written: {error.strerror}", "choose another --write"
        ) from error
    text = present(analyses, comparisons, form, pages)
    if plot is not None:
        from ramify.batch.report.figures import save_figures

        save_figures(analyses, plot)
    if write is None:
        terminal.write(text)
        return
    try:
        export_text(write, f"{text}\n", errors="backslashreplace")
    except OSError as error:
        raise UsageError(f"{write} cannot be written: {error.strerror}", "choose another --write") from error


@batch.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("item", metavar="ID")
@tree_file_argument
@tree_format_option
@click.option("--repeat", type=click.IntRange(min=0), default=0, help="Number of the repetition.  [default: 0]")
def tree(folder: Path, item: str, file: Path | None, form: str | None, repeat: int) -> None:
    """Write the tree of an item of the run in DIR to FILE, or to stdout in the format that --format names.

    ID is the id of a problem; the run must have been made with --save-trees. The formats are those of `ramify runs
    export`, such as .html, a page for any browser.
    """
    from ramify.batch.store.folder import read_solution

    ending = export_ending(file, form)
    write_export(file, exported(read_solution(folder, item, repeat), ending))


def read_input(source: str, options: dict[str, Any]) -> list[Problem]:
    """Read the problems; bad records are noted on stderr or stop the command.

    Raises:
        BadInput: if there are bad records and they are not to be left out.
        UsageError: if the file cannot be read, or holds no problems.
    """
    from ramify.batch.store.inputs import read_stated_problems
    from ramify.batch.store.records import STDIN

    stated = read_stated_problems(
        source,
        mapping=dict(options["mapping"]),
        form=options["form"],
        on_bad=note_bad if options["skip_bad"] else None,
    )
    problems = with_check(stated, options.get("prompt_preset"))
    if not problems:
        raise UsageError(f"{'stdin' if source == STDIN else source} holds no problems", "check the file")
    return problems


def with_check(stated: Iterable[tuple[Problem, bool]], preset: str | None) -> list[Problem]:
    """Return the problems, those whose records name no checker with that of a prompt file, None for no file.

    Raises:
        UsageError: if there is no such preset.
    """
    from ramify.engine.policy.prompts.prompt_files import find_preset

    check = None if preset is None else find_preset(preset.removeprefix("chat:")).check
    return [replace(each, check=check) if check and not own else each for each, own in stated]


def _with_examples(problems: list[Problem], name: str | None) -> list[Problem]:
    """Return the problems, those without examples with the ones of a file, None for no file.

    Raises:
        UsageError: if the file cannot be read, or a line is no example.
    """
    if name is None:
        return problems
    from ..conversation import examples_from_file

    examples = examples_from_file(name)
    return [each if each.examples else replace(each, examples=examples) for each in problems]


def note_bad(record: BadRecord) -> None:
    """Write a note about a record that is left out."""
    terminal.note(f"line {record.line} is left out: {record.reason}")


def _command(source: str) -> tuple[str, ...]:
    """Return the arguments of this command line without those that do items again; () if it reads stdin."""
    from ramify.batch.store.records import STDIN

    if source == STDIN:
        return ()
    words, kept = iter(click.get_current_context().meta.get(ARGUMENTS, ())), list[str]()
    for word in words:
        if word == "--retry":
            next(words, None)
        elif word != "--retry-failed" and not word.startswith("--retry="):
            kept.append(word)
    return tuple(kept)


def _config(plan: SearchPlan, options: dict[str, Any], *, command: tuple[str, ...]) -> BatchConfig:
    from ramify.batch.store.config import BatchConfig
    from ramify.engine.loading import chosen_reward

    from ..config import EngineConfig, RunConfig

    reward = chosen_reward(plan.model, plan.reward)
    ids = tuple(each.strip() for each in (options["ids"] or "").split(",") if each.strip())
    names = ("parallel", "repeat", "limit", "shuffle", "shuffle_seed", "max_failures", "save_trees")
    names += ("retry", "retry_failed", "allocation", "executor", "actors")
    return BatchConfig(
        model=plan.model,
        reward=reward,
        engine=EngineConfig(profile=plan.profile, **plan.engine_options),
        strategy=plan.strategy(has_reward=reward is not None),
        run=RunConfig(**plan.run_options),
        fallback=fallback_from(options),
        ids=ids,
        budget_generated_tokens=options["budget_total"],
        command=command,
        **{name: options[name] for name in names},
    )


def _finish(report: BatchReport) -> None:
    if report.stop_reason == "interrupted":
        raise Finished(ExitCode.INTERRUPTED)
    if report.failed:
        raise Finished(ExitCode.ITEMS_FAILED)


class BatchProgressLine:
    """Progress of a batch on stderr; `quiet` shows nothing."""

    def __init__(self, *, quiet: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._line = terminal.ProgressLine(quiet=quiet, repeat_s=REPEAT_S, clock=clock)
        self._draining = False

    def watch(self, progress: BatchProgress) -> None:
        """Show the state of the batch, if the last one is old enough."""
        self._line.update(lambda: progress_line(progress, draining=self._draining))

    def loading(self, model: str) -> Callable[[ModelLoading], None]:
        """Return a function that takes the events of the model's loading and shows its progress."""
        from .progress import show_loading

        return show_loading(self._line, model)

    def drain(self) -> None:
        """Say that the batch ends after the items in flight."""
        self._draining = True
        self.note("finishing the items in flight; Ctrl-C again stops at once")

    def note(self, line: str) -> None:
        """Write a line about something that the user may not expect."""
        self._line.note(line)

    def clear(self) -> None:
        """Remove the line, so that something else can be written."""
        self._line.clear()

    def summary(self, report: BatchReport, out: Path) -> None:
        """Write the content of the run folder in one line, after what searches had to say about themselves."""
        for text, items in report.notes.items():
            self._line.note(f"{items} of {report.done} items: {text}")
        self._line.say(summary_line(report, out))


def progress_line(progress: BatchProgress, *, draining: bool = False) -> str:
    """Return the state of a batch in one line."""
    parts = [f"{progress.done}/{progress.items} done"]
    if progress.failed:
        parts.append(f"{progress.failed} failed")
    if progress.cut:
        parts.append(f"{progress.cut} cut")
    if progress.graded:
        share = progress.correct / progress.graded
        parts.append(f"{share:.1%} correct ({progress.low:.0%}-{progress.high:.0%})")
    parts.append(f"{progress.tokens_per_s:,.0f} tokens/s")
    if progress.budget_fraction is not None:
        parts.append(f"budget {progress.budget_fraction:.0%}")
    if draining:
        parts.append(f"finishing {progress.in_flight}")
    elif progress.eta_s is not None:
        parts.append(f"{duration_text(progress.eta_s)} left")
    return " · ".join(parts)


def summary_line(report: BatchReport, out: Path) -> str:
    """Return the content of a run folder in one line."""
    parts = [f"{report.done} of {report.items} done"] if report.pending else [f"{report.done} done"]
    if report.failed:
        parts.append(f"{report.failed} failed")
    if report.cut:
        parts.append(f"{report.cut} cut by a limit with no answer")
    if report.accuracy is not None:
        parts.append(
            f"{report.correct} of {report.graded} correct, {report.accuracy:.1%} ({report.low:.1%}-{report.high:.1%})"
        )
    if report.accuracy_answered is not None and report.graded_answered < report.graded:
        interval = f"{report.low_answered:.1%}-{report.high_answered:.1%}"
        parts.append(f"{report.accuracy_answered:.1%} ({interval}) of the {report.graded_answered} answered")
    parts.append(f"{report.usage.policy.generated_tokens:,} tokens generated")
    policy = report.usage.policy
    shared = policy.reused_tokens - policy.stored_tokens
    if shared:
        part = shared / (shared + policy.prompt_tokens)
        parts.append(f"{shared:,} tokens of prompts ({part:.0%}) read once for several problems")
    if policy.stored_tokens:
        parts.append(f"{policy.stored_tokens:,} tokens from the store")
    parts.append(duration_text(report.wall_seconds))
    if report.stop_reason not in (None, "completed"):
        parts.append(_ENDS[str(report.stop_reason)])
    parts.append(str(out))
    return " · ".join(parts)


_ENDS = {
    "interrupted": "interrupted, the same command goes on",
    "budget": "--budget-total is used up",
    "failures": "stopped by --max-failures",
}


def run_interruptibly(
    problems: Sequence[Problem], out: Path, config: BatchConfig, line: BatchProgressLine
) -> BatchReport | None:
    """Run a batch to its end, or None if it was stopped at once by a second Ctrl-C.

    Raises:
        RamifyError: as `run_batch`.
    """
    import anyio

    from ramify.batch import BatchControl, run_batch

    from .searching import Interrupts

    async def work() -> BatchReport | None:
        control = BatchControl()
        interrupts = Interrupts()

        def soften() -> None:
            control.drain()
            line.drain()

        interrupts.soften(soften)
        with interrupts.listening():
            return await run_batch(
                problems,
                out,
                config,
                control=control,
                watch=line.watch,
                note=line.note,
                on_loading=line.loading(str(config.model)),
            )
        return None

    return anyio.run(work)
