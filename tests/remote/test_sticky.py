"""Several servers of one model: steps go to the server that has their prefix, and elsewhere only under load."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest

from ramify.engine.engine import Engine
from ramify.engine.policy.remote.http import Transport
from ramify.engine.policy.remote.pool import Endpoint, EndpointPool, RetryPolicy, TreePlaces
from ramify.search.strategies.sampling import MajorityVote
from ramify.solution import Solution

from .asking import QUESTION, connect, write
from .http_server import FakeServer, serving


async def searched(questions: list[str], *, width: int = 4, **settings: Any) -> tuple[list[Solution], list[FakeServer]]:
    with ExitStack() as stack:
        servers = [stack.enter_context(serving(write, caches=True, delay_s=0.01)) for _ in range(2)]
        async with Engine(await connect(*servers, **settings), None) as engine:
            options: dict[str, Any] = {"strategy": MajorityVote(width=width), "parallel": 2}
            found = [each async for each in engine.solve_many(questions, **options)]
    return found, servers


@pytest.mark.parametrize("sticky", [True, False])
async def test_a_tree_stays_on_one_server(sticky):
    questions = [f"{QUESTION} ({number})" for number in range(6)]
    found, servers = await searched(questions, sticky=sticky)
    assert all(each.answer is not None for each in found)
    assert all(server.texts for server in servers)
    used = [[any(question in body["prompt"] for body in server.texts) for server in servers] for question in questions]
    assert [each.count(True) for each in used] == [1 if sticky else 2] * 6


async def test_a_tree_spills_over_when_its_server_is_full():
    _, servers = await searched([QUESTION], width=6, parallel=2)
    assert all(server.texts for server in servers)
    assert all(server.most_at_once <= 2 for server in servers)


async def test_a_tree_moves_when_its_server_fails():
    with serving(write) as first, serving(write) as second:
        async with Engine(await connect(first, second), None) as engine:
            first.stop()
            solution = await engine.solve(QUESTION, strategy=MajorityVote(width=4))
    assert solution.answer is not None
    assert second.texts


def endpoints(count: int) -> list[Endpoint]:
    return [
        Endpoint(Transport(url=f"http://127.0.0.1:{port}/v1", key=None, connect_s=1.0, silence_s=1.0), 2)
        for port in range(1, count + 1)
    ]


async def test_places_follow_the_steps_and_are_given_back():
    first, second = endpoints(2)
    pool = EndpointPool([first, second], RetryPolicy())
    one, other = TreePlaces(pool), TreePlaces(pool)
    assert (one.below(0), other.below(0)) == (first, second)
    assert (first.trees, second.trees) == (1, 1)
    one.note(second, [5])
    assert (one.below(5), one.below(0)) == (second, first)
    one.forget([5])
    assert one.below(5) is first
    first.broken = True
    assert one.below(0) is second
    assert (first.trees, second.trees) == (0, 2)
    one.close()
    one.close()
    assert (first.trees, second.trees) == (0, 1)


@pytest.mark.parametrize("state", ["full", "broken", "paused"])
async def test_a_preferred_server_without_room_is_left_out(state):
    first, second = endpoints(2)
    pool = EndpointPool([first, second], RetryPolicy())
    second.in_flight = 1
    assert pool.choose(0.0, second) is second
    if state == "full":
        second.in_flight = 2
    elif state == "broken":
        second.broken = True
    else:
        second.rests_until_s = 10.0
    assert pool.choose(0.0, second) is first
    assert pool.choose(0.0) is first
