"""Work on many things, a few at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import anyio

Item = TypeVar("Item")


async def for_each(items: Iterable[Item], work: Callable[[Item], Awaitable[None]], *, parallel: int) -> None:
    """Call `work` with each item, `parallel` at a time, in order; the first error ends all and is raised as it is."""
    queue = iter(items)
    failures: list[Exception] = []

    async def take() -> None:
        for item in queue:
            try:
                await work(item)
            except Exception as error:
                # Raised below, so that it does not come in a group.
                failures.append(error)
                tasks.cancel_scope.cancel()
                return

    async with anyio.create_task_group() as tasks:
        for _ in range(parallel):
            tasks.start_soon(take)
    if failures:
        raise failures[0]
