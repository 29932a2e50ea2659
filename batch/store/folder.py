"""Run folder: its files, and the lock of the one process that writes it.

    manifest.json    configuration, its hash, models, versions, input
    items.jsonl      one row for each item that is done, failed ones included
    attempts.jsonl   attempts that were made again, for their cost
    trees/           search trees by item key, if asked for
    parts/           samples of items that are not done, if the items share one budget
    events.log       events with their times
    report.json      totals at the end of the last call
    lock             held by the one process that writes

Rows are appended and on disk one by one; every other file is replaced whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import NoneType, TracebackType
from typing import Any, cast

from ramify.errors import DamagedJournal, LockHeld, RamifyError, RunFolderError
from ramify.files import (
    is_temporary,
    lock,
    make_folder,
    make_subfolder,
    open_guarded,
    read_bytes,
    remove_abandoned,
    user_path,
    write_text,
)
from ramify.journals import Journal, read_journal
from ramify.json_text import read_json
from ramify.settings import differences
from ramify.solution import Solution
from ramify.usage import Usage

SCHEMA_VERSION = 1
MANIFEST, ITEMS, ATTEMPTS, REPORT = "manifest.json", "items.jsonl", "attempts.jsonl", "report.json"
TREES, PARTS, EVENTS, LOCK = "trees", "parts", "events.log", "lock"
_ATTEMPT_FIELDS: Mapping[str, Any] = {"key": str, "attempt": int, "leg": int, "leg_seconds": int | float, "usage": dict}
_ITEM_FIELDS: Mapping[str, Any] = {
    **_ATTEMPT_FIELDS,
    "id": str | int,
    "problem_key": str,
    "index": int,
    "repeat": int,
    "question": str,
    "text": str,
    "gold": str | None,
    "answer": str | None,
    "score": int | float | None,
    "correct": bool | None,
    "stop_reason": str | None,
    "stop": (dict, NoneType),
    "error": (dict, NoneType),
    "candidates": list,
    "strategy": dict,
    "model": dict,
    "metadata": dict,
    "status": str,
}
"""Fields that each row has, and their types."""
_CANDIDATE_FIELDS = {"answer", "votes", "text"}
_OURS = {MANIFEST, ITEMS, ATTEMPTS, REPORT, TREES, PARTS, EVENTS, LOCK}


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return a run folder's manifest, None if there is none yet.

    Raises:
        RunFolderError: if it is damaged, or was written by a newer version.
    """
    path = folder / MANIFEST
    try:
        value: Any = read_json(read_bytes(path), lenient=True)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path} cannot be read ({error})", "use a new --out folder") from error
    manifest: dict[str, Any] = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    written = manifest.get("schema_version")
    if not isinstance(written, int):
        raise RunFolderError(f"{path} is no manifest of a batch", "use a new --out folder")
    if written > SCHEMA_VERSION:
        raise RunFolderError(
            f"{path} has version {written} and this ramify reads up to {SCHEMA_VERSION}", "use a newer ramify"
        )
    return manifest


