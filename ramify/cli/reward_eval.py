"""`ramify reward eval`: quality of a reward model, and the gain of searches with it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import terminal
from .option_types import COUNT, StepRange
from .options import setting_option
from .problems import TASK_NAMES
from .reward_label import read_answered

if TYPE_CHECKING:
    from ramify.training.evaluation import EvaluatedProblem, ScoredPath, StepCheck
    from ramify.training.labelling import LabelledSolution
    from ramify.training.quality import Quality, ScoreCalibration

    from ..problem import Problem

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
AGAINST_DEFAULT, NONE = "default", "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class _EvaluationOptions:
    """Options of an evaluation that are passed on."""

    model: str
    width: int
    seed: int
    parallel: int
    threads: int | None
    search: bool
    threshold: float | None


@click.command("eval")
@click.argument("reward", metavar="REWARD")
@click.option("--problems", type=_FILE, help="JSON lines: id, question, answer, check.  [default: bundled problems]")
@click.option("--labels", type=_FILE, help="Labels of other problems than it was trained on: the truth about steps.")
@setting_option("model", help="The policy whose paths are scored.")
@setting_option("reward_spec", help="The reward's format.")
@click.option(
    "--against",
    default=AGAINST_DEFAULT,
    help="Reward to compare with, or none.  [default: bundled, for a bundled policy]",
)
@click.option("--width", type=click.IntRange(min=1), default=8, show_default=True, help="Paths of each problem.")
@click.option("--task", type=click.Choice(TASK_NAMES), default="arithmetic", show_default=True, help="Bundled task.")
@click.option("--steps", type=StepRange(), default="2-8", show_default=True, help="Steps of bundled problems.")
@click.option("--count", type=COUNT, default=100, show_default=True, help="Number of bundled problems.")
@click.option("--seed", type=int, default=1, show_default=True, help="Which bundled problems, and the sampling.")
@click.option(
    "--threshold", type=float, help="A lower score marks a wrong step.  [default: chosen on half the problems]"
)
@click.option("--no-search", is_flag=True, help="Leave out REBASE; with --labels, write no paths at all.")
@click.option("--parallel", type=click.IntRange(min=1), default=2, show_default=True, help="Problems at a time.")
@setting_option("threads")
@click.option(
    "--out",
    "-o",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for report, paths and reliability plot.",
)
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def evaluate(
    reward: str,
    problems: Path | None,
    labels: Path | None,
    reward_spec: str | None,
    against: str,
    task: str,
    steps: tuple[int, int],
    count: int,
    out: Path | None,
    no_search: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Measure REWARD: does it tell right steps from wrong ones, is it calibrated, and does a search gain by it?

    The policy writes paths for each problem. Their votes and a REBASE search of the same width are compared with
    plain majority and with the bundled reward. Steps are checked by the bundled problems' worked solutions (in a file:
    with `ramify problems --solutions`), or come from --labels.
    """
    import anyio

    chosen = _EvaluationOptions(**settings, search=not no_search)
    given = None if labels is None else _labels(labels)
    todo: list[Problem] = []
    if given is None or not no_search:
        todo = _bundled(task, steps, count, chosen.seed) if problems is None else read_answered(problems)
    rewards = _rewards(reward, against, chosen.model)
    with terminal.owned_stdout():
        report, paths, fits = anyio.run(_measure, rewards, reward_spec, todo, given, chosen)
        if as_json:
            terminal.write_json(report, indent=2)
        else:
            write_report(report)
    if out is not None:
        _save(out, report, paths, fits)


async def _measure(
    rewards: Sequence[str],
    spec: str | None,
    problems: Sequence[Problem],
    labels: Sequence[LabelledSolution] | None,
    chosen: _EvaluationOptions,
) -> tuple[dict[str, Any], dict[str, list[ScoredPath]], dict[str, ScoreCalibration]]:
    """Return the report, and by reward the scored paths and the calibration."""
    from ramify.training.quality import quality

    outcomes: dict[str, list[EvaluatedProblem]] = {}
    paths: dict[str, list[ScoredPath]] = {}
    for number, name in enumerate(rewards):
        own_spec = spec if number == 0 else None
        if problems:
            outcomes[name] = await _search(name, own_spec, problems, chosen)
            paths[name] = [path for each in outcomes[name] for path in each.paths]
        if labels is not None:
            paths[name] = await _score(name, own_spec, labels, chosen)
    found = {name: quality(each, threshold=chosen.threshold, seed=chosen.seed) for name, each in paths.items()}
    for name, each in found.items():
        if each.first_error is None:
            terminal.note(f"nothing says which steps {name} should score low; use --labels, or worked solutions")
    report: dict[str, Any] = {
        "reward": rewards[0],
        "against": rewards[1] if len(rewards) > 1 else None,
        "model": chosen.model,
        "width": chosen.width,
        "seed": chosen.seed,
        "problems": len(problems),
        "truth": "labels" if labels is not None else "worked solutions",
        "quality": {name: quality_facts(each) for name, each in found.items()},
        "search": [asdict(row) for row in gains(outcomes)] if outcomes else [],
    }
    fits = {name: each.calibration for name, each in found.items() if each.calibration is not None}
    return report, paths, fits


