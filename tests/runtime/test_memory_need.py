"""Memory of a model before it is loaded: what it consists of, and searches that would not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from ramify.engine.runtime.llama.config import ModelConfig
from ramify.engine.runtime.llama.gguf_check import GgufSummary, Matrix, check_gguf
from ramify.engine.runtime.llama.memory import default_cells, fitting_cells, memory_need
from ramify.engine.runtime.serve import loads
from ramify.engine.runtime.serve.client import Runtime
from ramify.errors import ModelLoadError
from ramify.host_resources import Memory

from .driving import config_of

MIB = 1 << 20
METADATA = {
    "general.architecture": "llama",
    "llama.block_count": 2,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "llama.embedding_length": 256,
    "llama.context_length": 512,
}


def summary(*matrices: Matrix) -> GgufSummary:
    return GgufSummary("llama", 1, 1, dict(METADATA), frozenset(), 10 * MIB, matrices)


def test_the_parts_add_up() -> None:
    need = memory_need(summary(Matrix("token_embd.weight", 8, 1000, 5), Matrix("blk.0.ffn_up.weight", 12, 8, 7)),
                       cells=1024, width=4)  # fmt: skip
    assert need is not None
    assert (need.weights_bytes, need.copies_bytes) == (10 * MIB, 7)
    # Keys and values of two bytes for two heads of 64 in two layers.
    assert need.cache_bytes == 1024 * 2 * 2 * 2 * 64 * 2
    parts = need.weights_bytes + need.copies_bytes + need.cache_bytes + need.work_bytes + need.program_bytes
    assert need.total_bytes == parts
    wider = memory_need(summary(Matrix("token_embd.weight", 8, 1000, 5)), cells=1024, width=64)
    assert wider is not None and wider.work_bytes - need.work_bytes > 60 * 4 * 1000


def test_as_many_cells_as_fit() -> None:
    need = memory_need(summary(), cells=4096, width=1)
    assert need is not None
    assert fitting_cells(need, 4096, need.total_bytes) == 4096
    assert fitting_cells(need, 4096, need.total_bytes - 1) == 3840
    assert fitting_cells(need, 4096, need.total_bytes - need.cache_bytes) == 0
    assert fitting_cells(need, 4096, 0) == 0


def test_a_file_that_does_not_tell_has_no_prediction() -> None:
    assert memory_need(GgufSummary("llama", 1, 1, {}, frozenset(), 1), cells=1024, width=1) is None


@pytest.fixture
def free(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Free memory that has room for half of the usual cells of the tiny model."""
    usual = default_cells(check_gguf(tiny).metadata)
    need = memory_need(check_gguf(tiny), cells=usual, width=config_of(tiny).max_lanes)
    assert need is not None
    free = need.total_bytes - need.program_bytes - need.cache_bytes // 2
    monkeypatch.setattr(loads, "memory", lambda: Memory(2 * free, free))
    return free


async def test_a_context_is_narrowed_to_the_free_memory_and_says_so(
    tiny: Path, free: int, caplog: pytest.LogCaptureFixture
) -> None:
    usual = default_cells(check_gguf(tiny).metadata)
    async with Runtime("thread") as runtime:
        loaded = await runtime.load(ModelConfig(path=str(tiny), threads=1))
    assert loaded.info.cells == usual // 2
    assert f"gets {usual // 2} cells for its paths instead of {usual}" in caplog.text


async def test_a_context_that_the_user_sets_and_does_not_fit_is_refused_with_the_numbers(tiny: Path, free: int) -> None:
    usual = default_cells(check_gguf(tiny).metadata)
    with pytest.raises(ModelLoadError, match=rf"does not fit into memory: .* for {usual} cells\), and .* are free"):
        async with Runtime("thread") as runtime:
            await runtime.load(ModelConfig(path=str(tiny), threads=1, context_tokens=usual))


async def test_a_context_that_does_not_fit_is_refused_with_its_weights_loaded_already(tiny: Path, free: int) -> None:
    usual = default_cells(check_gguf(tiny).metadata)
    async with Runtime("thread") as runtime:
        assert (await runtime.load(ModelConfig(path=str(tiny), threads=1, context_tokens=1024))).info.cells == 1024
        with pytest.raises(ModelLoadError, match="does not fit into memory"):
            await runtime.load(ModelConfig(path=str(tiny), threads=1, context_tokens=usual))


async def test_a_model_whose_weights_alone_do_not_fit_is_refused(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loads, "memory", lambda: Memory(MIB, MIB))
    with pytest.raises(ModelLoadError, match="does not fit into memory"):
        async with Runtime("thread") as runtime:
            await runtime.load(ModelConfig(path=str(tiny), threads=1))
