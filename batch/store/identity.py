"""Identity of items: hashes of the question and of all settings that change results; descriptions of models."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

from ramify.config import EngineConfig, RunConfig
from ramify.engine.library.catalog import resolve_model
from ramify.engine.policy.prompts.prompt_files import prompt_file
from ramify.engine.policy.remote.address import is_remote, parse_address
from ramify.engine.rewards.naming import read_reward_name
from ramify.errors import ModelLoadError
from ramify.files import file_hash, is_file
from ramify.sampling_params import TokenSampling
from ramify.search.registry import strategy_to_dict
from ramify.search.strategy import Strategy
from ramify.settings import identity_of

HASH_VERSION = 1
_KEY_DIGITS = 24
_NOTED = ("ramify", "llama-cpp-python", "numpy", "math-verify")


def digest(value: Any) -> str:
    """Return the SHA-256 of a JSON value in canonical form."""
    text = json.dumps(value, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def problem_key(identity: str, occurrence: int) -> str:
    """Return the key of a problem, the same in all runs; `identity` is the question or the text of its conversation.

    `occurrence` counts equal ones from 0.
    """
    return digest([HASH_VERSION, identity, occurrence])[:_KEY_DIGITS]


def item_key(problem: str, repeat: int, configuration_hash: str) -> str:
    """Return the key of one item of one run."""
    return digest([HASH_VERSION, problem, repeat, configuration_hash])[:_KEY_DIGITS]


def describe_model(name: str | Path, known: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the description of a model file: name, path, size, time of change and SHA-256.

    A remote model has its name alone. `known` is an earlier description; its hash is taken if the file has not
    changed since, None to read the file.

    Raises:
        ModelLoadError: if there is no such file.
        UsageError: if models of such a name cannot be loaded.
    """
    if is_remote(name):
        return unfiled(str(parse_address(str(name))))
    ref = resolve_model(name)
    try:
        facts = ref.path.stat()
        found = {"path": str(ref.path), "bytes": facts.st_size, "mtime_ns": facts.st_mtime_ns}
        untouched = known is not None and all(known.get(key) == value for key, value in found.items())
        return {"name": ref.name, **found, "sha256": known["sha256"] if known and untouched else file_hash(ref.path)}
    except OSError as error:
        raise ModelLoadError(f"{ref.path} cannot be read ({error.strerror})", "check the file") from error


def describe_reward(source: str | Path, known: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the description of a reward: of a file as `describe_model`, of a checkpoint's folder by all its files.

    A reward that is no file has its name alone. One that reads a file in another way, such as its likelihood or with
    noise, has a hash of that way and of the file, whose own is `file_sha256`; that of a likelihood head goes in too.

    Raises:
        ModelLoadError: if there is no such file.
        UsageError: if the name is malformed.
    """
    reward = read_reward_name(source)
    if reward.parts:
        before: Mapping[str, Any] = {} if known is None else known.get("parts", {})
        parts = {each.text: describe_reward(each.text, before.get(each.text)) for each in reward.parts}
        content = digest([reward.text, *(part.get("sha256") for part in parts.values())])
        return {"name": reward.text, "sha256": content, "parts": parts}
    if reward.path is None:
        return unfiled(reward.text)
    way = reward.text.removesuffix(reward.model)
    if known is not None and way:
        known = {**known, "sha256": known["file_sha256"]} if "file_sha256" in known else None
    described = _checkpoint(reward.path, known) if reward.is_checkpoint else describe_model(reward.model, known)
    if not way:
        return described
    content = described["sha256"]
    head = [] if reward.head is None else [file_hash(reward.head)]
    return {**described, "name": reward.text, "sha256": digest([way, content, *head]), "file_sha256": content}


def _checkpoint(folder: Path, known: Mapping[str, Any] | None) -> dict[str, Any]:
    files = sorted(each for each in folder.iterdir() if each.is_file())
    size = sum(each.stat().st_size for each in files)
    found = {"path": str(folder.resolve()), "bytes": size, "mtime_ns": max(each.stat().st_mtime_ns for each in files)}
    untouched = known is not None and all(known.get(key) == value for key, value in found.items())
    content = known["sha256"] if known and untouched else digest([[each.name, file_hash(each)] for each in files])
    return {"name": folder.name, **found, "sha256": content}


def unfiled(name: str) -> dict[str, Any]:
    """Return the description of a model without a file."""
    return {"name": name, "path": None, "bytes": None, "mtime_ns": None, "sha256": None}


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
    settings = identity_of(engine)
    spec = engine.reward_spec
    if reward is None:
        settings["reward_spec"] = None
    elif spec is not None and is_file(Path(spec)):
        settings["reward_spec"] = file_hash(Path(spec))
    prompt = (engine.prompt_preset or "").removeprefix("chat:")
    file = prompt_file(prompt) if prompt else None
    if file is not None and is_file(file):
        settings["prompt_preset"] = file_hash(file)
    return {
        "ramify": package_version("ramify"),
        "model": model["sha256"] or model["name"],
        "reward": None if reward is None else reward["sha256"] or reward["name"],
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
