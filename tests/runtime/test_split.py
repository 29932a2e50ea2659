"""Sequences with cells of their own give what sequences in one cache give, and wide searches get them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ramify.engine.control import opening
from ramify.engine.engine import Engine
from ramify.engine.library.catalog import resolve_model
from ramify.engine.runtime.decode.decoder import Decoder
from ramify.engine.runtime.decode.prefix_cache import CachedSequence, PrefixCache, PrefixNode
from ramify.engine.runtime.llama import split
from ramify.engine.runtime.llama.config import ModelConfig
from ramify.engine.runtime.llama.native import Context, Model, Streams
from ramify.engine.runtime.llama.split import SplitContext, splits, streams_for
from ramify.engine.runtime.messages import CloseRun, Expand, OpenRun, Read, Release, StepRequest, StepResult
from ramify.engine.runtime.serve.pools import Pools
from ramify.reward.protocol import ReadRequest
from ramify.search.budget import Budget
from ramify.search.strategies.sampling import MajorityVote

from .fake_context import FakeContext
from .test_native import feed

# Float weights, because near-ties of quantized products can fall differently in batches of another size.
PATH = str(resolve_model("demo-m:f16").path)
PROMPT = tuple(range(10, 40))
WIDTH = 16


def config(**settings: Any) -> ModelConfig:
    return ModelConfig(path=PATH, threads=1, **settings)


@pytest.fixture(scope="module")
def small() -> Iterator[Model]:
    model = Model(config())
    yield model
    model.close()


@pytest.fixture
def as_if_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat models as tiny from fewer weights on, so that the bundled one is not."""
    monkeypatch.setattr(split, "TINY_PARAMETERS", 1)


def test_forks_cuts_and_growth_give_the_logits_of_a_fresh_prefill(small: Model) -> None:
    context, fresh = SplitContext(small, config(), Streams(6, 256)), Context(small, config())
    try:
        random, held = np.random.default_rng(5), dict[int, list[int]]()
        for _ in range(60):
            sequence = int(random.integers(6))
            choice = random.random()
            if held.get(sequence) and choice < 0.3:
                target, length = int(random.integers(6)), int(random.integers(1, len(held[sequence]) + 1))
                if target != sequence:
                    context.cut(target, 0)
                    context.copy(sequence, target, length)
                    held[target] = held[sequence][:length]
                continue
            if held.get(sequence) and choice < 0.4:
                held[sequence] = held[sequence][: int(random.integers(len(held[sequence])))]
                context.cut(sequence, len(held[sequence]))
                continue
            path = held.setdefault(sequence, [])
            tokens = [int(each) for each in random.integers(5, 60, int(random.integers(1, 90)))]
            found = feed(context, sequence, len(path), tokens)
            path += tokens
            fresh.cut(0, 0)
            assert found == pytest.approx(feed(fresh, 0, 0, path), abs=5e-3)
            assert all(context.length(each) == len(path) for each, path in held.items())
        assert context.streams.cells > 256
        assert context.streams.sequences == 6
    finally:
        context.close()
        fresh.close()


def test_a_path_does_not_grow_beyond_the_memory(small: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "GROWN_BYTES", 1)
    context = SplitContext(small, config(), Streams(2, 256))
    try:
        feed(context, 0, 0, [3] * 250)
        assert context.decode([3] * 10, list(range(250, 260)), [0] * 10, [True] * 10) == 1
        assert context.length(0) == 250
        feed(context, 0, 250, [3] * 6)
    finally:
        context.close()


def tree(context: Context, model: Model, *, tokens: int = 12) -> dict[int, tuple[int, ...]]:
    """Grow a tree of which a half survives each time, and return the tokens of its nodes."""
    decoder = Decoder(context, model.vocabulary, max_lanes=WIDTH, muted=tuple(model.vocabulary.ends))
    decoder.open_run(0, PROMPT)
    found = dict[int, tuple[int, ...]]()
    parents = [0] * WIDTH
    for _ in range(4):
        first = len(found) + 1
        children = range(first, first + WIDTH)
        decoder.expand(
            0,
            [
                StepRequest(parent=parent, child=child, seed=child, max_tokens=tokens + child % 5)
                for parent, child in zip(parents, children, strict=True)
            ],
            None,
        )
        while decoder.busy:
            for _, each in decoder.step():
                assert isinstance(each, StepResult)
                assert not each.reevaluated_tokens
                found[each.child] = each.tokens
        decoder.release(0, [*{each for each in parents if each}, *children[1::2]])
        parents = [each for each in children[::2] for _ in range(2)]
    decoder.close_run(0)
    assert decoder.statistics().sequences_used == decoder.statistics().cells_used == 0
    return found


