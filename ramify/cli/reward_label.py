"""`ramify reward label`: labels of steps from Monte Carlo rollouts."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import terminal
from .help import GroupedCommand
from .option_types import COUNT
from .options import loading_settings, path_options, path_settings, setting_option
from .problems import TASK_NAMES

if TYPE_CHECKING:
    from collections.abc import Generator

    from ramify.training.label_files import Labelling
    from ramify.training.labelling import LabelCost, LabelLosses, LabelMode, LabelPlan, StepCheck

    from ..problem import Problem

DEFAULT_ROLLOUTS = 8
"""From each prefix, where a mode needs rollouts and no number is given."""
DEFAULT_COUNT = 100
"""Bundled problems."""


@click.command(cls=GroupedCommand, example="ramify reward label --problems FILE -m FILE.gguf --out labels.jsonl")
@setting_option("model", help="The policy: name or path of a .gguf file.")
@click.option(
    "--problems",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON lines: id, question, answer, check.  [default: bundled problems]",
)
@click.option("--task", type=click.Choice(TASK_NAMES), default="arithmetic", show_default=True, help="Bundled task.")
@click.option("--count", type=COUNT, help=f"Problems, at most.  [default: all of a file, {DEFAULT_COUNT} bundled ones]")
@click.option("--solutions", type=click.IntRange(min=1), default=8, show_default=True, help="Sampled for each problem.")
@click.option(
    "--rollouts",
    type=click.IntRange(min=0),
    help=f"More from each prefix.  [default: 0, with --hard or --search {DEFAULT_ROLLOUTS}]",
)
@click.option("--hard", is_flag=True, help="Label 1 or 0, and roll out from a prefix only until one rollout is right.")
@click.option("--search", is_flag=True, help="Bisect wrong solutions for their first error; labels are hard.")
@click.option("--exact", is_flag=True, help="Label 1 before the first error by the worked solution, else 0.")
@click.option("--outcome", is_flag=True, help="Label all steps of a solution by its answer; no rollouts.")
@click.option(
    "--agree",
    metavar="REWARD",
    help="Keep solutions on whose first error the labels, REWARD below 0.5 and the equations agree.",
)
@setting_option("calculator")
@click.option("--balance", is_flag=True, help="Keep as many wrong as right solutions of each problem.")
@click.option("--parallel", type=click.IntRange(min=1), default=2, show_default=True, help="Problems at a time.")
@click.option("--seed", type=int, default=0, show_default=True)
@path_options
@click.option(
    "--out",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The file of labels; an existing one is continued.",
)
@click.option("--json", "as_json", is_flag=True, help="Write what it cost as one JSON object.")
def label(
    model: str,
    problems: Path | None,
    task: str,
    count: int | None,
    solutions: int,
    rollouts: int | None,
    hard: bool,
    search: bool,
    exact: bool,
    outcome: bool,
    agree: str | None,
    calculator: bool | None,
    balance: bool,
    parallel: int,
    seed: int,
    out: Path,
    as_json: bool,
    **settings: Any,
) -> None:
    """Label steps by how often the policy reaches the right answer from them, or by the worked solution.

    The same command again goes on where it was cut. Prefixes are read once, whatever the number of rollouts.
    """
    import anyio

    from ramify.training.label_files import label_problems
    from ramify.training.labelling import LabelPlan
    from ramify.training.preflight import Forecast

    if hard and search:
        raise click.UsageError("--hard and --search exclude each other: labels of a search are hard")
    if exact and (hard or search or rollouts):
        raise click.UsageError("--exact needs no rollouts: leave out --hard, --search and --rollouts")
    if outcome and (exact or hard or search or rollouts):
        raise click.UsageError("--outcome needs no rollouts: leave out --exact, --hard, --search and --rollouts")
    if agree is not None:
        from ramify.engine.rewards.naming import check_reward

        if outcome or not (exact or hard or search):
            raise click.UsageError("--agree needs labels that name a first error: add --hard, --search or --exact")
        check_reward(agree)
    mode: LabelMode = "exact" if exact else "search" if search else "hard" if hard else "outcome" if outcome else "soft"
    config = loading_settings(settings)
    plan = LabelPlan(
        solutions=solutions,
        rollouts=(0 if mode in ("soft", "exact", "outcome") else DEFAULT_ROLLOUTS) if rollouts is None else rollouts,
        mode=mode,
        balance=balance,
        seed=seed,
        parallel=parallel,
        calculator=bool(calculator),
        agree=agree,
        **path_settings(settings),
    )
    check_model(model)
    todo = (
        _bundled(task, count or DEFAULT_COUNT, seed)
        if problems is None
        else read_answered(problems, count, config.prompt_preset)
    )
    line, forecast = terminal.ProgressLine(in_place=False), Forecast(total=len(todo), first=min(parallel, len(todo)))

    def watch(state: Labelling) -> None:
        forecast.total = len(todo) - state.found
        told = forecast.tell(state.labelled, state.generated_tokens, state.seconds)
        if told is not None:
            line.say(told)
        done = state.labelled + state.found
        line.update(lambda: f"{done} of {len(todo)} problems, {state.cost.generated_tokens:,} tokens generated")

    with terminal.owned_stdout():
        terminal.say(f"labelling {len(todo)} problems with {model}: {_extent(plan)}")
        with resumable():
            done = anyio.run(
                lambda: label_problems(model, todo, out, plan, config=config, check_steps=step_check, on_problem=watch)
            )
        terminal.say(f"{done.labelled} problems labelled, {done.found} were there already")
        if done.too_long:
            terminal.note(f"{done.too_long} questions are longer than {model} can read")
        for sentence in loss_lines(done.losses, done.cost.solutions, plan):
            terminal.note(sentence)
        terminal.say(cost_line(done.rows, done.cost))
        if as_json:
            terminal.write_json({"path": str(out), **asdict(done)})
        else:
            terminal.write(str(out))


def read_answered(path: Path, count: int | None = None, preset: str | None = None) -> list[Problem]:
    """Return the problems of a file, at most `count`; None for all.

    Those that name no checker have that of the prompt file `preset`.

    Raises:
        UsageError: if the file cannot be read, it has no problems, or a record is none.
    """
    from ramify.batch.store.inputs import read_stated_problems

    from ..errors import UsageError
    from .batch import with_check

    found = with_check(read_stated_problems(path), preset)[:count]
    if not found:
        raise UsageError(f"{path} has no problems", "give it one JSON object a line, with question and answer")
    return found


def check_model(model: str) -> None:
    """Check that there is a model of that name.

    Raises:
        ModelLoadError: if there is none.
        UsageError: if the address of a server is malformed.
    """
    from ramify.engine.library.catalog import resolve_model
    from ramify.engine.policy.remote.address import is_remote, parse_address

    if is_remote(model):
        parse_address(model)
    else:
        resolve_model(model)


def step_check(problem: Problem) -> StepCheck | None:
    """Return the step check of a bundled problem with its worked solution, None for any other problem."""
    from ramify.models.tasks.tasks import task_of

    task = task_of(problem)
    return None if task is None else task.first_error


@contextmanager
def resumable() -> Generator[None]:
    """Say, if the block is interrupted, that the measurements so far are kept."""
    try:
        yield
    except KeyboardInterrupt:
        terminal.note("what was measured is kept; the same command goes on from there")
        raise


def _extent(plan: LabelPlan) -> str:
    """Return the most that a problem may cost, in a few words."""
    rollouts = f", up to {plan.rollouts} rollouts from each of their prefixes" if plan.rollouts else ""
    return f"{plan.solutions} solutions each{rollouts}, at most {plan.max_path_tokens:,} tokens a path"


def loss_lines(losses: LabelLosses, solutions: int, plan: LabelPlan) -> list[str]:
    """Return a sentence for each reason for which some of all sampled solutions got no labels."""
    from ramify.training.labelling import MAX_DEPTH

    reasons = (
        (losses.length, f"had no answer after {plan.max_path_tokens:,} tokens (raise --max-path-tokens)"),
        (losses.context, "had no answer at the end of the model's context"),
        (losses.steps, f"had no end after {MAX_DEPTH} steps (choose another --step-format or --min-step-tokens)"),
        (losses.empty, "were empty"),
        (losses.balance, "are left out by --balance"),
        (losses.disputed, "are left out by --agree"),
    )
    found = [f"{number} of {solutions} solutions {reason}: no labels" for number, reason in reasons if number]
    if losses.unanswered:
        found.append(f"{losses.unanswered} of {solutions} solutions ended without an answer and count as wrong")
    return found


def cost_line(rows: int, cost: LabelCost) -> str:
    """Return the cost of labels in one line."""
    parts = [f"{rows} different solutions with labels"]
    if cost.all_rollouts:
        parts.append(f"{cost.rollouts:,} rollouts ({cost.all_rollouts:,} if each prefix had all of its own)")
    if cost.evaluated_tokens:
        anew = f"{cost.unshared_tokens:,} if each prefix were read anew"
        parts.append(f"{cost.generated_tokens:,} tokens generated")
        parts.append(
            f"{cost.evaluated_tokens:,} evaluated, {anew} ({cost.unshared_tokens / cost.evaluated_tokens:.2f} x)"
        )
    return " · ".join(parts)


def _bundled(task: str, count: int, seed: int) -> list[Problem]:
    """Return problems for training, of the stream that the bundled reward model of the task learned from."""
    from ramify.models.tasks.tasks import TASKS, label_stream

    return label_stream(range(seed * count, (seed + 1) * count), TASKS[task])
