"""Reads along a path: logits, hidden states, and the likelihood of the path's own tokens."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ramify.engine.library.catalog import resolve_model
from ramify.engine.runtime.decode.jobs import read_row
from ramify.engine.runtime.llama.config import ModelConfig
from ramify.engine.runtime.messages import StepRequest
from ramify.engine.runtime.serve.client import Runtime
from ramify.engine.runtime.serve.loaded_model import LoadedModel
from ramify.engine.runtime.serve.token_tree import TokenTree
from ramify.errors import UsageError
from ramify.reward.protocol import ReadRequest

TOKENS = (5, 40, 41, 42, 43, 44, 45, 46)


@asynccontextmanager
async def loaded_model(**settings: Any) -> AsyncGenerator[LoadedModel]:
    async with Runtime("thread") as runtime:
        path = resolve_model("demo-m").path
        yield await runtime.load(ModelConfig(path=str(path), threads=1, context_tokens=1024, **settings))


async def read(run: TokenTree, node: int, what: Any, at: tuple[int, ...], ids: tuple[int, ...] = ()) -> Any:
    (row,) = await run.read([ReadRequest(node=node, parent=None, tokens=TOKENS, read=at, ids=ids, what=what)])
    return row.logits


def test_the_next_token_and_the_self_certainty_of_a_row() -> None:
    # Probabilities 1/2, 1/4 and 1/4: the divergence from the uniform one is -mean(log(3 p)).
    row = np.log(np.array([0.5, 0.25, 0.25], dtype=np.float32)) + 3.0
    request = ReadRequest(node=1, parent=None, tokens=(0, 2), read=(0,), ids=(), what="tokens")
    logprob, certainty = read_row(request, 0, row)
    assert logprob == pytest.approx(math.log(0.25), abs=1e-6)
    assert certainty == pytest.approx(-(math.log(1.5) + 2 * math.log(0.75)) / 3, abs=1e-6)


def test_a_uniform_distribution_has_no_certainty() -> None:
    request = ReadRequest(node=1, parent=None, tokens=(0, 2), read=(0,), ids=(), what="tokens")
    assert read_row(request, 0, np.full(8, 2.0, dtype=np.float32)) == pytest.approx((-math.log(8), 0.0), abs=1e-6)


async def test_log_probabilities_agree_with_the_logits() -> None:
    async with loaded_model() as loaded:
        run = await loaded.open_run(TOKENS[:2])
        vocabulary = tuple(range(loaded.info.vocabulary_size))
        logits = np.array(await read(run, 1, "logits", (2, 4), vocabulary))
        ours = await read(run, 2, "tokens", (2, 4))
        for row, (logprob, _), token in zip(logits, ours, (TOKENS[3], TOKENS[5]), strict=True):
            assert logprob == pytest.approx(row[token] - np.log(np.exp(row - row.max()).sum()) - row.max(), abs=1e-2)


async def test_hidden_states_times_the_output_matrix_are_the_logits() -> None:
    gguf = pytest.importorskip("gguf")
    path = resolve_model("demo-m").path
    tensor = next(each for each in gguf.GGUFReader(path).tensors if each.name == "output.weight")
    matrix = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    async with loaded_model() as loaded:
        run = await loaded.open_run(TOKENS[:2])
        logits = np.array(await read(run, 1, "logits", (1, 4, 7), (3, 77, 500)))
    async with loaded_model(states=True) as loaded:
        run = await loaded.open_run(TOKENS[:2])
        # In two reads, so that the second finds its beginning in the cache.
        first = await read(run, 1, "states", (1,))
        states = np.array([*first, *await read(run, 2, "states", (4, 7))])
    assert states @ matrix[[3, 77, 500]].T == pytest.approx(logits, abs=0.1)


async def test_a_model_for_states_reads_nothing_else_and_generates_nothing() -> None:
    async with loaded_model(states=True) as loaded:
        run = await loaded.open_run(TOKENS[:2])
        with pytest.raises(UsageError, match="logits are read of a model not loaded for them"):
            await read(run, 1, "logits", (1,), (0,))
        with pytest.raises(UsageError, match="loaded for reading alone"):
            await run.expand([StepRequest(parent=0, child=1, seed=0, max_tokens=2)], allowance=None, on_result=print)
    async with loaded_model() as loaded:
        run = await loaded.open_run(TOKENS[:2])
        with pytest.raises(UsageError, match="states are read of a model not loaded"):
            await read(run, 1, "states", (1,))
        with pytest.raises(UsageError, match="no token after its last"):
            await read(run, 1, "tokens", (7,))


async def test_pooled_states_are_those_of_the_positions_beside_their_likelihoods() -> None:
    async with loaded_model() as loaded:
        run = await loaded.open_run(TOKENS[:2])
        likelihoods = await read(run, 1, "tokens", (1, 2, 3, 4, 5))
    async with loaded_model(states=True) as loaded:
        run = await loaded.open_run(TOKENS[:2])
        states = np.array(await read(run, 1, "states", (1, 2, 3, 4, 5)))
        run = await loaded.open_run(TOKENS[:2])
        request = ReadRequest(
            node=1, parent=None, tokens=TOKENS, read=(1, 2, 3, 4, 5), ids=(), what="pooled", groups=(2, 0, 3)
        )
        (result,) = await run.read([request])
        with pytest.raises(UsageError, match="groups of node 2 are not its positions"):
            await run.read([replace(request, node=2, groups=(2, 2))])
    rows = result.logits
    assert [row[0] for row in rows[:5]] == pytest.approx([logprob for logprob, _ in likelihoods], abs=0.02)
    assert all(0 <= entropy < math.log(4096) and 0 <= margin <= 1 for _, entropy, margin in rows[:5])
    pooled = np.array(rows[5:])
    zeros = np.zeros(states.shape[1])
    expected = [states[:2].mean(0), states[1], zeros, zeros, states[2:].mean(0), states[4]]
    assert pooled == pytest.approx(np.array(expected), abs=1e-3)
