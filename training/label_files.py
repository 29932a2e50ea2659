"""Label files: a JSON line for each solution, and beside it a file of the finished problems and their costs.

An interrupted labelling goes on where it stopped: problems whose rows are incomplete are labelled again.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import anyio
from anyio.to_thread import run_sync

from ramify.config import EngineConfig
from ramify.engine.engine import Engine
from ramify.engine.loading import default_sampling
from ramify.engine.many import for_each
from ramify.engine.policy.llama import LlamaPolicy
from ramify.engine.policy.protocol import Calculates, PolicyModel, open_as, told_of
from ramify.engine.rewards.descriptions import describe_model, describe_reward, describe_settings
from ramify.engine.run_setup import answers_of
from ramify.errors import DamagedJournal, QuestionTooLong, RunFolderError, UsageError
from ramify.files import write_text
from ramify.journals import Journal, read_journal
from ramify.problem import Problem
from ramify.reward.protocol import RewardModel
from ramify.settings import differences

from .agreement import agreed
from .labelling import (
    LabelCost,
    LabelledSolution,
    Labeller,
    LabelLosses,
    LabelPlan,
    StepCheck,
    split_lines,
    unchecked,
)
from .preflight import check_answered, check_output, problem_key, sole_writer

log = logging.getLogger(__name__)

VERSION = 1
ONE_THREAD = EngineConfig(threads=1)


@dataclass(slots=True, kw_only=True)
class Labelling:
    """Progress of a labelling.

    `labelled` problems were finished in this call, `found` in earlier ones; `too_long` of the former had questions that
    do not fit the model's context. `rows` is the number of different labelled solutions, `cost` their cost and `losses`
    the solutions without labels, all three of all problems. `generated_tokens` and `seconds` are those of this call
    alone, from when the model was loaded.
    """

    labelled: int = 0
    found: int = 0
    too_long: int = 0
    rows: int = 0
    cost: LabelCost = field(default_factory=LabelCost)
    losses: LabelLosses = field(default_factory=LabelLosses)
    generated_tokens: int = 0
    seconds: float = 0.0


async def label_problems(
    model: str | Path | PolicyModel,
    problems: Iterable[Problem],
    out: Path,
    plan: LabelPlan,
    *,
    config: EngineConfig = ONE_THREAD,
    check_steps: Callable[[Problem], StepCheck | None] = lambda problem: None,
    on_problem: Callable[[Labelling], None] | None = None,
) -> Labelling:
    """Append labelled solutions of `problems` to the JSON Lines file `out`; problems finished there are skipped.

    The file is that of one model, by the content of its file, and of one choice of settings, and held by one process.
    `check_steps` returns the step check of a problem for exact labels, None if its steps cannot be checked.
    `on_problem` is called after each problem. `<out>.progress` lists the finished problems, their costs and losses.

    Raises:
        UsageError: if a problem has no answer or names no checker, its steps cannot be checked for exact labels, or
            `out` was made with another model or plan, has another problem of the same id, or is held by another
            process.
        ModelLoadError: if the model cannot be loaded.
    """
    todo = list(problems)
    _check(todo)
    if plan.mode == "exact":
        without = next((problem for problem in todo if check_steps(problem) is None), None)
        if without is not None:
            raise unchecked(without)
    head = {
        "version": VERSION,
        "model": _name(model),
        "plan": _plan(plan),
        **_prompt(config),
        "settings": await run_sync(describe_settings, config),
        "files": await run_sync(_files, model, plan),
    }
    with _LabelJournal(out, head, todo) as journal:
        state, started_s = Labelling(), time.monotonic()
        for each in journal.done.values():
            state.rows += each["rows"]
            state.cost += LabelCost(**each["cost"])
            state.losses += LabelLosses(**each.get("losses", {}))
        left = [problem for problem in todo if problem.id not in journal.done]
        state.found = len(todo) - len(left)

        async def work(policy: PolicyModel, judge: RewardModel | None, problem: Problem) -> None:
            try:
                rows, labeller = await _label(policy, problem, plan, check_steps(problem))
                cost, losses = labeller.cost, labeller.losses
                if judge is not None:
                    sampled = sum(row.count for row in rows)
                    rows, judged = await agreed(judge, rows)
                    losses += LabelLosses(disputed=sampled - sum(row.count for row in rows))
                    cost += LabelCost(evaluated_tokens=judged, unshared_tokens=judged)
            except QuestionTooLong:
                rows, cost, losses = [], LabelCost(), LabelLosses()
                state.too_long += 1
            journal.append(problem, rows, cost, losses)
            state.labelled += 1
            state.rows += len(rows)
            state.cost += cost
            state.losses += losses
            state.generated_tokens += cost.generated_tokens
            state.seconds = time.monotonic() - started_s
            if state.labelled % 100 == 0:
                log.info("labelled %d problems", state.labelled)
            if on_problem is not None:
                on_problem(state)

        if left:
            async with Engine(model, plan.agree, config=config) as engine:
                if plan.calculator and not (isinstance(engine.policy, Calculates) and engine.policy.calculates):
                    raise UsageError(f"{engine.policy.name} cannot write with a calculator", "leave it out")
                started_s = time.monotonic()
                each = partial(work, engine.policy, engine.reward)
                await for_each(left, each, parallel=min(plan.parallel, len(left)))
    return state


def labelling_model(path: Path) -> str | None:
    """Return the model that wrote the solutions of a label file, None if nothing beside the file tells."""
    try:
        first = next(read_journal(_notes_of(path)), None)
    except (OSError, DamagedJournal):
        return None
    name = None if first is None else first[0].get("model")
    return name if isinstance(name, str) else None


def _notes_of(out: Path) -> Path:
    """Return the file that lists the finished problems of a label file."""
    return out.with_name(f"{out.name}.progress")


def read_labels(path: Path) -> Iterator[LabelledSolution]:
    """Yield the rows of a label file; a torn last line is left out.

    Raises:
        ValueError: if a line is no row.
        OSError: if the file cannot be read.
    """
    path.stat()  # A missing file is an error here.
    for row, _ in read_journal(path, strict=True):
        yield LabelledSolution(
            id=row["id"],
            question=row["question"],
            steps=tuple(row["steps"]),
            values=tuple(row["values"]),
            count=row.get("count", 1),
            calculator=row.get("calculator", False),
        )


async def _label(
    policy: PolicyModel, problem: Problem, plan: LabelPlan, first_error: StepCheck | None
) -> tuple[list[LabelledSolution], Labeller]:
    answers, ends_at_answer = answers_of(policy, problem, plan.answer)
    session = await open_as(policy, told_of(problem), answers.kind)
    try:
        split = policy.prompt.split if isinstance(policy, LlamaPolicy) else split_lines
        labeller = Labeller(
            problem,
            session,
            plan,
            split=split,
            sampling=default_sampling(policy),
            answers=answers,
            ends_at_answer=ends_at_answer,
            first_error=first_error,
        )
        return await labeller.label(), labeller
    finally:
        with anyio.CancelScope(shield=True):
            await session.close()


class _LabelJournal:
    """The two files, open for appending in a `with` block: rows are on the disk before their problem counts as done.

    `head` holds the settings that all rows share, and `problems` are those that are asked for.

    Raises:
        UsageError: on entering, if another process holds the files, or they were made with other settings or other
            problems of the same ids, or are damaged.
    """

    def __init__(self, out: Path, head: dict[str, Any], problems: Sequence[Problem]) -> None:
        self._rows = Journal(out)
        self._notes = Journal(_notes_of(out))
        self._head = head
        self._problems = problems
        self._stack = ExitStack()
        self.done: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> _LabelJournal:
        out = self._rows.path
        check_output(out)
        with ExitStack() as stack:
            stack.enter_context(sole_writer(out, "labelling"))
            # Rows of another process that is still at work would be dropped here.
            self.done = self._recover()
            stack.enter_context(self._rows)
            stack.enter_context(self._notes)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def append(self, problem: Problem, rows: list[LabelledSolution], cost: LabelCost, losses: LabelLosses) -> None:
        """Write the rows of a problem, then note that it is done.

        Raises:
            RunFolderError: if there is no room.
        """
        try:
            self._rows.append(*map(_row, rows))
            note = {"id": problem.id, "rows": len(rows), "cost": asdict(cost), "losses": asdict(losses)}
            self._notes.append({**note, "problem": problem_key(problem)})
        except OSError as error:
            raise RunFolderError.not_written(self._rows.path, error) from error

    def _recover(self) -> dict[str, dict[str, Any]]:
        """Return the notes of the problems that are done, by id, after dropping the rows of all others."""
        out = self._rows.path
        try:
            rows = _read(out)
            notes = _read(self._notes.path) if self._notes.path.exists() else self._counted(rows)
            done = {note["id"]: note for note in notes[1:]}
            kept = [row for row in rows if row["id"] in done]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{out} cannot be gone on with ({error})", "choose another --out") from error
        # Files that were written before these were kept are gone on with, as far as the rest agrees.
        before = {**{name: self._head[name] for name in ("settings", "files")}, **notes[0]} if notes else self._head
        if before != self._head:
            changed = ", ".join(differences(before, self._head))
            raise UsageError(f"{out} was made with other settings ({changed})", "choose another --out")
        self._check_problems(done, {row["id"]: row["question"] for row in kept})
        _replace(out, kept)
        _replace(self._notes.path, [self._head, *done.values()])
        return done

    def _check_problems(self, done: dict[str, dict[str, Any]], questions: dict[str, str]) -> None:
        """Check that the problems that are done are those that are asked for, and not others with their ids."""
        for problem in self._problems:
            note = done.get(problem.id)
            if note is None:
                continue
            known = note.get("problem", problem_key(problem))
            if known != problem_key(problem) or questions.get(problem.id, problem.transcript) != problem.transcript:
                raise UsageError(
                    f"{self._rows.path} has labels of another problem with the id {problem.id}",
                    "choose another --out, or give the problems other ids",
                )

    def _counted(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return notes for a label file that has none: every problem in it counts as done."""
        none = asdict(LabelCost())
        counts = Counter(row["id"] for row in rows)
        return [self._head, *({"id": id, "rows": count, "cost": none} for id, count in counts.items())]


