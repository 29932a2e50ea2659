"""Client of the Hugging Face hub: files of a repository, the choice of a model among them, and their bytes."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from ramify.errors import ModelLoadError, RamifyError, UsageError
from ramify.text import did_you_mean

from ...policy.remote.address import check_encrypted
from ...runtime.llama.gguf_check import part_names, part_of
from .reference import HubRef, model_files, quantization_of, with_quantization

LOGIN = "log in with `hf auth login` or set HF_TOKEN to a token that may read it"
OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
TIMEOUT_S = 30.0
"""Longest silence of the hub in seconds, unless HF_HUB_DOWNLOAD_TIMEOUT gives another."""


class Interrupted(Exception):
    """Raised when the hub cannot be reached or stops in the middle, and asking again may help."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file on the hub. `size_bytes` is None and `checksum` "" if the hub does not tell.

    `checksum` is `sha256:...` for files stored outside git, else `git-sha1:...`.
    """

    file: str
    size_bytes: int | None
    checksum: str


@dataclass(frozen=True, slots=True)
class Listing:
    """Files of a repository at one commit, by path."""

    commit: str
    files: dict[str, RemoteFile]


def is_offline() -> bool:
    """Tell whether the environment forbids asking the hub."""
    return any(os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE") for name in OFFLINE_VARIABLES)


def endpoint() -> str:
    """Return the address of the hub: HF_ENDPOINT, else huggingface.co."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


