"""File of a store: rows by key in one SQLite database, which several processes may use at a time.

Every row has a checksum over its key and value; one that does not fit is never returned. Rows are written by a thread
of their own, in transactions, so that a process that is killed leaves whole rows only. A store that cannot be written
any more, or read, says so once and is gone without: a search never fails because of it.
"""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from hashlib import blake2b
from pathlib import Path
from types import TracebackType

from ramify.errors import LockHeld, UsageError
from ramify.files import lock, make_folder, open_guarded, replacing

from .states import state_files

FORMAT = 1
"""Version of the file's tables and of the rows in them."""
FILE_NAME = "nodes.sqlite"
LOCK_NAME = "nodes.lock"
KEY_BYTES = 20
COMMIT_S = 0.5
"""Longest time in seconds that a row waits to be written."""
BUSY_S = 30.0
"""Longest wait in seconds for another process that writes."""

_APPLICATION = 0x72616D66
_SUM_BYTES = 8
_LEAST_COMPRESSED = 48
"""Shorter values are kept as they are: compression would not make them shorter."""
_RAW, _DEFLATED = b"\x00", b"\x01"
_FAILURES = (sqlite3.Error, ValueError)
"""Errors of SQLite over a damaged file; it has none of its own for names that are no UTF-8."""
_MOST_KEYS = 500
"""Keys that are asked for in one query."""

log = logging.getLogger("ramify.store")


class RowKind(IntEnum):
    """Kind of a row: a step that a policy wrote, outputs that were read of a path, and others."""

    STEP = 1
    READING = 2
    SOLVED = 3
    FILE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreInfo:
    """Size and age of a store.

    `rows` counts them by kind; `bytes` is the size of all its files. `oldest` and `newest` are the times at which rows
    were written, in seconds since 1970, None without rows. `damaged` counts rows whose checksum is wrong, None if they
    were not checked.
    """

    rows: dict[str, int]
    bytes: int
    oldest: float | None
    newest: float | None
    damaged: int | None = None


