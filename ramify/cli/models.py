"""`ramify models`: listing, description, download, quantization and removal of models."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from ..model_settings import read_kv_types
from ..text import duration_text, one_line, size_text
from . import terminal
from .option_types import COUNT, COUNT_RANGE
from .options import setting_option

if TYPE_CHECKING:
    from ramify.engine.library.catalog import CatalogEntry
    from ramify.engine.library.hub.reference import HubRef

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
        terminal.write_json([_entry(entry) for entry in entries], indent=2)
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
    terminal.write_table(("NAME", "ROLE", "WEIGHTS", "SIZE", "QUANTIZATIONS", "FROM"), rows)


@models.command()
@click.argument("model", metavar="NAME|PATH")
@click.option("--width", type=COUNT_RANGE, default=16, show_default=True, help="Paths, for the memory.")
@click.option("--tokens", type=COUNT, default=512, show_default=True, help="Tokens of a path, for the memory.")
@setting_option("kv_type", default="f16", help="Type of the KV cache, for the memory.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object, with all metadata.")
def info(model: str, width: int, tokens: int, kv_type: str, as_json: bool) -> None:
    """Show a model file, how it will be used and how much memory a search takes; check that the file is whole."""
    from ramify.engine.library.catalog import list_bundled, resolve_model
    from ramify.engine.policy.defaults import intended_use
    from ramify.engine.policy.prompts.thinking import thoughts_in_words
    from ramify.engine.runtime.llama.gguf_check import check_gguf
    from ramify.engine.runtime.llama.memory import default_cells, kv_bytes, kv_bytes_per_token, memory_need

    ref = resolve_model(model)
    summary = check_gguf(ref.path)
    template = summary.metadata.get("tokenizer.chat_template")
    template = template if isinstance(template, str) else None
    use = intended_use(summary.metadata, template)
    kinds = read_kv_types(kv_type)
    per_token = kv_bytes_per_token(summary.metadata, kinds)
    need = memory_need(summary, cells=default_cells(summary.metadata), width=width, kinds=kinds)
    cards = {entry.name: entry.card for entry in list_bundled()}
    facts: dict[str, Any] = {
        "name": ref.name,
        "path": str(ref.path),
        "bundled": ref.bundled,
        "architecture": summary.architecture,
        "parameters": summary.parameters,
        "token_parameters": summary.token_parameters,
        "file_bytes": summary.file_bytes,
        "context_tokens": summary.metadata.get(f"{summary.architecture}.context_length"),
        "chat_template": "tokenizer.chat_template" in summary.metadata,
        "thoughts": thoughts_in_words(template),
        "prompt_preset": use.preset,
        "step_format": use.step_format,
        "path_end": use.path_end,
        "sampling": use.sampling.to_dict() if as_json else str(use.sampling),
        "reward_head": any(key.startswith("ramify.reward") for key in summary.metadata),
        "kv_type": kv_type,
        "kv_bytes_per_token": per_token,
        "kv_bytes": None if per_token is None else kv_bytes(per_token, width=width, path_tokens=tokens),
        "memory_bytes": None if need is None else need.total_bytes,
    }
    if as_json:
        card = cards.get(ref.name.partition(":")[0]) if ref.bundled else None
        terminal.write_json({**facts, "card": card and dict(card), "metadata": summary.metadata}, indent=2)
        return
    facts["parameters"] = f"{summary.parameters:,}"
    facts["token_parameters"] = f"{summary.token_parameters:,} that each token is multiplied with, for FLOPs"
    if facts["kv_bytes"] is not None:
        facts["kv_bytes"] = f"{size_text(facts['kv_bytes'])} at most, for {width} paths of {tokens} tokens"
    if need is not None:
        facts["memory_bytes"] = (
            f"{size_text(need.total_bytes)} at the peak of a search of width {width}: "
            f"{size_text(need.weights_bytes + need.copies_bytes)} of weights, "
            f"{size_text(need.cache_bytes)} for {default_cells(summary.metadata)} cells, "
            f"{size_text(need.work_bytes + need.program_bytes)} for the rest"
        )
    facts["file_bytes"] = f"{summary.file_bytes:,} ({size_text(summary.file_bytes)})"
    for name, value in facts.items():
        terminal.write(f"{name.replace('_', ' '):20}{_plain(value)}")


@models.command()
@click.argument("name")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
def remove(name: str, yes: bool) -> None:
    """Delete a model from your model folder, with all its parts. Bundled models stay."""
    from ramify.engine.library.catalog import find_removable

    from ..files import models_folder

    found = find_removable(name)
    if not yes:
        if not terminal.is_terminal(sys.stdin):
            raise click.UsageError(f"deleting {found.name} needs a yes; pass --yes")
        size = size_text(found.size_bytes)
        if not click.confirm(one_line(f"delete {found.name} ({size}) from {models_folder()}?"), err=True):
            terminal.say("nothing was deleted")
            return
    found.remove()
    terminal.say(f"deleted {found.name} ({size_text(found.size_bytes)})")


@models.command()
@click.argument("reference", metavar="hf:REPO[@REVISION][/FILE|:QUANTIZATION]")
@click.option("--name", help="What to call the model.  [default: as the file is called]")
@click.option("--force", is_flag=True, help="Replace another model of that name.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
def pull(reference: str, name: str | None, force: bool, as_json: bool) -> None:
    """Fetch a GGUF model from the Hugging Face hub into your model folder.

    With a file (hf:OWNER/REPO/FILE.gguf) or a quantization (hf:OWNER/REPO:Q4_K_M) the model is fetched, with all its
    parts; a download that was cut off goes on where it stopped. With hf:OWNER/REPO alone the models in the repository
    are listed. HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE are honoured.
    """
    from ramify.engine.library.hub.reference import parse_reference

    ref = parse_reference(reference)
    if ref.file is None and ref.quantization is None:
        _list_files(ref, as_json)
        return
    from ramify.engine.library.pull import pull as fetch

    progress = DownloadProgress()
    try:
        done = fetch(ref, progress, name=name, force=force)
    finally:
        progress.clear()
    terminal.say(f"{'fetched' if done.fetched else 'there already'}: use it with --model {done.name}")
    if as_json:
        facts = {"name": done.name, "path": str(done.path), "source": done.source, "fetched": done.fetched}
        terminal.write_json(facts, indent=2)
    else:
        terminal.write(str(done.path))


@models.command()
@click.argument("model", metavar="IN")
@click.argument("out", metavar="OUT|TYPE")
@click.option("--type", "kind", metavar="TYPE", help="Type.  [default: as the name of OUT tells]")
@click.option("--force", is_flag=True, help="Replace OUT if it exists.")
@click.option("--allow-requantize", is_flag=True, help="Take a file that is quantized already.")
@setting_option("threads", unset="all available")
def quantize(model: str, out: str, kind: str | None, force: bool, allow_requantize: bool, threads: int | None) -> None:
    """Quantize the model IN, best from F16 or F32, to the file OUT or to a TYPE.

    Types, smallest first: q2_k, q3_k_s, q3_k_m, q3_k_l, iq4_xs, iq4_nl, q4_0, q4_1, q4_k_s, q4_k_m, q5_0, q5_1, q5_k_s,
    q5_k_m, q6_k, q8_0, bf16, f16, f32. With a TYPE alone, the file lies beside IN, or in your model folder if IN is a
    name.
    """
    from ramify.engine.library.quantize import plan_quantization
    from ramify.engine.library.quantize import quantize as write

    plan = plan_quantization(model, out, kind=kind, force=force, allow_requantize=allow_requantize)
    if plan.quantized:
        terminal.note(f"{plan.source.name} is quantized already; the result is worse than one from the original")
    progress = terminal.ProgressLine()
    terminal.say(f"quantizing {plan.source} to {plan.kind}")
    try:
        done = write(plan, lambda tensor, tensors: progress.show(f"tensor {tensor} of {tensors}"), threads=threads)
    finally:
        progress.clear()
    if done.fallbacks:
        terminal.note(
            f"{done.fallbacks} of {done.tensors} tensors have a shape that {plan.kind} cannot have and got another type"
        )
    share = done.after_bytes / done.before_bytes
    terminal.say(f"{size_text(done.before_bytes)} before, {size_text(done.after_bytes)} after ({share:.0%})")
    terminal.write(str(done.path))
    if done.head_path is not None:
        terminal.write(str(done.head_path))


class DownloadProgress:
    """Progress of a download, in one line."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._line = terminal.ProgressLine(clock=clock)
        self._file = ""
        self._size_bytes: int | None = None
        self._first: tuple[float, int] | None = None

    def begin(self, file: str, size_bytes: int | None) -> None:
        """Write that a file is being fetched."""
        self._file, self._size_bytes, self._first = file, size_bytes, None
        self._line.restart()
        self._line.say(f"fetching {file}" + (f" ({size_text(size_bytes)})" if size_bytes is not None else ""))

    def advance(self, have_bytes: int) -> None:
        """Show how many bytes are there, if the last state shown is old enough."""
        now_s = self._clock()
        if self._first is None:
            self._first = now_s, have_bytes
            if have_bytes:
                terminal.say(f"{size_text(have_bytes)} are there from an earlier try")
        self._line.update(lambda: self.line(have_bytes, now_s))

    def line(self, have_bytes: int, now_s: float) -> str:
        """Return the state of the download."""
        size = self._size_bytes
        parts = [size_text(have_bytes) if size is None else f"{size_text(have_bytes)} of {size_text(size)}"]
        if size:
            parts.append(f"{have_bytes / size:.0%}")
        start_s, start_bytes = self._first or (now_s, have_bytes)
        if now_s > start_s and have_bytes > start_bytes:
            speed = (have_bytes - start_bytes) / (now_s - start_s)
            parts.append(f"{size_text(int(speed))}/s")
            if size:
                parts.append(f"{duration_text((size - have_bytes) / speed)} left")
        return f"{self._file}: " + " · ".join(parts)

    def note(self, line: str) -> None:
        """Write a line about something that the user may not expect."""
        self._line.note(line)

    def clear(self) -> None:
        """Remove the line, so that something else can be written."""
        self._line.clear()


def _list_files(ref: HubRef, as_json: bool) -> None:
    from ramify.engine.library.hub.client import list_hub_models

    choices = list_hub_models(ref)
    if as_json:
        rows = [
            {
                "reference": f"{ref.place}/{each.file}",
                "file": each.file,
                "quantization": each.quantization or None,
                "size_bytes": each.size_bytes,
                "parts": each.parts,
            }
            for each in choices
        ]
        terminal.write_json(rows, indent=2)
        return
    table = [
        (
            each.file,
            each.quantization or "-",
            "-" if each.size_bytes is None else size_text(each.size_bytes),
            str(each.parts),
        )
        for each in choices
    ]
    terminal.write_table(("FILE", "QUANTIZATION", "SIZE", "PARTS"), table)
    terminal.say(f"fetch one with `ramify models pull {ref.place}/{choices[0].file}`")


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
    """Return the number of weights, from the header of the file if no card tells it.

    The header of the first part of a split model tells about that part alone.
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
