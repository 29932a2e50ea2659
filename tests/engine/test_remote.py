"""Searches with models behind servers, good ones and bad ones."""

from __future__ import annotations

import io
import json
import logging
import os
import pickle
import random
import re
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.from_thread import start_blocking_portal

from ramify import generate_problems
from ramify.cli import main
from ramify.engine import Engine, controller
from ramify.engine.catalog import resolve_model
from ramify.engine.errors import ModelLoadError, ModelUnreachable, UsageError
from ramify.engine.policy import StepRequest, StepResult, Turn
from ramify.engine.prompts import choose_prompt_format
from ramify.engine.remote import RemotePolicy, RemoteSettings, parse_address
from ramify.engine.remote.asking import SEED_MASK
from ramify.engine.remote.keys import ApiKey
from ramify.engine.remote.settings import Patience
from ramify.engine.runtime.client import Runtime
from ramify.engine.runtime.messages import LaneRequest, LaneResult, ModelConfig, SamplingParams, StepFormat
from ramify.engine.seeds import node_seed
from ramify.engine.solution import Solution
from ramify.search.budget import Budget
from ramify.search.node import FinishReason
from ramify.search.strategies import Majority, Rebase

from .http_server import Ask, FakeServer, serving

QUESTION = "What is 2+2?"
QUICK = Patience(attempts=4, pause_s=0.01, longest_pause_s=0.05)
SECRET = "sk-very-secret-1234"


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "RAMIFY_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def write(ask: Ask) -> list[str]:
    """Two steps and an answer, drawn from the seed and the text so far; right twice in three times."""
    draw = random.Random(f"{ask.seed}:{ask.prefix}")
    tokens = list[str]()
    for _ in range(2 - ask.prefix.count("\n")):
        tokens += ["Take", f" {draw.randrange(50)}", " more", "\n"]
    return [*tokens, "The", " answer", " is", f" {draw.choice([4, 4, 5])}."]


def reward(question: str, steps: Sequence[str]) -> float:
    numbers = [int(each) for each in re.findall(r"\d+", "".join(steps))]
    return min(1.0, numbers[-1] / 50)


async def connect(*servers: FakeServer, preset: str | None = "gsm8k", **settings: Any) -> RemotePolicy:
    address = f"openai:{','.join(server.url for server in servers)}#m"
    chosen = RemoteSettings(**{"patience": QUICK, **settings})
    return await RemotePolicy.connect(address, prompt_preset=preset, step_format="line", settings=chosen)


async def solve(policy: RemotePolicy, scorer: Any = None, **options: Any) -> Solution:
    async with Engine(policy, scorer) as engine:
        return await engine.solve(QUESTION, **options)


def request(child: int = 1, prefix: str = "", **options: Any) -> StepRequest:
    fields: dict[str, Any] = {"parent": 0, "path": (child - 1,), "seed": child, "max_tokens": 32}
    return StepRequest(child=child, prefix=prefix, **{"sampling": SamplingParams(), **fields, **options})


async def expand(policy: RemotePolicy, *requests: StepRequest, allowance: int | None = None) -> dict[int, StepResult]:
    results = list[StepResult]()
    session = await policy.open(QUESTION)
    await session.expand(requests, allowance=allowance, on_result=results.append)
    assert len(results) == len({each.child for each in results}) == len(requests)
    return {each.child: each for each in results}


def shape(solution: Solution) -> list[tuple[Any, ...]]:
    assert solution.tree is not None
    return sorted((node.path, node.text, node.finish_reason) for node in solution.tree)


# Searches


@pytest.mark.parametrize("preset", ["gsm8k", None])
@pytest.mark.parametrize("tells", ["vllm", "sglang", "llama", ""])
async def test_the_tree_does_not_depend_on_the_server(tells: str, preset: str | None) -> None:
    with serving(write) as plain, serving(write, tells=tells, stream=tells != "sglang") as other:
        expected = await solve(await connect(plain), reward, strategy=Rebase(width=6), seed=3)
        found = await solve(await connect(other, preset=preset), reward, strategy=Rebase(width=6), seed=3)
    assert shape(found) == shape(expected)
    assert found.answer == expected.answer
    assert {node.finish_reason for node in found.tree or [] if node.parent is not None} == {
        FinishReason.STEP,
        FinishReason.EOS,
    }


