"""`ramify bench`: measurement of inference scaling laws."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ExitCode, UsageError
from ..files import is_folder
from ..settings import NUMBER, Setting
from ..text import duration_text
from . import terminal
from .exits import Finished
from .option_types import COUNT_RANGE, WIDTHS, WORDS, ListType, StepRange
from .options import setting_option

if TYPE_CHECKING:
    from ramify.scaling.claims.report import ScalingResults
    from ramify.scaling.plans import Plan
    from ramify.scaling.run import Forecast, ScalingProgress

REPEAT_S = 10.0
"""Shortest time between two lines of progress where a line cannot be rewritten."""
PARTS = ("samples", "search", "noise", "quantization")
_PARTS = ListType(Setting(choices=PARTS))
_SIGMAS = ListType(Setting(kind=NUMBER, low=0))


@click.group()
def bench() -> None:
    """Measure ramify itself, on its own models or on yours."""


@bench.command(
    epilog="DIR gets items.jsonl (a row for each search, on disk as soon as it is done), results.json, report.md and "
    "plots. The same command goes on where it was stopped, however that was; with more problems, seeds, widths, "
    "policies or rewards it measures what is new, and what --quick or the plan of an hour has measured, --full takes "
    "over. docs/results/scaling-laws.md says what each verdict means."
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the measurement; made if new.")
@click.option("--quick", is_flag=True, help="A minute: few problems, narrow widths; shows that it works, no more.")
@click.option("--full", is_flag=True, help="Days: every strategy at every width with every reward.")
@click.option("--problems", type=COUNT_RANGE, help="Number of problems.  [default: 500]")
@click.option("--problem-seed", type=int, help="Of the generated problems.  [default: a fixed one that is unused]")
@click.option("--steps", type=StepRange(), help="Fewest and most steps of the problems.  [default: 2-8]")
@click.option("--seeds", type=COUNT_RANGE, help="Number of sampling seeds.  [--full: 3]")
@click.option("--policies", type=WORDS, help="Models, joined with commas.  [default: demo-s,demo-m,demo-l]")
@click.option(
    "--rewards", type=WORDS, help="Rewards, joined with commas, or 'none'.  [--full: demo-prm,mean-logprob:demo-l]"
)
@click.option(
    "--strategies",
    type=WORDS,
    help="Names, joined with commas; NAME+RULES with stop rules, such as majority+lead.  [--full: all]",
)
@click.option("--widths", type=WIDTHS, help="Numbers of paths, joined with commas.  [--full: 1,2,4,8,16,32,64,128]")
@click.option("--sigmas", type=_SIGMAS, help="Noise on the rewards' logits, joined with commas.  [--full: 0,1,2,4]")
@click.option("--noise-width", type=COUNT_RANGE, help="Width at which noise is measured.  [--full: 16]")
@click.option("--quantization-width", type=COUNT_RANGE, help="Samples of each model file.  [--full: 16]")
@click.option("--quantizations", type=WORDS, help="Files to be made, or 'none'.  [--full: f16,q8_0,q5_k_m,q4_k_m,q4_0]")
@click.option("--parts", type=_PARTS, help=f"Which of {', '.join(PARTS)}, joined with commas.  [default: all]")
@click.option("--parallel", type=COUNT_RANGE, help="Settings measured at a time.  [default: a processor for each]")
@setting_option("threads", help="Threads of each setting.", unset="an equal share")
@click.option("--plan", "plan_only", is_flag=True, help="Only say what there is to do and what it will cost.")
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
    **options: Any,
) -> None:
    """Measure inference scaling laws: accuracy against FLOPs for policies, strategies and widths.

    Every claim gets a computed verdict; the data decide, and a claim that they do not support is called that. Without
    --quick or --full it takes about an hour on two cores: 500 problems, every strategy at a few widths.
    """
    import anyio

    from ramify.scaling.claims.report import ENOUGH_PROBLEMS, REPORT, markdown_verdicts, summarise
    from ramify.scaling.run import run

    from ..host_resources import processors

    plan = _plan(options)
    workers = parallel or processors()
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
    if not report_only:
        with terminal.owned_stdout():
            try:
                anyio.run(lambda: run(plan, out, parallel=workers, note=line.note, forecast=announce, watch=watch))
            except KeyboardInterrupt:
                line.clear()
                terminal.error("interrupted; the same command goes on with it")
                raise Finished(ExitCode.INTERRUPTED) from None
            finally:
                line.clear()
    found = summarise(plan, out)
    if not no_plots:
        _draw(found, out, line)
    terminal.write(markdown_verdicts(found.verdicts))
    if plan.config.problems < ENOUGH_PROBLEMS:
        line.note(f"{plan.config.problems} problems show that everything works, not what is true")
    line.say(f"all tables are in {out / REPORT}")


def _plan(options: dict[str, Any]) -> Plan:
    from ramify.scaling.plans import crossed, hour, quick

    is_quick, is_full = options.pop("quick"), options.pop("full")
    if is_quick and is_full:
        raise UsageError("--quick and --full are two plans", "choose one of them")
    settings = {name: value for name, value in options.items() if value is not None}
    for name in ("rewards", "quantizations"):
        if settings.get(name) == ("none",):
            settings[name] = ()
    return quick(**settings) if is_quick else crossed(**settings) if is_full else hour(**settings)


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
