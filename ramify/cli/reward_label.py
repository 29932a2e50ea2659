"""`ramify reward label`: labels of steps from Monte Carlo rollouts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import terminal
from .option_types import COUNT
from .options import setting_option
from .problems import TASK_NAMES

if TYPE_CHECKING:
    from ramify.training.label_files import Labelling
    from ramify.training.labelling import LabelCost, LabelMode

    from ..problem import Problem

DEFAULT_ROLLOUTS = 8
"""From each prefix, where a mode needs rollouts and no number is given."""


@click.command()
@setting_option("model", help="The policy: name or path of a .gguf file.")
@click.option(
    "--problems",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON lines: id, question, answer, check.  [default: bundled problems]",
)
@click.option("--task", type=click.Choice(TASK_NAMES), default="arithmetic", show_default=True, help="Bundled task.")
@click.option("--count", type=COUNT, default=100, show_default=True, help="Number of bundled problems.")
@click.option("--solutions", type=click.IntRange(min=1), default=8, show_default=True, help="Sampled for each problem.")
@click.option(
    "--rollouts",
    type=click.IntRange(min=0),
    help=f"More from each prefix.  [default: 0, with --hard or --search {DEFAULT_ROLLOUTS}]",
)
@click.option("--hard", is_flag=True, help="Label 1 or 0, and roll out from a prefix only until one rollout is right.")
@click.option("--search", is_flag=True, help="Bisect wrong solutions for their first error; labels are hard.")
@click.option("--balance", is_flag=True, help="Keep as many wrong as right solutions of each problem.")
@setting_option("max_step_tokens", default=64, unset="")
@click.option("--max-rollout-tokens", type=click.IntRange(min=1), default=256, show_default=True)
@click.option("--parallel", type=click.IntRange(min=1), default=2, show_default=True, help="Problems at a time.")
@setting_option("threads")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--out",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The file of labels; an existing one is gone on with.",
)
@click.option("--json", "as_json", is_flag=True, help="Write what it cost as one JSON object.")
def label(
    model: str,
    problems: Path | None,
    task: str,
    count: int,
    solutions: int,
    rollouts: int | None,
    hard: bool,
    search: bool,
    balance: bool,
    max_step_tokens: int,
    max_rollout_tokens: int,
    parallel: int,
    threads: int | None,
    seed: int,
    out: Path,
    as_json: bool,
) -> None:
    """Label steps by how often the policy reaches the right answer from them.

    The same command again goes on where it was cut. Prefixes are read once, whatever the number of rollouts.
    """
    import anyio

    from ramify.training.label_files import label_problems
    from ramify.training.labelling import LabelPlan

    from ..config import EngineConfig

    if hard and search:
        raise click.UsageError("--hard and --search exclude each other: labels of a search are hard")
    mode: LabelMode = "search" if search else "hard" if hard else "soft"
    plan = LabelPlan(
        solutions=solutions,
        rollouts=(0 if mode == "soft" else DEFAULT_ROLLOUTS) if rollouts is None else rollouts,
        mode=mode,
        balance=balance,
        seed=seed,
        parallel=parallel,
        max_step_tokens=max_step_tokens,
        max_rollout_tokens=max_rollout_tokens,
    )
    todo = _bundled(task, count, seed) if problems is None else read_answered(problems)
    line = terminal.ProgressLine(in_place=False)

    def watch(state: Labelling) -> None:
        done = state.labelled + state.found
        line.update(lambda: f"{done} of {len(todo)} problems, {state.cost.generated_tokens:,} tokens generated")

    with terminal.owned_stdout():
        terminal.say(f"labelling {len(todo)} problems with {model}")
        config = EngineConfig(threads=threads)
        done = anyio.run(lambda: label_problems(model, todo, out, plan, config=config, on_problem=watch))
        terminal.say(f"{done.labelled} problems labelled, {done.found} were there already")
        if done.too_long:
            terminal.note(f"{done.too_long} questions are longer than {model} can read")
        terminal.say(cost_line(done.rows, done.cost))
        if as_json:
            terminal.write_json(_facts(out, done))
        else:
            terminal.write(str(out))


def read_answered(path: Path) -> list[Problem]:
    """Return the problems of a file.

    Raises:
        UsageError: if the file cannot be read, or a record is no problem.
    """
    from ramify.batch.store.inputs import read_problems

    return read_problems(path)


def cost_line(rows: int, cost: LabelCost) -> str:
    """Return what labels cost, in one line."""
    parts = [f"{rows} solutions with labels"]
    if cost.all_rollouts:
        parts.append(f"{cost.rollouts:,} rollouts ({cost.all_rollouts:,} if each prefix had all of its own)")
    if cost.evaluated_tokens:
        anew = f"{cost.unshared_tokens:,} if each prefix were read anew"
        parts.append(f"{cost.generated_tokens:,} tokens generated")
        parts.append(
            f"{cost.evaluated_tokens:,} evaluated, {anew} ({cost.unshared_tokens / cost.evaluated_tokens:.2f} x)"
        )
    return " · ".join(parts)


def _facts(out: Path, done: Labelling) -> dict[str, object]:
    from dataclasses import asdict

    return {"path": str(out), **asdict(done)}


def _bundled(task: str, count: int, seed: int) -> list[Problem]:
    """Return problems for training, of the stream that the bundled reward model of the task learned from."""
    from ramify.models.tasks.tasks import TASKS, label_stream

    return label_stream(range(seed * count, (seed + 1) * count), TASKS[task])
