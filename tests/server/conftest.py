"""Servers for tests: over a scripted model inside the test's event loop, and as a process over a bundled model."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx
import openai
import pytest

from ramify.engine.engine import Engine
from ramify.engine.testing import ScriptedModel
from ramify.server.config import ServerConfig
from ramify.server.service import bind, serve, url_of

STARTED = re.compile(r"served at (http://\S+)/v1")
SCORES = {"7": 0.9, "8": 0.4, "9": 0.2}


def answers(question: str, path: tuple[int, ...]) -> str:
    """Two steps a path: child 2 of the root says 8, child 3 says 9, all others 7."""
    if len(path) == 1:
        return f"Step of child {path[0]}.\n"
    return f"The answer is {({2: 8, 3: 9}).get(path[0], 7)}."


def score(question: str, steps: tuple[str, ...]) -> float:
    return SCORES.get(steps[-1].rstrip(".")[-1], 0.5)


@dataclass(frozen=True)
class Served:
    """A server and its engine; `end` asks it to end."""

    url: str
    engine: Engine
    end: anyio.Event
    keys: dict[str, str] = field(default_factory=dict)

    def client(self, key: str = "unused", **options: Any) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, **options)

    def http(self, **options: Any) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, timeout=60, **options)


Serving = Callable[..., AbstractAsyncContextManager[Served]]


@pytest.fixture
def serving() -> Serving:
    """Serve a scripted model named "scripted"; further arguments are those of ServerConfig."""

    @asynccontextmanager
    async def begin(
        script: Any = answers, *, delay_s: float = 0.0, reward: Any = score, **config: Any
    ) -> AsyncGenerator[Served]:
        settings = ServerConfig(port=0, **config)
        ready, end = anyio.Event(), anyio.Event()
        async with Engine(ScriptedModel(script, delay_s=delay_s), reward) as engine:
            with bind(settings) as bound:
                async with anyio.create_task_group() as tasks:

                    async def run() -> None:
                        await serve(engine, settings, bound, on_ready=ready.set, end=end)

                    tasks.start_soon(run)
                    await ready.wait()
                    yield Served(url_of(bound), engine, end)
                    end.set()

    return begin


@pytest.fixture
def served_process() -> Iterator[Callable[..., tuple[subprocess.Popen[str], str]]]:
    """Start `ramify serve` on a free port; return the process and its URL."""
    children: list[subprocess.Popen[str]] = []

    def begin(*arguments: str, **variables: str) -> tuple[subprocess.Popen[str], str]:
        child = subprocess.Popen(
            [sys.executable, "-m", "ramify", "serve", "--port", "0", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **variables},
        )
        children.append(child)
        assert child.stderr is not None
        for line in child.stderr:
            if found := STARTED.search(line):
                return child, found[1]
        raise AssertionError(f"the server ended with {child.wait()}")

    yield begin
    for child in children:
        with child:
            child.kill()


QUESTION = "Tom has 3 apples. Tom buys 4 more apples. How many apples does Tom have now?"


@pytest.fixture
def asked() -> dict[str, Any]:
    """A request that every server answers."""
    return {"messages": [{"role": "user", "content": QUESTION}]}
