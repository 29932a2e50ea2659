"""Workers that die or hang are replaced, and what they had in hand goes on."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import anyio
import pytest

from ramify.engine.runtime.messages import StepResult
from ramify.engine.runtime.serve.client import Runtime
from ramify.errors import ModelCrashed
from ramify.reward.protocol import ReadRequest

from .driving import PROMPT, config_of, expand, given_up, loaded_model, step_request, until, worker_pid

PATIENCE_S = 100.0
"""Time for a worker to start on a busy machine."""

pytestmark = pytest.mark.asyncio


async def test_a_killed_worker_is_replaced_and_the_runs_go_on(slow: Path) -> None:
    async with loaded_model(slow, context_tokens=4096) as loaded:
        run = await loaded.open_run(PROMPT)
        first = await expand(run, step_request(1, max_tokens=6), step_request(2, max_tokens=6))
        pid = worker_pid(loaded)
        others = (step_request(child, 1, max_tokens=100) for child in range(4, 15))
        results = await expand(
            run, step_request(3, 1, max_tokens=3), *others, on_first=lambda: os.kill(pid, signal.SIGKILL)
        )
        assert worker_pid(loaded) != pid
        assert sorted(len(each.tokens) for each in results.values()) == [3] + [100] * 11
        # The path of node 1 had to be evaluated again, which is counted.
        assert sum(each.prompt_tokens for each in results.values()) == 0
        assert sum(each.reevaluated_tokens for each in results.values()) == len(PROMPT) + 5
        later = await expand(run, step_request(50, 10, max_tokens=3))
        assert len(later[50].tokens) == 3
        other = await loaded.open_run(PROMPT)
        assert (await expand(other, step_request(1, max_tokens=6)))[1].tokens == first[1].tokens
        read = ReadRequest(node=99, parent=98, tokens=(*PROMPT, 3), read=(30,), ids=(1,))
        assert len((await run.read([read]))[0].logits) == 1


async def test_a_worker_that_hangs_is_replaced_and_the_runs_go_on(slow: Path) -> None:
    async with Runtime(hang_s=PATIENCE_S) as runtime:
        loaded = await runtime.load(config_of(slow, context_tokens=4096))
        run = await loaded.open_run(PROMPT)
        pid = worker_pid(loaded)
        results: dict[int, StepResult] = {}
        async with anyio.create_task_group() as tasks:

            async def work() -> None:
                others = (step_request(child, max_tokens=60) for child in range(2, 9))
                results.update(await expand(run, step_request(1, max_tokens=3), *others, on_first=stop))

            def stop() -> None:
                os.kill(pid, signal.SIGSTOP)
                runtime._hang_s = 0.5  # pyright: ignore[reportPrivateUsage]

            tasks.start_soon(work)
            await until(lambda: worker_pid(loaded) != pid)
            # The new worker may take long to start.
            runtime._hang_s = PATIENCE_S  # pyright: ignore[reportPrivateUsage]
        assert worker_pid(loaded) != pid
        assert sorted(len(each.tokens) for each in results.values()) == [3] + [60] * 7


async def test_an_idle_worker_is_not_taken_to_hang(slow: Path) -> None:
    async with Runtime(hang_s=PATIENCE_S) as runtime:
        loaded = await runtime.load(config_of(slow, context_tokens=4096))
        pid = worker_pid(loaded)
        idle_s = runtime._heard_s  # pyright: ignore[reportPrivateUsage]
        runtime._hang_s = 0.2  # pyright: ignore[reportPrivateUsage]
        # The time without work does not count.
        await until(lambda: runtime._heard_s > idle_s + 0.4)  # pyright: ignore[reportPrivateUsage]
        runtime._hang_s = PATIENCE_S  # pyright: ignore[reportPrivateUsage]
        assert len(await expand(await loaded.open_run(PROMPT), step_request(1, max_tokens=2))) == 1
        assert worker_pid(loaded) == pid


async def test_a_worker_that_dies_twice_is_an_error_and_the_next_request_starts_anew(slow: Path) -> None:
    async with loaded_model(slow, context_tokens=4096) as loaded:
        run = await loaded.open_run(PROMPT)

        async def murder() -> None:
            for _ in range(2):
                await anyio.sleep(0.15)
                pid = worker_pid(loaded)
                os.kill(pid, signal.SIGKILL)
                await until(lambda pid=pid: worker_pid(loaded) != pid or given_up(loaded))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(murder)
            with pytest.raises(ModelCrashed, match="SIGKILL"):
                await expand(run, *(step_request(child, max_tokens=210) for child in range(1, 60)))
        results = await expand(run, step_request(100, max_tokens=4))
        assert len(results[100].tokens) == 4
