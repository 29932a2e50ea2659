"""`ramify reward eval`: quality of a reward model, and the gain of searches with it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..config import DEFAULT_RUN, EngineConfig
from . import terminal
from .help import GroupedCommand
from .option_types import COUNT, StepRange
from .options import loading_settings, path_options, path_settings, setting_option
from .problems import TASK_NAMES
from .reward_label import DEFAULT_COUNT, check_model, read_answered, resumable, step_check
from .reward_tables import write_report

if TYPE_CHECKING:
    from ramify.training.evaluation import EvaluatedProblem, EvaluationJournal, ScoredPath
    from ramify.training.labelling import LabelledSolution
    from ramify.training.quality import ScoreCalibration

    from ..problem import Problem

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
AGAINST_DEFAULT, NONE = "default", "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class _EvaluationOptions:
    """Options of an evaluation that are passed on; `paths` are the sampling and the limits of paths."""

    model: str
    width: int
    seed: int
    parallel: int
    search: bool
    threshold: float | None
    config: EngineConfig
    paths: dict[str, Any]


@click.command(
    "eval", cls=GroupedCommand, example="ramify reward eval mean-logprob -m FILE.gguf --problems FILE --count 20"
)
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
@click.option("--count", type=COUNT, help=f"Problems, at most.  [default: all of a file, {DEFAULT_COUNT} bundled ones]")
@click.option("--seed", type=int, default=1, show_default=True, help="Which bundled problems, and the sampling.")
@click.option(
    "--threshold", type=float, help="A lower score marks a wrong step.  [default: chosen on half the problems]"
)
@click.option("--no-search", is_flag=True, help="Leave out REBASE; with --labels, write no paths at all.")
@click.option("--parallel", type=click.IntRange(min=1), default=2, show_default=True, help="Problems at a time.")
@path_options
@setting_option("calculator")
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
    count: int | None,
    out: Path | None,
    no_search: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Measure REWARD: does it prefer right solutions, is it calibrated, and does a search gain by it?

    The policy writes paths for each problem. Their votes and a REBASE search of the same width are compared with
    plain majority and with the bundled reward. Steps are checked by the bundled problems' worked solutions (in a file:
    with `ramify problems --solutions`), or come from --labels. The last line is the verdict. The same command again
    goes on where it was cut.
    """
    import anyio

    from ramify.training.preflight import check_answered

    own = ("model", "width", "seed", "parallel", "threshold")
    chosen = _EvaluationOptions(
        **{name: settings[name] for name in own},
        search=not no_search,
        config=loading_settings(settings),
        paths=path_settings(settings) | ({"calculator": True} if settings["calculator"] else {}),
    )
    given = None if labels is None else labels_in(labels)
    todo: list[Problem] = []
    if given is None or not no_search:
        wanted = count or DEFAULT_COUNT
        todo = (
            _bundled(task, steps, wanted, chosen.seed)
            if problems is None
            else read_answered(problems, count, chosen.config.prompt_preset)
        )
        check_answered(todo, "evaluate on")
        check_model(chosen.model)
    rewards = _rewards(reward, against, chosen.model)
    _check_rewards(rewards, reward_spec)
    if out is not None:
        _check_folder(out)
    with terminal.owned_stdout():
        with resumable():
            report, paths, fits = anyio.run(_measure, rewards, reward_spec, todo, given, chosen, out)
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
    out: Path | None,
) -> tuple[dict[str, Any], dict[str, list[ScoredPath]], dict[str, ScoreCalibration]]:
    """Return the report, and by reward the scored paths and the calibration."""
    from ramify.training.gains import gains, quality_facts, verdict
    from ramify.training.quality import quality

    outcomes: dict[str, list[EvaluatedProblem]] = {}
    paths: dict[str, list[ScoredPath]] = {}
    journals: list[EvaluationJournal] = []
    for number, name in enumerate(rewards):
        own_spec = spec if number == 0 else None
        if problems:
            journals.append(_journal(name, own_spec, chosen, out))
            outcomes[name] = await _search(name, own_spec, problems, chosen, journals[-1])
            paths[name] = [path for each in outcomes[name] for path in each.paths]
        if labels is not None:
            paths[name] = await _score(name, own_spec, labels, chosen)
    found = {name: quality(each, threshold=chosen.threshold, seed=chosen.seed) for name, each in paths.items()}
    for name, each in found.items():
        if each.paths and each.first_error is None:
            terminal.note(f"nothing says which steps {name} should score low; use --labels, or worked solutions")
    rows = gains(outcomes) if outcomes else []
    report: dict[str, Any] = {
        "reward": rewards[0],
        "against": rewards[1] if len(rewards) > 1 else None,
        "model": chosen.model,
        "width": chosen.width,
        "seed": chosen.seed,
        "problems": len(problems),
        "truth": "labels" if labels is not None else "worked solutions",
        "quality": {name: quality_facts(each) for name, each in found.items()},
        "search": [asdict(row) for row in rows],
        "verdict": verdict(rewards[0], found[rewards[0]], rows),
    }
    fits = {name: each.calibration for name, each in found.items() if each.calibration is not None}
    if out is None:
        for journal in journals:
            journal.remove()
    return report, paths, fits


