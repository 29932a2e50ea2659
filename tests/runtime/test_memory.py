"""The cells in use are the unique live tokens, as llama.cpp itself has them, and the memory is what was predicted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ramify.engine.runtime.decoder import Decoder
from ramify.engine.runtime.memory import kv_bytes, kv_bytes_per_token
from ramify.engine.runtime.messages import LaneRequest, LaneResult, ModelConfig
from ramify.engine.runtime.native import Context, Model

from .test_devices import cache_bytes

PROMPT = tuple(range(40, 80))
TOKENS = 20


@pytest.fixture(scope="module")
def model(tiny: Path) -> Iterator[Model]:
    model = Model(ModelConfig(path=str(tiny), threads=1))
    yield model
    model.close()


@pytest.fixture
def context(model: Model, tiny: Path) -> Iterator[Context]:
    context = Context(model, ModelConfig(path=str(tiny), threads=1, context_tokens=2048))
    yield context
    context.close()


def cells_in_use(context: Context) -> int:
    """Count the cells that llama.cpp has in use: fill the rest through ids that nobody uses, and empty these again."""
    idle = [number for number in range(context.sequences) if context.length(number) == 0]
    spare, free, size = [*idle], 0, 128
    sequence, length = spare.pop(), 0
    while size:
        if length + size > context.longest_path:
            sequence, length = spare.pop(), 0
        places = list(range(length, length + size))
        if context.decode([1] * size, places, [sequence] * size, [False] * (size - 1) + [True]) == 0:
            free, length = free + size, length + size
        else:
            size //= 2
    for number in idle:
        context.cut(number, 0)
    return context.cells - free


def grow(decoder: Decoder, run: int, parent: int, children: range) -> dict[int, LaneResult]:
    requests = [LaneRequest(parent=parent, child=each, seed=each, max_tokens=TOKENS) for each in children]
    decoder.expand(run, requests, None)
    found: dict[int, LaneResult] = {}
    while decoder.busy:
        found |= {each.child: each for _, each in decoder.step() if isinstance(each, LaneResult)}
    return found


def test_the_cells_in_use_are_the_unique_live_tokens(model: Model, context: Context) -> None:
    decoder = Decoder(context, model.vocabulary, max_lanes=16)

    def cells() -> int:
        found = cells_in_use(context)
        assert decoder.statistics().cells_used == found
        return found

    assert cells() == 0
    decoder.open_run(1, PROMPT)
    # A step's last token is drawn and stays out of the cache until somebody goes on from it.
    grow(decoder, 1, 0, range(1, 9))
    assert cells() == len(PROMPT) + 8 * (TOKENS - 1)
    grow(decoder, 1, 1, range(9, 13))
    grow(decoder, 1, 9, range(13, 15))
    whole = len(PROMPT) + 14 * (TOKENS - 1) + 2
    assert cells() == whole
    # Depth costs nothing twice: four lanes' worth of prefixes would be far more.
    decoder.release(1, [2, 3, 4])
    assert cells() == whole - 3 * (TOKENS - 1)
    decoder.open_run(2, PROMPT)
    grow(decoder, 2, 0, range(1, 2))
    decoder.close_run(1)
    assert cells() == len(PROMPT) + TOKENS - 1
    decoder.close_run(2)
    assert cells() == 0


@pytest.mark.parametrize(("lanes", "steps"), [(2, 1), (8, 1), (8, 4), (24, 2)])
def test_the_peak_is_below_the_prediction_for_width_and_depth(
    model: Model, context: Context, lanes: int, steps: int
) -> None:
    decoder = Decoder(context, model.vocabulary, max_lanes=lanes)
    decoder.open_run(1, PROMPT)
    parents, first = [0] * lanes, 1
    for _ in range(steps):
        requests = [
            LaneRequest(parent=parent, child=first + place, seed=first + place, max_tokens=TOKENS)
            for place, parent in enumerate(parents)
        ]
        decoder.expand(1, requests, None)
        while decoder.busy:
            decoder.step()
        parents, first = list(range(first, first + lanes)), first + lanes
    peak = cells_in_use(context)
    assert decoder.statistics().cells_used == peak
    predicted = kv_bytes(1, width=lanes, path_tokens=steps * TOKENS, prompt_tokens=len(PROMPT))
    # Each path's last token alone is missing; paths that each held the prompt would need `lanes` times as much of it.
    assert predicted - peak == lanes


def test_the_bytes_of_a_token_are_those_that_llama_cpp_takes(model: Model, tiny: Path) -> None:
    per_token = kv_bytes_per_token(model.summary.metadata)
    assert per_token is not None
    assert cache_bytes(tiny, "f16", 8192) == pytest.approx(8192 * per_token, rel=0.01)
