"""Weights go into repacked buffers one by one, those alone that llama.cpp can repack."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from ramify.engine.runtime.llama.config import BufferWord, ModelConfig
from ramify.engine.runtime.llama.gguf_check import GgufSummary, Matrix, check_gguf
from ramify.engine.runtime.llama.library import library
from ramify.engine.runtime.llama.native import Context, Model
from ramify.engine.runtime.llama.repack import overrides, repackable

from .tiny_gguf import Shape, write_tiny

Q4_0, Q8_0 = 2, 8
PATH = [40, 41, 42, 50, 60]


def summary(*matrices: tuple[str, int, int]) -> GgufSummary:
    return GgufSummary("llama", 1, 1, {}, frozenset(), 1, tuple(Matrix(*each) for each in matrices))


def logits(path: Path, buffers: BufferWord) -> npt.NDArray[np.float32]:
    config = ModelConfig(path=str(path), context_tokens=256, threads=1, extra_buffers=buffers)
    model = Model(config)
    context = Context(model, config)
    try:
        count = len(PATH)
        assert context.decode(PATH, list(range(count)), [0] * count, [True] * count) == 0
        return context.logits(count).copy()
    finally:
        context.close()
        model.close()


def test_only_weights_of_known_types_in_products_are_named() -> None:
    found = overrides(
        library(),
        summary(
            ("token_embd.weight", Q4_0, 512),
            ("output.weight", Q4_0, 512),
            ("blk.0.attn_q.weight", Q4_0, 64),
            ("blk.1.attn_q.weight", Q4_0, 64),
            ("blk.1.attn_k.weight", Q8_0, 64),
            ("blk.1.ffn_up.weight", Q4_0, 60),
            ("blk.1.ffn_gate_inp.weight", Q4_0, 64),
        ),
    )
    assert found is not None
    *named, end = [each.pattern for each in found]
    assert named == [rb"^output\.weight$", rb"^blk\.(0|1)\.attn_q\.weight$"]
    assert end is None


def test_what_has_nothing_to_repack_is_left_alone(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "q8.gguf", quantized="Q8_0")
    assert not repackable(check_gguf(path))
    assert overrides(library(), check_gguf(path)) is None
    assert logits(path, "repacked").tolist() == logits(path, "none").tolist()


def test_repacked_weights_give_the_same_logits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_tiny(tmp_path / "q4.gguf", Shape(width=128, feed=256), quantized="Q4_0")
    caplog.set_level(logging.DEBUG, logger="ramify.engine.runtime.llama.library")
    plain = logits(path, "none")
    assert not any("CPU_REPACK" in line for line in caplog.messages)
    repacked = logits(path, "repacked")
    assert any("CPU_REPACK model buffer" in line for line in caplog.messages)
    np.testing.assert_allclose(repacked, plain, atol=0.02 * float(np.ptp(plain[plain > -30])))
