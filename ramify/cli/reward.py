"""`ramify reward`: conversion, checks and training of reward models."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import click

from . import terminal
from .help import GroupedCommand
from .option_types import COUNT
from .options import loading_options, loading_settings, setting_option
from .problems import TASK_NAMES
from .reward_eval import evaluate, labels_in
from .reward_label import check_model, label, read_answered, resumable
from .reward_tables import number_or_dash, write_check

if TYPE_CHECKING:
    from ramify.reward.likelihood_head import Reads
    from ramify.training.check import CheckReport

    from ..problem import Problem

SEARCHED, FIRST_SEARCHED = 100, 1_000_000
"""Bundled problems on which a temperature is chosen, and the place of the first in the stream for training."""
_READS: dict[str, Reads] = {"likelihood": "tokens", "states": "states"}
"""Kinds of heads on a judge, with the outputs of the judge that they read."""
_NEW_FILE = click.Path(dir_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def reward() -> None:
    """Convert, check and train reward models."""


@reward.command()
@click.argument("name", required=False)
def specs(name: str | None) -> None:
    """List the built-in formats, or write one as JSON, to be changed and passed as --reward-spec FILE."""
    from ramify.reward.published import BUILTIN_SPECS
    from ramify.reward.spec_loading import load_spec

    if name is not None:
        terminal.write(load_spec(name).model_dump_json(indent=2))
        return
    for each in BUILTIN_SPECS:
        terminal.write(each)


@reward.command()
@click.argument("source", type=click.Path(path_type=Path), metavar="FOLDER")
@click.option("--out", "-o", type=_NEW_FILE, required=True, help="The GGUF file to write.")
@click.option("--spec", metavar="NAME|FILE", help="Format.  [default: as its head or its name says]")
@click.option("--separator", default=r"\n", show_default=True, help="What ends a step, for token classifiers.")
@click.option("--type", "kind", type=click.Choice(["f32", "f16", "q8_0"]), default="f16", show_default=True)
def convert(source: Path, out: Path, spec: str | None, separator: str, kind: str) -> None:
    """Convert the Hugging Face checkpoint in FOLDER to a GGUF file that carries its own format.

    A linear head goes into unused rows of the output matrix; the head of a network is written beside the file.
    """
    from ramify.engine.library.convert.converting import ConvertOptions, convert_reward

    options = ConvertOptions(
        spec=spec,
        separator=separator.replace("\\n", "\n").replace("\\t", "\t"),
        kind=cast('Literal["f32", "f16", "q8_0"]', kind),
    )
    terminal.say(f"converting {source}")
    done = convert_reward(source, out, options)
    terminal.say(f"format {done.spec.name}, read at {done.spec.tag!r}")
    terminal.write(str(done.path))
    if done.head_path is not None:
        terminal.write(str(done.head_path))


@reward.command()
@click.argument("model", metavar="REWARD")
@setting_option("reward_spec", help="Its format.")
@click.option("--cases", type=_FILE, help="JSON lines: question, steps, first_error.  [default: bundled problems]")
@click.option("--task", type=click.Choice(TASK_NAMES), default="arithmetic", show_default=True, help="Bundled task.")
@click.option("--count", type=COUNT, default=30, show_default=True, help="Number of bundled problems.")
@click.option("--seed", type=int, default=0, show_default=True, help="Which bundled problems.")
@setting_option("threads")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def check(
    model: str,
    reward_spec: str | None,
    cases: Path | None,
    task: str,
    count: int,
    seed: int,
    threads: int | None,
    as_json: bool,
) -> None:
    """Score right and wrong solutions with REWARD, and tell how well it keeps them apart."""
    import anyio

    from ..config import EngineConfig
    from .reward_cases import bundled_cases, read_cases

    found = bundled_cases(count, seed, task) if cases is None else read_cases(cases)
    with terminal.owned_stdout():
        report = anyio.run(_check, model, EngineConfig(threads=threads, reward_spec=reward_spec), found)
        if as_json:
            terminal.write_json(asdict(report), indent=2)
        else:
            write_check(report)
    for warning in report.warnings:
        terminal.note(warning)


@reward.command(cls=GroupedCommand, example="ramify reward train labels.jsonl --judge FILE.gguf --out head.json")
@click.argument("labels", type=_FILE)
@click.option(
    "--judge", "--model", "-m", help="The model that the head reads: name or file.  [default: that which wrote LABELS]"
)
@click.option("--out", "-o", type=_NEW_FILE, required=True, help="The file of the head, such as head.json.")
@click.option(
    "--head",
    type=click.Choice(list(_READS)),
    default="likelihood",
    show_default=True,
    help="By log probabilities, or also by hidden states.",
)
@click.option("--policy", help="Policy that chooses REBASE's temperature on --problems.")
@click.option(
    "--problems", type=_FILE, help=f"Problems for --policy, not among LABELS.  [default: {SEARCHED} bundled ones]"
)
@click.option("--epochs", type=click.IntRange(min=1), help="Passes through the labels.  [default: 12]")
@click.option(
    "--held-out", type=click.FloatRange(0.01, 0.9), default=0.15, show_default=True, help="Share of problems."
)
@click.option("--seed", type=int, default=0, show_default=True)
@partial(loading_options, without=("step_format", "workers"))
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def train(
    labels: Path,
    judge: str | None,
    out: Path,
    policy: str | None,
    problems: Path | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train a head from LABELS: a small network on features of a solution that a model, its judge, computes.

    LABELS are those of `ramify reward label`. A likelihood head reads the judge's log probabilities, a states head also
    its pooled hidden states. The head is a file of its own, used as `--reward head:FILE`. The folder LABELS.states
    keeps what was read: the same command again goes on where it was cut. The last line says whether the head helps.
    """
    import anyio

    from ramify.training.judge_fitting import PLANS
    from ramify.training.label_files import labelling_model
    from ramify.training.likelihood_training import choose_temperature, train_judge_head

    judge = judge or labelling_model(labels)
    if judge is None:
        raise click.UsageError("nothing says which model wrote the labels, so the head needs --judge MODEL")
    if out.suffix == ".gguf":
        raise click.UsageError(f"a head is a file of JSON beside its judge, not a model: write it to {out.stem}.json")
    if problems is not None and policy is None:
        raise click.UsageError("--problems are searched by a policy: name it with --policy")
    reads = _READS[settings["head"]]
    rows, plan, config = labels_in(labels), replace(PLANS[reads], **_chosen(settings)), loading_settings(settings)
    todo = [] if policy is None else _searched(problems, {row.question for row in rows})
    if policy is not None:
        check_model(policy)
    check_model(judge)
    line = terminal.ProgressLine(in_place=False)
    with terminal.owned_stdout():
        terminal.say(f"reading {len(rows)} solutions with {judge}")
        with resumable():
            head = anyio.run(
                lambda: train_judge_head(
                    rows,
                    judge,
                    out,
                    plan,
                    reads=reads,
                    config=config,
                    cache=labels.with_name(f"{labels.name}.states"),
                    on_problem=lambda done, total: line.update(lambda: f"{done} of {total} problems"),
                )
            )
        if policy is not None:
            head = anyio.run(
                lambda: choose_temperature(head, out, policy, todo, config=config, on_strategy=terminal.say)
            )
        report = head.report
        if as_json:
            terminal.write_json({"path": str(out), "temperature": head.temperature, **report}, indent=2)
            return
        terminal.say(
            f"held out: {report['problems']} problems, {report['paths']} paths, AUC of steps "
            f"{number_or_dash(report['step_auc'])}, calibration error {number_or_dash(report['calibration_error'])}"
        )
        if "note" in report:
            terminal.say(report["note"])
        terminal.say(report["verdict"])
        terminal.write(str(out))


def _chosen(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a training that were given."""
    return {name: settings[name] for name in ("epochs", "held_out", "seed") if settings[name] is not None}


def _searched(path: Path | None, trained_on: set[str]) -> list[Problem]:
    """Return the problems on which the temperature is chosen, without those of the labels."""
    from ramify.models.tasks.tasks import label_stream
    from ramify.training.likelihood_training import PURPOSE
    from ramify.training.preflight import check_answered

    from ..errors import UsageError

    found = label_stream(range(FIRST_SEARCHED, FIRST_SEARCHED + SEARCHED)) if path is None else read_answered(path)
    left = [problem for problem in found if problem.transcript not in trained_on]
    if not left:
        raise UsageError("all problems are among the labels", "choose the temperature on others")
    check_answered(left, PURPOSE)
    return left


async def _check(model: str, config: Any, cases: Any) -> CheckReport:
    from contextlib import AsyncExitStack

    from ramify.engine.loading import load_reward
    from ramify.training.check import check_reward

    async with AsyncExitStack() as stack:
        loaded = await load_reward(stack, model, config)
        assert loaded is not None
        return await check_reward(loaded, cases)


reward.add_command(label)
reward.add_command(evaluate)
