"""`ramify bench`: measurement of inference scaling laws."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ExitCode, UsageError
from ..files import is_file, is_folder, user_path
from ..settings import NUMBER, Setting
from ..text import duration_text
from . import terminal
from .exits import Finished
from .option_types import COUNT_RANGE, WIDTHS, WORDS, ListType, StepRange
from .options import setting_option

if TYPE_CHECKING:
    from ramify.scaling.claims.report import ScalingResults
    from ramify.scaling.exports import Export
    from ramify.scaling.plans import Plan
    from ramify.scaling.run import Forecast, ScalingProgress

REPEAT_S = 10.0
"""Shortest time between two lines of progress where a line cannot be rewritten."""
PARTS = ("samples", "search", "noise", "quantization")
_PARTS = ListType(Setting(choices=PARTS))
_SIGMAS = ListType(Setting(kind=NUMBER, low=0))


class ProblemSource(click.ParamType):  # pyright: ignore[reportMissingTypeArgument]
    """A number of generated problems, or the name of a file of problems."""

    name = "n|file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Return the number, or the name."""
        text = str(value)
        if re.fullmatch(r"[+-]?\d+", text):
            return int(COUNT_RANGE.convert(int(text), param, ctx))
        if not is_file(user_path(text)):
            self.fail(f"{text!r} is no number, and there is no such file", param, ctx)
        return text


@click.group()
def bench() -> None:
    """Measure ramify itself, on its own models or on yours."""