def read_rows(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects in items.jsonl, with any fields; a torn last one is left out.

    Raises:
        RunFolderError: if a line before the last is no JSON object, or the file cannot be read.
    """
    return _rows(folder / ITEMS, {})


def read_items(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a run folder's items, in the order in which they were done; a torn last one is left out.

    A row that is there again, as after copying lines, is left out the second time.

    Raises:
        RunFolderError: if a line before the last is no JSON object, a row lacks a field, or the file cannot be read.
    """
    return _once(_rows(folder / ITEMS, _ITEM_FIELDS), "key")


def read_attempts(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the attempts that were made again, each once.

    Raises:
        RunFolderError: if a line before the last is no JSON object, a row lacks a field, or the file cannot be read.
    """
    return _once(_rows(folder / ATTEMPTS, _ATTEMPT_FIELDS), "key", "attempt")


def read_solution(folder: Path, item: str, repeat: int = 0) -> Solution:
    """Return the solution of an item with its saved tree; `item` is the id of its problem.

    Raises:
        RunFolderError: if there is no such item, it failed, its tree was not saved, or a file is damaged.
    """
    rows = (row for row in read_items(folder) if str(row["id"]) == item and row["repeat"] == repeat)
    row = next(rows, None)
    if row is None:
        which = f"item {item!r}" if not repeat else f"item {item!r} with repetition {repeat}"
        raise RunFolderError(f"{folder} has no {which} that is done", "its items.jsonl lists the ids")
    if row["error"] is not None:
        raise RunFolderError(f"item {item!r} failed: {row['error'].get('message')}", "choose another one")
    return _with_tree(folder, row)


def read_solutions(folder: Path) -> Iterator[tuple[str, Solution]]:
    """Yield the items that have a saved tree: the key of each, and its solution with the tree.

    Raises:
        RunFolderError: as read_items, or if a tree is damaged.
    """
    for row in read_items(folder):
        if row["error"] is None and (folder / TREES / f"{row['key']}.json").is_file():
            yield str(row["key"]), _with_tree(folder, row)


def _with_tree(folder: Path, row: Mapping[str, Any]) -> Solution:
    path, item = folder / TREES / f"{row['key']}.json", str(row["id"])
    try:
        return Solution.from_dict({**row, "tree": read_json(read_bytes(path), lenient=True)})
    except FileNotFoundError:
        raise RunFolderError(f"the tree of item {item!r} was not saved", "run the batch with --save-trees") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RamifyError) as error:
        raise RunFolderError(
            f"{path} cannot be read ({error})", "the file or its row in items.jsonl is damaged"
        ) from error


@contextmanager
def writing(path: Path) -> Generator[None]:
    """Report an OSError of the block as one about writing `path`.

    Raises:
        RunFolderError: if the block raises an OSError.
    """
    try:
        yield
    except OSError as error:
        raise RunFolderError.not_written(path, error) from error


def write_file(path: Path, text: str) -> None:
    """Replace a file of a run folder by `text`, whole or not at all.

    Raises:
        RunFolderError: if it cannot be written.
    """
    with writing(path):
        write_text(path, text, errors="backslashreplace")


def _rows(path: Path, fields: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    try:
        for number, (row, _) in enumerate(read_journal(path), start=1):
            if fields and not _has(row, fields):
                raise DamagedJournal(path, number)
            yield row
    except DamagedJournal as error:
        raise RunFolderError(str(error), "remove that line; its item will be done again") from error
    except OSError as error:
        raise RunFolderError(f"{path} cannot be read ({error.strerror})", "check the folder") from error


def _has(row: Mapping[str, Any], fields: Mapping[str, Any]) -> bool:
    if not all(name in row and isinstance(row[name], kind) for name, kind in fields.items()):
        return False
    try:
        Usage.from_dict(row["usage"])
        return all(_CANDIDATE_FIELDS <= each.keys() for each in row.get("candidates", ()))
    except (AttributeError, KeyError, TypeError, ValueError):
        return False


def _once(rows: Iterator[dict[str, Any]], *fields: str) -> Iterator[dict[str, Any]]:
    seen = set[tuple[Any, ...]]()
    for row in rows:
        name = tuple(row[field] for field in fields)
        if name not in seen:
            seen.add(name)
            yield row


class RunFolder:
    """A run folder that this process writes, from entering to leaving; not for several threads at a time.

    Raises:
        RunFolderError: on entering, if another process writes it, or it holds something else.
    """

    def __init__(self, path: Path) -> None:
        path = user_path(path)
        self.path = path
        self._items = Journal(path / ITEMS)
        self._attempts = Journal(path / ATTEMPTS)
        self._stack = ExitStack()

    def __enter__(self) -> RunFolder:
        with ExitStack() as stack:
            self._make()
            self._lock(stack)
            if read_manifest(self.path) is None and next(read_rows(self.path), None) is not None:
                raise RunFolderError(
                    f"{self.path} holds {ITEMS} without {MANIFEST}", "put that back, or use a new --out folder"
                )
            self._open(stack, self._items)
            self._open(stack, self._attempts)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def claim(self, manifest: Mapping[str, Any]) -> None:
        """Write the manifest, or make sure that the one which is there has the same configuration.

        Raises:
            RunFolderError: naming the differences, if it has another one.
        """
        old = read_manifest(self.path)
        if old is not None and old["configuration_hash"] != manifest["configuration_hash"]:
            found = "; ".join(differences(old["configuration"], manifest["configuration"]))
            raise RunFolderError(
                f"{self.path} was made with another configuration: {found}",
                "use a new --out folder, or the options of before",
            )
        made = manifest["created"] if old is None else old["created"]
        # A run from Python does not make the command line that began it unknown.
        command = {} if old is None or "command" not in old else {"command": old["command"]}
        new = {**command, **manifest, "created": made}
        if new != old:
            write_file(self.path / MANIFEST, json.dumps(new, ensure_ascii=False, indent=2) + "\n")

    def retire(self, again: Callable[[Mapping[str, Any]], bool]) -> int:
        """Move the rows for which `again` is true to the attempts, so that their items are done again.

        Returns how many there are.
        """
        kept = list[str]()
        retired = list[dict[str, Any]]()
        for row in read_items(self.path):
            if again(row):
                retired.append(row)
            else:
                kept.append(json.dumps(row, ensure_ascii=True) + "\n")
        if retired:
            # A crash between the two steps leaves a row in both places; readers count it once.
            there = {(row["key"], row["attempt"]) for row in read_attempts(self.path)}
            for row in retired:
                if (row["key"], row["attempt"]) not in there:
                    self.add_attempt(row)
            self._items.close()
            write_file(self.path / ITEMS, "".join(kept))
            self._items = Journal(self.path / ITEMS)
            self._open(self._stack, self._items)
        return len(retired)

    def add_item(self, row: Mapping[str, Any]) -> None:
        """Append the row of an item that is done; it is on the disk when this returns, and not at all if it raises.

        Raises:
            RunFolderError: if it cannot be written.
        """
        with writing(self._items.path):
            self._items.append(row)

    def add_attempt(self, row: Mapping[str, Any]) -> None:
        """Append an attempt that is made again, as `add_item` does.

        Raises:
            RunFolderError: if it cannot be written.
        """
        with writing(self._attempts.path):
            self._attempts.append(row)

    def save_tree(self, key: str, tree: Mapping[str, Any]) -> None:
        """Write the search tree of an item."""
        self._save(TREES, key, tree)

    def save_samples(self, key: str, samples: Mapping[str, Any]) -> None:
        """Write the samples of an item that is not done.

        Raises:
            RunFolderError: if they cannot be written.
        """
        self._save(PARTS, key, samples)

    def read_samples(self, key: str) -> dict[str, Any] | None:
        """Return the samples of an item that is not done, None if there are none.

        Raises:
            RunFolderError: if it is damaged.
        """
        path = self.path / PARTS / f"{key}.json"
        try:
            return read_json(read_bytes(path), lenient=True)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise RunFolderError(
                f"{path} cannot be read ({error})", "remove it, and what it holds is done again"
            ) from error

    def drop_samples(self, key: str) -> None:
        """Remove the samples of an item that is done now; a file that cannot be removed does no harm."""
        with suppress(OSError):
            (self.path / PARTS / f"{key}.json").unlink()

    def _save(self, name: str, key: str, value: Mapping[str, Any]) -> None:
        folder = self.path / name
        with writing(folder):
            make_subfolder(folder)
        write_file(folder / f"{key}.json", json.dumps(value, ensure_ascii=True) + "\n")

    def log(self, text: str) -> None:
        """Add a line to the events."""
        moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        path = self.path / EVENTS
        line = f"{moment} {' '.join(text.split())}\n".encode("utf-8", "backslashreplace")
        with writing(path), open(open_guarded(path, os.O_WRONLY | os.O_APPEND), "ab") as file:
            file.write(line)

    def write_report(self, report: Mapping[str, Any]) -> None:
        """Replace the report, unless it says the same already."""
        path = self.path / REPORT
        text = json.dumps(report, ensure_ascii=False, indent=2) + "\n"
        if not path.is_file() or path.read_text("utf-8") != text:
            write_file(path, text)

    def _make(self) -> None:
        try:
            make_folder(self.path)
            found = sorted(each.name for each in self.path.iterdir())
        except FileExistsError:
            raise RunFolderError(f"{self.path} is a file", "choose a folder for --out") from None
        except OSError as error:
            raise RunFolderError.not_written(self.path, error) from error
        foreign = [name for name in found if name not in _OURS and not is_temporary(name)]
        if foreign and not (self.path / MANIFEST).exists():
            raise RunFolderError(
                f"{self.path} is no run folder and holds {foreign[0]!r}", "use a new or empty folder for --out"
            )

    def _lock(self, stack: ExitStack) -> None:
        path = self.path / LOCK
        try:
            with writing(path):
                stack.enter_context(lock(path))
        except LockHeld as held:
            raise RunFolderError(
                f"{self.path} is being written by another process ({held.holder})", "wait for it, or stop it"
            ) from None
        remove_abandoned(self.path, older_than_s=0)

    @staticmethod
    def _open(stack: ExitStack, journal: Journal) -> None:
        try:
            with writing(journal.path):
                stack.enter_context(journal)
        except DamagedJournal as error:
            raise RunFolderError(str(error), "remove that line; its item will be done again") from error