async def _search(
    name: str, spec: str | None, problems: Sequence[Problem], chosen: _EvaluationOptions
) -> list[EvaluatedProblem]:
    from ramify.engine.engine import Engine
    from ramify.training.evaluation import evaluate as evaluate_reward

    from ..config import EngineConfig

    terminal.say(f"solving {len(problems)} problems with {chosen.model} and {name}, {chosen.width} paths each")
    config = EngineConfig(threads=chosen.threads, reward_spec=spec)
    async with Engine(chosen.model, name, config=config) as engine:
        return await evaluate_reward(
            engine,
            problems,
            width=chosen.width,
            seed=chosen.seed,
            check_steps=_step_check,
            search=chosen.search,
            parallel=chosen.parallel,
            on_problem=_counter(len(problems), "problems"),
        )


async def _score(
    name: str, spec: str | None, labels: Sequence[LabelledSolution], chosen: _EvaluationOptions
) -> list[ScoredPath]:
    from contextlib import AsyncExitStack

    from ramify.engine.loading import load_reward
    from ramify.training.evaluation import score_labels

    from ..config import EngineConfig

    terminal.say(f"scoring {len(labels)} labelled solutions with {name}")
    async with AsyncExitStack() as stack:
        loaded = await load_reward(stack, name, EngineConfig(threads=chosen.threads, reward_spec=spec))
        assert loaded is not None
        return await score_labels(loaded, labels, on_path=_counter(len(labels), "solutions"))


def _step_check(problem: Problem) -> StepCheck | None:
    from ramify.models.tasks.tasks import task_of

    task = task_of(problem)
    return None if task is None else task.first_error


def _counter(total: int, what: str) -> Callable[[int], None]:
    """Return a function that shows now and then how many are done."""
    line = terminal.ProgressLine(in_place=False)
    return lambda done: line.update(lambda: f"{done} of {total} {what}")


def _rewards(reward: str, against: str, model: str) -> list[str]:
    """Return the reward under test and, unless it is the same or there is none, that to compare it with."""
    from ramify.engine.loading import default_reward

    other = default_reward(model) if against == AGAINST_DEFAULT else None if against == NONE else against
    return [reward] if other is None or other == reward else [reward, other]


def _bundled(task: str, steps: tuple[int, int], count: int, seed: int) -> list[Problem]:
    from ramify.models.tasks import generate_problems

    try:
        return generate_problems(steps=steps, count=count, seed=seed, task=task)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _labels(path: Path) -> list[LabelledSolution]:
    from ramify.training.label_files import read_labels

    from ..errors import UsageError

    try:
        found = list(read_labels(path))
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} holds no labels ({error})", "make them with `ramify reward label`") from error
    if not found:
        raise UsageError(f"{path} is empty", "make labels with `ramify reward label`")
    return found


def _save(
    folder: Path,
    report: Mapping[str, Any],
    paths: Mapping[str, Sequence[ScoredPath]],
    fits: Mapping[str, ScoreCalibration],
) -> None:
    from ramify.training.quality import draw_reliability

    from ..errors import UsageError
    from ..files import make_folder, write_text

    try:
        make_folder(folder)
        write_text(folder / "report.json", json.dumps(report, indent=2) + "\n")
        rows = [{"reward": name, **asdict(path)} for name, own in paths.items() for path in own]
        write_text(folder / "paths.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror}", "choose another --out") from error
    try:
        draw_reliability(fits, folder / "reliability.png")
    except UsageError as error:
        terminal.note(str(error))
    terminal.say(f"written to {folder}")


MAJORITY = "majority"

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchGain:
    """Accuracy and cost of one way to choose an answer; `reward` is None for the majority vote.

    `interval` is Wilson's. `versus_majority` and `versus_other` are differences on the same problems with their
    bootstrap interval and McNemar's exact p-value; the latter is to the same method with the reward compared with.
    `generated_tokens` and `reward_tokens` are means over the problems.
    """

    method: str
    reward: str | None
    accuracy: float
    interval: Interval
    versus_majority: tuple[float, float, float, float] | None
    versus_other: tuple[float, float, float, float] | None
    generated_tokens: float
    reward_tokens: float


def gains(outcomes: Mapping[str, Sequence[EvaluatedProblem]]) -> list[SearchGain]:
    """Return the rows of the search gain; `outcomes` are by reward, that under test first, then that compared with."""
    names = list(outcomes)
    own = outcomes[names[0]]
    plain = [each.correct[MAJORITY] for each in own]
    rows = [_gain(MAJORITY, None, own, None, None)]
    for name, found in outcomes.items():
        for method in [each for each in found[0].correct if each != MAJORITY]:
            other = None
            if name == names[0] and len(names) > 1:
                other = [each.correct[method] for each in outcomes[names[1]]]
            rows.append(_gain(method, name, found, plain, other))
    return rows