async def test_a_vote_counts_what_the_server_generated() -> None:
    with serving(write) as server:
        policy = await connect(server)
        solution = await solve(policy, strategy=Majority(width=8), seed=1)
        assert solution.usage.policy.generated_tokens == server.generated == 8 * (2 * 4 + 5)
    assert solution.answer == "4"
    assert len(solution.candidates) == 8
    assert solution.usage.policy.flops == 0.0
    assert solution.model["policy"] == policy.name == f"openai:{server.url}#m"
    first = next(node for node in solution.tree or [] if node.parent is not None)
    assert first.logprob == -1.5


async def test_sampling_is_asked_for_in_full() -> None:
    with serving(write) as server:
        sampling = SamplingParams(temperature=0.7, top_p=0.9, top_k=40, min_p=0.05)
        await expand(await connect(server), request(sampling=sampling), request(2, "Take 1 more\n", seed=(1 << 64) - 1))
    first, second = sorted(server.texts, key=lambda body: body["prompt"])
    assert first["prompt"] == f"Question: {QUESTION}\nAnswer:" and second["prompt"] == first["prompt"] + "Take 1 more\n"
    asked = {name: first[name] for name in ("temperature", "top_p", "top_k", "min_p", "stop", "max_tokens", "seed")}
    assert asked == {**vars_of(sampling), "stop": ["\n"], "max_tokens": 32, "seed": 1}
    assert (second["top_k"], second["min_p"], second["seed"]) == (-1, 0.0, (1 << 63) - 1)


def vars_of(sampling: SamplingParams) -> dict[str, Any]:
    return {name: getattr(sampling, name) for name in ("temperature", "top_p", "top_k", "min_p")}


async def test_the_rest_of_a_path_has_no_stop_string() -> None:
    with serving(write) as server:
        found = await expand(await connect(server), request(to_the_end=True))
    assert found[1].text.count("\n") == 2 and found[1].finish_reason is FinishReason.EOS
    assert "stop" not in server.texts[0]


async def test_a_chat_is_continued_with_the_text_so_far() -> None:
    with serving(write) as server:
        await expand(await connect(server, preset=None), request(), request(2, "Take 1 more\n"))
    first, second = sorted((body for body in server.texts), key=lambda body: len(body["messages"]))
    assert [each["role"] for each in first["messages"]] == ["system", "user"]
    assert "continue_final_message" not in first
    assert second["messages"][-1] == {"role": "assistant", "content": "Take 1 more\n"}
    assert second["continue_final_message"] is True and second["add_generation_prompt"] is False


@pytest.mark.parametrize("refused", [frozenset[str](), frozenset({"continue_final_message", "add_generation_prompt"})])
async def test_a_server_that_continues_without_being_told_is_not_told(refused: frozenset[str]) -> None:
    with serving(write, continues="always", refused=refused) as server:
        found = await expand(await connect(server, preset=None), request(1, "Take 1 more\nTake 2 more\n"))
    assert found[1].text.startswith("The answer is")


async def test_a_chat_that_starts_anew_is_refused() -> None:
    with serving(write, continues="never") as server, pytest.raises(ModelLoadError, match="starts a new message"):
        await connect(server, preset=None)


async def test_a_conversation_goes_on_from_what_was_said() -> None:
    turns = (
        Turn(node=1, text="The answer is 5.", tokens=(), instruction="Look again."),
        Turn(node=2, text="It is wrong.", tokens=(), instruction="Correct it."),
    )
    with serving(write) as server:
        await expand(await connect(server, preset=None), request(to_the_end=True, turns=turns))
        await expand(await connect(server), request(to_the_end=True, turns=turns))
    chat, text = server.texts
    assert [(each["role"], each["content"]) for each in chat["messages"][1:]] == [
        ("user", QUESTION),
        ("assistant", "The answer is 5."),
        ("user", "Look again."),
        ("assistant", "It is wrong."),
        ("user", "Correct it."),
    ]
    told = "The answer is 5.\n\nLook again.\nIt is wrong.\n\nCorrect it.\n"
    assert text["prompt"] == f"Question: {QUESTION}\nAnswer:{told}"


