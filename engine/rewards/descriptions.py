"""Descriptions of models and rewards by their content: names, files and SHA-256, which tell what replaced another."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ramify.config import EngineConfig
from ramify.errors import ModelLoadError
from ramify.files import file_hash, is_file
from ramify.settings import identity_of

from ..library.catalog import resolve_model
from ..policy.prompts.prompt_files import prompt_file
from ..policy.remote.address import is_remote, parse_address
from .naming import read_reward_name


def digest(value: Any) -> str:
    """Return the SHA-256 of a JSON value in canonical form."""
    text = json.dumps(value, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


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


def content_of(described: Mapping[str, Any]) -> str:
    """Return what tells a described model from any other: the SHA-256, or the name of one without a file."""
    return str(described["sha256"] or described["name"])


def describe_settings(config: EngineConfig) -> dict[str, Any]:
    """Return the settings of an engine that change results; the files of a prompt and of a spec count by content."""
    found = identity_of(config)
    if config.reward_spec is not None and is_file(Path(config.reward_spec)):
        found["reward_spec"] = file_hash(Path(config.reward_spec))
    prompt = (config.prompt_preset or "").removeprefix("chat:")
    file = prompt_file(prompt) if prompt else None
    if file is not None and is_file(file):
        found["prompt_preset"] = file_hash(file)
    return found
