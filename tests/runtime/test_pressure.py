"""Searches on a cache too small for them, and searches that are given up: on both event loops, in every way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest

import ramify
from ramify.engine.policy.llama import LlamaPolicy
from ramify.engine.runtime.serve.loaded_model import LoadedModel
from ramify.events import NodeAdded
from ramify.search.node import FinishReason
from ramify.search.stopping import StopReason

from .test_survival import workers_of

PROBLEM = ramify.generate_problems(steps=(5, 6), count=1, seed=8)[0]
WIDE = ramify.MajorityVote(width=40)


async def test_a_search_on_a_cache_too_small_for_it_completes_and_shows_the_cost() -> None:
    strategy = ramify.Rebase(width=16)
    found: dict[int, ramify.Solution] = {}
    for cells in (8192, 256):
        async with ramify.Engine(context_tokens=cells, isolation="thread") as engine:
            found[cells] = await engine.solve(PROBLEM, strategy=strategy, budget=ramify.Budget())
    roomy, tight = found[8192].usage, found[256].usage
    assert roomy.policy.reevaluated_tokens == roomy.reward.reevaluated_tokens == 0
    assert tight.policy.reevaluated_tokens > 0 and tight.reward.reevaluated_tokens > 0
    assert found[256].stop_reason is StopReason.COMPLETED
    assert len(found[256].candidates) >= len(found[8192].candidates) / 2
    # The unique tokens of this search would not fit: what is held at a time is bounded by the cache all the same.
    assert tight.policy.generated_tokens > 256


async def test_a_path_longer_than_the_context_is_cut_and_ends_alone(tiny: Path) -> None:
    settings = {"prompt_preset": "plain", "step_format": "line", "context_tokens": 256}
    async with ramify.Engine(model=tiny, reward=None, **settings) as engine:
        solution = await engine.solve(
            "q" * 100, strategy=ramify.MajorityVote(width=2), max_step_tokens=4096, max_path_tokens=4096
        )
    assert solution.tree is not None
    last = [node for node in solution.tree if node.finish_reason is FinishReason.CONTEXT]
    assert last
    assert solution.stop_reason is StopReason.COMPLETED
    assert solution.answer is None
    lengths = [sum(each.token_count for each in solution.tree.path_nodes(node.id)) for node in last]
    # The last token is drawn and not evaluated, so a path may be one longer than its cells.
    assert all(256 - 110 < length <= 257 - 100 for length in lengths)


class Boom(Exception):
    """Stands for the failure of a sibling task."""


async def leave(engine: ramify.Engine) -> None:
    async with engine.run(PROBLEM, strategy=WIDE) as run:
        async for event in run:
            if isinstance(event, NodeAdded):
                return


async def time_out(engine: ramify.Engine) -> None:
    with anyio.move_on_after(0.05) as scope:
        await engine.solve(PROBLEM, strategy=WIDE)
    assert scope.cancelled_caught


async def sibling_fails(engine: ramify.Engine) -> None:
    async def fail() -> None:
        await anyio.sleep(0.05)
        raise Boom

    with pytest.RaisesGroup(Boom):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fail)
            await engine.solve(PROBLEM, strategy=WIDE)


async def cancel_one_of_two(engine: ramify.Engine) -> None:
    found: list[ramify.Solution] = []

    async def keep() -> None:
        found.append(await engine.solve(PROBLEM, strategy=ramify.MajorityVote(width=3), seed=9))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keep)
        with anyio.move_on_after(0.05):
            await engine.solve(PROBLEM, strategy=WIDE)
    assert len(found[0].candidates) == 3


async def leave_a_stream(engine: ramify.Engine) -> None:
    stream = engine.solve_many([PROBLEM] * 6, parallel=3, strategy=ramify.MajorityVote(width=8))
    async with stream:
        async for _ in stream:
            break


WAYS: list[Callable[[ramify.Engine], Awaitable[None]]] = [
    leave,
    time_out,
    sibling_fails,
    cancel_one_of_two,
    leave_a_stream,
]


@pytest.mark.parametrize(("backend", "ways"), [("asyncio", WAYS), ("trio", [leave, sibling_fails, leave_a_stream])])
def test_a_search_given_up_stops_at_once_frees_all_and_disturbs_no_other(
    backend: str, ways: list[Callable[[ramify.Engine], Awaitable[None]]]
) -> None:
    async def main() -> None:
        async with ramify.Engine() as engine:
            loaded_models = models_of(engine)
            calm = await engine.solve(PROBLEM, strategy=ramify.MajorityVote(width=3), seed=1)
            for way in ways:
                await way(engine)
                before = [await loaded.statistics() for loaded in loaded_models]
                await anyio.sleep(0.1)
                after = [await loaded.statistics() for loaded in loaded_models]
                assert after == before, f"{way.__name__}: it goes on"
                assert [(each.cells_used, each.sequences_used) for each in after] == [(0, 0)] * len(loaded_models), (
                    way.__name__
                )
                again = await engine.solve(PROBLEM, strategy=ramify.MajorityVote(width=3), seed=1)
                assert texts(again) == texts(calm), f"{way.__name__}: the next run differs"

    anyio.run(main, backend=backend)


def models_of(engine: ramify.Engine) -> list[LoadedModel]:
    policy = engine.policy
    assert isinstance(policy, LlamaPolicy)
    return list(policy.model.runtime._models.values())


def texts(solution: ramify.Solution) -> list[str]:
    return [each.text for each in solution.candidates]


SCRIPT = """
import sys
import anyio
import ramify

async def main():
    async with ramify.Engine() as engine:
        print(engine.policy.model.runtime.worker.process.pid, flush=True)
        while True:
            await engine.solve(sys.argv[2], strategy=ramify.MajorityVote(width=40))

try:
    anyio.run(main, backend=sys.argv[1])
except KeyboardInterrupt:
    raise SystemExit(130)
"""


@pytest.mark.parametrize("wait_s", [0.05, 0.3, 0.5])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_ctrl_c_in_a_program_ends_it_and_its_worker_quietly(backend: str, wait_s: float) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, backend, PROBLEM.question],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as child:
        assert child.stdout is not None and child.stderr is not None
        worker = int(child.stdout.readline())
        time.sleep(wait_s)
        # As a terminal does: to the program and its worker alike.
        os.killpg(child.pid, signal.SIGINT)
        try:
            _, said = child.communicate(timeout=60)
        finally:
            child.kill()
        assert (child.returncode, said) == (130, "")
    assert not Path(f"/proc/{worker}").exists()
    assert workers_of(child.pid) == []
