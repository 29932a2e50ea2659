"""The folder of saved runs. All methods read or write files, so call them in a thread where that must not block."""

from __future__ import annotations

import logging
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ramify.errors import UsageError
from ramify.files import data_folder, make_folder, open_regular, remove_abandoned, write_text
from ramify.solution import Solution

from .records import (
    ID_PATTERN,
    RunSummary,
    SavedRun,
    UnreadableRun,
    read_header,
    read_run,
    summarize,
    write_run,
)

KEPT_RUNS = 500
"""Runs that are kept unless the caller says otherwise."""
LATEST = "last"
"""Stands for the newest run where an id is asked for."""
_MAX_HEADER_BYTES = 4_000_000
_NAME = re.compile(rf"\d{{8}}T\d{{12}}-(?P<id>{ID_PATTERN})\.jsonl")
_SOME = 5

log = logging.getLogger("ramify.history")


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file in the folder that holds no run that this version can read, and why."""

    id: str
    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Listing:
    """Runs, newest first, and the files met on the way that could not be read."""

    runs: list[RunSummary]
    unreadable: list[Unreadable]


def _now() -> datetime:
    return datetime.now(UTC)


class RunStore:
    """Saved runs in `folder`; None means `runs` in the user's data folder (see `data_folder`).

    Saving keeps the newest `keep` runs and deletes the others; None keeps all. Several processes may use one folder.

    Raises:
        UsageError: if `keep` is below 1.
    """

    def __init__(
        self, folder: str | Path | None = None, *, keep: int | None = KEPT_RUNS, now: Callable[[], datetime] = _now
    ) -> None:
        if keep is not None and keep < 1:
            raise UsageError(f"the history cannot keep {keep} runs", "keep 1 or more")
        self.folder = data_folder() / "runs" if folder is None else Path(folder)
        self._keep = keep
        self._now = now

    def save(self, solution: Solution, options: Mapping[str, Any]) -> str:
        """Save a run and return its id; `options` are those that it was started with, in plain JSON types.

        The file appears whole or not at all, and only its owner can read it.

        Raises:
            UsageError: if the folder cannot be written.
        """
        created = self._now().astimezone(UTC)
        try:
            make_folder(self.folder)
            run_id = self._new_id()
            text = write_run(summarize(run_id, created, solution), solution, options)
            write_text(self.folder / f"{created:%Y%m%dT%H%M%S%f}-{run_id}.jsonl", text)
            self._retain()
        except OSError as error:
            raise UsageError(
                f"the run history {self.folder} cannot be written: {error.strerror or error}",
                "set RAMIFY_DATA to another folder",
            ) from error
        return run_id

    def list(self, query: str = "", limit: int | None = None) -> list[RunSummary]:
        """Return runs, newest first; a file that cannot be read is logged and left out (see `scan`).

        `query` keeps those in which all its words occur, in any case: in id, question, answer, strategy, model
        or stop reason. `limit` None means all.

        Raises:
            UsageError: if the folder cannot be read.
        """
        listing = self.scan(query, limit)
        for each in listing.unreadable:
            log.warning("run %s cannot be read: %s (%s)", each.id, each.reason, each.path)
        return listing.runs

    def scan(self, query: str = "", limit: int | None = None) -> Listing:
        """Return runs as `list` does, and the files that could not be read."""
        words, runs, unreadable = query.casefold().split(), list[RunSummary](), list[Unreadable]()
        for run_id, path in self._files():
            if limit is not None and len(runs) >= limit:
                break
            try:
                summary = _header(path)
            except FileNotFoundError:
                continue
            except (OSError, UnreadableRun) as error:
                unreadable.append(Unreadable(run_id, path, _reason(error)))
                continue
            if all(word in _searched(summary) for word in words):
                runs.append(summary)
        return Listing(runs, unreadable)

    def load(self, run_id: str) -> SavedRun:
        """Return a run by its id, the beginning of its id if no other begins so, or "last".

        Raises:
            UsageError: if there is no such run, there are several, or its file cannot be read.
        """
        found, path = self._find(run_id)
        try:
            with open_regular(path) as file:
                summary = read_header(file.readline(_MAX_HEADER_BYTES))
                return read_run(summary, file.readline())
        except (OSError, UnreadableRun) as error:
            raise UsageError(
                f"run {found} cannot be read: {_reason(error)}", f"`ramify runs delete {found}` removes {path}"
            ) from error

    def delete(self, run_id: str) -> str:
        """Delete a run, whose file need not be readable, and return its whole id; `run_id` is as for `load`.

        Raises:
            UsageError: if there is no such run, there are several, or the file cannot be deleted.
        """
        found, path = self._find(run_id)
        try:
            path.unlink()
        except OSError as error:
            raise UsageError(f"{path} cannot be deleted: {error.strerror}", "check who owns the folder") from error
        return found

    def _files(self) -> Iterator[tuple[str, Path]]:
        """Yield the id and path of each run, newest first: names begin with the time."""
        try:
            names = sorted(os.listdir(self.folder), reverse=True)
        except FileNotFoundError:
            return
        except OSError as error:
            raise UsageError(
                f"the run history {self.folder} cannot be read: {error.strerror}", "set RAMIFY_DATA to another folder"
            ) from error
        for name in names:
            if match := _NAME.fullmatch(name):
                yield match["id"], self.folder / name

    def _find(self, run_id: str) -> tuple[str, Path]:
        wanted = run_id.strip().lower()
        files = list(self._files())
        if wanted == LATEST:
            found = files[:1]
        else:
            found = [each for each in files if wanted and each[0].startswith(wanted)]
        if len(found) > 1:
            some = ", ".join(each for each, _ in found[:_SOME]) + (", …" if len(found) > _SOME else "")
            raise UsageError(f"{len(found)} runs begin with {run_id!r}: {some}", "give more of the id")
        if not found:
            raise UsageError(f"there is no run {run_id!r}", "`ramify runs list` shows the ids")
        return found[0]

    def _new_id(self) -> str:
        taken = {run_id for run_id, _ in self._files()}
        while True:
            run_id = secrets.token_hex(4)
            if run_id not in taken:
                return run_id

    def _retain(self) -> None:
        if self._keep is not None:
            for _, path in list(self._files())[self._keep :]:
                path.unlink(missing_ok=True)
        remove_abandoned(self.folder)


def _header(path: Path) -> RunSummary:
    with open_regular(path) as file:
        return read_header(file.readline(_MAX_HEADER_BYTES))


def _reason(error: OSError | UnreadableRun) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def _searched(summary: RunSummary) -> str:
    fields = (summary.id, summary.question, summary.answer or "", summary.strategy, summary.model, summary.stop_reason)
    return "\n".join(fields).casefold()
