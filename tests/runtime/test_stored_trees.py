"""Token trees that take steps and readings from a store: the same results, and nothing evaluated that is there."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ramify.engine.runtime.messages import StepRequest, StepResult
from ramify.engine.runtime.serve.client import Runtime
from ramify.engine.runtime.serve.loaded_model import LoadedModel
from ramify.engine.runtime.serve.processes import Isolation
from ramify.engine.runtime.serve.token_tree import TokenTree
from ramify.engine.store.rows import RowStore
from ramify.reward.protocol import ReadRequest, ReadResult
from ramify.sampling_params import StepFormat, TokenSampling

from .driving import PROMPT, config_of, expand, step_request, until, worker_pid
from .tiny_gguf import Shape, write_tiny

pytestmark = pytest.mark.asyncio
LINE = StepFormat(name="a", pattern="[a-c]")


@asynccontextmanager
async def stored_model(
    path: Path, folder: Path | None, isolation: Isolation = "thread", **settings: Any
) -> AsyncGenerator[LoadedModel]:
    store = None if folder is None else RowStore(folder)
    async with Runtime(isolation, store=store) as runtime:
        yield await runtime.load(config_of(path, **settings))
    if store is not None:
        store.close()


async def grow(run: TokenTree, width: int, depth: int = 3, allowance: int | None = None) -> dict[int, StepResult]:
    """Grow a tree whose numbers say the places of its nodes, so that a wider one has the nodes of a narrower one."""
    found, above = dict[int, StepResult](), [0]
    for level in range(depth):
        asked = [
            replace(step_request(parent * 10 + child, parent, max_tokens=9), tell_logprobs=True)
            for parent in above
            for child in range(1, width + 1)
        ]
        found |= await expand(run, *asked, allowance=allowance, step=LINE)
        above = [each.child for each in asked][: 2 if level == 0 else 3]
    return found


def told(results: dict[int, StepResult]) -> dict[int, tuple[object, ...]]:
    return {
        child: (each.text, each.tokens, each.finish_reason, each.generated_tokens) for child, each in results.items()
    }


def counts(results: dict[int, StepResult]) -> tuple[int, ...]:
    """Return the tokens read, generated, evaluated again, from the store, and on top because of it."""
    names = ("prompt_tokens", "generated_tokens", "reevaluated_tokens", "stored_tokens", "prefilled_tokens")
    return tuple(sum(getattr(each, name) for each in results.values()) for name in names)


@pytest.mark.parametrize("isolation", ["process", "thread"])
async def test_a_tree_that_is_there_is_not_evaluated(tiny: Path, tmp_path: Path, isolation: Isolation) -> None:
    async with stored_model(tiny, None, isolation) as loaded:
        plain = await grow(await loaded.open_run(PROMPT), 4)
    async with stored_model(tiny, tmp_path, isolation) as loaded:
        first = await grow(await loaded.open_run(PROMPT), 4)
        assert told(first) == told(plain)
        assert counts(first) == counts(plain)
        # In the same process, too.
        again = await grow(await loaded.open_run(PROMPT), 4)
        assert told(again) == told(plain)
    async with stored_model(tiny, tmp_path, isolation) as loaded:
        later = await grow(await loaded.open_run(PROMPT), 4)
        assert (await loaded.statistics()).tokens == 0
    assert told(later) == told(plain)
    assert [later[child].logprob for child in later] == [first[child].logprob for child in later]
    assert [later[child].token_logprobs for child in later] == [first[child].token_logprobs for child in later]
    read, generated, again_tokens, *_ = counts(plain)
    assert counts(later) == (read, generated, again_tokens, read + generated, 0)
    assert [later[child].cached_tokens for child in later] == [first[child].cached_tokens for child in later]


async def test_a_wider_tree_takes_the_narrower_one_and_reads_its_paths_once(tiny: Path, tmp_path: Path) -> None:
    async with stored_model(tiny, None) as loaded:
        plain = await grow(await loaded.open_run(PROMPT), 6)
    async with stored_model(tiny, tmp_path) as loaded:
        await grow(await loaded.open_run(PROMPT), 3)
    async with stored_model(tiny, tmp_path) as loaded:
        wide = await grow(await loaded.open_run(PROMPT), 6)
        statistics = await loaded.statistics()
    assert told(wide) == told(plain)
    assert counts(wide)[:3] == counts(plain)[:3]
    read, generated, again, stored, prefilled = counts(wide)
    assert again == 0 and stored > 0 and prefilled > 0
    # The last token of a step is evaluated when something follows it; shared ones once.
    shared = sum(each.shared_tokens for each in wide.values() if not each.stored_tokens)
    last = len([each for each in wide.values() if not each.stored_tokens])
    evaluated = read + generated - stored + prefilled - shared
    assert evaluated - last <= statistics.tokens <= evaluated
    # And now all of it is there.
    async with stored_model(tiny, tmp_path) as loaded:
        again_wide = await grow(await loaded.open_run(PROMPT), 6)
        assert (await loaded.statistics()).tokens == 0
    assert told(again_wide) == told(plain)


@pytest.mark.parametrize("allowance", [20, 33, 60, 90, 200])
@pytest.mark.parametrize("before", [2, 4, 6])
async def test_an_allowance_ends_the_same_steps(tiny: Path, tmp_path: Path, allowance: int, before: int) -> None:
    async with stored_model(tiny, None) as loaded:
        plain = await grow(await loaded.open_run(PROMPT), 6, 1, allowance)
    async with stored_model(tiny, tmp_path) as loaded:
        await grow(await loaded.open_run(PROMPT), before, 1)
        # In the same process, so that a trial meets what was written before.
        mixed = await grow(await loaded.open_run(PROMPT), 6, 1, allowance)
    async with stored_model(tiny, tmp_path) as loaded:
        later = await grow(await loaded.open_run(PROMPT), 6, 1, allowance)
    assert told(mixed) == told(later) == told(plain)
    assert counts(mixed)[:3] == counts(later)[:3] == counts(plain)[:3]
    assert sum(each.generated_tokens for each in later.values()) <= allowance


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 7},
        {"max_tokens": 8},
        {"min_tokens": 2},
        {"sampling": TokenSampling(temperature=0.5)},
        {"stop": "x"},
        {"to_the_end": True},
        {"opened": "```"},
        {"calculator": True},
        {"line": "1 + 1"},
    ],
    ids=str,
)
async def test_other_requests_have_other_steps(tiny: Path, tmp_path: Path, change: dict[str, object]) -> None:
    async with stored_model(tiny, tmp_path) as loaded:
        await expand(await loaded.open_run(PROMPT), step_request(1), step=LINE)
        same = await expand(await loaded.open_run(PROMPT), replace(step_request(1), child=5), step=LINE)
        assert same[5].stored_tokens > 0
        other = replace(step_request(1), **change)  # pyright: ignore[reportArgumentType]
        assert (await expand(await loaded.open_run(PROMPT), other, step=LINE))[1].stored_tokens == 0
        for prompt in (PROMPT[:-1], (*PROMPT, 50)):
            assert (await expand(await loaded.open_run(prompt), step_request(1), step=LINE))[1].stored_tokens == 0
        assert (await expand(await loaded.open_run(PROMPT), step_request(1)))[1].stored_tokens == 0


async def test_another_model_or_arrangement_takes_nothing(tiny: Path, tmp_path: Path) -> None:
    store, same_name = tmp_path / "store", tmp_path / tiny.name
    async with stored_model(tiny, store) as loaded:
        mine = await expand(await loaded.open_run(PROMPT), step_request(1))
    write_tiny(same_name, Shape(end_bias=-60.0, scale=0.4))
    async with stored_model(same_name, store) as loaded:
        other = await expand(await loaded.open_run(PROMPT), step_request(1))
    assert other[1].stored_tokens == 0 and other[1].tokens != mine[1].tokens
    others: list[dict[str, Any]] = [{"kv_type": "q8_0"}, {"flash_attention": "on"}]
    for settings in others:
        async with stored_model(tiny, store, **settings) as loaded:
            assert (await expand(await loaded.open_run(PROMPT), step_request(1)))[1].stored_tokens == 0
    # A copy elsewhere is the same model.
    copied = tmp_path / "copy.gguf"
    copied.write_bytes(tiny.read_bytes())
    async with stored_model(copied, store) as loaded:
        assert (await expand(await loaded.open_run(PROMPT), step_request(1)))[1].tokens == mine[1].tokens
        assert (await loaded.statistics()).tokens == 0


def same_readings(results: list[ReadResult], expected: list[ReadResult]) -> bool:
    # The last digits depend on what else is in the batch.
    return np.array([each.logits for each in results]) == pytest.approx(
        np.array([each.logits for each in expected]), abs=1e-3
    )


async def test_readings_are_taken_too_and_cost_the_same(tiny: Path, tmp_path: Path) -> None:
    paths = {1: (PROMPT, None), 2: ((*PROMPT, 33, 34), 1), 3: ((*PROMPT, 33, 34, 35), 2), 4: ((*PROMPT, 33, 34, 40), 2)}

    def requests(*nodes: int) -> list[ReadRequest]:
        ends = {node: len(paths[node][0]) - 1 for node in nodes}
        return [
            ReadRequest(node=node, parent=paths[node][1], tokens=paths[node][0], read=(ends[node],), ids=(1, 5))
            for node in nodes
        ]

    async def cost(loaded: LoadedModel, *calls: tuple[int, ...]) -> tuple[list[int], list[ReadResult]]:
        run = await loaded.open_run(PROMPT)
        found = [each for nodes in calls for each in await run.read(requests(*nodes))]
        run.close()
        return [each.evaluated_tokens for each in found], found

    async with stored_model(tiny, None) as loaded:
        plain, expected = await cost(loaded, (1,), (2,), (3, 4))
    async with stored_model(tiny, tmp_path) as loaded:
        first, found = await cost(loaded, (1,), (2,), (3,))
        assert first == plain[:3] and same_readings(found, expected[:3])
    async with stored_model(tiny, tmp_path) as loaded:
        partly, found = await cost(loaded, (1,), (2,), (3, 4))
        assert partly == plain
        assert [each.stored_tokens for each in found] == [*plain[:3], 0]
        assert found[3].prefilled_tokens == sum(each.evaluated_tokens for each in found[:2])
        # In another order of the calls, the prompt is charged to whichever comes first.
        run = await loaded.open_run(PROMPT)
        assert (await run.read(requests(2)))[0].evaluated_tokens == plain[0] + plain[1]
    async with stored_model(tiny, tmp_path) as loaded:
        later, found = await cost(loaded, (1,), (2,), (3, 4))
        assert later == plain and same_readings(found, expected)
        assert (await loaded.statistics()).tokens == 0


async def test_what_the_model_is_told_twice_costs_once(tiny: Path, tmp_path: Path) -> None:
    async def cost(loaded: LoadedModel) -> dict[int, StepResult]:
        run = await loaded.open_run(PROMPT)
        found = await expand(run, step_request(1))
        for node, tokens in ((2, (33, 34, 35)), (3, (33, 34, 35)), (4, (33, 34, 36))):
            run.adopt(node, 1, tokens, generated=False)
        for node in (2, 3, 4):
            found |= await expand(run, step_request(node + 10, node))
        return found

    async with stored_model(tiny, None) as loaded:
        plain = await cost(loaded)
    async with stored_model(tiny, tmp_path) as loaded:
        assert counts(await cost(loaded)) == counts(plain)
        again = await cost(loaded)
    assert told(again) == told(plain)
    assert counts(again)[:3] == counts(plain)[:3] and counts(again)[4] == 0


async def test_a_run_goes_on_after_a_crash_below_stored_steps(tiny: Path, tmp_path: Path) -> None:
    async with stored_model(tiny, None) as loaded:
        plain = await grow(await loaded.open_run(PROMPT), 5)
    async with stored_model(tiny, tmp_path) as loaded:
        await grow(await loaded.open_run(PROMPT), 2)
    async with stored_model(tiny, tmp_path, "process") as loaded:
        run = await loaded.open_run(PROMPT)
        killed = list[int]()

        def kill() -> None:
            killed.append(worker_pid(loaded))
            os.kill(killed[0], signal.SIGKILL)

        first = [replace(step_request(child, max_tokens=9), tell_logprobs=True) for child in range(1, 6)]
        await expand(run, *first, step=LINE, on_first=kill)
        await until(lambda: worker_pid(loaded) != killed[0])
        fresh = await loaded.open_run(PROMPT)
        crashed = await grow(fresh, 5)
    assert told(crashed) == told(plain)


async def test_an_interrupt_cuts_what_nobody_has_seen(tiny: Path, tmp_path: Path) -> None:
    asked = [step_request(child, max_tokens=4 + child) for child in range(1, 6)]
    async with stored_model(tiny, tmp_path) as loaded:
        await expand(await loaded.open_run(PROMPT), *asked)
        run = await loaded.open_run(PROMPT)
        found = await expand(run, *asked, on_first=run.interrupt)
    assert found[1].finish_reason == "length"
    assert {found[child].finish_reason for child in range(2, 6)} == {"cancelled"}
    assert counts(found)[1] == found[1].generated_tokens


async def test_steps_that_something_else_cut_are_not_kept(tiny: Path, tmp_path: Path) -> None:
    def long(child: int) -> StepRequest:
        return step_request(child, max_tokens=60)

    async with stored_model(tiny, tmp_path) as loaded:
        cut = await expand(await loaded.open_run(PROMPT), long(1), long(2), allowance=20)
        assert {each.finish_reason for each in cut.values()} == {"budget"}
        run = await loaded.open_run(PROMPT)
        stopped = await expand(run, step_request(9, max_tokens=1), long(1), on_first=run.interrupt)
        assert stopped[1].finish_reason == "cancelled"
        whole = await expand(await loaded.open_run(PROMPT), long(1), long(2))
        assert counts(whole)[3] == 0
