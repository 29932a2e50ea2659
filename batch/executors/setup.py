"""Set-up of a batch: its strategy, its model files and the configuration that the run folder records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import NoneType
from typing import Any

from ramify.config import EngineConfig
from ramify.engine.engine import Engine
from ramify.engine.loading import chosen_reward, default_sampling
from ramify.engine.planning.profile import profile_for
from ramify.engine.planning.strategy_choice import choose_strategy
from ramify.engine.rewards.descriptions import describe_model, describe_reward, digest, unfiled
from ramify.engine.rewards.naming import check_reward
from ramify.errors import UsageError, check_kind
from ramify.search.strategies.rebase import PAPER_TEMPERATURE
from ramify.search.strategies.sampling import MajorityVote, WeightedVote
from ramify.search.strategy import Strategy

from ..store.config import BatchConfig
from ..store.folder import SCHEMA_VERSION
from ..store.identity import configuration, versions


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """The strategy and the models of a batch, and the configuration that they make.

    `model`, `reward` and `fallback` describe files; `reward` is None if there is none or the strategy needs none,
    `fallback` None without a second model.
    """

    strategy: Strategy
    engine: EngineConfig
    model: Mapping[str, Any]
    reward: Mapping[str, Any] | None
    fallback: Mapping[str, Any] | None = None
    configuration: Mapping[str, Any]
    configuration_hash: str

    def manifest(self, config: BatchConfig, *, problems: int, items: int) -> dict[str, Any]:
        """Return the manifest of a run with this set-up."""
        return {
            "schema_version": SCHEMA_VERSION,
            "created": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "configuration_hash": self.configuration_hash,
            "configuration": self.configuration,
            "model": self.model,
            "reward": self.reward,
            **({} if self.fallback is None else {"fallback": self.fallback}),
            "versions": versions(),
            "input": {"problems": problems, "items": items, "repeat": config.repeat},
            "runtime": {"parallel": config.parallel, "executor": config.executor, **asdict(self.engine)},
            **({"command": {"arguments": [*config.command], "folder": str(Path.cwd())}} if config.command else {}),
        }


def make_setup(config: BatchConfig, engine: Engine | None, known: Mapping[str, Any] | None) -> Setup:
    """Return the set-up for a configuration.

    `engine` is an open engine that takes the place of the configuration's models, None without one. `known` is the
    manifest of an earlier call: hashes of files that have not changed are taken from it; None reads all files.

    Raises:
        UsageError: if the strategy needs a reward model and there is none, or an open engine is given for a cluster.
        ModelLoadError: if there is no such model file.
    """
    known = known or {}
    if engine is not None and config.executor != "local":
        raise UsageError("an open engine cannot be sent to a cluster", "leave it out, or use the local executor")
    if engine is not None:
        settings = engine.config
        model: Mapping[str, Any] = unfiled(engine.policy.name)
        reward = None if engine.reward is None else unfiled(engine.reward.name)
        names = engine.policy.name, None if engine.reward is None else engine.reward.name
        strategy = _strategy(config, settings, names, engine.default_temperature)
    else:
        settings = config.engine
        source = _reward_source(config)
        # Before the model's file is read, which takes a while.
        found = None if source is None else check_reward(source, settings.reward_spec)
        names = str(config.model), None if source is None else str(source)
        strategy = _strategy(config, settings, names, None if found is None else found.temperature)
        model = describe_model(config.model, known.get("model"))
        reward = None if source is None or not strategy.uses_reward else describe_reward(source, known.get("reward"))
    if not strategy.uses_reward:
        reward = None
    if config.allocation == "adaptive":
        check_adaptive(strategy)
    fallback = None if config.fallback is None else describe_model(config.fallback.model, known.get("fallback"))
    resolved = configuration(
        model=model,
        reward=reward,
        engine=settings,
        strategy=strategy,
        run=config.run,
        sampling=config.run.sampling.resolved(default_sampling(config.model if engine is None else engine.policy)),
        more=_extras(config, fallback),
    )
    return Setup(
        strategy=strategy,
        engine=settings,
        model=model,
        reward=reward,
        fallback=fallback,
        configuration=resolved,
        configuration_hash=digest(resolved),
    )


def reward_source(config: BatchConfig, setup: Setup) -> str | Path | None:
    """Return the reward to load, None if the strategy needs none."""
    if setup.reward is None:
        return None
    return _reward_source(config)


def _reward_source(config: BatchConfig) -> str | Path | None:
    source = chosen_reward(config.model, config.reward)
    wanted = "a name or path, or open an Engine with the object and pass that engine"
    check_kind("the reward of a batch", source, (str, Path, NoneType), wanted)
    return source


def check_adaptive(strategy: Strategy) -> MajorityVote | WeightedVote:
    """Return the strategy if its samples can be bought in tranches.

    Raises:
        UsageError: if they cannot.
    """
    if not isinstance(strategy, MajorityVote | WeightedVote):
        raise UsageError(
            f"the adaptive allocation adds independent samples, which {strategy.name} does not take",
            "use the strategy majority or weighted",
        )
    return strategy


def _extras(config: BatchConfig, fallback: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the settings that only some batches have; unused ones are absent, so that older hashes stay the same."""
    found = dict[str, Any]()
    if config.fallback is not None and fallback is not None:
        name = fallback["sha256"] or fallback["name"]
        found["fallback"] = {"model": name, "confidence": config.fallback.confidence}
    if config.allocation == "adaptive":
        found["allocation"] = {"name": "adaptive", "generated_tokens": config.budget_generated_tokens}
    return found


def _strategy(
    config: BatchConfig, settings: EngineConfig, names: tuple[str, str | None], temperature: float | None
) -> Strategy:
    """Return the strategy; `names` are the names of the policy and of the reward, None without a reward.

    `temperature` is that of REBASE where none is given, None for the paper's.
    """
    return choose_strategy(
        config.strategy,
        has_reward=names[1] is not None,
        budget=config.run.budget,
        profile=lambda: profile_for(*names, settings.profile),
        temperature=PAPER_TEMPERATURE if temperature is None else temperature,
    )
