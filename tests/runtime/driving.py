"""Drivers for tests of the runtime: a loaded model, requests, and the worker's state."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from ramify.engine.runtime.llama.config import ModelConfig
from ramify.engine.runtime.messages import StepRequest, StepResult
from ramify.engine.runtime.serve.client import Runtime
from ramify.engine.runtime.serve.loaded_model import LoadedModel
from ramify.engine.runtime.serve.processes import Isolation, ProcessWorker
from ramify.engine.runtime.serve.token_tree import TokenTree
from ramify.sampling_params import StepFormat

PROMPT = tuple(range(40, 70))


def config_of(path: Path, **settings: Any) -> ModelConfig:
    return ModelConfig(path=str(path), threads=1, **{"context_tokens": 2048, **settings})


@asynccontextmanager
async def loaded_model(path: Path, isolation: Isolation = "process", **settings: Any) -> AsyncGenerator[LoadedModel]:
    async with Runtime(isolation) as runtime:
        yield await runtime.load(config_of(path, **settings))


def step_request(child: int, parent: int = 0, *, max_tokens: int = 12, **options: Any) -> StepRequest:
    return StepRequest(parent=parent, child=child, seed=1000 + child, max_tokens=max_tokens, **options)


async def expand(
    run: TokenTree,
    *requests: StepRequest,
    allowance: int | None = None,
    step: StepFormat | None = None,
    on_first: Callable[[], object] = lambda: None,
) -> dict[int, StepResult]:
    """Return the results by child; `on_first` is called when the first one is there, while others are generated."""
    results: dict[int, StepResult] = {}

    def take(result: StepResult) -> None:
        results[result.child] = result
        if len(results) == 1:
            on_first()

    await run.expand(requests, allowance=allowance, on_result=take, step=step)
    return results


def worker_pid(loaded: LoadedModel) -> int:
    worker = loaded._runtime.worker  # pyright: ignore[reportPrivateUsage]
    assert isinstance(worker, ProcessWorker)
    return worker.process.pid


def given_up(loaded: LoadedModel) -> bool:
    return loaded._runtime._given_up  # pyright: ignore[reportPrivateUsage]


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(10):
        while not condition():
            await anyio.sleep(0.01)
