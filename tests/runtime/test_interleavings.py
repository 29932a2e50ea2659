"""Any order of starts, stops, cancellations and releases leaves the prefix cache's lengths equal to llama.cpp's own."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ramify.engine.runtime.decode.decoder import Decoder
from ramify.engine.runtime.decode.prefix_cache import CachedSequence
from ramify.engine.runtime.llama.config import ModelConfig
from ramify.engine.runtime.llama.native import Context, Model
from ramify.engine.runtime.messages import StepRequest, StepResult
from ramify.engine.runtime.serve.loaded_model import LoadedModel
from ramify.errors import EngineClosed
from ramify.reward.protocol import ReadRequest
from ramify.sampling_params import TokenSampling

from .driving import loaded_model

PROMPT = tuple(range(20, 28))
EXAMPLES = int(os.environ.get("RAMIFY_INTERLEAVINGS", "60"))
TASKS = 1000


@pytest.fixture(scope="module")
def model(ending: Path) -> Iterator[Model]:
    loaded = Model(ModelConfig(path=str(ending), threads=1))
    yield loaded
    loaded.close()


class Interleavings(RuleBasedStateMachine):
    """Runs on one small context, with fewer sequences and cells than they would like."""

    path: str
    model: Model

    def __init__(self) -> None:
        super().__init__()
        config = ModelConfig(path=self.path, context_tokens=256, max_lanes=6, batch_tokens=16, threads=1)
        self.context = Context(self.model, config)
        self.decoder = Decoder(self.context, self.model.vocabulary, max_lanes=6)
        self.runs: dict[int, list[int]] = {}
        self.waiting: dict[int, set[int]] = {}
        self.next_run = 0
        self.next_node = 1

    @initialize()
    def open_two(self) -> None:
        self.open(len(PROMPT))
        self.open(len(PROMPT))

    @rule(length=st.integers(1, len(PROMPT)))
    @precondition(lambda self: len(self.runs) < 4)
    def open(self, length: int) -> None:
        self.decoder.open_run(self.next_run, PROMPT[:length])
        self.runs[self.next_run], self.waiting[self.next_run] = [0], set()
        self.next_run += 1

    @rule(data=st.data(), width=st.integers(1, 5), tokens=st.integers(1, 20), keep=st.booleans())
    @precondition(lambda self: self.runs)
    def expand(self, data: st.DataObject, width: int, tokens: int, keep: bool) -> None:
        run = data.draw(st.sampled_from(sorted(self.runs)))
        parent = data.draw(st.sampled_from(self.runs[run]))
        allowance = data.draw(st.none() | st.integers(0, 30))
        children = range(self.next_node, self.next_node + width)
        self.next_node += width
        # The colder, the more children share a sequence.
        sampling = TokenSampling(temperature=data.draw(st.sampled_from([0.0, 0.2, 1.0])))
        requests = [
            StepRequest(parent=parent, child=each, seed=each, max_tokens=tokens, keep=keep, sampling=sampling)
            for each in children
        ]
        self.decoder.expand(run, requests, allowance)
        self.waiting[run] |= set(children)

    @rule(data=st.data())
    @precondition(lambda self: self.runs)
    def read(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(sorted(self.runs)))
        node, self.next_node = self.next_node, self.next_node + 1
        tokens = (*PROMPT, *data.draw(st.lists(st.integers(20, 40), min_size=1, max_size=6)))
        self.decoder.read(run, [ReadRequest(node=node, parent=None, tokens=tokens, read=(len(tokens) - 1,), ids=(1,))])
        self.waiting[run].add(node)

    @rule(data=st.data(), some=st.booleans())
    @precondition(lambda self: self.runs)
    def interrupt(self, data: st.DataObject, some: bool) -> None:
        run = data.draw(st.sampled_from(sorted(self.runs)))
        if some:
            self.decoder.interrupt(run, frozenset(sorted(self.waiting[run])[::2]))
        else:
            self.decoder.interrupt(run)

    @rule(data=st.data())
    @precondition(lambda self: self.runs)
    def release(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(sorted(self.runs)))
        nodes = [each for each in self.runs[run] if each]
        if nodes:
            self.decoder.release(run, data.draw(st.lists(st.sampled_from(nodes), max_size=4, unique=True)))

    @rule(data=st.data())
    @precondition(lambda self: len(self.runs) > 2)
    def close(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(sorted(self.runs)))
        self.decoder.close_run(run)
        del self.runs[run], self.waiting[run]

    @rule(times=st.integers(1, 12))
    def step(self, times: int) -> None:
        for _ in range(times):
            for run, result in self.decoder.step():
                node = result.child if isinstance(result, StepResult) else result.node
                assert run in self.runs, "a closed run got a result"
                assert node in self.waiting[run], "a result came twice or was not asked for"
                self.waiting[run].discard(node)
                if isinstance(result, StepResult) and result.tokens:
                    self.runs[run].append(node)

    @invariant()
    def the_lengths_are_those_of_llama_cpp(self) -> None:
        held = sequences_of(self.decoder)
        for each in held:
            assert self.context.length(each.id) == each.length
        ids = {each.id for each in held}
        assert len(ids) == len(held)
        for number in range(self.context.sequences):
            if number not in ids:
                assert self.context.length(number) == 0

    def teardown(self) -> None:
        for run in list(self.runs):
            self.decoder.close_run(run)
        assert not sequences_of(self.decoder)
        assert all(self.context.length(number) == 0 for number in range(self.context.sequences))
        self.context.close()


def sequences_of(decoder: Decoder) -> list[CachedSequence]:
    """Return all sequences in use: of jobs, and those that are parked."""
    found = set(decoder._cache._parked)
    for job in decoder._scheduler:
        if job.sequence is not None:
            found.add(job.sequence)
    return list(found)


def test_any_interleaving_keeps_the_lengths_right(model: Model, ending: Path) -> None:
    Interleavings.path, Interleavings.model = str(ending), model
    run_state_machine_as_test(
        Interleavings,
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


async def live(loaded: LoadedModel, source: random.Random) -> None:
    """Start a run and end it in one way or another, at any moment."""
    run = await loaded.open_run(PROMPT[: source.randint(1, len(PROMPT))])
    sampling = TokenSampling(temperature=source.choice((0.2, 1.0)))
    requests = [
        StepRequest(
            parent=0, child=child, seed=source.getrandbits(32), max_tokens=source.randint(1, 25), sampling=sampling
        )
        for child in range(1, source.randint(2, 6))
    ]

    async def disturb(way: str) -> None:
        await anyio.sleep(source.random() * 0.02)
        if way == "interrupt":
            run.interrupt()
        elif way == "close":
            run.close()

    way = source.choice(("wait", "interrupt", "close", "cancel"))
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(disturb, way)
            with anyio.move_on_after(source.random() * 0.02 if way == "cancel" else None):
                try:
                    await run.expand(requests, allowance=source.choice((None, 20)), on_result=lambda result: None)
                except EngineClosed:
                    assert way == "close"
    finally:
        run.close()


async def test_a_thousand_runs_started_stopped_and_cancelled_at_random_leave_nothing(ending: Path) -> None:
    source = random.Random(0)
    async with loaded_model(ending, context_tokens=512, max_lanes=12) as loaded:
        limiter = anyio.CapacityLimiter(20)

        async def one() -> None:
            async with limiter:
                await live(loaded, source)

        async with anyio.create_task_group() as tasks:
            for _ in range(TASKS):
                tasks.start_soon(one)
        statistics = await loaded.statistics()
        assert (statistics.sequences_used, statistics.cells_used) == (0, 0)
        run = await loaded.open_run(PROMPT)
        found: list[StepResult] = []
        await run.expand([StepRequest(parent=0, child=1, seed=1, max_tokens=4)], allowance=None, on_result=found.append)
        assert len(found) == 1
