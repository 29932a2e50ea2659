"""The hub through huggingface_hub: what a repository holds, and a stream of one file's bytes."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from ramify.errors import ModelLoadError, RamifyError, UsageError

from .reference import HubRef

LOGIN = "log in with `hf auth login` or set HF_TOKEN to a token that may read it"
OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
TIMEOUT_S = 30.0
"""How long the hub may be silent, unless HF_HUB_DOWNLOAD_TIMEOUT says otherwise."""


class Interrupted(Exception):
    """Raised when the hub cannot be reached or stops in the middle, and asking again may help."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file on the hub. `size_bytes` is None and `checksum` "" if the hub does not tell.

    `checksum` is `sha256:...` of what is stored outside git, else `git-sha1:...`.
    """

    file: str
    size_bytes: int | None
    checksum: str


@dataclass(frozen=True, slots=True)
class Listing:
    """What a repository holds at one commit, by path."""

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
        UsageError: if huggingface_hub is not installed or HF_ENDPOINT is no address.
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
        # The address is asked for anew each time: what it redirects to is signed and soon out of date.
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
        """Turn what huggingface_hub and its HTTP library raise into errors that say what to do."""
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
            # huggingface_hub's own HTTP errors have the base class of the HTTP library that it came with.
            if isinstance(error, errors.HfHubHTTPError.__bases__[0]):
                raise Interrupted(_in_words(error)) from error
            raise


@dataclass(frozen=True, slots=True)
class Reply:
    """The hub's answer; `partial` is False if it sends the whole file whatever part was asked for."""

    partial: bool
    chunks: Iterator[bytes]


def offline_error(ref: HubRef) -> ModelLoadError:
    """Return the error of a reference that is not here while the hub must not be asked."""
    return ModelLoadError(
        f"{ref} is not on this machine, and HF_HUB_OFFLINE forbids asking the hub", "unset HF_HUB_OFFLINE to fetch it"
    )


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
            # The hub answers the same for what does not exist, so as not to tell.
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
