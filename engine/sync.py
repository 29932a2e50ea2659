"""Blocking use of the engine, from scripts, threads and notebooks alike."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from anyio.from_thread import start_blocking_portal

from ramify.config import EngineConfig
from ramify.errors import UsageError
from ramify.text import did_you_mean

if TYPE_CHECKING:
    from ramify.problem import Problem
    from ramify.solution import Solution


def solve_sync(
    problem: Problem | str,
    *,
    model: Any = "demo-m",
    reward: Any = "default",
    engine: EngineConfig | None = None,
    **options: Any,
) -> Solution:
    """Solve one problem and wait for the result.

    Runs the engine in an event loop of its own in a second thread, so that it works inside a running loop too.
    `model` and `reward` are those of `Engine`, `engine` is its configuration (None: the defaults), `options` are those
    of `Engine.solve`, and settings of the engine such as `threads`. The models are loaded and freed by each call: to
    solve several problems, use `Engine` and `solve_many`.

    Raises:
        RamifyError: as `Engine` and `Engine.solve` do.
        UsageError: if there is no such option.
    """
    from .engine import Engine

    known = [each.name for each in fields(EngineConfig)]
    settings = {name: options.pop(name) for name in list(options) if name in known}
    accepted = list(inspect.signature(Engine.run).parameters)
    for name in options:
        if name not in accepted:
            raise UsageError(f"there is no option {name!r}", did_you_mean(name, [*accepted, *known], "", cutoff=0.6))

    async def run() -> Solution:
        async with Engine(model=model, reward=reward, config=engine, **settings) as opened:
            return await opened.solve(problem, **options)

    with start_blocking_portal() as portal:
        return portal.call(run)