@bench.command(
    epilog="DIR gets items.jsonl (a row for each search, on disk as soon as it is done), results.json, report.md and "
    "plots. The same command goes on where it was stopped, however that was; with more problems, seeds, widths, "
    "policies or rewards it measures what is new, and what --quick or the plan of an hour has measured, --full takes "
    "over. With a file of problems (as `ramify batch run` reads them) every policy is measured with every strategy, "
    "width and reward, one problem at a time, seconds too. docs/results/scaling-laws.md says what each verdict means."
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the measurement; made if new.")
@click.option("--quick", is_flag=True, help="A minute: few problems, narrow widths; shows that it works, no more.")
@click.option("--full", is_flag=True, help="Days: every strategy at every width with every reward.")
@click.option("--problems", type=ProblemSource(), help="Number of generated problems, or a file.  [default: 500]")
@click.option("--count", type=COUNT_RANGE, help="Problems of the file, chosen by --seed.  [default: 200]")
@click.option(
    "--problem-seed",
    "--seed",
    "problem_seed",
    type=int,
    help="Makes the problems, or chooses those of the file.  [default: a fixed one that is unused]",
)
@click.option("--steps", type=StepRange(), help="Fewest and most steps of the problems.  [default: 2-8]")
@click.option("--seeds", type=COUNT_RANGE, help="Number of sampling seeds.  [--full: 3]")
@click.option(
    "--policies",
    type=WORDS,
    help="Models, joined with commas; NAME=MODEL calls one by another name.  [default: demo-s,demo-m,demo-l]",
)
@click.option(
    "--rewards",
    type=WORDS,
    help="Rewards, joined with commas, or 'none'; NAME=REWARD.  [--full: demo-prm,mean-logprob:demo-l]",
)
@click.option(
    "--strategies",
    type=WORDS,
    help="Names, joined with commas; NAME+RULES with stop rules, such as majority+lead.  [--full: all]",
)
@click.option("--widths", type=WIDTHS, help="Numbers of paths, joined with commas.  [--full: 1,2,4,8,16,32,64,128]")
@click.option("--search-widths", type=WIDTHS, help="Widths of searches that are no votes.  [default: --widths]")
@click.option("--sigmas", type=_SIGMAS, help="Noise on the rewards' logits, joined with commas.  [--full: 0,1,2,4]")
@click.option("--noise-width", type=COUNT_RANGE, help="Width at which noise is measured.  [--full: 16]")
@click.option("--quantization-width", type=COUNT_RANGE, help="Samples of each model file.  [--full: 16]")
@click.option("--quantizations", type=WORDS, help="Files to be made, or 'none'.  [--full: f16,q8_0,q5_k_m,q4_k_m,q4_0]")
@click.option("--parts", type=_PARTS, help=f"Which of {', '.join(PARTS)}, joined with commas.  [default: all]")
@click.option("--timings", type=COUNT_RANGE, help="Problems of a file on which narrow samples are timed.  [default: 2]")
@click.option(
    "--together", type=COUNT_RANGE, help="Problems at a time; seconds need 1.  [with a file: 1, else by width]"
)
@setting_option("max_path_tokens")
@setting_option("tools")
@click.option(
    "--parallel", type=COUNT_RANGE, help="Settings measured at a time.  [default: a processor for each; with a file: 1]"
)
@setting_option("threads", help="Threads of each setting.", unset="an equal share")
@setting_option("prices", help="Prices, a TOML file, for plots against money.")
@setting_option("watts", help="Power of the machine, for plots against energy where it cannot be measured.")
@click.option("--plan", "plan_only", is_flag=True, help="Only say what there is to do and what it will cost.")
@click.option(
    "--from",
    "export",
    type=click.Path(path_type=Path),
    help="Measure nothing; compute the results of an exported rows.jsonl.gz, whose plan counts.",
)
@click.option("--report", "report_only", is_flag=True, help="Measure nothing; compute the results of what is there.")
@click.option("--no-plots", is_flag=True, help="Draw nothing; plots need matplotlib.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def scaling(
    out: Path,
    plan_only: bool,
    report_only: bool,
    no_plots: bool,
    quiet: bool,
    parallel: int | None,
    export: Path | None,
    **options: Any,
) -> None:
    """Measure inference scaling laws: accuracy against FLOPs for policies, strategies and widths.

    Every claim gets a computed verdict; the data decide, and a claim that they do not support is called that. Without
    --quick or --full it takes about an hour on two cores: 500 problems, every strategy at a few widths.
    """
    import anyio

    from ramify.scaling.claims.report import ENOUGH_PROBLEMS, REPORT, markdown_verdicts, summarise, summarise_export
    from ramify.scaling.run import run

    from ..host_resources import processors

    exported = None if export is None else _exported(export, options)
    plan = _plan(options) if exported is None else exported.plan
    workers = parallel or (processors() if plan.config.file is None else 1)
    line = terminal.ProgressLine(quiet=quiet, repeat_s=REPEAT_S)

    def announce(forecast: Forecast) -> None:
        line.say(_forecast_text(forecast))

    def watch(progress: ScalingProgress) -> None:
        line.update(lambda: _standing_text(progress))

    if plan_only:
        _forecast(plan, out)
        return
    if not no_plots and not quiet:
        from ..plots import require_matplotlib

        # Before hours of work, not after.
        require_matplotlib(alternative=", or use --no-plots")
    if report_only and not is_folder(out):
        raise UsageError(f"there is no folder {out}", "measure first, without --report")
    if not report_only and exported is None:
        with terminal.owned_stdout():
            try:
                anyio.run(lambda: run(plan, out, parallel=workers, note=line.note, forecast=announce, watch=watch))
            except KeyboardInterrupt:
                line.clear()
                terminal.error("interrupted; the same command goes on with it")
                raise Finished(ExitCode.INTERRUPTED) from None
            finally:
                line.clear()
    found = summarise(plan, out) if exported is None else summarise_export(exported, out)
    if not no_plots:
        _draw(found, out, line)
    terminal.write(markdown_verdicts(found.verdicts))
    if plan.config.problems < ENOUGH_PROBLEMS:
        line.note(f"{plan.config.problems} problems show that everything works, not what is true")
    line.say(f"all tables are in {out / REPORT}")


def _plan(options: dict[str, Any]) -> Plan:
    from ramify.scaling.plans import crossed, hour, named_sources, on_file, quick

    is_quick, is_full = options.pop("quick"), options.pop("full")
    if is_quick and is_full:
        raise UsageError("--quick and --full are two plans", "choose one of them")
    settings = {name: value for name, value in options.items() if value is not None}
    sources = list[tuple[str, str]]()
    for name in ("policies", "rewards"):
        if name in settings:
            settings[name], found = named_sources(settings[name])
            sources += found
    if sources:
        settings["sources"] = tuple(dict.fromkeys(sources))
    for name in ("rewards", "quantizations"):
        if settings.get(name) == ("none",):
            settings[name] = ()
    if isinstance(settings.get("problems"), str):
        if is_quick or is_full:
            raise UsageError("--quick and --full are plans of generated problems", "leave them out with a file")
        if "steps" in settings:
            raise UsageError("--steps is about generated problems", "leave it out with a file")
        settings["file"] = settings.pop("problems")
        if "count" in settings:
            settings["problems"] = settings.pop("count")
        return on_file(**settings)
    for name in ("count", "timings"):
        if name in settings:
            raise UsageError(f"--{name} is about the problems of a file", "add --problems FILE")
    return quick(**settings) if is_quick else crossed(**settings) if is_full else hour(**settings)


def _exported(path: Path, options: dict[str, Any]) -> Export:
    from ramify.scaling.exports import read_export

    given = next((name for name, value in options.items() if value not in (None, False)), None)
    if given is not None:
        raise UsageError(
            f"--from has a plan of its own, so --{given.replace('_', '-')} has no effect", "leave one of them out"
        )
    return read_export(user_path(path))


def _forecast(plan: Plan, out: Path) -> None:
    from ramify.scaling.run import remaining

    forecast = remaining(plan, out, note=terminal.note)
    terminal.write(_forecast_text(forecast))


def _draw(found: ScalingResults, out: Path, line: terminal.ProgressLine) -> None:
    from ramify.scaling.claims.plots import draw

    views, folder = found.plan.views, out / "plots"
    written = [path for view in views for path in draw(found.measured[view.name], folder, view.name, view.claims)]
    line.say(f"{len(written)} plots are in {out / 'plots'}")


def _forecast_text(forecast: Forecast) -> str:
    cost = forecast.cost
    parts = [
        f"{forecast.units} settings to measure, {cost.searches:,} searches",
        f"about {cost.generated_tokens:,} tokens",
        f"{cost.flops:.2g} FLOPs",
    ]
    if forecast.seconds is not None and cost.searches:
        parts.append(f"{duration_text(forecast.seconds)} here")
    if forecast.known:
        parts.append(f"{forecast.known:,} rows are there already")
    return " · ".join(parts)


def _standing_text(progress: ScalingProgress) -> str:
    return (
        f"{progress.share:.0%} · {progress.done}/{progress.units} settings · "
        f"{duration_text(progress.seconds_left)} left · {progress.unit.replace('|', ' ')}"
    )
