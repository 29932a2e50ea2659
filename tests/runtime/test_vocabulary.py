"""Vocabularies at the engine's end: the first prompts ask the worker, what comes later loads one here."""

from __future__ import annotations

import os
import signal
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from ramify.engine.runtime.llama.config import ModelConfig
from ramify.engine.runtime.llama.native import Model
from ramify.engine.runtime.serve.client import Runtime
from ramify.engine.runtime.serve.processes import Isolation
from ramify.errors import InternalError
from ramify.reward.protocol import Tokenizer
from ramify.tools.forms import CONTROL_MARKS

from . import tiny_gguf
from .driving import config_of, worker_pid

pytestmark = pytest.mark.asyncio


def written(vocabulary: Tokenizer) -> tuple[list[int], list[int], bytes]:
    return vocabulary.encode("a<|end|>b", special=True), vocabulary.encode("", special=False), vocabulary.piece(258)


@pytest.mark.parametrize("isolation", ["process", "thread"])
async def test_the_first_prompts_need_no_vocabulary_here(tiny: Path, isolation: Isolation) -> None:
    async with Runtime(isolation) as runtime:
        loaded = await runtime.begin_load(config_of(tiny), needs_vocabulary=False)
        await loaded.wait_loaded()
        first, second = await loaded.tokenise(written), await loaded.tokenise(written)
        assert not loaded.vocabulary.loaded
        assert first == second == written(loaded.tokenizer)
        assert await loaded.tokenise(written) == first


async def test_with_many_prompts_the_vocabulary_is_loaded_here(tiny: Path) -> None:
    async with Runtime() as runtime:
        loaded = await runtime.begin_load(config_of(tiny), needs_vocabulary=False)
        await loaded.wait_loaded()
        with anyio.fail_after(60):
            while not loaded.vocabulary.loaded:
                await loaded.tokenise(written)


async def test_a_model_of_a_reward_has_its_vocabulary_when_it_is_ready(tiny: Path) -> None:
    async with Runtime() as runtime:
        assert (await runtime.load(config_of(tiny))).vocabulary.loaded


async def test_a_question_that_a_worker_died_over_is_asked_again(tiny: Path) -> None:
    async with Runtime() as runtime:
        loaded = await runtime.begin_load(config_of(tiny), needs_vocabulary=False)
        await loaded.wait_loaded()
        os.kill(worker_pid(loaded), signal.SIGKILL)
        assert (await loaded.tokenise(written))[2] == b"<|end|>"
        assert loaded.restarts == 1


async def test_an_error_of_the_worker_reaches_the_caller(tiny: Path) -> None:
    async with Runtime() as runtime:
        loaded = await runtime.begin_load(config_of(tiny), needs_vocabulary=False)
        await loaded.wait_loaded()
        with pytest.raises(InternalError, match="not in the vocabulary"):
            await loaded.tokenise(lambda vocabulary: vocabulary.piece(262))


@pytest.mark.parametrize("mark", CONTROL_MARKS)
async def test_marks_of_tool_calls_have_their_text_though_they_are_control_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: str
) -> None:
    monkeypatch.setattr(tiny_gguf, "SPECIAL", ("<|end|>", "<|step|>", mark, "<|bad|>"))
    file = tiny_gguf.write_tiny(tmp_path / "marks.gguf")
    with closing(Model(ModelConfig(path=str(file), threads=1), vocabulary_only=True)) as model:
        (token,) = model.vocabulary.encode(mark, special=True)
        (other,) = model.vocabulary.encode("<|step|>", special=True)
        assert (model.vocabulary.piece(token, special=False), model.vocabulary.piece(other, special=False)) == (
            mark.encode(),
            b"",
        )
