"""Records of pulled models, their origin and files: one JSON file beside each model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ramify.files import read_bytes, write_text
from ramify.json_text import read_json

from .reference import HubRef, quantization_of

SUFFIX = ".hub.json"
_COMMIT_DIGITS = 7


@dataclass(frozen=True, slots=True)
class PulledFile:
    """One file of a pulled model: `file` in the repository, `stored` in the model folder.

    `checksum` is the hub's, as `sha256:...` or `git-sha1:...`, and "" if the hub gave none.
    """

    file: str
    stored: str
    size_bytes: int
    checksum: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A pulled model. `revision` is the one asked for, None for the main branch; `commit` is its commit at the time."""

    name: str
    repo: str
    revision: str | None
    commit: str
    files: tuple[PulledFile, ...]

    @property
    def source(self) -> str:
        """The model's place on the hub, as `hf:` names are written."""
        return str(HubRef(repo=self.repo, revision=self.revision, file=self.files[0].file))

    def is_whole(self, folder: Path) -> bool:
        """Return whether all files are there with their recorded sizes."""
        return all(_size(folder / each.stored) == each.size_bytes for each in self.files)

    def fits(self, ref: HubRef) -> bool:
        """Return whether a reference fits this model; one without a revision fits every revision."""
        if self.repo.lower() != ref.repo.lower():
            return False
        if ref.revision is not None and ref.revision != self.revision and not self._is_commit(ref.revision):
            return False
        first = self.files[0].file
        if ref.quantization is not None:
            return quantization_of(first) in (ref.quantization.lower(), f"ud-{ref.quantization.lower()}")
        return ref.file in {each.file for each in self.files}

    def _is_commit(self, revision: str) -> bool:
        return len(revision) >= _COMMIT_DIGITS and self.commit.startswith(revision)


def read_records(folder: Path) -> Iterator[Record]:
    """Yield the records in the model folder in name order; damaged ones are left out."""
    if not folder.is_dir():
        return
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        record = read_record(folder, path.name.removesuffix(SUFFIX))
        if record is not None:
            yield record


def record_path(folder: Path, name: str) -> Path:
    """Return the file that holds the record of a model, if it was pulled."""
    return folder / f"{name}{SUFFIX}"


def read_record(folder: Path, name: str) -> Record | None:
    """Return the record of a model, None if it was not pulled."""
    try:
        data: Any = read_json(read_bytes(record_path(folder, name)))
        files = tuple(PulledFile(**each) for each in data["files"])
        if not files:
            return None
        revision = None if data["revision"] is None else str(data["revision"])
        return Record(name=name, repo=str(data["repo"]), revision=revision, commit=str(data["commit"]), files=files)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_record(folder: Path, record: Record) -> None:
    """Write the record of a model, replacing an existing one."""
    facts = {"source": record.source, **asdict(record)}
    write_text(record_path(folder, record.name), json.dumps(facts, indent=2) + "\n", private=False)


def find_pulled(folder: Path, ref: HubRef) -> Record | None:
    """Return the complete pulled model of a reference, None if there is none."""
    if ref.file is None and ref.quantization is None:
        return None
    fitting = [record for record in read_records(folder) if record.fits(ref) and record.is_whole(folder)]
    # Of several, the one with the same revision.
    return min(fitting, key=lambda record: record.revision != ref.revision, default=None)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