class RowStore:
    """Rows by kind and key in the folder `folder`, which is made if it is missing, unless `make` is False.

    `reused` and `added` count the rows that were returned and that were new, `damaged` those with a wrong checksum.
    Its methods may be called in any thread.

    Raises:
        UsageError: if the folder holds something else, a store of another version or a damaged one, or cannot be read.
    """

    def __init__(self, folder: str | Path, *, make: bool = True) -> None:
        self.folder = Path(folder)
        self._make_missing = make
        self.reused = self.added = self.damaged = 0
        self.readable = self.writable = True
        # Rows that wait to be written, and those that are being written.
        self._waiting = dict[tuple[int, bytes], bytes]()
        self._leaving = dict[tuple[int, bytes], bytes]()
        self._guard = threading.Lock()
        self._commits = threading.Lock()
        self._wake = threading.Event()
        self._closed = False
        self._reader = self._open()
        self._writer: sqlite3.Connection | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> RowStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def path(self) -> Path:
        """The database."""
        return self.folder / FILE_NAME

    # Rows

    def get(self, kind: RowKind, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the values of those keys that there are."""
        found = dict[bytes, bytes]()
        with self._guard:
            for rows in (self._leaving, self._waiting):
                found.update((key, rows[kind, key]) for key in keys if (kind, key) in rows)
            missing = [key for key in keys if key not in found]
            try:
                for first in range(0, len(missing) if self.readable else 0, _MOST_KEYS):
                    found.update(self._select(kind, missing[first : first + _MOST_KEYS]))
            except _FAILURES as error:
                self._give_up_reading(error)
            self.reused += len(found)
        return found

    def put(self, kind: RowKind, key: bytes, value: bytes) -> None:
        """Add a row, or replace it; it is on its way to the disk when this returns."""
        with self._guard:
            if not self.writable or self._closed:
                return
            self._waiting[kind, key] = value
            self.added += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._write, daemon=True, name="ramify-store")
                self._thread.start()

    def values(self, kind: RowKind) -> Iterator[tuple[bytes, bytes]]:
        """Yield the keys and values of all rows of a kind, in the order in which they were written."""
        with self._guard:
            both = {**self._leaving, **self._waiting}
            waiting = {key: value for (of, key), value in both.items() if of == kind}
            rows = list[tuple[bytes, bytes, bytes]]()
            try:
                if self.readable:
                    query = "SELECT key, value, sum FROM rows WHERE kind = ? ORDER BY id"
                    rows = self._reader.execute(query, (int(kind),)).fetchall()
            except _FAILURES as error:
                self._give_up_reading(error)
        for key, value, found in rows:
            if key not in waiting and (plain := self._checked(kind, key, value, found)) is not None:
                yield key, plain
        yield from waiting.items()

    def flush(self) -> None:
        """Write the waiting rows now."""
        with self._commits:
            with self._guard:
                self._leaving, self._waiting = self._waiting, {}
            if self._leaving and self.writable:
                self._commit(self._leaving)
            with self._guard:
                self._leaving = {}

    def close(self) -> None:
        """Write the waiting rows, and close the file."""
        if self._closed:
            return
        self._closed = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        self.flush()
        if self._writer is not None:
            self._writer.close()
        self._reader.close()

    # The user's commands

    def info(self, *, check: bool = False) -> StoreInfo:
        """Return the size and the age; with `check` every row is read and its checksum compared.

        Raises:
            UsageError: if the file is damaged.
        """
        try:
            counts: dict[int, int] = dict(self._reader.execute("SELECT kind, COUNT(*) FROM rows GROUP BY kind"))
            oldest, newest = self._reader.execute("SELECT MIN(made), MAX(made) FROM rows").fetchone()
            damaged = len(self._damaged_rows()) if check else None
        except _FAILURES as error:
            raise _damaged_file(self.path, error) from error
        named = {kind.name.lower(): counts.get(kind, 0) for kind in RowKind}
        size = sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())
        return StoreInfo(rows=named, bytes=size, oldest=oldest, newest=newest, damaged=damaged)

    def prune(self, *, older_than_s: float | None = None, most_bytes: int | None = None) -> int:
        """Delete damaged rows, those written before `older_than_s` seconds, and the oldest ones beyond `most_bytes`.

        None leaves a bound out. The states of prefixes are deleted alike, and before any rows where there is too much.
        Return the number of rows deleted.

        Raises:
            UsageError: if the file is damaged, or cannot be written.
        """
        self.flush()
        try:
            self._delete_states(older_than_s, most_bytes)
            writer = self._writing()
            deleted = self._delete(self._damaged_rows())
            if older_than_s is not None:
                limit = time.time() - older_than_s
                deleted += writer.execute("DELETE FROM rows WHERE made < ?", (limit,)).rowcount
            self._shrink()
            while most_bytes is not None and self._bytes() > most_bytes:
                (count,) = writer.execute("SELECT COUNT(*) FROM rows").fetchone()
                if not count:
                    break
                share = min(1.0, 1.1 * (1.0 - most_bytes / self._bytes()))
                query = "SELECT id FROM rows ORDER BY made, id LIMIT ?"
                deleted += self._delete([id for (id,) in writer.execute(query, (max(1, int(share * count)),))])
                self._shrink()
        except _FAILURES as error:
            raise _damaged_file(self.path, error) from error
        return deleted

    # Reading

    def _open(self) -> sqlite3.Connection:
        """Open the database for reading; one that is missing is made."""
        try:
            if self._make_missing:
                make_folder(self.folder)
            self.writable = os.access(self.folder, os.W_OK)
            if self.writable and (self._make_missing or self.path.exists()):
                self._make()
                os.close(open_guarded(self.path, os.O_RDWR))
            elif not self.path.exists():
                number = errno.EACCES if self._make_missing else errno.ENOENT
                raise OSError(number, os.strerror(number), str(self.path))
            return self._prepared()
        except OSError as error:
            why = "it is a file" if self.folder.is_file() else error.strerror
            raise UsageError(
                f"the store {self.folder} cannot be used ({why})", "name another folder with --store"
            ) from error
        except _FAILURES as error:
            raise _damaged_file(self.path, error) from error

    def _make(self) -> None:
        """Make the database if it is missing, whole or not at all, by one process at a time."""
        deadline_s = time.monotonic() + BUSY_S
        while not self.path.exists():
            try:
                with lock(self.folder / LOCK_NAME):
                    if self.path.exists():
                        return
                    with replacing(self.path) as part:
                        _create(part)
            except LockHeld:
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(0.05)

    def _prepared(self) -> sqlite3.Connection:
        # A folder that cannot be written has no place for the index of SQLite's journal.
        connection = _connected(self.path, "mode=rw" if self.writable else "immutable=1")
        try:
            (application,), (version,) = (
                connection.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
            )
            if application != _APPLICATION:
                raise UsageError(f"{self.path} is no store of ramify", "name another folder with --store")
            if version != FORMAT:
                raise UsageError(
                    f"the store {self.folder} has version {version}, and this ramify reads {FORMAT}",
                    "name another folder with --store, or delete this one",
                )
            connection.execute("SELECT kind, key, value, sum, made FROM rows LIMIT 1").fetchone()
        except BaseException:
            connection.close()
            raise
        if not self.writable:
            log.warning("the store %s cannot be written, so nothing is added to it", self.folder)
        return connection

    def _select(self, kind: RowKind, keys: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
        marks = ",".join("?" * len(keys))
        query = f"SELECT key, value, sum FROM rows WHERE kind = ? AND key IN ({marks})"
        for key, value, found in self._reader.execute(query, (int(kind), *keys)):
            plain = self._checked(kind, key, value, found)
            if plain is not None:
                yield key, plain

    def _checked(self, kind: RowKind, key: bytes, value: bytes, found: bytes) -> bytes | None:
        """Return the value of a row as it was put in; None if its checksum is wrong."""
        try:
            if found == _checksum(kind, key, value):
                return zlib.decompress(value[1:]) if value[:1] == _DEFLATED else value[1:]
        except (TypeError, zlib.error):
            pass
        if not self.damaged:
            log.warning("the store %s has damaged rows, which are left out", self.folder)
        self.damaged += 1
        return None

    def _give_up_reading(self, error: Exception) -> None:
        if self.readable:
            log.warning("the store %s cannot be read (%s), so the run goes on without it", self.folder, error)
        self.readable = self.writable = False
        self._waiting.clear()

    # Writing

    def _write(self) -> None:
        while not self._wake.wait(COMMIT_S):
            self.flush()

    def _commit(self, rows: dict[tuple[int, bytes], bytes]) -> None:
        now = time.time()
        made = list[tuple[int, bytes, bytes, bytes, float]]()
        for (kind, key), plain in rows.items():
            value = _RAW + plain
            if len(plain) >= _LEAST_COMPRESSED:
                value = min(value, _DEFLATED + zlib.compress(plain, 6), key=len)
            made.append((kind, key, value, _checksum(kind, key, value), now))
        try:
            writer = self._writing()
            writer.execute("BEGIN IMMEDIATE")
            try:
                writer.executemany(
                    "INSERT INTO rows (kind, key, value, sum, made) VALUES (?, ?, ?, ?, ?)"
                    " ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value, sum = excluded.sum",
                    made,
                )
                writer.execute("COMMIT")
            except BaseException:
                if writer.in_transaction:
                    writer.execute("ROLLBACK")
                raise
        except (*_FAILURES, OSError) as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY and not self._closed:
                with self._guard:
                    # Another process has written for long; the next attempt may succeed.
                    self._waiting = {**rows, **self._waiting}
                return
            self.writable = False
            log.warning("the store %s cannot be written (%s), so nothing more is added to it", self.folder, error)

    def _writing(self) -> sqlite3.Connection:
        if self._writer is None:
            if not self.writable:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self.path))
            self._writer = _connected(self.path, "mode=rw")
            self._writer.execute("PRAGMA synchronous = NORMAL")
        return self._writer

    def _damaged_rows(self) -> list[int]:
        rows = self._reader.execute("SELECT id, kind, key, value, sum FROM rows")
        return [id for id, kind, key, value, found in rows if not _fits(kind, key, value, found)]

    def _delete(self, ids: Iterable[int]) -> int:
        return self._writing().executemany("DELETE FROM rows WHERE id = ?", ((id,) for id in ids)).rowcount

    def _delete_states(self, older_than_s: float | None, most_bytes: int | None) -> None:
        files = state_files(self.folder)
        sizes = {file: file.stat().st_size for file in files}
        total = self.path.stat().st_size + sum(sizes.values())
        for file in files:
            old = older_than_s is not None and file.stat().st_mtime < time.time() - older_than_s
            if old or (most_bytes is not None and total > most_bytes):
                file.unlink(missing_ok=True)
                total -= sizes[file]

    def _shrink(self) -> None:
        """Give the room of deleted rows back to the file system."""
        # A script runs to its end; the statement alone would free one page.
        self._writing().executescript("PRAGMA incremental_vacuum")
        self._writing().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _bytes(self) -> int:
        (pages,), (size,) = (
            self._writing().execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size")
        )
        return pages * size


def digest(*parts: bytes) -> bytes:
    """Return the key that stands for some parts."""
    made = blake2b(digest_size=KEY_BYTES)
    for each in parts:
        made.update(len(each).to_bytes(8, "little"))
        made.update(each)
    return made.digest()


def _create(path: Path) -> None:
    """Write an empty store to a file of its own."""
    connection = _connected(path, "mode=rw")
    try:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute(
            "CREATE TABLE rows (id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL,"
            " sum BLOB NOT NULL, made REAL NOT NULL)"
        )
        connection.execute("CREATE UNIQUE INDEX rows_by_key ON rows (kind, key)")
        connection.execute(f"PRAGMA application_id = {_APPLICATION}")
        connection.execute(f"PRAGMA user_version = {FORMAT}")
        # From here on there are journal files beside it, which are gone when it is closed.
        connection.execute("PRAGMA journal_mode = WAL")
    finally:
        connection.close()


def _connected(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?{mode}"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    # In a damaged file there may be texts where there should be bytes.
    connection.text_factory = bytes
    return connection


def _checksum(kind: int, key: bytes, value: bytes) -> bytes:
    return blake2b(b"%d:" % kind + key + value, digest_size=_SUM_BYTES).digest()


def _fits(kind: int, key: bytes, value: bytes, found: bytes) -> bool:
    try:
        return found == _checksum(kind, key, value)
    except TypeError:
        return False


def _damaged_file(path: Path, error: Exception) -> UsageError:
    return UsageError(f"the store {path} cannot be used ({error})", "delete it, or name another folder with --store")
