"""Names of rewards: every entry takes the same ones, and wrong ones are refused before a model is loaded."""

from __future__ import annotations

import shutil
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest

from ramify import Budget, Engine
from ramify.batch import BatchConfig
from ramify.batch.executors.actor import check_files
from ramify.batch.executors.ray_executor import _engine_plan
from ramify.batch.executors.setup import make_setup, reward_source
from ramify.cli.options import SearchPlan, search_options
from ramify.config import EngineConfig
from ramify.engine.library.catalog import list_bundled, resolve_model
from ramify.engine.loading import load_models
from ramify.engine.rewards.descriptions import describe_reward
from ramify.engine.rewards.naming import check_reward, read_reward_name
from ramify.errors import ModelLoadError, RamifyError, UsageError
from ramify.scaling.measure import open_reward
from ramify.search.strategies.rebase import Rebase
from ramify.tui.state.engine_host import make_engine
from ramify.tui.state.spec import RunSpec

NAMES = [
    "none",
    "default",
    "self-certainty",
    "mean-logprob",
    "arithmetic",
    "totals",
    "noisy:1:arithmetic",
    "head:demo-l * arithmetic:exact * totals",
    "mean-logprob:demo-s * arithmetic",
    "min(demo-prm, 0.5*self-certainty + arithmetic)",
    "mean-logprob:{policy} * arithmetic",
    "mean-logprob:demo-s",
    "mean-logprob:demo-s:f16",
    "sum-logprob",
    "sum-logprob:demo-s",
    "self-certainty:{policy}",
    "demo-prm",
    "{reward}",
    "noisy:0.5:demo-prm",
    "head:demo-l * arithmetic:exact",
    "noisy:0.5:mean-logprob",
    "noisy:0.5:mean-logprob:{policy}",
    "noisy:0.5:noisy:1:{reward}",
    "openai:http://localhost:1/v1#m",
]
WRONG = [
    ("mean-lograob", "there is no reward 'mean-lograob'; did you mean 'mean-logprob'?"),
    ("mean-lograob:demo-s", "there is no reward 'mean-lograob:demo-s'; did you mean 'mean-logprob:demo-s'?"),
    ("noisi:1:demo-prm", "there is no reward 'noisi:1:demo-prm'; did you mean 'noisy:1:demo-prm'?"),
    ("demo-prn", "there is no reward 'demo-prn'; did you mean 'demo-prm'?"),
    ("noisy:1:demo-prn", "there is no reward 'demo-prn'; did you mean 'demo-prm'?"),
    ("nome", "there is no reward 'nome'; did you mean 'none'?"),
    ("mean-logprob:demo-q", "there is no model 'demo-q'"),
    ("noisy:x:demo-prm", "write it like noisy:2:demo-prm"),
    ("openai:localhost", "openai:localhost"),
    ("no/such/file.gguf", "there is no file no/such/file.gguf"),
    ("x" * 300, "there is no model"),
    ("{policy}", "score by its likelihood with mean-logprob:{policy}, or name its format with a reward spec"),
    ("noisy:1:{policy}", "score by its likelihood with mean-logprob:{policy}"),
]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Copies of the bundled models in the working folder, named without it."""
    if {"demo-s", "demo-m", "demo-prm"} - {entry.name for entry in list_bundled()}:
        pytest.skip("the bundled models are not in this checkout")
    monkeypatch.chdir(tmp_path)
    for name, model in (("policy.gguf", "demo-s"), ("reward.gguf", "demo-prm")):
        shutil.copy(resolve_model(model).path, tmp_path / name)
    return {"policy": "./policy.gguf", "reward": "./reward.gguf"}


def plan_of(reward: str) -> SearchPlan:
    """Return the plan that `ramify solve` makes of its options."""
    command = search_options(click.Command("solve", callback=lambda **options: options))
    context = command.make_context("solve", ["--model", "demo-s", "--reward", reward, "--isolation", "thread"])
    return SearchPlan.from_options({**context.params, "strategy_extras": {}})


@pytest.mark.parametrize("name", NAMES)
async def test_every_entry_takes_every_reward(files: dict[str, str], name: str) -> None:
    name = name.format(**files)
    plan = plan_of(name)
    async with Engine(model=plan.model, reward=plan.reward, **plan.engine_options) as engine:
        loaded = None if engine.reward is None else engine.reward.name
        if "openai:" not in name:
            await engine.solve("1 + 1 = ?", budget=Budget(generated_tokens=60))
    spec = RunSpec("q").with_options(model="demo-s", reward=name)
    assert spec.get("reward") == name
    async with make_engine(plan) as engine:
        assert (None if engine.reward is None else engine.reward.name) == loaded
    config = BatchConfig(model="demo-s", reward=name)
    setup = make_setup(config, None, None)
    assert (setup.reward is None) == (loaded is None)
    assert make_setup(config, None, setup.manifest(config, problems=1, items=1)).configuration == setup.configuration
    async with Engine(model="demo-s", reward=reward_source(config, setup), isolation="thread") as engine:
        assert (None if engine.reward is None else engine.reward.name) == loaded
    sent = _engine_plan(config, setup)
    check_files(sent.files)
    if loaded is not None and ":{" not in name and "./" in name:
        assert str(Path.cwd()) in str(sent.reward)
    async with AsyncExitStack() as stack:
        if loaded is not None and not read_reward_name(str(sent.reward)).reads_policy:
            there = (await open_reward(stack, str(sent.reward), None)).name
            # Paths are sent whole: an engine may run in another folder.
            assert there.replace(f"{Path.cwd()}/", "./") == loaded


@pytest.mark.parametrize(("name", "message"), WRONG)
async def test_a_wrong_reward_is_refused_before_a_model_is_loaded(
    files: dict[str, str], name: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> Any:
        raise AssertionError("a model is loaded")

    monkeypatch.setattr("ramify.engine.loading.Runtime", refused)
    monkeypatch.setattr("ramify.engine.rewards.descriptions.file_hash", refused)
    name, message = name.format(**files), message.format(**files)
    for attempt in (
        lambda: check_reward(name),
        lambda: make_setup(BatchConfig(model="demo-s", reward=name), None, None),
        lambda: make_setup(BatchConfig(model="demo-s", reward=name, strategy="majority"), None, None),
    ):
        with pytest.raises(RamifyError) as caught:
            attempt()
        assert message in str(caught.value)
    async with AsyncExitStack() as stack:
        with pytest.raises(RamifyError) as caught:
            await load_models(stack, "demo-s", name, EngineConfig())
        assert message in str(caught.value)


def test_a_format_makes_a_reward_of_a_file(files: dict[str, str]) -> None:
    assert check_reward("./policy.gguf", "math-shepherd").name == "policy"
    with pytest.raises(UsageError, match="is neither a built-in reward spec"):
        check_reward("./policy.gguf", "no-such-format")


async def test_the_confidence_of_a_model_behind_a_server_is_refused_at_once() -> None:
    async with AsyncExitStack() as stack:
        with pytest.raises(UsageError, match="reads the policy, which is no GGUF model here"):
            await load_models(stack, "openai:http://localhost:1/v1#m", "mean-logprob", EngineConfig())


@pytest.mark.parametrize("reward", [3, ["a"], {"name": "demo-prm"}])
async def test_an_object_that_is_no_reward_gets_a_sentence(files: dict[str, str], reward: Any) -> None:
    with pytest.raises(UsageError, match="the reward is an object of type"):
        async with Engine(model="demo-s", reward=reward):
            pass
    with pytest.raises(UsageError, match="the reward of a batch is an object of type"):
        make_setup(BatchConfig(model="demo-s", reward=reward), None, None)


def test_ways_to_read_a_file_are_told_apart(files: dict[str, str]) -> None:
    names = ["./policy.gguf", "mean-logprob:./policy.gguf", "self-certainty:./policy.gguf", "noisy:1:./policy.gguf"]
    found = [describe_reward(name, None) for name in names]
    assert len({each["sha256"] for each in found}) == len(found)
    assert {each["path"] for each in found} == {str(Path("policy.gguf").resolve())}
    kept = describe_reward(names[1], {**found[1], "file_sha256": "kept"})
    assert kept["file_sha256"] == "kept" and kept["sha256"] != found[1]["sha256"]


def test_a_path_is_a_file_whatever_models_have_its_name(files: dict[str, str]) -> None:
    with pytest.raises(ModelLoadError, match="there is no file"):
        read_reward_name(Path("demo-prm"))


@pytest.mark.parametrize(
    ("reward", "temperature"),
    [("head:demo-l * arithmetic", 0.3), ("noisy:0.5:head:demo-l", 0.3), ("arithmetic", 0.1), (None, None)],
)
def test_rebase_in_a_batch_has_the_temperature_of_the_head(reward: str | None, temperature: float | None) -> None:
    config = BatchConfig(model="demo-s", reward=reward, strategy=None if reward is None else "rebase")
    strategy = make_setup(config, None, None).strategy
    assert getattr(strategy, "temperature", None) == temperature
    if reward is not None:
        for unsaid in (None, Rebase(width=16)):
            assert make_setup(replace(config, strategy=unsaid), None, None).strategy == strategy
        given = make_setup(replace(config, strategy=Rebase(temperature=0.7)), None, None).strategy
        assert isinstance(given, Rebase) and given.temperature == 0.7