async def test_a_server_without_a_chat_template_is_refused_with_what_to_do() -> None:
    with serving(write, refused=frozenset({"messages"})) as server:
        with pytest.raises(ModelLoadError, match=r"does not chat .* choose a prompt preset"):
            await connect(server, preset=None)
        assert len(await expand(await connect(server), request())) == 1


# How steps end


async def test_a_truncated_step_and_a_full_context_are_told_apart() -> None:
    def endless(ask: Ask) -> list[str]:
        return [" on"] * 20

    with serving(endless) as server:
        found = await expand(await connect(server), request(max_tokens=5), request(2, max_tokens=50))
    assert (found[1].finish_reason, found[1].text, found[1].generated_tokens) == (FinishReason.LENGTH, " on" * 5, 5)
    assert (found[2].finish_reason, found[2].generated_tokens) == (FinishReason.EOS, 21)
    with serving(endless, context_tokens=15) as server:
        found = await expand(await connect(server), request(1, " on" * 30))
        assert (found[1].finish_reason, found[1].text) == (FinishReason.CONTEXT, "")
        policy = await connect(server)
        assert policy.context_tokens == 15
        session = await policy.open("far too long " * 20)
        with pytest.raises(UsageError, match="does not fit"):
            await session.expand([request()], allowance=None, on_result=lambda result: None)


async def test_a_step_that_starts_with_its_separator_is_whole() -> None:
    def led(ask: Ask) -> list[str]:
        return ["\n", "\n", "One", "\n", "Two", "\n"]

    with serving(led) as server:
        policy = await connect(server)
        found = await expand(policy, request(), request(2))
        again = await expand(policy, request(3))
    texts = {each.text for each in (*found.values(), *again.values())}
    assert texts == {"\n\nOne\n"} and found[1].finish_reason is FinishReason.STEP
    assert len(server.texts) == 2 * 2 + 1, "once it is known, stop strings are left out at once"


async def test_without_word_of_the_server_an_answer_is_the_end() -> None:
    with serving(write, tells="") as server:
        found = await expand(await connect(server), request(), request(2, "Take 1 more\nTake 2 more\n"))
    assert (found[1].finish_reason, found[1].text[-1]) == (FinishReason.STEP, "\n")
    assert (found[2].finish_reason, found[2].text[-1]) == (FinishReason.EOS, ".")


async def test_a_pattern_without_fixed_text_is_cut_here() -> None:
    with serving(write) as server:
        address = f"openai:{server.url}#m"
        policy = await RemotePolicy.connect(address, prompt_preset="gsm8k", step_format=r"regex:\d+ more")
        found = await expand(policy, request())
    assert found[1].text.endswith(" more") and "stop" not in server.texts[0]
    assert (found[1].finish_reason, found[1].generated_tokens) == (FinishReason.STEP, 3)


# Servers that do not do what they are asked


async def test_a_server_that_ignores_stop_is_cut_and_noticed(caplog: pytest.LogCaptureFixture) -> None:
    with serving(write) as good, serving(write, ignore_stop=True, stream=False) as bad:
        expected = await solve(await connect(good), strategy=Majority(width=4))
        found = await solve(await connect(bad), strategy=Majority(width=4))
        assert [row[:2] for row in shape(found)] == [row[:2] for row in shape(expected)]
        assert found.usage.policy.generated_tokens == bad.generated > expected.usage.policy.generated_tokens
    assert [record.message for record in caplog.records if "ignores stop" in record.message] == [
        f"{bad.url} ignores stop strings; steps are cut here, and what it wrote beyond is charged"
    ]


