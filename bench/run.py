"""Runs a plan into its folder; started again, it goes on where it was stopped, however that was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from anyio.to_thread import run_sync

from ramify.batch.folder import RunFolder
from ramify.engine.catalog import profile_path
from ramify.engine.problem import Problem
from ramify.models.problems import generate_problems

from .config import AUTO, ScalingConfig, Unit, split_strategy, units
from .estimate import Cost, Eta, cost_of, pilot
from .folder import Stock, manifest, read_rows
from .measure import Models, measure_unit

PILOT_PROBLEMS = 2
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
class Forecast:
    """What is left to do: units, their cost and the seconds that they are expected to take here (None: not tried).

    `known` is the number of rows that exist.
    """

    units: int
    cost: Cost
    seconds: float | None
    known: int


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


def remaining(config: ScalingConfig, out: Path, *, note: Callable[[str], None] = lambda line: None) -> Forecast:
    """Return what is left of a plan, without doing anything.

    Raises:
        RunFolderError: if the folder is damaged.
    """
    problems, rows = problems_of(config), read_rows(out)
    stock = Stock(rows)
    costs = [cost_of(unit, len(left)) for unit in planned(config, note) if (left := stock.left(unit, problems))]
    return Forecast(units=len(costs), cost=sum(costs, Cost()), seconds=None, known=len(rows))


async def run(
    config: ScalingConfig,
    out: Path,
    *,
    note: Callable[[str], None] = lambda line: None,
    forecast: Callable[[Forecast], None] = lambda forecast: None,
    watch: Callable[[Standing], None] = lambda standing: None,
) -> None:
    """Measure what is left of a plan.

    Raises:
        RunFolderError: if the folder is in use, or holds something else.
        RamifyError: if a model cannot be loaded.
    """
    problems = await run_sync(problems_of, config)
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(RunFolder(out))
        folder.claim(manifest(config))
        rows = await run_sync(read_rows, folder.path)
        stock = Stock(rows)
        wanted = planned(config, note)
        todo = [(unit, left) for unit in wanted if (left := stock.left(unit, problems))]
        total = sum((cost_of(unit, len(left)) for unit, left in todo), Cost())
        rate = await _rate(todo, problems, config) if todo else 0.0
        forecast(Forecast(units=len(todo), cost=total, seconds=rate * total.work, known=len(rows)))
        eta = Eta(total, rate)
        done = len(wanted) - len(todo)
        models = await stack.enter_async_context(Models(config.threads, folder.path / MODELS))
        for unit, left in todo:
            share = cost_of(unit, 1)

            def keep(row: dict[str, object], unit: Unit = unit, share: Cost = share, done: int = done) -> None:
                folder.items.append(row)
                eta.add(share)
                watch(
                    Standing(
                        done=done,
                        units=len(wanted),
                        unit=unit.key,
                        share=eta.share,
                        seconds_left=eta.seconds_left,
                    )
                )

            folder.log(f"begin {unit.key} on {len(left)} problems")
            await measure_unit(unit, left, config, models, keep)
            done += 1
        folder.log("all units are done")


async def _rate(
    todo: Sequence[tuple[Unit, list[Problem]]], problems: Sequence[Problem], config: ScalingConfig
) -> float:
    """Return seconds for a unit of work, from a try with the unit that has most of it."""
    largest = max(todo, key=lambda each: cost_of(each[0], len(each[1])).work)[0]
    tried = Unit(
        part="search",
        policy=largest.policy,
        rewards=largest.rewards[:1],
        strategy="weighted",
        width=8,
        seed=0,
    )
    return await pilot(tried, problems[:PILOT_PROBLEMS], config.threads)
