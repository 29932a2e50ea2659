"""Runner of a plan: the rows in its folder, the tasks that are left, and their measurement in parallel."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
from anyio.to_thread import run_sync

from ramify.batch.store.folder import SCHEMA_VERSION, RunFolder, read_manifest
from ramify.batch.store.folder import read_rows as read_folder_rows
from ramify.batch.store.identity import versions
from ramify.batch.store.inputs import read_problems
from ramify.engine.library.catalog import profile_path, resolve_model
from ramify.engine.policy.remote.address import is_remote
from ramify.engine.rewards.descriptions import describe_model, describe_reward, digest
from ramify.engine.rewards.naming import check_reward
from ramify.errors import RunFolderError, UsageError
from ramify.event_loop import start_task
from ramify.host_resources import processors
from ramify.models.tasks import generate_problems
from ramify.problem import Problem

from .config import AUTO, ScalingConfig, Unit, problems_for, split_strategy, units
from .estimate import Cost, TimeEstimate, cost_of, pilot
from .measure import Models, measure_unit
from .plans import Plan

MODELS = "models"
"""Folder of the model files that are made, inside that of the measurement."""
PILOT_PROBLEMS = 2
"""Problems of the pilot search that times a unit of work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The rest of a plan: units, their cost and the seconds that they are expected to take (None: not measured).

    `known` is the number of rows that exist.
    """

    units: int
    cost: Cost
    seconds: float | None
    known: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingProgress:
    """State of a measurement: units done, all units, the unit in work, share of the work done, and seconds left."""

    done: int
    units: int
    unit: str
    share: float
    seconds_left: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A unit with the configuration of its stage; `left` are the ids of the problems that are not measured yet."""

    unit: Unit
    config: ScalingConfig
    left: tuple[str, ...]


def remaining(plan: Plan, out: Path, *, note: Callable[[str], None] = lambda line: None) -> Forecast:
    """Return the rest of a plan without measuring anything.

    Raises:
        RunFolderError: if the folder is damaged, or has rows of other models with these names.
        ModelLoadError: if a file does not exist.
    """
    known = read_manifest(out)
    if known is not None:
        models_of(plan, known)
    rows = read_rows(out)
    todo = todo_of(plan, MeasuredUnits(rows), note)
    return Forecast(units=len(todo), cost=cost_of_all(todo), seconds=None, known=len(rows))


async def run(
    plan: Plan,
    out: Path,
    *,
    parallel: int = 1,
    note: Callable[[str], None] = lambda line: None,
    forecast: Callable[[Forecast], None] = lambda forecast: None,
    watch: Callable[[ScalingProgress], None] = lambda progress: None,
) -> None:
    """Measure the rest of a plan, `parallel` units at a time, each with its own models and a share of the threads.

    Started again it goes on where it was stopped.

    Raises:
        RunFolderError: if the folder is in use, holds something else, or has rows of other models with these names.
        RamifyError: if a model cannot be loaded.
    """
    await run_sync(check_sources, plan)
    problems = await run_sync(problems_of, plan.config)
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(RunFolder(out))
        models = await run_sync(models_of, plan, read_manifest(folder.path) or {})
        folder.claim({**await run_sync(manifest, plan.config), "models": models})
        rows = await run_sync(read_rows, folder.path)
        todo = todo_of(plan, MeasuredUnits(rows), note)
        total = cost_of_all(todo)
        threads = share_of_threads(plan.config.threads, parallel)
        # A search for the rate alone takes long with models that are not bundled; their first rows tell it.
        rate = await _rate(todo, problems, threads) / parallel if todo and plan.config.file is None else None
        seconds = None if rate is None and todo else (rate or 0.0) * total.work
        forecast(Forecast(units=len(todo), cost=total, seconds=seconds, known=len(rows)))
        await Work(todo, problems, folder, TimeEstimate(total, rate), watch, parallel=parallel, threads=threads).do()
        folder.log("all units are done")