async def test_a_stream_is_left_when_its_step_has_ended() -> None:
    def long(ask: Ask) -> list[str]:
        return ["Go", "\n", *[" on" * 100] * 3000]

    with serving(long, ignore_stop=True) as server:
        found = await expand(await connect(server), request(max_tokens=5000))
        assert (found[1].text, found[1].finish_reason, found[1].generated_tokens) == ("Go\n", FinishReason.STEP, 2)
        with anyio.fail_after(10):
            while not server.broken_off:
                await anyio.sleep(0.01)


@pytest.mark.parametrize("tells", ["vllm", "llama"])
@pytest.mark.parametrize("ignore_n", [False, True])
async def test_siblings_can_share_a_request(ignore_n: bool, tells: str, caplog: pytest.LogCaptureFixture) -> None:
    with serving(write, ignore_n=ignore_n, tells=tells) as server:
        policy = await connect(server, siblings_together=True)
        found = await expand(policy, *(request(child) for child in (1, 2, 3)), request(4, "Take 1 more\n", parent=9))
        assert len(server.texts) == (4 if ignore_n else 2)
        assert sum(each.generated_tokens for each in found.values()) == server.generated
    assert all(each.text.endswith(" more\n") for each in found.values())
    assert ["ignores n" in record.message for record in caplog.records] == [True][:ignore_n]


@pytest.mark.parametrize(
    ("usage", "noticed"), [(0, False), (-9, True), (40, True), (None, False)], ids=["right", "low", "high", "none"]
)
async def test_the_servers_count_is_checked(usage: int | None, noticed: bool, caplog: pytest.LogCaptureFixture) -> None:
    with serving(write, usage=usage) as server:
        policy = await connect(server)
        found = await expand(policy, *(request(child, to_the_end=True) for child in (1, 2)))
        written = server.generated // 2
    # The end-of-sequence token is counted, but not listed.
    charged = {0: written, 40: written + 40}.get(usage or 0, written - 1) if usage is not None else written - 1
    assert [each.generated_tokens for each in found.values()] == [charged] * 2
    said = [record.message for record in caplog.records if "counts its tokens" in record.message]
    assert (
        said == [f"{server.url} counts its tokens otherwise than it lists them; the larger number is charged"][:noticed]
    )


async def test_fields_that_a_server_does_not_know_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    unknown = frozenset({"top_k", "min_p", "repetition_penalty", "seed", "logprobs", "stream_options", "max_tokens"})
    with serving(write, refused=unknown - {"max_tokens"}) as server:
        policy = await connect(server)
        found = await expand(policy, request(), request(2))
        assert set(found) == {1, 2} and found[1].logprob is None
        assert any("takes no seed" in record.message for record in caplog.records)
        with pytest.raises(ModelLoadError, match="top_k"):
            await expand(policy, request(sampling=SamplingParams(top_k=5)))


# Failures


def failing(times: int, fault: Any) -> Any:
    numbers = count()
    return lambda number, body: fault if next(numbers) < times else None


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
    patience = Patience(attempts=4, pause_s=0.01, longest_wait_s=1.0)
    with serving(write, fault=lambda number, body: (429, {}, {"Retry-After": "3600"})) as server:
        with pytest.raises(ModelUnreachable, match="answers 429"):
            await expand(await connect(server, patience=patience), request())
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
            settings=RemoteSettings(patience=QUICK),
        )
        assert len(await expand(policy, request(), request(2))) == 2


async def test_when_all_are_dead_the_error_says_so() -> None:
    with serving(write) as one, serving(write) as two:
        policy = await connect(one, two)
        one.stop()
        two.stop()
        with pytest.raises(ModelUnreachable, match=r"every server of openai:.* cannot be used") as caught:
            await solve(policy, strategy=Majority(width=8))
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
            await solve(await connect(server), strategy=Majority(width=1))
        assert len(server.texts) == 1


# Cutting off


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
        return await solve(policy, strategy=Majority(width=4), budget=Budget(seconds=0.5))

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
        solution = await solve(await connect(server), strategy=Majority(width=6), budget=budget)
        assert server.generated == solution.usage.policy.generated_tokens <= limit


