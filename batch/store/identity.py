"""Identity of items: hashes of the question and of all settings that change results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, cast

from ramify.config import EngineConfig, RunConfig
from ramify.engine.rewards.descriptions import content_of, describe_settings, digest
from ramify.sampling_params import TokenSampling
from ramify.search.registry import strategy_to_dict
from ramify.search.strategy import Strategy
from ramify.settings import identity_of

HASH_VERSION = 1
_KEY_DIGITS = 24
_NOTED = ("ramify", "llama-cpp-python", "numpy", "math-verify")


def problem_key(identity: str, occurrence: int) -> str:
    """Return the key of a problem, the same in all runs; `identity` is the question or the text of its conversation.

    `occurrence` counts equal ones from 0.
    """
    return digest([HASH_VERSION, identity, occurrence])[:_KEY_DIGITS]


def item_key(problem: str, repeat: int, configuration_hash: str) -> str:
    """Return the key of one item of one run."""
    return digest([HASH_VERSION, problem, repeat, configuration_hash])[:_KEY_DIGITS]


def configuration(
    *,
    model: Mapping[str, Any],
    reward: Mapping[str, Any] | None,
    engine: EngineConfig,
    strategy: Strategy,
    run: RunConfig,
    sampling: TokenSampling,
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return all settings that change results, in plain JSON types; a model counts by content, not by name.

    `sampling` is that of the tokens, and `more` has settings that only some runs have.
    """
    settings = describe_settings(engine)
    if reward is None:
        settings["reward_spec"] = None
    return {
        "ramify": package_version("ramify"),
        "model": content_of(model),
        "reward": None if reward is None else content_of(reward),
        "engine": settings,
        "strategy": strategy_to_dict(strategy),
        "sampling": sampling.to_dict(),
        "budget": identity_of(run.budget),
        **identity_of(run),
        "stop": _rule(run.stop),
        "cut": _rule(run.cut),
        **(more or {}),
    }


def _rule(rule: Any) -> Any:
    """Return a rule in plain JSON types: its name and, if it is a dataclass, its settings."""
    if isinstance(rule, list | tuple):
        return [_rule(each) for each in cast("Sequence[Any]", rule)]
    name = getattr(rule, "name", None)
    if name is None:
        return rule
    settings = {field.name: _rule(getattr(rule, field.name)) for field in fields(rule)} if is_dataclass(rule) else {}
    return {"name": str(name), **settings}


def versions() -> dict[str, str | None]:
    """Return the versions of the packages that change results."""
    return {name: package_version(name) for name in _NOTED}


def package_version(name: str) -> str | None:
    """Return the version of an installed package, None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
