"""Blocking use of the engine, from scripts, threads and notebooks alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anyio.from_thread import start_blocking_portal

if TYPE_CHECKING:
    from ramify.config import EngineConfig
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
    of `Engine.solve`. The models are loaded and freed by each call: to solve several problems, use `Engine` and
    `solve_many`.

    Raises:
        RamifyError: as `Engine` and `Engine.solve` do.
    """
    from .engine import Engine

    async def run() -> Solution:
        async with Engine(model=model, reward=reward, config=engine) as opened:
            return await opened.solve(problem, **options)

    with start_blocking_portal() as portal:
        return portal.call(run)