def _journal(name: str, spec: str | None, chosen: _EvaluationOptions, out: Path | None) -> EvaluationJournal:
    """Return the journal of a reward: in `out`, else in the cache until the evaluation has come to its end."""
    from importlib.metadata import version

    from ramify.engine.library.catalog import resolve_model
    from ramify.engine.policy.remote.address import is_remote
    from ramify.engine.rewards.descriptions import describe_settings
    from ramify.engine.rewards.naming import read_reward_name
    from ramify.training.evaluation import EvaluationJournal
    from ramify.training.preflight import digest, file_identity

    from ..files import cache_folder, is_file

    reward = read_reward_name(name)
    facts = [
        version("ramify"),
        chosen.model if is_remote(chosen.model) else file_identity(resolve_model(chosen.model).path),
        [reward.text, *(file_identity(path) for each in reward.singles for path in (each.path, each.head) if path)],
        [spec, file_identity(Path(spec)) if spec is not None and is_file(Path(spec)) else None],
        [chosen.width, chosen.seed, chosen.search, describe_settings(chosen.config)],
        {key: each.to_dict() if key == "sampling" else each for key, each in chosen.paths.items()},
    ]
    return EvaluationJournal((out or cache_folder() / "evaluations") / f"evaluated-{digest(facts)}.jsonl")


async def _search(
    name: str, spec: str | None, problems: Sequence[Problem], chosen: _EvaluationOptions, journal: EvaluationJournal
) -> list[EvaluatedProblem]:
    from ramify.engine.engine import Engine
    from ramify.training.evaluation import evaluate as evaluate_reward

    search = " and a REBASE search" if chosen.search else ""
    terminal.say(f"solving {len(problems)} problems with {chosen.model} and {name}, {chosen.width} paths each{search}")
    config = replace(chosen.config, reward_spec=spec)
    with journal:
        found = [each for problem in problems if (each := journal.known(problem)) is not None]
        there = len(found)
        if there:
            terminal.say(f"{there} of them were solved already ({journal.path})")
        if there == len(problems):
            _tell_unfinished(found, chosen)
            return found
        async with Engine(chosen.model, name, config=config) as engine:
            found = await evaluate_reward(
                engine,
                problems,
                width=chosen.width,
                seed=chosen.seed,
                check_steps=step_check,
                search=chosen.search,
                parallel=chosen.parallel,
                journal=journal,
                on_problem=_ProblemLine(len(problems), there, chosen.parallel).count,
                **chosen.paths,
            )
    _tell_unfinished(found, chosen)
    return found


class _ProblemLine:
    """Progress of an evaluation, and the forecast of its cost after the first problems."""

    def __init__(self, total: int, there: int, parallel: int) -> None:
        from ramify.training.preflight import Forecast

        self._total, self._there = total, there
        self._forecast = Forecast(total=total - there, first=min(parallel, total - there))
        self._line = terminal.ProgressLine(in_place=False)
        self._started_s = time.monotonic()
        self._done = self._tokens = 0

    def count(self, found: EvaluatedProblem) -> None:
        """Count a problem that is done."""
        self._done += 1
        self._tokens += found.tokens
        told = self._forecast.tell(self._done, self._tokens, time.monotonic() - self._started_s)
        if told is not None:
            self._line.say(told)
        self._line.update(lambda: f"{self._there + self._done} of {self._total} problems")


def _tell_unfinished(found: Sequence[EvaluatedProblem], chosen: _EvaluationOptions) -> None:
    """Say how many sampled paths are not among those that are measured, and why."""
    total = chosen.width * len(found)
    unfinished, unscored = sum(each.unfinished for each in found), sum(each.unscored for each in found)
    if unfinished:
        limit = chosen.paths.get("max_path_tokens", DEFAULT_RUN.max_path_tokens)
        terminal.note(
            f"{unfinished} of {total} paths had no answer after {limit:,} tokens or at the end of the context and are "
            "left out (raise --max-path-tokens)"
        )
    if unscored:
        terminal.note(f"{unscored} of {total} paths could not be scored and are left out")


async def _score(
    name: str, spec: str | None, labels: Sequence[LabelledSolution], chosen: _EvaluationOptions
) -> list[ScoredPath]:
    from contextlib import AsyncExitStack

    from ramify.engine.loading import load_reward
    from ramify.training.evaluation import score_labels

    terminal.say(f"scoring {len(labels)} labelled solutions with {name}")
    async with AsyncExitStack() as stack:
        loaded = await load_reward(stack, name, replace(chosen.config, reward_spec=spec))
        assert loaded is not None
        return await score_labels(loaded, labels, on_path=_counter(len(labels), "solutions"))


def _check_rewards(rewards: Sequence[str], spec: str | None) -> None:
    """Check the names of all rewards before a model is loaded."""
    from ramify.engine.rewards.naming import check_reward

    for number, name in enumerate(rewards):
        check_reward(name, spec if number == 0 else None)


def _check_folder(out: Path) -> None:
    """Check that a report can be written, and say at once if there will be no plot."""
    from ramify.training.preflight import check_output

    from ..errors import UsageError
    from ..plots import require_matplotlib

    check_output(out / "report.json")
    try:
        require_matplotlib("the reliability plot needs")
    except UsageError as error:
        terminal.note(str(error))


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


def labels_in(path: Path) -> list[LabelledSolution]:
    """Return the labelled solutions of a file.

    Raises:
        UsageError: if it has none, or is no file of labels.
    """
    from ramify.training.label_files import read_labels

    from ..errors import UsageError

    try:
        found = list(read_labels(path))
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} holds no labels ({error})", "make them with `ramify reward label`") from error
    if not found:
        raise UsageError(f"{path} holds no labels", "make them with `ramify reward label`")
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
        if fits:
            draw_reliability(fits, folder / "reliability.png")
    except UsageError as error:
        if find_spec("matplotlib") is not None:
            terminal.note(str(error))
    terminal.say(f"written to {folder}")