def test_a_tree_evaluates_nothing_twice_and_its_batches_have_ids_without_gaps(small: Model) -> None:
    context = SplitContext(small, config(), Streams(2 * WIDTH + 3, 256))
    decode, seen = context.decode, list[list[int]]()

    def watched(tokens: list[int], positions: list[int], sequences: list[int], outputs: list[bool]) -> int:
        seen.append(list(dict.fromkeys(sequences)))
        return decode(tokens, positions, sequences, outputs)

    context.decode = watched  # pyright: ignore[reportAttributeAccessIssue]
    try:
        found = tree(context, small)
        assert len(found) == 4 * WIDTH
        assert all(ids == list(range(ids[0], ids[0] + len(ids))) for ids in seen)
        assert max(map(len, seen)) > WIDTH // 2
    finally:
        context.close()


def test_the_same_seed_draws_the_same_however_many_cells_there_are(small: Model) -> None:
    found: list[dict[int, tuple[int, ...]]] = []
    for streams in (Streams(2 * WIDTH + 3, 256), Streams(2 * WIDTH + 9, 1024)):
        context = SplitContext(small, config(), streams)
        try:
            found.append(tree(context, small, tokens=90))
            assert context.streams.cells > 256
        finally:
            context.close()
    assert found[0] == found[1]


class SplitFake(FakeContext):
    """A fake context in which no cells are shared."""

    consecutive = True


def parked(cache: PrefixCache, context: FakeContext, count: int) -> list[CachedSequence]:
    """Return sequences of paths that have nothing in common, each with two cells."""
    found: list[CachedSequence] = []
    for number in range(count):
        node = PrefixNode.of_path(0, None, (number, 1))
        sequence = cache.open(node, 2)
        assert sequence is not None
        context.held[sequence.id] = [(number, object()), (1, object())]
        sequence.length = 2
        found.append(sequence)
    return found


@pytest.mark.parametrize("together", [(0, 3, 5), (1, 2, 7), (0, 7), (2, 4, 6, 7), (5,)])
def test_ids_are_arranged_with_all_that_their_sequences_hold(together: tuple[int, ...]) -> None:
    context = SplitFake(sequences=9)
    cache = PrefixCache(context)
    sequences = parked(cache, context, 8)
    for each in sequences:
        if sequences.index(each) not in together:
            cache.park(each)
    cache.arrange(sequences[each] for each in together)
    ids = sorted(sequences[each].id for each in together)
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    for number, each in enumerate(sequences):
        assert [token for token, _ in context.held[each.id]] == [number, 1]
    assert len({each.id for each in sequences}) == 8
    for each in sequences:
        cache.free(each)
    assert cache.sequences_used == 0
    assert not context.used


def test_ids_stay_where_none_is_free() -> None:
    context = SplitFake(sequences=4)
    cache = PrefixCache(context)
    sequences = parked(cache, context, 4)
    cache.arrange([sequences[0], sequences[2]])
    assert [each.id for each in sequences] == [0, 1, 2, 3]


def expand(run: int, width: int, *, tokens: int = 8) -> Expand:
    requests = (StepRequest(parent=0, child=1 + each, seed=each, max_tokens=tokens) for each in range(width))
    return Expand(0, run, tuple(requests), None, None)


def finish(pools: Pools) -> dict[int, tuple[int, ...]]:
    found: dict[int, tuple[int, ...]] = {}
    while pools.busy:
        found |= {each.child: each.tokens for _, each in pools.step() if isinstance(each, StepResult)}
    return found


@pytest.mark.usefixtures("as_if_large")
def test_a_wide_run_has_cells_for_each_sequence_and_a_narrow_one_shares_them(small: Model) -> None:
    pools = Pools(small, config())
    try:
        for run, width in ((1, 4), (2, 32), (3, 32)):
            pools.handle(OpenRun(0, run, PROMPT))
            assert run not in pools.homes
            pools.handle(Release(0, run, (7,)))
            pools.handle(expand(run, width))
        assert pools.homes == {1: 0, 2: 1, 3: 2}
        pools.handle(OpenRun(0, 4, PROMPT))
        pools.handle(Read(0, 4, (ReadRequest(node=9, parent=None, tokens=(*PROMPT, 2), read=(1,), ids=(3,)),)))
        assert pools.homes[4] in (0, 3)
        finish(pools)
        for run in (2, 3):
            pools.handle(CloseRun(0, run))
        # An empty pool that is large enough is used again.
        pools.handle(OpenRun(0, 5, PROMPT))
        pools.handle(expand(5, 24))
        assert pools.homes[5] == 1
        before = pools.statistics()
        # One that is not gives its memory back, and its counters stay.
        pools.handle(OpenRun(0, 6, PROMPT * 10))
        pools.handle(expand(6, 32))
        assert len(set(pools.homes.values())) == len(pools.homes) - (pools.homes[4] == 0)
        assert pools.statistics() == before
        finish(pools)
        assert not pools.take_failures()
        pools.handle(OpenRun(0, 7, PROMPT))
        pools.handle(CloseRun(0, 7))
        assert 7 not in pools.homes
    finally:
        pools.close()


