"""Policies behind servers of this machine, and what is asked of them."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from itertools import count
from typing import Any

from ramify.engine.engine import Engine
from ramify.engine.policy.remote.policy import RemotePolicy, RemoteSettings
from ramify.engine.policy.remote.pool import RetryPolicy
from ramify.engine.runtime.messages import StepRequest, StepResult
from ramify.sampling_params import TokenSampling
from ramify.solution import Solution

from .http_server import Ask, FakeServer

QUESTION = "What is 2+2?"
QUICK = RetryPolicy(attempts=4, pause_s=0.01, longest_pause_s=0.05)
SECRET = "sk-very-secret-1234"


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
    chosen = RemoteSettings(**{"retry": QUICK, **settings})
    return await RemotePolicy.connect(address, prompt_preset=preset, step_format="line", settings=chosen)


async def solve(policy: RemotePolicy, scorer: Any = None, **options: Any) -> Solution:
    async with Engine(policy, scorer) as engine:
        return await engine.solve(QUESTION, **options)


def request(child: int = 1, prefix: str = "", **options: Any) -> StepRequest:
    fields: dict[str, Any] = {"parent": 0, "path": (child - 1,), "seed": child, "max_tokens": 32}
    return StepRequest(child=child, prefix=prefix, **{"sampling": TokenSampling(), **fields, **options})


async def expand(policy: RemotePolicy, *requests: StepRequest, allowance: int | None = None) -> dict[int, StepResult]:
    results = list[StepResult]()
    session = await policy.open(QUESTION)
    await session.expand(requests, allowance=allowance, on_result=results.append)
    assert len(results) == len({each.child for each in results}) == len(requests)
    return {each.child: each for each in results}


def shape(solution: Solution) -> list[tuple[Any, ...]]:
    assert solution.tree is not None
    return sorted((node.path, node.text, node.finish_reason) for node in solution.tree)


def failing(times: int, fault: Any) -> Any:
    numbers = count()
    return lambda number, body: fault if next(numbers) < times else None
