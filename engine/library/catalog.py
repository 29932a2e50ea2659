"""Catalog of models: names of bundled models, of the user's own and of pulled ones; deleting the user's own."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, cast

from ramify.errors import ModelLoadError, RamifyError, UsageError
from ramify.files import is_file, is_folder, models_folder, user_path
from ramify.json_text import read_json
from ramify.text import did_you_mean

from ..runtime.llama.gguf_check import part_names, part_of
from .hub.records import find_pulled, read_records, record_path
from .hub.reference import PREFIX, model_name, parse_reference

DEFAULT_QUANTIZATION = "q8_0"
"""Quantization of a bundled name without `:quantization`."""

HEAD_SUFFIX = ".head.safetensors"
"""Suffix of the file of a reward model's head, beside the model's file."""

Role = Literal["policy", "reward"]

_QUANTIZED = re.compile(r":(?:b?f\d+|i?q\d\w*)$", re.IGNORECASE)
"""Quantization at the end of a model's name."""
_UNSAFE = re.compile(r"[^\w.]+")
"""Signs that are no part of a plain file name."""
_BUNDLED_FILE = re.compile(r"(?P<name>.+)\.(?P<quantization>[^.]+)\.gguf")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRef:
    """A model file that a name was resolved to.

    `name` is its name in results; `bundled` tells whether it comes with ramify.
    """

    name: str
    path: Path
    bundled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogEntry:
    """A model that can be named.

    `files` maps a quantization to its file; for the user's own models it has one entry, "". `parameters` is the
    number of weights, None if it is not known without loading. `card` is the model's card in plain JSON types, empty
    for the user's own. `source` is the `hf:` name that it was pulled from, "" if it was not.
    """

    name: str
    role: Role | None
    files: Mapping[str, Path]
    bundled: bool
    parameters: int | None = None
    description: str = ""
    source: str = ""
    card: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)

    @property
    def default(self) -> str:
        """The quantization that the bare name means."""
        return DEFAULT_QUANTIZATION if DEFAULT_QUANTIZATION in self.files else min(self.files)

    @property
    def size_bytes(self) -> int:
        """Size of the default file in bytes, with all its parts if it is split."""
        return sum(part.stat().st_size for part in model_parts(self.files[self.default]) if part.is_file())


def resolve_model(name: str | Path) -> ModelRef:
    """Return the file that `name` means.

    A name is, tried in this order: the `hf:` name of a model that was pulled, a path to a GGUF file, a bundled model
    ("demo-m", "demo-m:f16"), or the name of a file in the user's model folder, with or without `.gguf`.

    Raises:
        UsageError: for `hf:` names that name no model, and for `openai:` names, which are no files.
        ModelLoadError: if there is no such model or file; the message names the nearest known name, or how to pull it.
    """
    text = str(name).strip()
    if isinstance(name, str) and text.startswith(PREFIX):
        return _pulled(text)
    _refuse_remote(text)
    if isinstance(name, Path) or _is_path(text):
        return _from_path(user_path(text))
    entries = {entry.name: entry for entry in (*list_user_models(), *list_bundled())}
    whole = text.removesuffix(".gguf")
    bare, _, quantization = (whole, "", "") if whole in entries else whole.partition(":")
    entry = entries.get(bare) or entries.get(model_name(f"{bare}.gguf"))
    if entry is None and is_file(Path(text)):
        return _from_path(Path(text))
    if entry is None:
        raise ModelLoadError(f"there is no model {text!r}", _suggestion(bare, entries))
    if quantization and quantization not in entry.files:
        kinds = ", ".join(sorted(entry.files))
        raise ModelLoadError(f"{bare} does not come as {quantization!r}", f"it comes as {kinds}" if kinds else "")
    return ModelRef(name=text, path=entry.files[quantization or entry.default], bundled=entry.bundled)


def list_bundled() -> list[CatalogEntry]:
    """Return the bundled models in name order, with the facts of their cards."""
    folder = _bundled_folder()
    found: dict[str, dict[str, Path]] = {}
    for path in _gguf_files(folder):
        match = _BUNDLED_FILE.fullmatch(path.name)
        if match:
            found.setdefault(match["name"], {})[match["quantization"]] = path
    return [_bundled_entry(name, paths, _card(folder / f"{name}.json")) for name, paths in sorted(found.items())]


def list_user_models() -> list[CatalogEntry]:
    """Return the models in the user's model folder, in name order; a split one is a single entry."""
    folder = models_folder()
    sources = {record.name: record.source for record in read_records(folder)}
    return [
        CatalogEntry(
            name=(name := model_name(path.name)),
            role=None,
            files={"": path},
            bundled=False,
            source=sources.get(name, ""),
        )
        for path in _gguf_files(folder)
        if part_of(path.name)[0] == 1
    ]


def model_parts(path: Path) -> list[Path]:
    """Return the files of the model whose (first) file is `path`: one, or all parts of a split model."""
    return [path.with_name(name) for name in part_names(path.name)]


def bundled_heads() -> dict[str, Path]:
    """Return the files of the bundled likelihood heads by the names of their judges."""
    return {path.stem: path for path in sorted((_bundled_folder().parent / "heads").glob("*.json"))}


def published_folder() -> Path:
    """Return the folder of the heads that are published with ramify for public model files."""
    return _bundled_folder().parent / "rewards"


def profile_path(policy: str, reward: str | None, prefix: str = "") -> Path | None:
    """Return the bundled profile of a policy with a reward, None if there is none; quantizations share one.

    `prefix` is "risk-" for that of `--risk`. Signs that are no part of a plain file name are written as a hyphen:
    `demo-m+head-demo-l-arithmetic-exact.json`.
    """
    path = _bundled_folder().parent / "profiles" / profile_name(policy, reward, prefix)
    return path if path.is_file() else None


