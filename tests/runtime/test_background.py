"""Runs in the background wait while others have work, and still get on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest

from ramify.engine.runtime.decode.decoder import Decoder
from ramify.engine.runtime.messages import StepResult
from ramify.engine.runtime.serve.pools import BACKGROUND_TURN, Turns

from .fake_context import LINE, FakeContext, FakeWords, drain, step_request, steps_of


def test_steps_of_background_runs_begin_after_all_others() -> None:
    decoder = Decoder(FakeContext(), FakeWords(), max_lanes=1)
    decoder.open_run(1, (2, 3), background=True)
    decoder.open_run(2, (2, 3, 4))
    for run in (1, 2):
        decoder.expand(run, [step_request(child, max_tokens=5, step=None) for child in range(1, 7)], None, step=LINE)
    ended = [run for run, result in drain(decoder) if isinstance(result, StepResult)]
    assert ended == [2] * 6 + [1] * 6


def test_only_the_order_differs() -> None:
    found: list[Any] = []
    for background in (False, True):
        decoder = Decoder(FakeContext(), FakeWords(), max_lanes=2)
        decoder.open_run(1, (2, 3), background=background)
        decoder.open_run(2, (2, 3, 4))
        for run in (1, 2):
            decoder.expand(run, [step_request(child) for child in range(1, 5)], None, step=LINE)
        found.append({key: each.tokens for key, each in steps_of(drain(decoder)).items()})
    assert found[0] == found[1]


def test_a_decoder_is_urgent_for_runs_in_front_alone() -> None:
    decoder = Decoder(FakeContext(), FakeWords(), max_lanes=2)
    decoder.open_run(1, (2, 3), background=True)
    decoder.open_run(2, (2, 3))
    assert not decoder.urgent
    decoder.expand(1, [step_request(1)], None, step=LINE)
    assert decoder.busy and not decoder.urgent
    decoder.expand(2, [step_request(1, max_tokens=1)], None, step=LINE)
    assert decoder.urgent
    drain(decoder)
    assert not decoder.urgent


@dataclass
class Busy:
    """Something that always has work."""

    urgent: bool
    busy: bool = True


@pytest.mark.parametrize(
    ("urgent", "steps"),
    [
        ((True, False), (80, 80 // BACKGROUND_TURN)),
        ((False, False), (80, 80)),
        ((True, True), (80, 80)),
        ((False,), (80,)),
    ],
)
def test_background_work_gets_a_share_of_the_steps(urgent: tuple[bool, ...], steps: tuple[int, ...]) -> None:
    everyone, turns = [Busy(each) for each in urgent], Turns()
    counts = Counter(id(each) for _ in range(80) for each in turns.due(everyone))
    assert tuple(counts[id(each)] for each in everyone) == steps


def test_who_has_nothing_to_do_has_no_turn() -> None:
    idle, busy = Busy(urgent=True, busy=False), Busy(urgent=False)
    assert Turns().due([idle, busy]) == [busy]
