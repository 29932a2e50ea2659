"""Calls from threads into the event loop, and tasks, with Ctrl-C in the middle of them."""

from __future__ import annotations

import gc
import signal
import threading
from collections.abc import Coroutine

import anyio
import anyio.lowlevel
import pytest

from ramify.event_loop import run_in_event_loop, start_task


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_ctrl_c_in_a_call_ends_the_program_and_not_the_thread(backend: str) -> None:
    pytest.importorskip(backend)
    ended, calls = list[str](), list[int]()

    def interrupted(number: int) -> None:
        if number == 1:
            signal.raise_signal(signal.SIGINT)
        calls.append(number)

    def talk(token: anyio.lowlevel.EventLoopToken) -> None:
        try:
            for number in range(3):
                run_in_event_loop(token, interrupted, number)
        except RuntimeError:
            # The event loop has ended.
            ended.append("loop")
        else:
            ended.append("talk")

    async def main() -> None:
        thread = threading.Thread(target=talk, args=(anyio.lowlevel.current_token(),), daemon=True)
        thread.start()
        threads.append(thread)
        await anyio.sleep(30)

    threads = list[threading.Thread]()
    with pytest.raises(KeyboardInterrupt):
        anyio.run(main, backend=backend)
    threads[0].join(10)
    assert calls[:2] == [0, 1] and len(ended) == 1


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.filterwarnings("error")
def test_ctrl_c_while_a_task_starts_lets_it_start(backend: str) -> None:
    pytest.importorskip(backend)
    begun, ended = list[str](), list[str]()

    async def work() -> None:
        begun.append("work")
        await anyio.sleep(30)

    def make() -> Coroutine[None, None, None]:
        coroutine = work()
        # The moment in which the coroutine exists and no task has it.
        signal.raise_signal(signal.SIGINT)
        return coroutine

    async def main() -> None:
        try:
            async with anyio.create_task_group() as tasks:
                start_task(tasks, make)
        finally:
            ended.append("main")

    with pytest.raises(BaseException) as caught:
        anyio.run(main, backend=backend)
    error: BaseException = caught.value
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, KeyboardInterrupt)
    gc.collect()
    assert (begun, ended) == (["work"], ["main"])
