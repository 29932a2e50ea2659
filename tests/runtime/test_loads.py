"""Loads: several models side by side, with progress, in one worker and in several."""

from __future__ import annotations

import threading
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import pytest

from ramify import Engine
from ramify.config import EngineConfig
from ramify.engine.loading import load_models
from ramify.engine.runtime.llama.library import library
from ramify.engine.runtime.llama.native import Model
from ramify.engine.runtime.serve.client import Runtime
from ramify.errors import ModelCrashed, ModelLoadError
from ramify.events import LoadingFiles, ModelLoading

from .driving import PROMPT, config_of, expand, step_request, worker_pid
from .tiny_gguf import Shape, write_tiny


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("other") / "other.gguf", Shape(seed=5))


async def test_models_load_side_by_side(tiny: Path, other: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meeting, load = threading.Barrier(2, timeout=30), Model.__init__

    def meet(self: Model, *arguments: object, **more: object) -> None:
        if not more.get("vocabulary_only"):
            meeting.wait()
        load(self, *arguments, **more)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(Model, "__init__", meet)
    async with AsyncExitStack() as stack:
        config = EngineConfig(isolation="thread", threads=1)
        policy, reward = await load_models(stack, tiny, f"mean-logprob:{other}", config)
        assert policy.parameters and reward is not None


@pytest.mark.parametrize("isolation", ["process", "thread"])
async def test_a_load_is_told(tiny: Path, isolation: str) -> None:
    events: list[ModelLoading] = []
    async with Engine(tiny, f"mean-logprob:{tiny}", isolation=isolation, threads=1, on_loading=events.append):
        pass
    assert {each.path for each in events} == {str(tiny)}
    assert events[-1].loaded_bytes == events[-1].total_bytes == tiny.stat().st_size
    files = LoadingFiles()
    files.take(events[-1])
    assert files.text == "tiny.gguf 0 of 0 MB"


async def test_a_file_is_read_once_in_a_process(tiny: Path, other: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[str, bool]] = []
    load = library().llama_model_load_from_file

    def count(path: bytes, params: object) -> object:
        read.append((path.decode(), bool(params.vocab_only)))  # pyright: ignore[reportAttributeAccessIssue]
        return load(path, params)

    monkeypatch.setattr(library(), "llama_model_load_from_file", count)
    async with Engine(tiny, f"mean-logprob:{tiny}", isolation="thread", threads=1):
        pass
    # The two ends of the pipe are in one process here: one reads the weights, the other the vocabulary.
    assert sorted(read) == [(str(tiny), False), (str(tiny), True)]


async def test_what_is_asked_of_a_model_that_still_loads_waits(tiny: Path, other: Path) -> None:
    async with Runtime("process") as runtime:
        loaded = await runtime.load(config_of(tiny))
        run = await loaded.open_run(PROMPT)
        before = await expand(run, step_request(1, max_tokens=3))
        process = worker_pid(loaded)
        assert runtime.worker.kill()
        # The new worker is told of the run right after it is told to load.
        again = await expand(run, step_request(2, max_tokens=3))
        assert worker_pid(loaded) != process
        assert before[1].tokens and again[2].tokens


async def test_the_failure_of_one_load_leaves_the_other(tiny: Path, tmp_path: Path) -> None:
    wrong = write_tiny(tmp_path / "wrong.gguf", architecture="nonsense")
    async with Runtime("process") as runtime:
        bad, good = await runtime.begin_load(config_of(wrong)), await runtime.begin_load(config_of(tiny))
        with pytest.raises(ModelLoadError, match=r"wrong\.gguf"):
            await bad.wait_loaded()
        await good.wait_loaded()
        assert await expand(await good.open_run(PROMPT), step_request(1, max_tokens=2))


@pytest.mark.parametrize("isolation", ["process", "thread"])
async def test_an_engine_that_is_left_while_it_loads_ends(tiny: Path, isolation: str) -> None:
    with anyio.fail_after(60):
        async with Runtime(isolation) as runtime:  # pyright: ignore[reportArgumentType]
            await runtime.begin_load(config_of(tiny))
        with anyio.move_on_after(0.01):
            async with Engine(tiny, None, isolation=isolation, threads=1):
                pass


async def test_a_worker_that_dies_over_a_load_is_replaced_once(tiny: Path, tmp_path: Path) -> None:
    bad = write_tiny(tmp_path / "bad.gguf", numbers={"qwen2.rope.dimension_count": 16})
    async with Runtime("process") as runtime:
        with pytest.raises(ModelCrashed, match=r"GGML_ASSERT|SIGABRT"):
            await runtime.load(config_of(bad))
        await runtime.load(config_of(tiny))
