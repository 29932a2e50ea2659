"""Which files of a repository a reference means, and which it could mean."""

from __future__ import annotations

from dataclasses import dataclass

from ramify.errors import UsageError
from ramify.text import did_you_mean

from .client import HubClient, Listing, RemoteFile, is_offline, offline_error
from .reference import HubRef, model_files, part_names, part_of, quantization_of, with_quantization


@dataclass(frozen=True, slots=True)
class Choice:
    """A model that can be pulled. `size_bytes` is None if the hub does not tell; `parts` is the number of files."""

    file: str
    quantization: str
    size_bytes: int | None
    parts: int


def list_choices(ref: HubRef) -> list[Choice]:
    """Return the models in a repository, in name order.

    Raises:
        UsageError: if there is no such repository or it holds no GGUF file.
        ModelLoadError: if the hub does not answer or denies access.
    """
    if is_offline():
        raise offline_error(ref)
    listing = HubClient().list_files(ref)
    found = model_files(listing.files)
    if not found:
        raise UsageError(
            f"{ref.place} holds no .gguf file", "look for a repository of the model that has GGUF in its name"
        )
    return [_choice(file, listing) for file in found]


def chosen_parts(ref: HubRef, listing: Listing) -> list[RemoteFile]:
    """Return the files of the model that a reference means, the first part first.

    Raises:
        UsageError: if it means none or several.
    """
    return _parts(_chosen(ref, listing), ref, listing)


def _chosen(ref: HubRef, listing: Listing) -> str:
    """Return the file that a reference means.

    Raises:
        UsageError: if it means none or several.
    """
    see = f"see what there is with `ramify models pull {ref.place}`"
    if ref.quantization is not None:
        found = with_quantization(list(listing.files), ref.quantization)
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(
                f"{ref} means {len(found)} files ({', '.join(found[:4])})", f"name one: {ref.place}/{found[0]}"
            )
        kinds = sorted({kind for file in model_files(listing.files) if (kind := quantization_of(file))})
        comes = f"it comes as {', '.join(kinds)}" if kinds else see
        raise UsageError(f"{ref.place} holds no file with the quantization {ref.quantization!r}", comes)
    if ref.file is None:
        raise UsageError(f"{ref} is a whole repository", see)
    if ref.file in listing.files:
        return ref.file
    raise UsageError(f"{ref.place} holds no file {ref.file!r}", did_you_mean(ref.file, model_files(listing.files), see))


def _parts(file: str, ref: HubRef, listing: Listing) -> list[RemoteFile]:
    """Return the files that the model consists of, the first part first."""
    names = part_names(file)
    for name in names:
        if name not in listing.files:
            raise UsageError(
                f"{ref.place} lacks {name}, a part of the model that {file} belongs to", "pull another file"
            )
    return [listing.files[name] for name in names]


def _choice(file: str, listing: Listing) -> Choice:
    parts = [listing.files.get(name) for name in part_names(file)]
    sizes = [part.size_bytes for part in parts if part is not None]
    known = [size for size in sizes if size is not None]
    whole = sum(known) if len(known) == len(parts) else None
    return Choice(file, quantization_of(file), whole, part_of(file)[1])
