"""Runs in the background wait while others have work, and still get on."""

from __future__ import annotations

from collections.abc import Iterator
from multiprocessing.connection import Pipe
from types import SimpleNamespace
from typing import Any

import pytest

from ramify.engine.runtime.decoder import Decoder
from ramify.engine.runtime.messages import LaneResult
from ramify.engine.runtime.worker import BACKGROUND_TURN, Worker

from .test_decoder import FakeMachine, FakeWords, drain, lane, lanes_of


def test_lanes_of_background_runs_begin_after_all_others() -> None:
    decoder = Decoder(FakeMachine(), FakeWords(), max_lanes=2)
    decoder.open_run(1, (2, 3), True)
    decoder.open_run(2, (2, 3, 4))
    for run in (1, 2):
        decoder.expand(run, [lane(child, max_tokens=5, step=None) for child in range(1, 7)], None)
    ended = [run for run, result in drain(decoder) if isinstance(result, LaneResult)]
    assert sorted(ended) == [1] * 6 + [2] * 6
    assert ended[:5] == [2] * 5 and ended[-5:] == [1] * 5


def test_only_the_order_differs() -> None:
    found: list[Any] = []
    for background in (False, True):
        decoder = Decoder(FakeMachine(), FakeWords(), max_lanes=2)
        decoder.open_run(1, (2, 3), background)
        decoder.open_run(2, (2, 3, 4))
        for run in (1, 2):
            decoder.expand(run, [lane(child) for child in range(1, 5)], None)
        found.append({key: each.tokens for key, each in lanes_of(drain(decoder)).items()})
    assert found[0] == found[1]


def test_a_decoder_is_urgent_for_runs_in_front_alone() -> None:
    decoder = Decoder(FakeMachine(), FakeWords(), max_lanes=2)
    decoder.open_run(1, (2, 3), True)
    decoder.open_run(2, (2, 3))
    assert not decoder.urgent
    decoder.expand(1, [lane(1)], None)
    assert decoder.busy and not decoder.urgent
    decoder.expand(2, [lane(1, max_tokens=1)], None)
    assert decoder.urgent
    drain(decoder)
    assert not decoder.urgent


class Busy:
    """A decoder that always has work and counts its steps."""

    def __init__(self, *, urgent: bool) -> None:
        self.busy, self.urgent, self.steps = True, urgent, 0

    def step(self) -> list[Any]:
        self.steps += 1
        return []

    def take_failures(self) -> dict[int, str]:
        return {}

    def progress(self) -> list[Any]:
        return []


@pytest.fixture
def worker() -> Iterator[Worker]:
    left, right = Pipe()
    yield Worker(left)
    left.close()
    right.close()


@pytest.mark.parametrize(
    ("urgent", "steps"),
    [
        ((True, False), (80, 80 // BACKGROUND_TURN)),
        ((False, False), (80, 80)),
        ((True, True), (80, 80)),
        ((False,), (80,)),
    ],
)
def test_slots_with_background_work_get_a_share_of_the_steps(
    worker: Worker, urgent: tuple[bool, ...], steps: tuple[int, ...]
) -> None:
    decoders = [Busy(urgent=each) for each in urgent]
    slots: dict[int, Any] = {number: SimpleNamespace(decoder=each) for number, each in enumerate(decoders)}
    worker._slots = slots  # pyright: ignore[reportPrivateUsage]
    for _ in range(80):
        worker._step()  # pyright: ignore[reportPrivateUsage]
    assert tuple(each.steps for each in decoders) == steps
