"""Answers by a schema from models behind servers: a request of its own with `response_format`, after the text."""

from __future__ import annotations

import json
import random
from typing import Any

import anyio
import pydantic
import pytest

from ramify.answers.schemas import ANSWER_MARK
from ramify.engine.engine import Engine
from ramify.engine.library.catalog import list_bundled
from ramify.engine.policy.remote.policy import RemotePolicy
from ramify.engine.policy.remote.session import ANSWER_ALONE
from ramify.errors import ModelLoadError
from ramify.search.budget import Budget
from ramify.search.node import FinishReason
from ramify.search.strategies.rebase import Rebase
from ramify.search.strategies.sampling import MajorityVote
from ramify.server.config import ServerConfig
from ramify.server.service import bind, serve, url_of

from .asking import connect, expand, request, reward, solve
from .http_server import Ask, FakeServer, serving


class Count(pydantic.BaseModel):
    number: int


def write(ask: Ask) -> list[str]:
    """Two steps, and no answer but where a schema is asked for."""
    if "response_format" in ask.body:
        number = 4 if random.Random(ask.seed).random() < 0.7 else 5
        return ['{"number"', ":", f" {number}", "}"]
    if "I know." in ask.prefix:
        return []
    steps = ask.prefix.count("\n")
    return [token for step in range(steps, 2) for token in ("Take", f" {step}", "\n")] + ["I", " know."]


def formats(server: FakeServer) -> list[dict[str, Any]]:
    return [body for body in server.texts if "response_format" in body]


@pytest.mark.parametrize("preset", ["gsm8k", None])
@pytest.mark.parametrize("strategy", [MajorityVote(width=4), Rebase(width=4)], ids=lambda each: each.name)
@pytest.mark.parametrize("tells", ["vllm", "llama", ""])
async def test_every_path_ends_with_a_value(strategy: Any, preset: str | None, tells: str) -> None:
    with serving(write, tells=tells) as server:
        policy = await connect(server, preset=preset)
        scorer = reward if strategy.uses_reward else None
        solution = await solve(policy, scorer, strategy=strategy, answer_schema=Count, seed=2)
        asked = formats(server)
    assert isinstance(solution.value, Count) and solution.value.number in (4, 5)
    assert len(solution.candidates) == len(asked) > 1
    for each in solution.candidates:
        assert each.text.startswith("Take 0\nTake 1\nI know.") and each.text.count(ANSWER_MARK) == 1
        assert json.loads(each.text.partition(ANSWER_MARK)[2]) == json.loads(each.answer or "")
    for body in asked:
        form = body["response_format"]
        assert form["type"] == "json_schema" and form["json_schema"]["schema"]["required"] == ["number"]
        assert "stop" not in body and ("json_schema" in body) is (tells == "llama" and preset is not None)
    assert all("response_format" not in body for body in server.texts if body not in asked)


async def test_near_the_limit_of_the_path_the_answer_begins() -> None:
    def endless(ask: Ask) -> list[str]:
        return write(ask) if "response_format" in ask.body else [" word"] * 1000

    with serving(endless) as server:
        policy = await connect(server, preset=None)
        options = {"strategy": MajorityVote(width=2), "max_path_tokens": 60}
        solution = await solve(policy, answer_schema=Count, **options)
    assert isinstance(solution.value, Count)
    assert all(each.generated_tokens <= 60 and each.text.count(" word") == 30 for each in solution.candidates)


async def test_a_server_that_starts_anew_is_asked_in_a_message() -> None:
    def thinking(ask: Ask) -> list[str]:
        return write(ask) if "response_format" in ask.body else ["<think>", "Hm.", "</think>", "\n\n", *write(ask)]

    with serving(thinking, continues="never") as server:
        policy = await connect(server, preset=None)
        solution = await solve(policy, strategy=MajorityVote(width=2), answer_schema=Count)
        last = formats(server)[-1]["messages"]
    assert isinstance(solution.value, Count)
    assert [each["role"] for each in last[-3:]] == ["user", "assistant", "user"]
    assert last[-2]["content"] == "Take 0\nTake 1\nI know." and last[-1]["content"] == ANSWER_ALONE


async def test_a_server_without_schemas_is_one_clear_error() -> None:
    with serving(write, refused=frozenset({"response_format"})) as server:
        policy = await connect(server, preset=None)
        with pytest.raises(ModelLoadError, match="response_format"):
            await solve(policy, strategy=MajorityVote(width=2), answer_schema=Count)


async def test_steps_without_a_schema_are_as_before() -> None:
    with serving(write) as server:
        found = await expand(await connect(server, preset=None), request(to_the_end=True))
    assert found[1].finish_reason is FinishReason.EOS and not formats(server)


async def test_ramify_itself_serves_values() -> None:
    if "demo-s" not in {entry.name for entry in list_bundled()}:
        pytest.skip("the bundled models are not in this checkout")
    defaults = {"strategy": "greedy", "max_generated_tokens": 2000}
    settings, ready, end = ServerConfig(port=0, defaults=defaults), anyio.Event(), anyio.Event()
    async with Engine("demo-s", None) as engine:
        with bind(settings) as bound:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lambda: serve(engine, settings, bound, on_ready=ready.set, end=end))
                await ready.wait()
                policy = await RemotePolicy.connect(f"openai:{url_of(bound)}/v1#demo-s", prompt_preset="chat:plain")
                async with Engine(policy, None) as client:
                    question = "Tom has 3 apples. Tom buys 4 more apples. How many apples does Tom have now?"
                    solution = await client.solve(
                        question,
                        strategy=MajorityVote(width=2),
                        answer_schema=Count,
                        seed=1,
                        budget=Budget(generated_tokens=100_000),
                    )
                end.set()
    assert isinstance(solution.value, Count), solution
    assert solution.usage.policy.generated_tokens > 0
