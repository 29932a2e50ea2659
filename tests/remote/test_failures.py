"""Servers that fail, hang or die."""

from __future__ import annotations

import threading
import time
from typing import Any

import anyio
import pytest

from ramify.engine.policy.remote.policy import RemotePolicy, RemoteSettings
from ramify.engine.policy.remote.pool import RetryPolicy
from ramify.errors import ModelLoadError, ModelUnreachable
from ramify.search.node import FinishReason
from ramify.search.strategies.rebase import Rebase
from ramify.search.strategies.sampling import MajorityVote

from .asking import QUICK, connect, expand, failing, request, reward, shape, solve, write
from .http_server import FakeServer, serving

FAULTS = [
    (429, {"error": {"message": "slow down"}}, {"Retry-After": "0"}),
    (503, {"error": "loading"}, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
    (500, b"<html>oops</html>"),
    "break",
    "nonsense",
]


@pytest.mark.parametrize("fault", FAULTS, ids=["429", "503", "500", "break", "nonsense"])
async def test_what_fails_is_asked_again_with_the_same_outcome(fault: Any) -> None:
    with serving(write) as good, serving(write, fault=failing(3, fault)) as bad:
        expected = await solve(await connect(good), reward, strategy=Rebase(width=4), seed=5)
        found = await solve(await connect(bad), reward, strategy=Rebase(width=4), seed=5)
        assert len(bad.texts) == len(good.texts) + 3
    assert shape(found) == shape(expected)


async def test_a_wait_that_the_server_asks_for_is_kept() -> None:
    times = list[float]()

    def fault(number: int, body: dict[str, Any]) -> Any:
        times.append(time.monotonic())
        return (429, {}, {"Retry-After": "0.3"}) if len(times) == 1 else None

    with serving(write, fault=fault) as server:
        await expand(await connect(server, parallel=1), request(), request(2))
    assert len(times) == 3 and times[1] - times[0] >= 0.3


async def test_a_wait_that_is_too_long_is_an_error() -> None:
    retry = RetryPolicy(attempts=4, pause_s=0.01, longest_wait_s=1.0)
    with serving(write, fault=lambda number, body: (429, {}, {"Retry-After": "3600"})) as server:
        with pytest.raises(ModelUnreachable, match="answers 429"):
            await expand(await connect(server, retry=retry), request())
    assert len(server.texts) == 1


async def test_a_server_that_hangs_is_given_up() -> None:
    with serving(write, fault=failing(1, "hang")) as server:
        found = await expand(await connect(server, silence_s=0.2), request())
    assert found[1].finish_reason is FinishReason.STEP and len(server.texts) == 2


async def test_the_death_of_one_of_two_servers_changes_nothing() -> None:
    with serving(write) as alone:
        expected = await solve(await connect(alone), reward, strategy=Rebase(width=12), seed=2)
    with serving(write, delay_s=0.02) as stays, serving(write, delay_s=0.02) as dies:
        dies.manners.fault = lambda number, body: die(dies) if number == 9 else None
        policy = await connect(stays, dies, parallel=4)
        found = await solve(policy, reward, strategy=Rebase(width=12), seed=2)
        assert stays.answered > dies.answered > 0
        assert stays.most_at_once <= 4
    assert shape(found) == shape(expected)
    assert found.usage.policy.generated_tokens == expected.usage.policy.generated_tokens


def die(server: FakeServer) -> str:
    threading.Thread(target=server.stop).start()
    return "hang"


async def test_work_goes_to_the_server_with_the_least_to_do() -> None:
    with serving(write, delay_s=0.05) as one, serving(write, delay_s=0.05) as two:
        policy = await connect(one, two, parallel=3)
        await expand(policy, *(request(child) for child in range(1, 13)))
        assert len(one.texts) + len(two.texts) == 12
        assert one.most_at_once == two.most_at_once == 3


async def test_a_dead_server_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    with serving(write) as good, serving(write, delay_s=0.02, fault=failing(1, (500, b""))) as bad:
        policy = await connect(good, bad)
        while not bad.answered:
            await expand(policy, *(request(child) for child in range(1, 9)))
    said = [record.message for record in caplog.records]
    assert f"the server {bad.url} is left out for a while: 500 Internal Server Error" in said
    assert f"the server {bad.url} answers again" in said


async def test_a_server_that_is_down_at_the_start_does_not_stand_in_the_way() -> None:
    with serving(write) as gone:
        pass
    with serving(write) as good:
        policy = await RemotePolicy.connect(
            f"openai:{gone.url},{good.url}#m",
            prompt_preset="gsm8k",
            settings=RemoteSettings(retry=QUICK),
        )
        assert len(await expand(policy, request(), request(2))) == 2


async def test_when_all_are_dead_the_error_says_so() -> None:
    with serving(write) as one, serving(write) as two:
        policy = await connect(one, two)
        one.stop()
        two.stop()
        with pytest.raises(ModelUnreachable, match=r"every server of openai:.* cannot be used") as caught:
            await solve(policy, strategy=MajorityVote(width=8))
    assert caught.value.exit_code == 3
    with pytest.raises(ModelUnreachable, match=r"the server of openai:.* cannot be used: connection refused"):
        await connect(one)


async def test_what_waits_for_a_dead_server_fails_together_and_later_work_is_tried_again() -> None:
    failures = list[ModelUnreachable]()

    async def ask() -> None:
        try:
            await expand(policy, request(), request(2))
        except ModelUnreachable as error:
            failures.append(error)

    with serving(write, fault=failing(QUICK.attempts, (500, b""))) as server:
        policy = await connect(server, parallel=1)
        async with anyio.create_task_group() as tasks:
            for _ in range(6):
                tasks.start_soon(ask)
        assert (len(failures), len(server.texts)) == (6, QUICK.attempts)
        assert len(await expand(policy, request())) == 1


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ((404, {"error": {"message": "The model `m` does not exist."}}), "not found there .*does not exist"),
        ((400, {"message": "no such thing"}), "refuses the request: 400 no such thing"),
        ((308, b"", {"Location": "http://elsewhere/"}), "refuses the request: 308"),
    ],
)
async def test_a_refusal_is_not_repeated(fault: Any, message: str) -> None:
    with serving(write, fault=lambda number, body: fault) as server:
        with pytest.raises(ModelLoadError, match=message):
            await solve(await connect(server), strategy=MajorityVote(width=1))
        assert len(server.texts) == 1