async def test_flops_cannot_be_limited() -> None:
    with serving(write) as server:
        policy = await connect(server)
        with pytest.raises(UsageError, match="FLOPs are limited"):
            await solve(policy, strategy=Majority(width=2), budget=Budget(flops=1e9))


# Addresses and keys


@pytest.mark.parametrize(
    "text", ["openai:", "openai:http://h/v1", "openai:#m", "openai:ftp://h#m", "openai:http://a,b#m"]
)
def test_an_incomplete_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no complete address"):
        parse_address(text)


@pytest.mark.parametrize("text", ["openai:https://u:sesame@h/v1#m", "openai:https://h/v1?key=sesame#m"])
def test_an_address_with_a_secret_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(UsageError, match="OPENAI_API_KEY") as caught:
        parse_address(text)
    assert "sesame" not in str(caught.value)


async def test_a_key_is_sent_and_shown_nowhere(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OPENAI_API_KEY", "another")
    monkeypatch.setenv("RAMIFY_API_KEY", f" {SECRET}\n")
    with serving(write, SECRET) as server:
        policy = await connect(server)
        solution = await solve(policy, strategy=Majority(width=2))
        assert {each["Authorization"] for each in server.headers} == {f"Bearer {SECRET}"}
        server.key = "changed"
        with pytest.raises(ModelLoadError, match="refuses the key") as caught:
            await solve(policy, strategy=Majority(width=2))
    captured = capfd.readouterr()
    objects = (policy, vars(policy), vars(policy.pool), vars(policy.pool.endpoints[0].transport), caught.value)
    shown = [json.dumps(solution.to_dict(tree=True)), policy.name, str(caught.value), *map(repr, objects)]
    shown += [caplog.text, captured.out, captured.err]
    assert not any(SECRET in text for text in shown)
    assert "Bearer ***" in str(caught.value), "a server that repeats the key does not get it into the error"


def test_a_key_cannot_be_printed_or_pickled() -> None:
    key = ApiKey(SECRET)
    assert SECRET not in f"{key} {key!r} {[key]}"
    with pytest.raises(TypeError, match="not saved"):
        pickle.dumps(key)
    with pytest.raises(UsageError) as caught:
        ApiKey(f"{SECRET}\r\nX-Header: 1")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "fine"),
    [
        ("http://example.org/v1", False),
        ("http://10.0.0.1:8000/v1", False),
        ("http://localhost.example.org/v1", False),
        ("https://example.org/v1", True),
        ("http://127.0.0.1:8000/v1", True),
        ("http://[::1]:8000/v1", True),
        ("http://localhost/v1", True),
    ],
)
def test_a_key_does_not_cross_a_network_unencrypted(url: str, fine: bool) -> None:
    from ramify.engine.remote.keys import check_sendable

    check_sendable(None, url)
    if fine:
        check_sendable(ApiKey(SECRET), url)
    else:
        with pytest.raises(UsageError, match="unencrypted") as caught:
            check_sendable(ApiKey(SECRET), url)
        assert SECRET not in str(caught.value)


async def test_an_engine_refuses_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with pytest.raises(UsageError, match="unencrypted"):
        async with Engine("openai:http://192.0.2.1/v1#m", None):
            pass


async def test_a_wrong_certificate_is_refused(tmp_path: Path) -> None:
    files = [str(tmp_path / name) for name in ("key.pem", "cert.pem")]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1"]
    made = subprocess.run([*command, "-keyout", files[0], "-out", files[1]], capture_output=True)
    if made.returncode:
        pytest.skip("openssl is not there to make a certificate")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files[1], files[0])
    with serving(write) as server:
        server.encrypt(context)
        address = f"openai:{server.url.replace('http:', 'https:')}#m"
        with pytest.raises(ModelLoadError, match=r"certificate .* is not valid"):
            await RemotePolicy.connect(address, prompt_preset="gsm8k")
        assert not server.headers


