"""Pulling a model from the hub: missing files are downloaded, checked, and moved into the user's model folder."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ramify.errors import LockHeld, ModelLoadError, UsageError
from ramify.files import lock, models_folder

from ..runtime.llama.gguf_check import check_gguf
from .catalog import list_bundled
from .hub.client import HubClient, RemoteFile, chosen_parts, is_offline, offline_error
from .hub.download import Download, checksum_fits
from .hub.records import PulledFile, Record, find_pulled, read_record, write_record
from .hub.reference import HubRef, model_name, stored_name

PULLING = ".pulling"
"""Folder in the model folder for unfinished downloads."""
LOCK = "lock"
"""Lock file among the partial files of a model."""
MAGIC = b"GGUF"


class PullWatcher(Protocol):
    """Observer of a pull."""

    def begin(self, file: str, size_bytes: int | None) -> None:
        """Called before a file is fetched; the size is None if the hub does not tell."""
        ...

    def advance(self, have_bytes: int) -> None:
        """Called with how much of that file is on the disk."""
        ...

    def note(self, line: str) -> None:
        """Called with a remark for the user."""
        ...


@dataclass(frozen=True, slots=True)
class Pulled:
    """A model in the model folder. `path` is its (first) file; `fetched` is False if it was there already."""

    name: str
    path: Path
    source: str
    fetched: bool


def pull(ref: HubRef, watcher: PullWatcher, *, name: str | None = None, force: bool = False) -> Pulled:
    """Download a model into the user's model folder; files that are there with the right checksum are kept.

    `name` is the model's name there, None for the name of the file; `force` replaces another model of that name.

    Raises:
        UsageError: if the reference is wrong, or the name is taken by another model.
        ModelLoadError: if the model cannot be fetched, does not fit on the disk, or is damaged.
    """
    folder = models_folder()
    if is_offline():
        return _offline(folder, ref)
    client = HubClient()
    listing = client.list_files(ref)
    remote = chosen_parts(ref, listing)
    name = _checked_name(name or model_name(remote[0].file))
    record = Record(
        name=name,
        repo=ref.repo,
        revision=ref.revision,
        commit=listing.commit,
        files=tuple(
            PulledFile(each.file, stored_name(name, each.file), each.size_bytes or 0, each.checksum) for each in remote
        ),
    )
    try:
        with _locked(folder / PULLING / name) as partials:
            return _Pull(client, ref, record, folder, partials, watcher).run(remote, force=force)
    except OSError as error:
        raise ModelLoadError(
            f"{folder} cannot be written to ({error.strerror})", "set RAMIFY_MODELS_DIR to a folder of yours"
        ) from error


class _Pull:
    """One pull under the lock of its name."""

    def __init__(
        self, client: HubClient, ref: HubRef, record: Record, folder: Path, partials: Path, watcher: PullWatcher
    ) -> None:
        self._client, self._ref, self._record = client, ref, record
        self._folder, self._partials = folder, partials
        self._watcher = watcher

    def run(self, remote: list[RemoteFile], *, force: bool) -> Pulled:
        targets = [self._folder / each.stored for each in self._record.files]
        missing = [i for i, each in enumerate(remote) if not checksum_fits(targets[i], each)]
        if not force:
            self._refuse_others([targets[i] for i in missing])
        if missing:
            partials = {i: self._partials / self._partial_name(remote[i]) for i in missing}
            self._check_space([(remote[i], partials[i]) for i in missing])
            for i in missing:
                self._fetch(remote[i], partials[i])
            self._check_content(partials, targets)
            # The first part last: without it the model is not there.
            for i in reversed(missing):
                partials[i].replace(targets[i])
        else:
            check_gguf(targets[0])
        write_record(self._folder, self._with_sizes(targets))
        for leftover in self._partials.iterdir():
            # The lock file goes last, with the lock.
            if leftover.name != LOCK:
                leftover.unlink(missing_ok=True)
        return Pulled(self._record.name, targets[0], self._record.source, bool(missing))

    def _refuse_others(self, targets: list[Path]) -> None:
        """Refuse to replace a file that did not come from the same place."""
        taken = next((path for path in targets if path.exists()), None)
        earlier = read_record(self._folder, self._record.name)
        same = earlier is not None and earlier.repo == self._record.repo and earlier.files[0].file == self._first.file
        if taken is None or same:
            return
        whose = f"comes from {earlier.source}" if earlier else "did not come from there"
        raise UsageError(
            f"{taken} is there already and {whose}", "give the new one another name with --name, or pass --force"
        )

    def _check_space(self, wanted: list[tuple[RemoteFile, Path]]) -> None:
        needed = sum((remote.size_bytes or 0) - _size(partial) for remote, partial in wanted)
        free = shutil.disk_usage(self._folder).free
        if needed > free:
            raise ModelLoadError(
                f"{self._ref} needs {needed:,} bytes more and {self._folder} has {free:,} free",
                "free some space, or set RAMIFY_MODELS_DIR to a folder on another disk",
            )

    def _fetch(self, remote: RemoteFile, partial: Path) -> None:
        if not remote.checksum:
            self._watcher.note(f"the hub states no checksum for {remote.file}, so that its content cannot be checked")
        self._watcher.begin(remote.file, remote.size_bytes)
        Download(self._client, self._ref, self._record.commit, remote, partial).run(self._watcher.advance)

    def _check_content(self, partials: dict[int, Path], targets: list[Path]) -> None:
        """Check that the downloaded files are models; only a split model's first part has a whole header."""
        for i, path in partials.items():
            with path.open("rb") as stream:
                sound = stream.read(len(MAGIC)) == MAGIC
            cause = "it is not a GGUF file"
            if sound and i == 0:
                try:
                    check_gguf(path)
                except ModelLoadError as error:
                    sound, cause = False, error.message.replace(str(path), "it")
            if not sound:
                path.unlink(missing_ok=True)
                raise ModelLoadError(
                    f"{self._record.files[i].file} of {self._ref.place} is as the hub has it, but no model ({cause})",
                    "pull another file",
                )

    def _with_sizes(self, targets: list[Path]) -> Record:
        """Return the record with the sizes on the disk, which the hub may not have told."""
        files = tuple(
            PulledFile(each.file, each.stored, _size(path), each.checksum)
            for each, path in zip(self._record.files, targets, strict=True)
        )
        old = self._record
        return Record(name=old.name, repo=old.repo, revision=old.revision, commit=old.commit, files=files)

    def _partial_name(self, remote: RemoteFile) -> str:
        """Return a name that changes with the content, so that parts of two versions never meet."""
        version = remote.checksum.partition(":")[2] or self._record.commit
        return f"{version[:16]}-{remote.file.replace('/', '--')}"

    @property
    def _first(self) -> PulledFile:
        return self._record.files[0]