def profile_name(policy: str, reward: str | None, prefix: str = "") -> str:
    """Return the name of the file of a profile; see `profile_path`."""
    names = [
        _UNSAFE.sub("-", _QUANTIZED.sub("", each).removeprefix("ramify-"))
        for each in (policy, reward)
        if each is not None
    ]
    return prefix + "+".join(names) + ".json"


def _pulled(text: str) -> ModelRef:
    """Return the pulled file; a search never downloads by itself."""
    ref, folder = parse_reference(text), models_folder()
    if ref.file is None and ref.quantization is None:
        raise UsageError(
            f"{text!r} names a whole repository, not a model", f"see what it holds with `ramify models pull {ref}`"
        )
    record = find_pulled(folder, ref)
    if record is None:
        raise ModelLoadError(f"{ref} is not on this machine yet", f"fetch it with `ramify models pull {ref}`")
    return ModelRef(name=text, path=folder / record.files[0].stored)


def _refuse_remote(text: str) -> None:
    if text.startswith("openai:"):
        raise UsageError(
            "openai: names a model behind an HTTP server, which this version does not take for a model file",
            "pass a bundled name or the path of a .gguf file",
        )


def _is_path(text: str) -> bool:
    separators = [os.sep] if os.altsep is None else [os.sep, os.altsep]
    if any(separator in text for separator in separators) or text.startswith("~"):
        return True
    return text.endswith(".gguf") and (
        is_file(Path(text)) or is_folder(Path(text)) or not is_file(models_folder() / text)
    )


def _from_path(path: Path) -> ModelRef:
    if is_folder(path):
        raise ModelLoadError(f"{path} is a folder", "pass the path of one .gguf file")
    if not is_file(path):
        raise ModelLoadError(f"there is no file {path}", "check the path, or pass a bundled name such as demo-m")
    return ModelRef(name=path.stem, path=path.resolve())


def _bundled_folder() -> Path:
    return Path(str(files("ramify.models"))) / "weights"


def _gguf_files(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from sorted(path for path in folder.iterdir() if path.suffix == ".gguf" and path.is_file())


def _card(path: Path) -> Mapping[str, Any]:
    try:
        data: Any = read_json(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"the model card {path.name} cannot be read ({error})", "reinstall ramify") from error
    return cast("dict[str, Any]", data) if isinstance(data, dict) else {}


def _bundled_entry(name: str, paths: dict[str, Path], card: Mapping[str, Any]) -> CatalogEntry:
    parameters = card.get("parameters")
    kind = str(card.get("role", "process reward model" if "prm" in name else "policy"))
    return CatalogEntry(
        name=name,
        role="reward" if "reward" in kind else "policy",
        files=paths,
        bundled=True,
        parameters=parameters if isinstance(parameters, int) else None,
        description=str(card.get("description", f"{kind} for the task {card.get('task', 'arithmetic')}")),
        card=card,
    )


def _suggestion(name: str, entries: Mapping[str, CatalogEntry]) -> str:
    known = ", ".join(sorted(entries))
    path = "pass the path of a .gguf file"
    return did_you_mean(name.lower(), entries, f"known names are {known}; or {path}" if known else path)


@dataclass(frozen=True, slots=True)
class Removable:
    """A model in the user's folder that can be deleted; `files` are its parts, its head and its hub record."""

    name: str
    files: tuple[Path, ...]
    size_bytes: int

    def remove(self) -> None:
        """Delete the files, the first part first, so that half a model is never taken for a whole one.

        Raises:
            ModelLoadError: if the folder cannot be written to.
        """
        try:
            for path in self.files:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise ModelLoadError(
                f"{self.name} cannot be deleted ({error.strerror})", "check the permissions of the folder"
            ) from error


def find_removable(name: str) -> Removable:
    """Return the user's model of that name, or the pulled model of an `hf:` name.

    Raises:
        UsageError: if there is none in the user's folder.
        ModelLoadError: if an `hf:` name was not pulled.
    """
    wanted = resolve_model(name).path.name if name.startswith(PREFIX) else name
    own = {entry.name: entry for entry in list_user_models()}
    # A path is no name, not even one of a file in the folder.
    entry = own.get(wanted) or (own.get(model_name(wanted)) if Path(wanted).name == wanted else None)
    if entry is None:
        if wanted.partition(":")[0] in {each.name for each in list_bundled()}:
            raise UsageError(f"{name} comes with ramify and cannot be deleted", "only your own models can")
        hint = did_you_mean(wanted, own, "see `ramify models list`")
        raise UsageError(f"there is no model {name!r} in {models_folder()}", hint)
    first = entry.files[entry.default]
    head, record = first.with_suffix(HEAD_SUFFIX), record_path(models_folder(), entry.name)
    others = [path for each in own.values() if each.name != entry.name for path in each.files.values()]
    # A quantized copy in the same folder reads the head of the model that it was made of.
    kept = head.is_file() and any(_head_of(path) == head.name for path in others)
    beside = [path for path in ([record] if kept else [head, record]) if path.is_file()]
    return Removable(entry.name, (*model_parts(first), *beside), entry.size_bytes)


def _head_of(path: Path) -> str | None:
    """Return the name of the head that a model file says to need beside it, None for none."""
    from ramify.reward.spec_loading import spec_from_metadata

    from ..runtime.llama.gguf_check import check_gguf

    try:
        spec = spec_from_metadata(check_gguf(path).metadata)
    except RamifyError:
        return None
    return getattr(spec, "head_file", None)
