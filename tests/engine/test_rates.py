"""Rates of a model: what they tell about several sequences, how they are measured, and how they are kept."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramify import Budget, Engine
from ramify.engine.policy.llama import LlamaPolicy
from ramify.engine.runtime.decode.batch import Batch, BatchEntry
from ramify.engine.runtime.decode.counters import DecodeTimer
from ramify.engine.runtime.llama.config import ModelConfig
from ramify.engine.runtime.messages import DecodeTimes
from ramify.engine.runtime.serve import pools, worker
from ramify.engine.runtime.serve.rates import ModelRates, Rates, rates_of
from ramify.files import cache_folder
from ramify.search.strategies.sampling import MajorityVote

QUESTION = "Tom has 3 apples. Tom buys 4 more apples. How many apples does Tom have now?"

MEASURED = DecodeTimes(
    prompt_tokens=400.0, prompt_s=2.0, steps=((1, 100.0, 4.0), (4, 100.0, 8.0), (16, 100.0, 20.0), (17, 1.0, 9.0))
)


def test_times_show_the_speed_of_one_and_of_the_widest() -> None:
    rates = rates_of(MEASURED, Rates())
    assert rates == Rates(
        prompt_tokens_per_s=200.0, single_tokens_per_s=25.0, widest=16, widest_tokens_per_s=80.0, now=True
    )
    assert rates.gain(1) == 1.0
    assert rates.gain(16) == pytest.approx(3.2)
    # A call of 16 takes 160 ms more than one of 1.
    assert rates.tokens_per_s(4) == pytest.approx(4 / (0.04 + 3 * 0.16 / 15))
    assert rates.seconds(2, prompt_tokens=100, tokens=50) == pytest.approx(
        2 * (0.5 + 50 / (rates.tokens_per_s(2) or 0))
    )


def test_unknown_rates_tell_nothing_but_a_small_gain() -> None:
    assert Rates().tokens_per_s(1) is None
    assert Rates().seconds(1, prompt_tokens=1, tokens=1) is None
    assert (Rates().gain(1), Rates().gain(8)) == (1.0, 1.5)
    assert Rates(single_tokens_per_s=10.0).seconds(4, prompt_tokens=9, tokens=15) == pytest.approx(4.0)


@given(
    single=st.floats(0.1, 1e4), widest=st.integers(2, 256), gain=st.floats(0.3, 300.0), sequences=st.integers(1, 512)
)
def test_more_sequences_never_take_less_time(single: float, widest: int, gain: float, sequences: int) -> None:
    rates = Rates(single_tokens_per_s=single, widest=widest, widest_tokens_per_s=single * gain)
    seconds = [rates.seconds(count, prompt_tokens=0, tokens=10) or 0.0 for count in (sequences, sequences + 1)]
    assert 0.0 < seconds[0] <= seconds[1] * (1 + 1e-9)


def test_too_little_work_leaves_what_was_kept() -> None:
    kept = rates_of(MEASURED, Rates())
    short = rates_of(DecodeTimes(steps=((1, 10.0, 0.9),)), kept)
    assert (short.single_tokens_per_s, short.widest, short.now) == (25.0, 16, False)


def test_a_busy_machine_changes_the_speed_and_not_the_gain() -> None:
    kept = rates_of(MEASURED, Rates())
    slow = rates_of(DecodeTimes(steps=((1, 10.0, 4.0),)), kept)
    assert (slow.single_tokens_per_s, slow.now) == (2.5, True)
    assert slow.gain(16) == pytest.approx(kept.gain(16))
    only_wide = rates_of(DecodeTimes(steps=((16, 10.0, 20.0),)), kept)
    assert only_wide.single_tokens_per_s == pytest.approx(8.0 / 3.2)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelConfig:
    monkeypatch.setenv("RAMIFY_CACHE_DIR", str(tmp_path / "cache"))
    path = tmp_path / "model.gguf"
    path.write_bytes(b"weights")
    return ModelConfig(path=str(path), threads=2)


def files() -> list[Path]:
    return sorted((cache_folder() / "rates").glob("*"))


def test_rates_are_kept_for_the_file_the_machine_and_the_threads(config: ModelConfig) -> None:
    rates = ModelRates(config)
    assert rates.present == Rates()
    rates.take(MEASURED)
    (file,) = files()
    assert file.stat().st_mode & 0o777 == 0o600
    kept = ModelRates(config).present
    assert (kept.single_tokens_per_s, kept.widest, kept.now) == (25.0, 16, False)
    assert ModelRates(ModelConfig(path=config.path, threads=1)).present == Rates()
    Path(config.path).write_bytes(b"other weights")
    assert ModelRates(config).present == Rates()


def test_rates_are_written_again_only_when_they_have_changed(config: ModelConfig) -> None:
    rates = ModelRates(config)
    rates.take(MEASURED)
    (file,) = files()
    os.utime(file, (1, 1))
    rates.take(DecodeTimes(prompt_tokens=400.0, prompt_s=2.0, steps=((1, 100.0, 4.1), (16, 100.0, 20.5))))
    rates.keep()
    assert file.stat().st_mtime == 1
    rates.take(DecodeTimes(steps=((1, 100.0, 8.0),)))
    assert file.stat().st_mtime == 1
    rates.keep()
    assert json.loads(file.read_text())["single_tokens_per_s"] == 12.5


@pytest.mark.parametrize(
    "change",
    [
        {"single_tokens_per_s": 0},
        {"single_tokens_per_s": "fast"},
        {"single_tokens_per_s": float("nan")},
        {"prompt_tokens_per_s": -1.0},
        {"widest_tokens_per_s": True},
        {"widest": 0},
        {"widest": None},
        {"version": 0},
        {"machine": "another"},
        {"processors": -1},
    ],
)
def test_what_is_wrong_or_belongs_elsewhere_is_not_there(config: ModelConfig, change: dict[str, object]) -> None:
    ModelRates(config).take(MEASURED)
    (file,) = files()
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    assert ModelRates(config).present == Rates()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, "\x00\xff", '{"version": 1}'])
def test_a_damaged_file_is_not_there(config: ModelConfig, text: str) -> None:
    ModelRates(config).take(MEASURED)
    (file,) = files()
    file.write_text(text)
    assert ModelRates(config).present == Rates()


def test_a_folder_that_cannot_be_written_does_no_harm(config: ModelConfig) -> None:
    cache_folder().mkdir(parents=True, exist_ok=True)
    (cache_folder() / "rates").write_text("a file")
    ModelRates(config).take(MEASURED)
    ModelRates(ModelConfig(path="/nowhere.gguf")).take(MEASURED)


def test_times_of_several_pools_add_up() -> None:
    both = DecodeTimes(prompt_tokens=1.0, prompt_s=2.0, steps=((1, 1.0, 1.0), (2, 1.0, 3.0))) + DecodeTimes(
        steps=((2, 1.0, 1.0), (3, 1.0, 1.0))
    )
    assert both == DecodeTimes(prompt_tokens=1.0, prompt_s=2.0, steps=((1, 1.0, 1.0), (2, 2.0, 4.0), (3, 1.0, 1.0)))


def batch(entries: int, tokens: int) -> Batch:
    """A batch of so many jobs and tokens, which are all that a timer looks at."""
    return Batch(entries=[cast("BatchEntry", None)] * entries, tokens=[0] * tokens)


def test_calls_are_timed_by_what_they_do() -> None:
    timer = DecodeTimer()
    assert timer.times() == DecodeTimes()
    timer.count(batch(1, 64), 9.0)
    assert timer.times() == DecodeTimes()
    timer.count(batch(1, 64), 2.0)
    timer.count(batch(2, 2), 0.5)
    timer.count(batch(2, 2), 0.5)
    timer.count(batch(3, 20), 1.0)
    timer.count(batch(8, 20), 5.0)
    timer.count(batch(1, 3), 5.0)
    assert timer.times() == DecodeTimes(prompt_tokens=84.0, prompt_s=3.0, steps=((2, 2.0, 1.0),))


def test_the_speed_follows_a_machine_that_gets_busy() -> None:
    timer = DecodeTimer()
    for seconds in [0.1] * 1000 + [1.0] * 120:
        timer.count(batch(1, 1), seconds)
    speed = rates_of(timer.times(), Rates()).single_tokens_per_s
    assert speed is not None and 1.0 < speed < 1.5


async def test_a_model_at_work_tells_its_rates_unasked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAMIFY_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(pools, "SLOW_PARAMETERS", 0)
    monkeypatch.setattr(worker, "ALIVE_S", 0.0)
    monkeypatch.setattr(worker, "PROGRESS_S", 0.0)
    async with Engine(model="demo-s", reward=None, isolation="thread") as engine:
        policy = engine.policy
        # A fast model is not measured for itself, so its rates are looked at in what it has loaded.
        assert isinstance(policy, LlamaPolicy) and policy.rates is None
        await engine.solve(QUESTION, strategy=MajorityVote(width=8), budget=Budget(generated_tokens=400))
        steps = policy.model.rates.times.steps
    assert steps
    assert all(calls > 0 and seconds > 0 for _, calls, seconds in steps)


async def test_a_fast_model_is_not_timed() -> None:
    async with Engine(model="demo-s", reward=None) as engine:
        await engine.solve(QUESTION, strategy=MajorityVote(width=4))
        policy = engine.policy
        assert isinstance(policy, LlamaPolicy)
        assert policy.model.rates.times == DecodeTimes()