@pytest.mark.usefixtures("as_if_large")
def test_a_run_that_opens_with_one_path_has_the_cells_of_all(small: Model) -> None:
    pools = Pools(small, config())
    try:
        for run, paths in ((1, 24), (2, 4)):
            pools.handle(OpenRun(0, run, PROMPT))
            pools.handle(replace(expand(run, 1), paths=paths))
        assert pools.homes == {1: 1, 2: 0}
        first = finish(pools)[1]
        later = (StepRequest(parent=0, child=1 + each, seed=each, max_tokens=8) for each in range(1, 24))
        pools.handle(replace(expand(1, 24), requests=tuple(later)))
        found = finish(pools)
        pools.handle(OpenRun(0, 3, PROMPT))
        pools.handle(expand(3, 24))
        assert finish(pools) == {1: first, **found}
    finally:
        pools.close()


@pytest.mark.usefixtures("as_if_large")
@pytest.mark.parametrize("seconds", [None, 1e5])
async def test_a_search_under_a_limit_of_time_tells_its_width(
    seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "SLOW_PARAMETERS", 0)
    monkeypatch.setattr(opening, "PATH_TOKENS", 10**9)
    asked = list[int]()

    def noted(*_: object, prompt_tokens: int, children: int) -> None:
        asked.append(children)

    monkeypatch.setattr("ramify.engine.runtime.serve.pools.streams_for", noted)
    async with Engine("demo-m", None, isolation="thread") as engine:
        solution = await engine.solve("1+1?", strategy=MajorityVote(width=24), budget=Budget(seconds=seconds), seed=1)
    assert asked == [24]
    assert (solution.note is not None) == (seconds is not None)


@pytest.mark.usefixtures("as_if_large")
def test_a_wide_run_draws_the_same_beside_others(small: Model) -> None:
    alone, beside = Pools(small, config()), Pools(small, config())
    try:
        alone.handle(OpenRun(0, 1, PROMPT))
        alone.handle(expand(1, 32))
        expected = finish(alone)
        for run in (1, 2):
            beside.handle(OpenRun(0, run, PROMPT))
            beside.handle(expand(run, 32))
        found: dict[int, tuple[int, ...]] = {}
        while beside.busy:
            found |= {each.child: each.tokens for run, each in beside.step() if run == 1}  # pyright: ignore
        assert found == expected
    finally:
        alone.close()
        beside.close()


@pytest.mark.usefixtures("as_if_large")
def test_cells_of_its_own_follow_from_model_settings_prompt_and_width(
    small: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert splits(small, config())
    assert not splits(small, config(context_tokens=4096))
    assert not splits(small, config(flash_attention="on"))
    assert not splits(small, config(kv_type="q8_0"))
    assert not splits(small, config(states=True))
    assert streams_for(small, config(), prompt_tokens=100, children=4) is None
    wide = streams_for(small, config(), prompt_tokens=100, children=32)
    assert wide == Streams(2 * 32 + split.SPARE_STREAMS, 512)
    # A long prompt, which one cache holds once, needs more paths to make up for its copies with AVX-512, and fewer
    # without: there flash attention costs more than the copies.
    monkeypatch.setattr(split, "has_avx512", lambda: True)
    assert streams_for(small, config(), prompt_tokens=3000, children=32) is None
    monkeypatch.setattr(split, "has_avx512", lambda: False)
    assert streams_for(small, config(), prompt_tokens=600, children=8) == Streams(2 * 8 + split.SPARE_STREAMS, 1024)
    assert streams_for(small, config(), prompt_tokens=600, children=7) is None
    assert streams_for(small, config(), prompt_tokens=500, children=8) is None
    # No more sequences than may be at work.
    assert streams_for(small, config(max_lanes=32), prompt_tokens=100, children=256) == wide


def test_bundled_models_share_cells(small: Model) -> None:
    assert not splits(small, config())
