"""An interrupt comes out by itself, however many task groups it was raised in."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest

from ramify.engine.interrupts import plain_interrupts


async def nested(raise_it: Callable[[], None]) -> None:
    async def work() -> None:
        await anyio.sleep(0)
        raise_it()

    async def inner() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work)
            tasks.start_soon(anyio.sleep_forever)

    with plain_interrupts():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(inner)
            await anyio.sleep_forever()


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_a_task_is_not_wrapped(kind: type[BaseException]) -> None:
    def strike() -> None:
        raise kind

    with pytest.raises(kind):
        anyio.run(nested, strike, backend="trio")


def test_other_errors_stay_in_their_groups() -> None:
    def strike() -> None:
        raise ValueError("x")

    with pytest.raises(ExceptionGroup):
        anyio.run(nested, strike, backend="trio")