def _row(label: LabelledSolution) -> dict[str, Any]:
    """Return a solution as it stands in a file; without a calculator there is no word of it."""
    return {name: value for name, value in asdict(label).items() if name != "calculator" or value}


def _read(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file without a torn last one."""
    return [row for row, _ in read_journal(path, strict=True)]


def _replace(path: Path, rows: list[dict[str, Any]]) -> None:
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def _name(model: str | Path | PolicyModel) -> str:
    return str(model) if isinstance(model, str | Path) else model.name


def _plan(plan: LabelPlan) -> dict[str, Any]:
    """Return the settings that change labels: all but the number of problems that share the cache.

    What is off is left out where files were written before it existed.
    """
    later = [name for name in ("calculator", "agree") if not getattr(plan, name)]
    return {name: value for name, value in asdict(plan).items() if name not in ("parallel", *later)}


def _prompt(config: EngineConfig) -> dict[str, Any]:
    """Return the settings of the prompt and the steps that were asked for."""
    asked = {"prompt_preset": config.prompt_preset, "step_format": config.step_format}
    return {name: value for name, value in asked.items() if value is not None}


def _files(model: str | Path | PolicyModel, plan: LabelPlan) -> dict[str, str | None]:
    """Return the SHA-256 of the files of the model and of the reward that has to agree; None for what has no file."""
    found: dict[str, str | None] = {"model": None}
    if isinstance(model, str | Path):
        found["model"] = describe_model(model, None)["sha256"]
    if plan.agree is not None:
        found["agree"] = describe_reward(plan.agree, None)["sha256"]
    return found


def _check(problems: list[Problem]) -> None:
    check_answered(problems, "label")
    ids = Counter(problem.id for problem in problems)
    twice = next((id for id, count in ids.items() if count > 1), None)
    if twice is not None:
        raise UsageError(f"two problems have the id {twice}", "give each its own")