class HubClient:
    """Asks one hub; the token is huggingface_hub's own, from HF_TOKEN or a login, and goes nowhere else.

    Raises:
        UsageError: if huggingface_hub is not installed, HF_ENDPOINT is no address, or a token would go there without
            encryption.
    """

    def __init__(self) -> None:
        try:
            import huggingface_hub
            from huggingface_hub import errors, utils
        except ImportError:
            raise UsageError(
                "downloads need the package huggingface_hub, which is not installed",
                "install it with `pip install 'ramify[hub]'`",
            ) from None
        self._hub: Any = huggingface_hub
        self._errors: Any = errors
        self._utils: Any = utils
        self.endpoint = endpoint()
        if urlsplit(self.endpoint).scheme not in ("http", "https") or not urlsplit(self.endpoint).netloc:
            raise UsageError(
                f"HF_ENDPOINT is {self.endpoint!r}, which is no address", "write it like https://huggingface.co"
            )
        if "authorization" in {name.lower() for name in self._utils.build_hf_headers(library_name="ramify")}:
            check_encrypted("the token of HF_TOKEN or `hf auth login`", self.endpoint, ("HF_ENDPOINT",))

    def list_files(self, ref: HubRef) -> Listing:
        """Return the files of the repository at the revision that is asked for.

        Raises:
            UsageError: if there is no such repository or revision.
            ModelLoadError: if access is denied or the hub does not answer.
        """
        api = self._hub.HfApi(endpoint=self.endpoint, library_name="ramify")
        try:
            with self._explained(ref):
                info = api.model_info(ref.repo, revision=ref.revision, files_metadata=True, timeout=_timeout_s())
        except Interrupted as error:
            raise ModelLoadError(
                f"the hub at {self.endpoint} cannot be asked about {ref.repo} ({error})",
                "check the connection and HF_ENDPOINT, and run the command again",
            ) from error
        files = (_remote_file(sibling) for sibling in info.siblings or ())
        return Listing(str(info.sha), {each.file: each for each in files})

    @contextmanager
    def stream(self, ref: HubRef, commit: str, file: str, start: int, end: int | None) -> Generator[Reply]:
        """Ask for the bytes of a file from `start` up to `end`, None for all the rest.

        Raises:
            Interrupted: if the connection fails, in the block too.
            UsageError: if the file is not there.
            ModelLoadError: if access is denied.
        """
        address = self._hub.hf_hub_url(ref.repo, file, revision=commit, endpoint=self.endpoint)
        headers: dict[str, str] = self._utils.build_hf_headers(library_name="ramify")
        headers["Accept-Encoding"] = "identity"
        if start or end is not None:
            headers["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        # The address is asked for anew each time: the target of its redirect is signed and soon out of date.
        with (
            self._explained(ref),
            self._hub.get_session().stream(
                "GET", address, headers=headers, timeout=_timeout_s(), follow_redirects=True
            ) as response,
        ):
            if response.status_code >= HTTPStatus.BAD_REQUEST:
                response.read()
            self._utils.hf_raise_for_status(response)
            # In pieces as they come: larger ones would be lost when the connection breaks before they are full.
            yield Reply(response.status_code == HTTPStatus.PARTIAL_CONTENT, response.iter_bytes())

    @contextmanager
    def _explained(self, ref: HubRef) -> Generator[None]:
        """Turn the errors of huggingface_hub and its HTTP library into ramify's, with advice."""
        errors = self._errors
        try:
            yield
        except errors.HfHubHTTPError as error:
            raise _denied(error, errors, ref, self.endpoint) from error
        except errors.HFValidationError as error:
            raise UsageError(f"{ref.repo!r} is no name of a repository", "check its page on the hub") from error
        except errors.OfflineModeIsEnabled as error:
            raise offline_error(ref) from error
        except Exception as error:
            if (interrupt := _interrupt_before(error)) is not None:
                raise interrupt from None
            # huggingface_hub's own HTTP errors have the base class of the HTTP library that it came with.
            if isinstance(error, errors.HfHubHTTPError.__bases__[0]):
                raise Interrupted(_in_words(error)) from error
            raise


@dataclass(frozen=True, slots=True)
class Reply:
    """The hub's answer; `partial` is False if it sends the whole file in place of the part asked for."""

    partial: bool
    chunks: Iterator[bytes]


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model in a repository; `size_bytes` is None if the hub does not tell, `parts` is the number of files."""

    file: str
    quantization: str
    size_bytes: int | None
    parts: int


def list_hub_models(ref: HubRef) -> list[HubModel]:
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
    return [_hub_model(file, listing) for file in found]


def chosen_parts(ref: HubRef, listing: Listing) -> list[RemoteFile]:
    """Return the files of the model of a reference, the first part first.

    Raises:
        UsageError: if no file or several files fit.
    """
    return _parts(_chosen(ref, listing), ref, listing)


def _chosen(ref: HubRef, listing: Listing) -> str:
    """Return the (first) file of a reference.

    Raises:
        UsageError: if no file or several files fit.
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
    """Return the files of a model, the first part first."""
    names = part_names(file)
    for name in names:
        if name not in listing.files:
            raise UsageError(
                f"{ref.place} lacks {name}, a part of the model that {file} belongs to", "pull another file"
            )
    return [listing.files[name] for name in names]


def _hub_model(file: str, listing: Listing) -> HubModel:
    parts = [listing.files.get(name) for name in part_names(file)]
    sizes = [part.size_bytes for part in parts if part is not None]
    known = [size for size in sizes if size is not None]
    whole = sum(known) if len(known) == len(parts) else None
    return HubModel(file, quantization_of(file), whole, part_of(file)[1])


def offline_error(ref: HubRef) -> ModelLoadError:
    """Return the error of a reference that is not here while the hub must not be asked."""
    return ModelLoadError(
        f"{ref} is not on this machine, and HF_HUB_OFFLINE forbids asking the hub", "unset HF_HUB_OFFLINE to fetch it"
    )


def _interrupt_before(error: BaseException) -> KeyboardInterrupt | None:
    """Return the interrupt during whose handling an error was raised, as while a connection is closed, None if none."""
    above = error.__context__
    while above is not None and not isinstance(above, KeyboardInterrupt):
        above = above.__context__
    return above


def _denied(error: Any, errors: Any, ref: HubRef, address: str) -> RamifyError | Interrupted:
    status = int(error.response.status_code)
    if isinstance(error, errors.GatedRepoError):
        return ModelLoadError(
            f"{ref.repo} is gated: its owner decides who may read it",
            f"ask for access on its page, then {LOGIN}",
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return UsageError(f"{ref.repo} has no revision {ref.revision!r}", "check the branches on its page")
    if isinstance(error, errors.RepositoryNotFoundError):
        if status == HTTPStatus.UNAUTHORIZED:
            # The hub answers the same for a repository that does not exist, so as not to tell.
            return UsageError(f"there is no repository {ref.repo} that may be read without a login", f"{LOGIN}")
        return UsageError(f"there is no repository {ref.repo} on the hub", "check its name")
    if isinstance(error, errors.EntryNotFoundError) or status == HTTPStatus.NOT_FOUND:
        return UsageError(f"there is no {ref} on the hub", f"see what there is with `ramify models pull {ref.place}`")
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return ModelLoadError(f"the hub denies access to {ref.repo} (status {status})", LOGIN)
    return Interrupted(f"{urlsplit(address).netloc} answered with status {status}")


def _remote_file(sibling: Any) -> RemoteFile:
    lfs = sibling.lfs
    if lfs is not None:
        return RemoteFile(sibling.rfilename, int(lfs.size), f"sha256:{lfs.sha256}")
    size = None if sibling.size is None else int(sibling.size)
    return RemoteFile(sibling.rfilename, size, f"git-sha1:{sibling.blob_id}" if sibling.blob_id and size else "")


def _timeout_s() -> float:
    try:
        return float(os.environ["HF_HUB_DOWNLOAD_TIMEOUT"])
    except (KeyError, ValueError):
        return TIMEOUT_S


def _in_words(error: Exception) -> str:
    """Return an error of the HTTP library in one line, without the address, which may be signed."""
    text = " ".join(str(error).split())
    return text if text and "://" not in text else type(error).__name__