# The command line


def test_the_command_line_solves_and_keeps_the_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    problems, tree = tmp_path / "problems.jsonl", tmp_path / "tree.json"
    problems.write_text('{"id": "a", "question": "What is 2+2?", "answer": "4"}\n')
    with serving(write, SECRET) as server:
        model = ["--model", f"openai:{server.url}#m", "--prompt-preset", "gsm8k", "--width", "5"]
        assert main(["solve", QUESTION, *model, "--save-tree", str(tree)]) == 0
        captured = capfd.readouterr()
        assert captured.out == "4\n"
        assert main(["batch", "run", str(problems), "--out", str(tmp_path / "run"), *model]) == 0
        asked = len(server.texts)
        assert main(["batch", "run", str(problems), "--out", str(tmp_path / "run"), *model]) == 0
        assert len(server.texts) == asked, "a finished run asks nothing"
        monkeypatch.delenv("OPENAI_API_KEY")
        assert main(["solve", QUESTION, *model]) == 3
    later = capfd.readouterr()
    assert "refuses the key" in later.err
    written = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    written += [path.read_text() for path in Path(os.environ["RAMIFY_DATA"]).rglob("*.json")]
    assert len(written) > 4
    assert not any(SECRET in text for text in (*written, captured.err, later.out, later.err))


# A real model


@contextmanager
def served_model(name: str) -> Iterator[FakeServer]:
    """Serve a GGUF model through ramify's own runtime; each request starts afresh from its text."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(Runtime("thread")) as runtime:
        slot = portal.call(runtime.load, ModelConfig(path=str(resolve_model(name).path), threads=1))
        vocabulary = slot.tokenizer
        format = choose_prompt_format(slot.info.metadata, vocabulary, chat_template=slot.info.chat_template)

        async def generate(tokens: tuple[int, ...], lane: LaneRequest) -> LaneResult:
            results = list[LaneResult]()
            run = await slot.open_run(tokens)
            await run.expand([lane], allowance=None, on_result=results.append)
            run.close()
            return results[0]

        def write_on(ask: Ask) -> list[str]:
            tokens = format.encode(ask.question, vocabulary) + tuple(vocabulary.encode(ask.prefix, special=False))
            stop = StepFormat(name="stop", pattern=re.escape(ask.body["stop"][0])) if "stop" in ask.body else None
            limit, seed = ask.body["max_tokens"], ask.seed or 0
            result = portal.call(
                generate, tokens, LaneRequest(parent=0, child=1, seed=seed, max_tokens=limit, step=stop)
            )
            written = [token for token in result.tokens if token not in slot.info.eog]
            return [vocabulary.piece(token).decode() for token in written]

        with serving(write_on) as server:
            yield server


@pytest.mark.parametrize(("strategy", "equal"), [(Majority(width=64), 64), (Rebase(width=16), 16)])
async def test_a_served_model_writes_what_it_writes_here(
    strategy: Any, equal: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controller, "node_seed", lambda seed, path: node_seed(seed, path) & SEED_MASK)
    problem = generate_problems(steps=(3, 3), count=1, seed=7)[0]
    scorer = None if isinstance(strategy, Majority) else (lambda question, steps: len(steps[-1]) / 100)
    async with Engine("demo-m", scorer, isolation="thread", threads=1) as engine:
        here = await engine.solve(problem, strategy=strategy, seed=4)
    with served_model("demo-m") as server:
        address = f"openai:{server.url}#demo-m"
        async with Engine(address, scorer, prompt_preset="chat:plain") as engine:
            there = await engine.solve(problem, strategy=strategy, seed=4)
    texts, others = ({(path, text) for path, text, _ in shape(each)} for each in (here, there))
    # Where two tokens are all but equally likely, another batch shape may tip the balance.
    assert len(texts & others) >= 0.9 * len(texts)
    answers, others = (Counter(each.answer for each in solution.candidates) for solution in (here, there))
    assert (answers - others).total() <= 0.1 * equal == 0.1 * answers.total()