def _offline(folder: Path, ref: HubRef) -> Pulled:
    record = find_pulled(folder, ref)
    if record is None:
        raise offline_error(ref)
    return Pulled(record.name, folder / record.files[0].stored, record.source, False)


def _checked_name(name: str) -> str:
    name = name.removesuffix(".gguf")
    if not name or name.startswith(".") or "/" in name or ":" in name or not name.isprintable():
        raise UsageError(f"{name!r} cannot be the name of a model", "give one with --name, without / and :")
    if name in {entry.name for entry in list_bundled()}:
        raise UsageError(f"{name!r} is the name of a bundled model", "give another one with --name")
    return name


@contextmanager
def _locked(partials: Path) -> Generator[Path]:
    """Hold the folder of partial files for one process.

    Raises:
        ModelLoadError: if another process has it.
    """
    try:
        with ExitStack() as stack:
            while True:
                partials.mkdir(parents=True, exist_ok=True)
                # The process that had the lock before may remove the folder now.
                with suppress(FileNotFoundError):
                    stack.enter_context(lock(partials / LOCK))
                    break
            try:
                yield partials
            finally:
                # An empty folder goes; partial files stay for the next try.
                (partials / LOCK).unlink()
                for empty in (partials, partials.parent):
                    with suppress(OSError):
                        empty.rmdir()
    except LockHeld:
        raise ModelLoadError(
            f"another process is pulling {partials.name}", "wait for it, then run the command again"
        ) from None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
