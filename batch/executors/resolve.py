"""From a configuration to what is loaded and what is written down about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from ramify.config import EngineConfig
from ramify.engine.engine import AUTO, DEFAULT_WIDTH, Engine
from ramify.engine.loading import default_reward
from ramify.engine.planning.planning import plan
from ramify.engine.planning.profile import profile_for
from ramify.errors import UsageError
from ramify.search.registry import make_strategy
from ramify.search.strategies.rebase import Rebase
from ramify.search.strategies.sampling import Majority
from ramify.search.strategy import AnyStrategy

from ..store.config import BatchConfig
from ..store.folder import SCHEMA_VERSION
from ..store.identity import configuration, describe_model, describe_reward, digest, unfiled, versions
from .allocation import check_adaptive


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What runs: strategy, files by description (`reward` None: not needed or not there), and their configuration."""

    strategy: AnyStrategy
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
        }


def make_setup(config: BatchConfig, engine: Engine | None, known: Mapping[str, Any] | None) -> Setup:
    """Return the set-up for a configuration; reads the model files unless `known`, an old manifest, has their hashes.

    An `engine` that is open already stands for the models of the configuration.

    Raises:
        UsageError: if the strategy needs a reward model and there is none.
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
        strategy = _strategy(config, settings, names)
    else:
        settings = config.engine
        source = default_reward(config.model) if config.reward == "default" else config.reward
        strategy = _strategy(config, settings, (str(config.model), None if source is None else str(source)))
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


def _extras(config: BatchConfig, fallback: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what else changes the outcome, nothing for what is not used, so that older folders stay the same."""
    found = dict[str, Any]()
    if config.fallback is not None and fallback is not None:
        name = fallback["sha256"] or fallback["name"]
        found["fallback"] = {"model": name, "confidence": config.fallback.confidence}
    if config.allocation == "adaptive":
        found["allocation"] = {"name": "adaptive", "generated_tokens": config.budget_total_tokens}
    return found


def _strategy(config: BatchConfig, settings: EngineConfig, names: tuple[str, str | None]) -> AnyStrategy:
    """Return the strategy; `names` are those of the policy and of the reward, None without one."""
    strategy, has_reward = config.strategy, names[1] is not None
    if strategy is None:
        return Rebase(width=DEFAULT_WIDTH) if has_reward else Majority(width=DEFAULT_WIDTH)
    if strategy == AUTO:
        strategy = plan(profile_for(*names, settings.profile), config.run.budget)
    elif isinstance(strategy, str):
        strategy = make_strategy(strategy)
    if strategy.uses_reward and not has_reward:
        raise UsageError(
            f"the strategy {strategy.name} needs a reward model and there is none",
            "name one, or use majority or greedy",
        )
    return strategy
