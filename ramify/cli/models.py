"""`ramify models`: which models there are, and what a model file says of itself."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from ..config import read_kv_types
from ..text import size_text
from . import diagnostics, output
from .options import setting_option
from .pulling import pull
from .quantizing import quantize
from .values import COUNT

if TYPE_CHECKING:
    from ramify.engine.library.catalog import CatalogEntry

_LONG_TEXT = 120


@click.group()
def models() -> None:
    """Look at models, fetch them, quantize them."""


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="Write a JSON array.")
def list_models(as_json: bool) -> None:
    """List the models that can be named: bundled ones and those in your model folder."""
    from ramify.engine.library.catalog import list_bundled, list_user_models

    from ..files import models_folder

    entries = [*list_bundled(), *list_user_models()]
    if as_json:
        output.write_json([_entry(entry) for entry in entries], indent=2)
        return
    rows = [
        (
            entry.name,
            entry.role or "-",
            _millions(entry),
            size_text(entry.size_bytes),
            " ".join(sorted(entry.files)) or "-",
            "bundled" if entry.bundled else entry.source or str(models_folder()),
        )
        for entry in entries
    ]
    output.write_table(("NAME", "ROLE", "WEIGHTS", "SIZE", "QUANTIZATIONS", "FROM"), rows)


@models.command()
@click.argument("model", metavar="NAME|PATH")
@click.option("--width", type=click.IntRange(min=1), default=16, show_default=True, help="Paths, for the memory.")
@click.option("--tokens", type=COUNT, default=512, show_default=True, help="Tokens of a path, for the memory.")
@setting_option("kv_type", default="f16", help="Type of the KV cache, for the memory.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object, with all metadata.")
def info(model: str, width: int, tokens: int, kv_type: str, as_json: bool) -> None:
    """Show what a model file says of itself and how much memory a search takes; check that the file is whole."""
    from ramify.engine.library.catalog import list_bundled, resolve_model
    from ramify.engine.runtime.llama.gguf_check import check_gguf
    from ramify.engine.runtime.llama.memory import kv_bytes, kv_bytes_per_token

    ref = resolve_model(model)
    summary = check_gguf(ref.path)
    per_token = kv_bytes_per_token(summary.metadata, read_kv_types(kv_type))
    cards = {entry.name: entry.card for entry in list_bundled()}
    facts: dict[str, Any] = {
        "name": ref.name,
        "path": str(ref.path),
        "bundled": ref.bundled,
        "architecture": summary.architecture,
        "parameters": summary.parameters,
        "file_bytes": summary.file_bytes,
        "context_tokens": summary.metadata.get(f"{summary.architecture}.context_length"),
        "chat_template": "tokenizer.chat_template" in summary.metadata,
        "prompt_preset": summary.metadata.get("ramify.prompt_preset"),
        "step_format": summary.metadata.get("ramify.step_format"),
        "reward_head": any(key.startswith("ramify.reward") for key in summary.metadata),
        "kv_type": kv_type,
        "kv_bytes_per_token": per_token,
        "kv_bytes": None if per_token is None else kv_bytes(per_token, width=width, path_tokens=tokens),
    }
    if as_json:
        card = cards.get(ref.name.partition(":")[0]) if ref.bundled else None
        output.write_json({**facts, "card": card and dict(card), "metadata": summary.metadata}, indent=2)
        return
    facts["parameters"] = f"{summary.parameters:,}"
    if facts["kv_bytes"] is not None:
        facts["kv_bytes"] = f"{size_text(facts['kv_bytes'])} at most, for {width} paths of {tokens} tokens"
    facts["file_bytes"] = f"{summary.file_bytes:,} ({size_text(summary.file_bytes)})"
    for name, value in facts.items():
        output.write(f"{name.replace('_', ' '):20}{_plain(value)}")


@models.command()
@click.argument("name")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
def remove(name: str, yes: bool) -> None:
    """Delete a model from your model folder, with all its parts. Bundled models stay."""
    from ramify.engine.library.removal import find_removable

    from ..files import models_folder

    found = find_removable(name)
    if not yes:
        if not _stdin_is_terminal():
            raise click.UsageError(f"deleting {found.name} needs a yes; pass --yes")
        size = size_text(found.size_bytes)
        if not click.confirm(f"delete {found.name} ({size}) from {models_folder()}?", err=True):
            diagnostics.say("nothing was deleted")
            return
    found.remove()
    diagnostics.say(f"deleted {found.name} ({size_text(found.size_bytes)})")


models.add_command(pull)
models.add_command(quantize)


def _stdin_is_terminal() -> bool:
    try:
        return sys.stdin.isatty()
    except (AttributeError, ValueError):
        return False


def _entry(entry: CatalogEntry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "role": entry.role,
        "bundled": entry.bundled,
        "parameters": entry.parameters,
        "size_bytes": entry.size_bytes,
        "description": entry.description,
        "source": entry.source or None,
        "files": {kind: str(path) for kind, path in entry.files.items()},
        "default": entry.default,
    }


def _millions(entry: CatalogEntry) -> str:
    """Return the number of weights, from the file's header if no card tells; of a damaged file nothing is known.

    The header of a split model's first part tells about that part alone.
    """
    from ramify.engine.library.catalog import model_parts
    from ramify.engine.runtime.llama.gguf_check import check_gguf

    from ..errors import ModelLoadError

    if len(model_parts(entry.files[entry.default])) > 1:
        return "-"
    try:
        parameters = entry.parameters or check_gguf(entry.files[entry.default]).parameters
    except ModelLoadError:
        return "damaged"
    return f"{parameters / 1e6:.1f}M"


def _plain(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = " ".join(str(value).split())
    return text if len(text) <= _LONG_TEXT else text[:_LONG_TEXT] + "…"