def manifest(config: ScalingConfig) -> dict[str, Any]:
    """Return the manifest of a folder; measurements on the same problems may share it.

    Raises:
        UsageError: if the file of the problems cannot be read.
    """
    identity = {"benchmark": "scaling", **config.identity()}
    if config.file is not None:
        identity["problems"] = digest([[each.id, each.identity, each.answer] for each in _shuffled(config)])
    return {
        "schema_version": SCHEMA_VERSION,
        "configuration_hash": digest(identity),
        "configuration": identity,
        "versions": versions(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def models_of(plan: Plan, manifest: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return a hash of the content of each policy and reward of a folder by its name, which stands for it in the rows.

    They are those of the plan, and those that the folder's manifest has, which has none from before they were kept.

    Raises:
        RunFolderError: if a name stands for another model in the folder.
        ModelLoadError: if a file does not exist.
    """
    known: Mapping[str, Mapping[str, str]] = manifest.get("models", {})
    found = {kind: dict(known.get(kind, {})) for kind in ("policies", "rewards")}
    named = {
        (kind, name, config.source(name))
        for config in plan.stages
        for kind, names in (("policies", config.policies), ("rewards", config.rewards))
        for name in names
    }
    for kind, name, source in sorted(named):
        described = (describe_model if kind == "policies" else describe_reward)(source, None)
        # Exports hold the manifest, so no address of a server is kept.
        now = described["sha256"] or digest(described["name"])
        before = found[kind].setdefault(name, now)
        if before != now:
            raise RunFolderError(
                f"{name} is another model than in the earlier measurement (SHA-256 {before[:12]}…, now {now[:12]}…)",
                f"call it by another name (NAME={source}), or use a new --out folder",
            )
    return found


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """Return all rows of a folder.

    Raises:
        RunFolderError: if the folder is damaged.
    """
    return list(read_folder_rows(folder))


class MeasuredUnits:
    """The units and problems that have been measured."""

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self._keys = set[tuple[str, str]]()
        self._samples = dict[tuple[str, int, str], list[tuple[int, frozenset[str]]]]()
        for row in rows:
            self.add(row)

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row."""
        self._keys.add((row["key"], row["problem"]))
        if row["part"] == "samples":
            place = (row["policy"], row["seed"], row["problem"])
            self._samples.setdefault(place, []).append((row["width"], frozenset(row["rewards"])))

    def expect(self, unit: Unit, problems: Iterable[str]) -> None:
        """Add the rows that a unit will have on these problems."""
        for problem in problems:
            self.add(
                {
                    "key": unit.key,
                    "problem": problem,
                    "part": unit.part,
                    "policy": unit.policy,
                    "seed": unit.seed,
                    "width": unit.width,
                    "rewards": unit.rewards,
                }
            )

    def has(self, unit: Unit, problem: str) -> bool:
        """Return whether a unit is measured on a problem; more samples with more rewards count too."""
        if (unit.key, problem) in self._keys:
            return True
        found = self._samples.get((unit.policy, unit.seed, problem), []) if unit.part == "samples" else []
        return any(width >= unit.width and rewards >= {*unit.rewards} for width, rewards in found)

    def left(self, unit: Unit, problems: Sequence[Problem]) -> list[Problem]:
        """Return the problems on which a unit is not measured yet."""
        return [problem for problem in problems if not self.has(unit, problem.id)]


def problems_of(config: ScalingConfig) -> list[Problem]:
    """Return the problems of a configuration; one with more problems begins with the same ones.

    Raises:
        UsageError: if their file cannot be read, has fewer, or has one without an answer.
    """
    if config.file is None:
        return generate_problems(steps=config.steps, count=config.problems, seed=config.problem_seed)
    found = _shuffled(config)
    if len(found) < config.problems:
        raise UsageError(f"{config.file} has {len(found)} problems", f"ask for no more of them (--count {len(found)})")
    bare = next((each for each in found if not (each.answer or "").strip()), None)
    if bare is not None:
        raise UsageError(f"problem {bare.id} of {config.file} has no answer", "leave it out, or give it one")
    return found[: config.problems]


def _shuffled(config: ScalingConfig) -> list[Problem]:
    """Return all problems of a configuration's file in the order of its seed."""
    assert config.file is not None
    found = read_problems(config.file)
    random.Random(config.problem_seed).shuffle(found)
    return found


def check_sources(plan: Plan) -> None:
    """Check that policies and rewards exist, before any of them is loaded.

    Raises:
        ModelLoadError: if a file does not exist.
        UsageError: if a name means nothing.
    """
    for config in plan.stages:
        for policy in config.policies:
            if not is_remote(config.source(policy)):
                resolve_model(config.source(policy))
        for reward in config.rewards:
            check_reward(config.source(reward), None)


def feasible_units(config: ScalingConfig, note: Callable[[str], None] = lambda line: None) -> list[Unit]:
    """Return the units that can be measured; `note` gets a line on those that cannot."""
    found = list[Unit]()
    missing = dict[tuple[str, str], None]()
    for unit in units(config):
        reward = config.source(unit.rewards[0]) if unit.rewards else None
        if split_strategy(unit.strategy)[0] == AUTO and profile_path(config.source(unit.policy), reward) is None:
            missing[(unit.policy, unit.rewards[0])] = None
        else:
            found.append(unit)
    for policy, reward in missing:
        note(f"{policy} has no profile with {reward}, so auto is left out there")
    return found


def todo_of(plan: Plan, known: MeasuredUnits, note: Callable[[str], None]) -> list[Task]:
    """Return the tasks of all stages: units with the problems that neither `known` nor an earlier unit has."""
    problems, todo = problems_of(plan.config), list[Task]()
    for config in plan.stages:
        for unit in feasible_units(config, note):
            left = tuple(problem.id for problem in known.left(unit, problems[: problems_for(unit, config)]))
            if left:
                todo.append(Task(unit=unit, config=config, left=left))
                known.expect(unit, left)
    return todo


def cost_of_all(todo: Sequence[Task]) -> Cost:
    """Return the expected cost of tasks."""
    return sum((cost_of(task.unit, len(task.left), task.config) for task in todo), Cost())


def share_of_threads(threads: int | None, parallel: int) -> int | None:
    """Return the threads of each of `parallel` workers; `threads` is the number asked for, None for an equal share."""
    if threads is not None or parallel == 1:
        return threads
    return max(1, processors() // parallel)


class Work:
    """Measures tasks, `parallel` at a time, each worker with its own models on `threads` threads (None for all)."""

    def __init__(
        self,
        todo: Sequence[Task],
        problems: Sequence[Problem],
        folder: RunFolder,
        estimate: TimeEstimate,
        watch: Callable[[ScalingProgress], None],
        *,
        parallel: int,
        threads: int | None,
    ) -> None:
        self._todo = todo
        self._problems = {problem.id: problem for problem in problems}
        self._folder = folder
        self._estimate = estimate
        self._watch = watch
        self._parallel = parallel
        self._threads = threads
        self._done = 0

    async def do(self) -> None:
        """Measure all tasks; timed ones come last, so that only timed ones run at the same time.

        Raises:
            RamifyError: if a model cannot be loaded or a search fails; the other tasks are cancelled then.
        """
        last = {"quantization"} if self._parallel == 1 else {"quantization", "timing"}
        timed = [task for task in self._todo if task.unit.part in last]
        for tasks in ([task for task in self._todo if task not in timed], timed):
            queue, failures = iter(tasks), list[Exception]()
            async with anyio.create_task_group() as group:
                for _ in range(min(self._parallel, len(tasks))):
                    start_task(group, self._serve, queue, failures, group.cancel_scope)
            if failures:
                raise failures[0]

    async def _serve(self, queue: Iterator[Task], failures: list[Exception], scope: anyio.CancelScope) -> None:
        try:
            metering = self._todo[0].config.metering
            async with Models(self._threads, self._folder.path / MODELS, metering) as models:
                for task in queue:
                    await self._measure(task, models)
        except Exception as error:
            failures.append(error)
            scope.cancel()

    async def _measure(self, task: Task, models: Models) -> None:
        share = cost_of(task.unit, 1, task.config)

        def keep(row: dict[str, object]) -> None:
            self._folder.add_item(row)
            self._estimate.add(share)
            self._watch(
                ScalingProgress(
                    done=self._done,
                    units=len(self._todo),
                    unit=task.unit.key,
                    share=self._estimate.share,
                    seconds_left=self._estimate.seconds_left,
                )
            )

        self._folder.log(f"begin {task.unit.key} on {len(task.left)} problems")
        await measure_unit(task.unit, [self._problems[each] for each in task.left], task.config, models, keep)
        self._done += 1


async def _rate(todo: Sequence[Task], problems: Sequence[Problem], threads: int | None) -> float:
    """Return the seconds for a unit of `Cost.work`, from a pilot search with the models of the largest task."""
    task = max(todo, key=lambda task: cost_of(task.unit, len(task.left), task.config).work)
    tried = Unit(
        part="search",
        policy=task.unit.policy,
        rewards=task.unit.rewards[:1],
        strategy="weighted",
        width=8,
        seed=0,
    )
    return await pilot(tried, problems[:PILOT_PROBLEMS], task.config, threads)
