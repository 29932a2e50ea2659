"""The cells in use are the unique live tokens, as llama.cpp itself has them, and the memory is what was predicted."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from ramify.engine.runtime.decode.decoder import Decoder
from ramify.engine.runtime.llama.config import ModelConfig
from ramify.engine.runtime.llama.memory import kv_bytes, kv_bytes_per_token
from ramify.engine.runtime.llama.native import Context, Model
from ramify.engine.runtime.messages import StepRequest, StepResult

from .test_devices import cache_bytes

PROMPT = tuple(range(40, 80))
TOKENS = 20


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


Paths = dict[int, tuple[int, ...]]


def grow(decoder: Decoder, run: int, paths: Paths, parents: list[int]) -> None:
    """Generate a child below each of the parents, and add the paths of the children."""
    children = range(len(paths), len(paths) + len(parents))
    requests = [
        StepRequest(parent=parent, child=child, seed=child, max_tokens=TOKENS)
        for parent, child in zip(parents, children, strict=True)
    ]
    decoder.expand(run, requests, None)
    while decoder.busy:
        for _, each in decoder.step():
            assert isinstance(each, StepResult)
            paths[each.child] = paths[parents[each.child - children.start]] + each.tokens


def unique(paths: Paths, live: Collection[int], expanded: Collection[int] = ()) -> int:
    """Count the different beginnings of live paths; a step's last token is not evaluated before it is expanded."""
    held = [paths[node][: None if node in expanded else -1] for node in live]
    return len({path[:length] for path in held for length in range(1, len(path) + 1)})


def test_the_cells_in_use_are_the_unique_live_tokens(model: Model, context: Context) -> None:
    decoder = Decoder(context, model.vocabulary, max_lanes=16)

    def cells() -> int:
        found = cells_in_use(context)
        assert decoder.statistics().cells_used == found
        return found

    assert cells() == 0
    decoder.open_run(1, PROMPT)
    paths: Paths = {0: PROMPT}
    grow(decoder, 1, paths, [0] * 8)
    assert cells() == unique(paths, range(1, 9))
    grow(decoder, 1, paths, [1] * 4)
    grow(decoder, 1, paths, [9] * 2)
    assert cells() == unique(paths, range(1, 15), expanded=(1, 9))
    # Depth costs nothing twice, and neither do paths that begin alike.
    assert cells() <= len(PROMPT) + 14 * (TOKENS - 1) + 2
    decoder.release(1, [2, 3, 4])
    assert cells() == unique(paths, [1, *range(5, 15)], expanded=(1, 9))
    decoder.open_run(2, PROMPT)
    grow(decoder, 2, {0: PROMPT}, [0])
    decoder.close_run(1)
    assert cells() == len(PROMPT) + TOKENS - 1
    decoder.close_run(2)
    assert cells() == 0


@pytest.mark.parametrize(("width", "steps"), [(2, 1), (8, 1), (8, 4), (24, 2)])
def test_the_peak_is_below_the_prediction_for_width_and_depth(
    model: Model, context: Context, width: int, steps: int
) -> None:
    decoder = Decoder(context, model.vocabulary, max_lanes=width)
    decoder.open_run(1, PROMPT)
    paths: Paths = {0: PROMPT}
    parents = [0] * width
    for _ in range(steps):
        last = len(paths)
        grow(decoder, 1, paths, parents)
        parents = list(range(last, len(paths)))
    peak = cells_in_use(context)
    assert decoder.statistics().cells_used == peak == unique(paths, paths, expanded=range(len(paths) - width))
    predicted = kv_bytes(1, width=width, path_tokens=steps * TOKENS, prompt_tokens=len(PROMPT))
    # Each path's last token alone is missing, and what paths have in common is there once.
    assert peak <= predicted - width


def test_the_bytes_of_a_token_are_those_that_llama_cpp_takes(model: Model, tiny: Path) -> None:
    per_token = kv_bytes_per_token(model.summary.metadata)
    assert per_token is not None
    assert cache_bytes(tiny, "f16", 8192) == pytest.approx(8192 * per_token, rel=0.01)
