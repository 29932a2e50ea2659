"""Download of one file from the hub, resumed after interruptions and checked against its checksum.

The transfer is not huggingface_hub's `hf_hub_download`: that deletes the bytes of an interrupted download, and a later
call starts at byte 0. Its `http_get` is not public, loses up to 10 MB at a break, does not try again after a connection
reset, and refuses files over 50 GB.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from ramify.errors import ModelLoadError
from ramify.files import open_guarded

from .client import HubClient, Interrupted, RemoteFile
from .reference import HubRef

FRUITLESS_TRIES = 5
"""Consecutive tries without any bytes after which a download fails."""
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 30.0
WINDOW_BYTES = 16 << 30
"""Largest range of one request: the hub's servers do not serve very large files in one reply."""
BLOCK_BYTES = 4 << 20

Report = Callable[[int], None]
"""Callback with the bytes of the file on the disk."""


class Download:
    """Download of a file into `partial`, which is kept until the file is complete and its checksum right."""

    def __init__(self, client: HubClient, ref: HubRef, commit: str, remote: RemoteFile, partial: Path) -> None:
        self._client, self._ref, self._commit = client, ref, commit
        self._remote = remote
        self._partial = partial

    def run(self, report: Report) -> None:
        """Download the missing bytes and check the file.

        Raises:
            ModelLoadError: if the connection keeps failing, the disk is full, or the content contradicts the hub's
                checksum, in which case `partial` is removed.
            UsageError: if the file has gone.
        """
        try:
            with open(open_guarded(self._partial, os.O_RDWR | os.O_APPEND, private=False), "ab+") as stream:
                digest = self._fetch(stream, report)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise _disk_error(error, self._partial) from error
        self._check(digest)

    def _fetch(self, stream: BinaryIO, report: Report) -> Any:
        """Download the rest of the file into `stream` and return the hash of the whole."""
        size = self._remote.size_bytes
        digest, have = _resumed(stream, self._remote)
        fruitless = 0
        report(have)
        while size is None or have < size:
            before = have
            try:
                end = None if size is None or have + WINDOW_BYTES >= size else have + WINDOW_BYTES
                with self._client.stream(self._ref, self._commit, self._remote.file, have, end) as reply:
                    if have and not reply.partial:
                        digest, have = _restarted(stream, self._remote)
                    for chunk in reply.chunks:
                        stream.write(chunk)
                        digest.update(chunk)
                        have += len(chunk)
                        report(have)
                        if size is not None and have > size:
                            return digest
                if size is None:
                    return digest
                # The reply ended early without a connection error.
                fruitless = 0 if have > before else fruitless + 1
                cause = f"it came to an end after {have:,} of {size:,} bytes"
            except Interrupted as error:
                fruitless = 0 if have > before else fruitless + 1
                cause = str(error)
            if fruitless >= FRUITLESS_TRIES:
                stream.flush()
                raise self._gave_up(cause, have)
            if fruitless:
                time.sleep(min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (fruitless - 1)))
        return digest

    def _gave_up(self, cause: str, have: int) -> ModelLoadError:
        kept = f"the {have:,} bytes that came are kept" if have else "nothing of it has come"
        return ModelLoadError(
            f"{self._remote.file} cannot be fetched ({cause}); {kept}", "run the same command again to go on"
        )

    def _check(self, digest: Any) -> None:
        size, expected = self._remote.size_bytes, self._remote.checksum
        have = self._partial.stat().st_size
        wrong = ""
        if size is not None and have != size:
            wrong = f"it has {have:,} bytes and the hub says {size:,}"
        elif expected and digest.hexdigest() != expected.partition(":")[2]:
            wrong = "its checksum is not the one that the hub states"
        if wrong:
            self._partial.unlink(missing_ok=True)
            raise ModelLoadError(
                f"{self._remote.file} arrived damaged ({wrong}) and was removed",
                "run the same command to fetch it anew",
            )


def checksum_fits(path: Path, remote: RemoteFile) -> bool:
    """Return whether a file on the disk is the one on the hub, by its checksum, or by its size if the hub has none."""
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if remote.size_bytes is not None and size != remote.size_bytes:
                return False
            if not remote.checksum:
                return remote.size_bytes is not None
            digest = _new_digest(remote)
            while block := stream.read(BLOCK_BYTES):
                digest.update(block)
    except OSError:
        return False
    return digest.hexdigest() == remote.checksum.partition(":")[2]


def _new_digest(remote: RemoteFile) -> Any:
    if remote.checksum.startswith("git-sha1:"):
        return hashlib.sha1(b"blob %d\0" % (remote.size_bytes or 0), usedforsecurity=False)
    return hashlib.sha256()


def _resumed(stream: BinaryIO, remote: RemoteFile) -> tuple[Any, int]:
    """Return the hash and the size of an unfinished download; one that is too long is dropped."""
    digest = _new_digest(remote)
    have = os.fstat(stream.fileno()).st_size
    if remote.size_bytes is None or have > remote.size_bytes:
        return _restarted(stream, remote)
    stream.seek(0)
    while block := stream.read(BLOCK_BYTES):
        digest.update(block)
    return digest, have


def _restarted(stream: BinaryIO, remote: RemoteFile) -> tuple[Any, int]:
    stream.seek(0)
    stream.truncate()
    return _new_digest(remote), 0


def _disk_error(error: OSError, partial: Path) -> ModelLoadError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return ModelLoadError(
            f"the disk of {partial.parent} is full ({error.strerror}); what came is kept",
            "free some space and run the same command again",
        )
    return ModelLoadError(
        f"{partial.parent} cannot be written to ({error.strerror})", "set RAMIFY_MODELS_DIR to a folder of yours"
    )
