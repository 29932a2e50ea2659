"""Runs a plan into its folder; started again, it goes on where it was stopped, however that was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from anyio.to_thread import run_sync

from ramify.batch.store.folder import RunFolder
from ramify.problem import Problem

from .config import Unit
from .estimate import Cost, Eta, cost_of, pilot
from .folder import Stock, manifest, read_rows
from .plans import Plan
from .work import Standing, Task, Work, cost_of_all, problems_of, share_of_threads, todo_of

PILOT_PROBLEMS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What is left to do: units, their cost and the seconds that they are expected to take here (None: not tried).

    `known` is the number of rows that exist.
    """

    units: int
    cost: Cost
    seconds: float | None
    known: int


def remaining(plan: Plan, out: Path, *, note: Callable[[str], None] = lambda line: None) -> Forecast:
    """Return what is left of a plan, without doing anything.

    Raises:
        RunFolderError: if the folder is damaged.
    """
    rows = read_rows(out)
    todo = todo_of(plan, Stock(rows), note)
    return Forecast(units=len(todo), cost=cost_of_all(todo), seconds=None, known=len(rows))


async def run(
    plan: Plan,
    out: Path,
    *,
    parallel: int = 1,
    note: Callable[[str], None] = lambda line: None,
    forecast: Callable[[Forecast], None] = lambda forecast: None,
    watch: Callable[[Standing], None] = lambda standing: None,
) -> None:
    """Measure what is left of a plan, `parallel` units at a time, each with models and a share of the threads.

    Raises:
        RunFolderError: if the folder is in use, or holds something else.
        RamifyError: if a model cannot be loaded.
    """
    problems = await run_sync(problems_of, plan.config)
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(RunFolder(out))
        folder.claim(manifest(plan.config))
        rows = await run_sync(read_rows, folder.path)
        todo = todo_of(plan, Stock(rows), note)
        total = cost_of_all(todo)
        threads = share_of_threads(plan.config.threads, parallel)
        rate = await _rate(todo, problems, threads) / parallel if todo else 0.0
        forecast(Forecast(units=len(todo), cost=total, seconds=rate * total.work, known=len(rows)))
        await Work(todo, problems, folder, Eta(total, rate), watch, parallel=parallel, threads=threads).do()
        folder.log("all units are done")


async def _rate(todo: Sequence[Task], problems: Sequence[Problem], threads: int | None) -> float:
    """Return seconds for a unit of work, from a try with the unit that has most of it."""
    largest = max(todo, key=lambda task: cost_of(task.unit, len(task.left)).work).unit
    tried = Unit(
        part="search",
        policy=largest.policy,
        rewards=largest.rewards[:1],
        strategy="weighted",
        width=8,
        seed=0,
    )
    return await pilot(tried, problems[:PILOT_PROBLEMS], threads)
