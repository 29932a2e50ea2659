"""The tasks of a plan: what of it is left to be done, and doing it, several tasks at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import anyio

from ramify.batch.store.folder import RunFolder
from ramify.engine.library.catalog import profile_path
from ramify.engine.runtime.llama.native import available_threads
from ramify.models.tasks import generate_problems
from ramify.problem import Problem

from .config import AUTO, ScalingConfig, Unit, split_strategy, units
from .estimate import Cost, Eta, cost_of
from .folder import Stock
from .measure import Models, measure_unit
from .plans import Plan

MODELS = "models"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a measurement stands: units done, of how many, the one in work, share of the work and seconds left."""

    done: int
    units: int
    unit: str
    share: float
    seconds_left: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A unit with the settings of its stage; `problems` says how many it still has to do, and `left` which."""

    unit: Unit
    config: ScalingConfig
    left: tuple[str, ...]


def problems_of(config: ScalingConfig) -> list[Problem]:
    """Return the problems of a plan; a plan with more of them has these first."""
    return generate_problems(steps=config.steps, count=config.problems, seed=config.problem_seed)


def planned(config: ScalingConfig, note: Callable[[str], None] = lambda line: None) -> list[Unit]:
    """Return the units that can be done; `note` says which cannot."""
    found = list[Unit]()
    missing = dict[tuple[str, str], None]()
    for unit in units(config):
        if split_strategy(unit.strategy)[0] == AUTO and profile_path(unit.policy, unit.rewards[0]) is None:
            missing[(unit.policy, unit.rewards[0])] = None
        else:
            found.append(unit)
    for policy, reward in missing:
        note(f"{policy} has no profile with {reward}, so auto is left out there")
    return found


def todo_of(plan: Plan, stock: Stock, note: Callable[[str], None]) -> list[Task]:
    """Return the units of all stages with the problems that neither `stock` nor an earlier unit has."""
    problems, todo = problems_of(plan.config), list[Task]()
    for config in plan.stages:
        for unit in planned(config, note):
            left = tuple(problem.id for problem in stock.left(unit, problems[: config.problems]))
            if left:
                todo.append(Task(unit=unit, config=config, left=left))
                stock.expect(unit, left)
    return todo


def cost_of_all(todo: Sequence[Task]) -> Cost:
    """Return what tasks are expected to cost."""
    return sum((cost_of(task.unit, len(task.left)) for task in todo), Cost())


def share_of_threads(threads: int | None, parallel: int) -> int | None:
    """Return the threads that each of so many workers gets; `threads` is what was asked for each, None for a share."""
    if threads is not None or parallel == 1:
        return threads
    return max(1, available_threads() // parallel)


class Work:
    """Does tasks, `parallel` at a time, each worker with its own models on `threads` threads (None for all)."""

    def __init__(
        self,
        todo: Sequence[Task],
        problems: Sequence[Problem],
        folder: RunFolder,
        eta: Eta,
        watch: Callable[[Standing], None],
        *,
        parallel: int,
        threads: int | None,
    ) -> None:
        self._todo = todo
        self._problems = {problem.id: problem for problem in problems}
        self._folder = folder
        self._eta = eta
        self._watch = watch
        self._parallel = parallel
        self._threads = threads
        self._done = 0

    async def do(self) -> None:
        """Do all tasks; what is timed comes last, beside nothing but its own kind.

        Raises:
            RamifyError: if a model cannot be loaded or a search fails; the others are ended then.
        """
        timed = [task for task in self._todo if task.unit.part == "quantization"]
        for tasks in ([task for task in self._todo if task not in timed], timed):
            queue, failures = iter(tasks), list[Exception]()
            async with anyio.create_task_group() as group:
                for _ in range(min(self._parallel, len(tasks))):
                    group.start_soon(self._serve, queue, failures, group.cancel_scope)
            if failures:
                raise failures[0]

    async def _serve(self, queue: Iterator[Task], failures: list[Exception], scope: anyio.CancelScope) -> None:
        try:
            async with Models(self._threads, self._folder.path / MODELS) as models:
                for task in queue:
                    await self._measure(task, models)
        except Exception as error:
            failures.append(error)
            scope.cancel()

    async def _measure(self, task: Task, models: Models) -> None:
        share = cost_of(task.unit, 1)

        def keep(row: dict[str, object]) -> None:
            self._folder.add_item(row)
            self._eta.add(share)
            self._watch(
                Standing(
                    done=self._done,
                    units=len(self._todo),
                    unit=task.unit.key,
                    share=self._eta.share,
                    seconds_left=self._eta.seconds_left,
                )
            )

        self._folder.log(f"begin {task.unit.key} on {len(task.left)} problems")
        await measure_unit(task.unit, [self._problems[each] for each in task.left], task.config, models, keep)
        self._done += 1
