"""Ends of a search on a server: an interrupt, a deadline, a budget."""

from __future__ import annotations

import anyio
import pytest

from ramify.engine.runtime.messages import StepResult
from ramify.errors import UsageError
from ramify.search.budget import Budget
from ramify.search.node import FinishReason
from ramify.search.strategies.sampling import MajorityVote
from ramify.solution import Solution

from .asking import QUESTION, connect, expand, request, solve, write
from .http_server import Ask, serving


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_interrupt_ends_what_is_in_flight(backend: str) -> None:
    def slow(ask: Ask) -> list[str]:
        return ["Begun", *[" on"] * 10] if ask.seed == 1 else ["never"]

    async def main() -> dict[int, StepResult]:
        results = dict[int, StepResult]()
        policy = await connect(server, parallel=2)
        session = await policy.open(QUESTION)

        def keep(result: StepResult) -> None:
            results[result.child] = result

        async with anyio.create_task_group() as tasks:
            requests = [request(child) for child in (1, 2, 3)]
            tasks.start_soon(lambda: session.expand(requests, allowance=None, on_result=keep))
            with anyio.fail_after(10):
                while len(server.texts) < 2:
                    await anyio.sleep(0.01)
            await session.interrupt()
        await session.expand([request(4)], allowance=None, on_result=keep)
        return results

    with serving(slow, fault=lambda number, body: "hang" if number <= 2 else None) as server:
        results = anyio.run(main, backend=backend)
    assert [results[child].finish_reason for child in (1, 2, 3)] == [FinishReason.CANCELLED] * 3
    assert results[4].finish_reason is FinishReason.EOS


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_deadline_ends_a_search_on_a_hanging_server(backend: str) -> None:
    async def main() -> Solution:
        policy = await connect(server)
        return await solve(policy, strategy=MajorityVote(width=4), budget=Budget(seconds=0.5))

    with serving(write, fault=lambda number, body: "hang" if number > 3 else None) as server:
        solution = anyio.run(main, backend=backend)
    assert solution.stop_reason == "budget_seconds"


async def test_a_common_allowance_is_kept_and_used() -> None:
    def long(ask: Ask) -> list[str]:
        words = 3 if ask.seed == 1 else 40
        return [" w"] * (words - ask.prefix.count(" w"))

    with serving(long) as server:
        requests = [request(child, max_tokens=64) for child in (1, 2, 3)]
        found = await expand(await connect(server), *requests, allowance=34)
    assert found[1].finish_reason is FinishReason.EOS
    assert [found[child].finish_reason for child in (2, 3)] == [FinishReason.BUDGET] * 2
    assert sum(each.generated_tokens for each in found.values()) == 34
    assert [found[child].text for child in (2, 3)] == [" w" * 15] * 2


@pytest.mark.parametrize("limit", [20, 40, 60, 90])
async def test_a_token_budget_is_not_exceeded(limit: int) -> None:
    with serving(write) as server:
        budget = Budget(generated_tokens=limit)
        solution = await solve(await connect(server), strategy=MajorityVote(width=6), budget=budget)
        assert server.generated == solution.usage.policy.generated_tokens <= limit


async def test_flops_cannot_be_limited() -> None:
    with serving(write) as server:
        policy = await connect(server)
        with pytest.raises(UsageError, match="FLOPs are limited"):
            await solve(policy, strategy=MajorityVote(width=2), budget=Budget(flops=1e9))
