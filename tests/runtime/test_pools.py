"""Runs of one model in contexts of their own draw what they draw in a common one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ramify.engine.library.catalog import resolve_model
from ramify.engine.runtime.llama.config import ModelConfig
from ramify.engine.runtime.llama.native import Model
from ramify.engine.runtime.messages import CloseRun, Expand, Interrupt, OpenRun, Read, Release, StepRequest, StepResult
from ramify.engine.runtime.serve.pools import MOST_POOLS, Pools, most_batch_tokens, pool_count
from ramify.reward.protocol import ReadRequest

PROMPTS = {1: tuple(range(10, 40)), 2: tuple(range(20, 60)), 3: tuple(range(30, 50))}


# Float weights, because near-ties of quantized products can fall differently in batches of another size.
PATH = str(resolve_model("demo-m:f16").path)


def config(pools: int | None = None, context_tokens: int = 2048) -> ModelConfig:
    return ModelConfig(path=PATH, pools=pools, context_tokens=context_tokens)


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    model = Model(config())
    yield model
    model.close()


def solve(pools: Pools) -> dict[tuple[int, int], str]:
    for run, prompt in PROMPTS.items():
        pools.handle(OpenRun(0, run, prompt))
        pools.handle(Expand(0, run, tuple(_request(run, child) for child in range(1, 5)), None, None))
    found: dict[tuple[int, int], str] = {}
    while pools.busy:
        found |= {(run, each.child): each.text for run, each in pools.step() if isinstance(each, StepResult)}
    return found


def _request(run: int, child: int) -> StepRequest:
    return StepRequest(parent=0, child=child, seed=run * 100 + child, max_tokens=12)


def test_pools_change_nothing_but_where_a_run_is(model: Model) -> None:
    one, three = Pools(model, config(1)), Pools(model, config(3))
    try:
        assert solve(one) == solve(three)
        assert one.statistics().tokens == three.statistics().tokens
        # Three runs of four sequences side by side against one after the other.
        assert one.statistics().decode_calls < three.statistics().decode_calls
    finally:
        one.close()
        three.close()


def test_a_run_goes_where_the_fewest_are_and_its_place_is_free_afterwards(model: Model) -> None:
    pools = Pools(model, config(2))
    try:
        solve(pools)
        homes = pools.homes
        assert [homes[run] for run in (1, 2, 3)] == [0, 1, 0]
        for run in (1, 3):
            pools.handle(CloseRun(0, run))
        pools.handle(OpenRun(0, 4, (7, 8)))
        assert pools.homes == {2: 1, 4: 0}
        for run in (2, 4):
            pools.handle(CloseRun(0, run))
        assert pools.statistics().sequences_used == 0
    finally:
        pools.close()


def test_what_comes_late_for_a_run_that_has_ended_is_turned_down(model: Model) -> None:
    pools = Pools(model, config(2))
    try:
        solve(pools)
        pools.handle(CloseRun(0, 2))
        pools.handle(Release(0, 2, (1,)))
        pools.handle(Interrupt(0, 2))
        pools.handle(Read(0, 2, (ReadRequest(node=9, parent=None, tokens=(1, 2), read=(1,), ids=(3,)),)))
        assert pools.take_failures() == {2: "the run has ended"}
        pools.handle(Expand(0, 3, (_request(3, 9),), None, None))
        while pools.busy:
            pools.step()
        assert not pools.take_failures()
    finally:
        pools.close()


def test_the_number_of_pools_follows_what_a_cell_costs(model: Model) -> None:
    assert pool_count(model, config()) == MOST_POOLS
    assert pool_count(model, config(3)) == 3
    assert pool_count(model, config(context_tokens=600_000)) == 1


@pytest.mark.parametrize(
    ("parameters", "threads", "tokens"),
    [
        (1_034_112, 2, None),
        (135_000_000, 2, 64),
        (494_000_000, 2, 32),
        (494_000_000, 16, 256),
        (8_000_000_000, 1, 16),
        (8_000_000_000, 64, 64),
    ],
)
def test_the_bound_of_a_decode_follows_from_sizes(parameters: int, threads: int, tokens: int | None) -> None:
    assert most_batch_tokens(parameters, threads) == tokens