def _gain(
    method: str,
    reward: str | None,
    outcomes: Sequence[EvaluatedProblem],
    plain: Sequence[bool] | None,
    other: Sequence[bool] | None,
) -> SearchGain:
    from ..statistics import wilson

    correct = [each.correct[method] for each in outcomes]
    usages = [each.usage[method] for each in outcomes]
    return SearchGain(
        method=method,
        reward=reward,
        accuracy=sum(correct) / len(correct),
        interval=wilson(sum(correct), len(correct)),
        versus_majority=None if plain is None else paired(correct, plain),
        versus_other=None if other is None else paired(correct, other),
        generated_tokens=sum(each.policy.generated_tokens for each in usages) / len(usages),
        reward_tokens=sum(each.reward.evaluated_tokens for each in usages) / len(usages),
    )


def paired(left: Sequence[bool], right: Sequence[bool]) -> tuple[float, float, float, float]:
    """Return the mean of left - right, its 95 % bootstrap interval over problems, and McNemar's p-value."""
    from ..statistics import mcnemar, paired_difference

    found = paired_difference(left, right)
    wins = sum(a and not b for a, b in zip(left, right, strict=True))
    losses = sum(b and not a for a, b in zip(left, right, strict=True))
    return found.value, found.low, found.high, mcnemar(wins, losses)


def share_interval(pairs: Sequence[tuple[float, int]]) -> Interval | None:
    """Return the 95 % bootstrap interval of wins over pairs, with whole problems resampled; None without any."""
    from ..statistics import bootstrap_ratio

    if not pairs:
        return None
    found = bootstrap_ratio([wins for wins, _ in pairs], [count for _, count in pairs])
    return found.low, found.high


def quality_facts(quality: Quality) -> dict[str, Any]:
    """Return a reward's figures in plain JSON types."""
    facts = asdict(quality)
    pairs = list(facts.pop("pairs").values())
    facts["pairs"] = sum(count for _, count in pairs)
    facts["prefers_right_interval"] = share_interval(pairs)
    return facts


def write_report(report: Mapping[str, Any]) -> None:
    """Write the report as tables."""
    qualities: dict[str, dict[str, Any]] = report["quality"]
    terminal.write_table(("", *qualities), [(name, *map(show, qualities.values())) for name, show in _FIGURES])
    if report["search"]:
        terminal.write("")
        head = (
            "METHOD",
            "REWARD",
            "ACCURACY",
            "95 % INTERVAL",
            "MINUS MAJORITY",
            "MINUS OTHER",
            "GENERATED",
            "REWARD TOKENS",
        )
        terminal.write_table(head, [_row(row) for row in report["search"]])


def _row(row: Mapping[str, Any]) -> tuple[str, ...]:
    low, high = row["interval"]
    return (
        row["method"],
        row["reward"] or "none",
        f"{row['accuracy']:.3f}",
        f"{low:.3f} to {high:.3f}",
        _difference(row["versus_majority"]),
        _difference(row["versus_other"]),
        f"{row['generated_tokens']:.0f}",
        f"{row['reward_tokens']:.0f}",
    )


def _difference(found: Sequence[float] | None) -> str:
    return "" if found is None else f"{found[0]:+.3f} [{found[1]:+.3f}, {found[2]:+.3f}] p={found[3]:.2f}"


def number_or_dash(value: float | None) -> str:
    """Return a number with three decimals, "-" for None."""
    return "-" if value is None else f"{value:.3f}"


def _preference(quality: Mapping[str, Any]) -> str:
    interval = quality["prefers_right_interval"]
    spread = "" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]"
    return number_or_dash(quality["prefers_right"]) + spread


def _of(part: str, name: str, quality: Mapping[str, Any]) -> str:
    found = quality[part]
    return number_or_dash(None if found is None else found[name])


_FIGURES: tuple[tuple[str, Callable[[Mapping[str, Any]], str]], ...] = (
    ("problems, paths, steps", lambda each: f"{each['problems']}, {each['paths']}, {each['steps']}"),
    ("AUC of steps", lambda each: number_or_dash(each["auc_steps"])),
    ("AUC of steps of one problem", lambda each: number_or_dash(each["auc_steps_within"])),
    ("AUC of whole paths", lambda each: number_or_dash(each["auc_paths"])),
    ("prefers the right path of a problem", _preference),
    ("first error F1", lambda each: _of("first_error", "f1", each)),
    ("  on wrong paths", lambda each: _of("first_error", "accuracy_wrong", each)),
    ("  on right paths", lambda each: _of("first_error", "accuracy_right", each)),
    ("  threshold", lambda each: _of("first_error", "threshold", each)),
    ("expected calibration error", lambda each: _of("calibration", "error", each)),
    ("Brier score", lambda each: _of("calibration", "brier", each)),
)
