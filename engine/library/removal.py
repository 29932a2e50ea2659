"""Deleting one of the user's own models, with all that belongs to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ramify.errors import ModelLoadError, UsageError
from ramify.files import models_folder
from ramify.text import did_you_mean

from .catalog import list_bundled, list_user_models, model_parts, resolve_model
from .hub.records import record_path
from .hub.reference import PREFIX, model_name

HEAD_SUFFIX = ".head.safetensors"
"""What a reward model's head is called that lies beside its file."""


@dataclass(frozen=True, slots=True)
class Removable:
    """A model in the user's folder that can be deleted; `files` are its parts and what was noted about it."""

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
    """Return the user's model of that name, or the pulled one that an `hf:` name means.

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
    beside = (first.with_suffix(HEAD_SUFFIX), record_path(models_folder(), entry.name))
    files = (*model_parts(first), *(path for path in beside if path.is_file()))
    return Removable(entry.name, files, entry.size_bytes)
