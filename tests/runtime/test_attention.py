"""Attention on a processor: the faster kind for the length of the heads, and batches that are not too large."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ramify.engine.library.catalog import resolve_model
from ramify.engine.runtime.decode.decoder import Decoder
from ramify.engine.runtime.llama.config import ModelConfig
from ramify.engine.runtime.llama.native import FLASH_SINGLES, Context, Model, flash_attention
from ramify.engine.runtime.messages import StepRequest, StepResult
from ramify.sampling_params import TokenSampling

PROMPT = tuple(range(10, 30))


def config(name: str, **others: Any) -> ModelConfig:
    return ModelConfig(path=str(resolve_model(name).path), context_tokens=4096, max_lanes=120, **others)


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    model = Model(config("demo-m:f16"))
    yield model
    model.close()


def texts(context: Context, model: Model, count: int) -> dict[int, str]:
    decoder = Decoder(context, model.vocabulary, max_lanes=count)
    decoder.open_run(1, PROMPT)
    # So hot that hardly two sequences write the same.
    sampling = TokenSampling(temperature=20.0)
    requests = [
        StepRequest(parent=0, child=each, seed=each, max_tokens=8, sampling=sampling) for each in range(1, count + 1)
    ]
    decoder.expand(1, requests, None)
    found: dict[int, str] = {}
    while decoder.busy:
        found |= {each.child: each.text for _, each in decoder.step() if isinstance(each, StepResult)}
    return found


def test_short_heads_do_without_flash_attention_unless_asked(model: Model) -> None:
    assert flash_attention(model, config("demo-m:f16")) == "off"
    assert flash_attention(model, config("demo-m:f16", flash_attention="on")) == "on"
    # Cells that are quantized need it.
    assert flash_attention(model, config("demo-m:f16", kv_type="q8_0")) == "auto"
    longer = Model(config("demo-l:f16"))
    try:
        assert flash_attention(longer, config("demo-l:f16")) == "auto"
    finally:
        longer.close()


def test_with_flash_attention_many_sequences_are_decoded_in_parts(model: Model) -> None:
    plain, flash = Context(model, config("demo-m:f16")), Context(model, config("demo-m:f16", flash_attention="on"))
    sizes: list[int] = []
    decode = flash.decode

    def watched(tokens: list[int], *rest: Any) -> int:
        sizes.append(len(tokens))
        return decode(tokens, *rest)

    flash.decode = watched  # pyright: ignore[reportAttributeAccessIssue]
    try:
        assert plain.single_tokens == plain.batch_tokens
        found = texts(flash, model, 100)
        # The prompt apart, no batch reaches the size from which a cell costs the same, seen by a sequence or not.
        assert max(sizes[1:]) <= FLASH_SINGLES
        # Full ones, as long as there are enough sequences.
        assert min(sizes[2:5]) == FLASH_SINGLES
        assert len(found) == 100
        agree = sum(found[child] == text for child, text in texts(plain, model, 100).items())
        # The two round differently, and at this heat every number is close to the edge of some token.
        assert agree >= 95
    finally:
        plain.close()
        flash.close()
