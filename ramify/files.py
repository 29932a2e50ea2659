"""Files and folders of ramify: atomic replacement, append-only journals, lock files, the user's folders."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .errors import DamagedJournal, LockHeld

if TYPE_CHECKING:
    from platformdirs.api import PlatformDirsABC

CONFIG_VARIABLE = "RAMIFY_CONFIG"
"""Environment variable that names the settings file."""
CACHE_VARIABLE = "RAMIFY_CACHE_DIR"
"""Environment variable that replaces the cache folder."""
DATA_VARIABLE = "RAMIFY_DATA"
"""Environment variable that replaces the data folder."""
MODELS_VARIABLE = "RAMIFY_MODELS_DIR"
"""Environment variable that replaces the folder of the user's models."""

PART_SUFFIX = ".part"
_ABANDONED_S = 3600.0


# Atomic replacement


@contextmanager
def replacing(path: Path, *, private: bool = False) -> Generator[Path]:
    """Yield the path of a temporary file beside `path`; at the end of the block it is synced and takes that name.

    If the block raises, the temporary file is removed and `path` stays as it was. With `private`, the file exists
    already, and only its owner can read it.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}{PART_SUFFIX}")
    try:
        if private:
            os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        yield part
        _sync(part)
        part.replace(path)
        _sync(path.parent)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def write_text(path: Path, text: str, *, errors: str = "strict", private: bool = False) -> None:
    """Replace a file by `text` in UTF-8, whole or not at all; `errors` as for `open`, `private` as for `replacing`."""
    with replacing(path, private=private) as part:
        part.write_text(text, encoding="utf-8", errors=errors)


def is_temporary(name: str) -> bool:
    """Return whether a file name is one that `replacing` gives."""
    return name.startswith(".") and name.endswith(PART_SUFFIX)


def user_path(text: str | Path) -> Path:
    """Return a path that a user wrote, with `~` for a home folder where there is one of that name."""
    path = Path(text)
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def is_file(path: Path) -> bool:
    """Tell whether there is a file of this name; names that are too long, or cannot be looked at, have none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Tell whether there is a folder of this name; names that are too long, or cannot be looked at, have none."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def remove_abandoned(folder: Path, older_than_s: float = _ABANDONED_S) -> None:
    """Remove temporary files of `replacing` that killed processes left in a folder, if they are old enough."""
    for path in folder.glob(f".*{PART_SUFFIX}"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime >= older_than_s:
                path.unlink()


def _sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# Journals


def read_journal(path: Path, *, strict: bool = False) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield the JSON objects in a file of JSON lines, each with the position after it in bytes.

    A missing file has none. A last line without its end is left out, and one that is no JSON object too, unless
    `strict`: a crash of the machine can leave such lines.

    Raises:
        DamagedJournal: if another line is no JSON object.
        OSError: if the file cannot be read.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    position = 0
    damaged: int | None = None
    with file:
        for number, line in enumerate(file, start=1):
            if damaged is not None:
                raise DamagedJournal(path, damaged)
            if not line.endswith(b"\n"):
                # If lines follow, another process is writing this one now.
                return
            row = _row(line)
            if row is None and strict:
                raise DamagedJournal(path, number)
            if row is None:
                damaged = number
                continue
            position += len(line)
            yield row, position


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None  # pyright: ignore[reportUnknownVariableType]


class Journal:
    """A file of JSON lines for one writer, open between `__enter__` and `__exit__`; a torn last line is cut off.

    Raises:
        OSError: on entering and appending, if the file cannot be read or written.
        DamagedJournal: on entering, if a line before the last is no JSON object.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = -1
        self._end = 0

    def __enter__(self) -> Journal:
        self._end = 0
        for _, position in read_journal(self.path):
            self._end = position
        try:
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
            os.ftruncate(self._file, self._end)
            _sync(self.path.parent)
        except OSError:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def append(self, *rows: Mapping[str, Any]) -> None:
        """Write rows; all of them are on the disk when this returns, and none if it raises."""
        data = "".join(json.dumps(row, ensure_ascii=True) + "\n" for row in rows).encode()
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(self._file, data[written:], self._end + written)
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, self._end)
            raise
        self._end += len(data)

    def close(self) -> None:
        """Close the file; does nothing if it is not open."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1


# Locks


@contextmanager
def lock(path: Path) -> Generator[None]:
    """Hold a lock file in the block, without waiting for it; the file says which process holds it, and stays.

    Raises:
        LockHeld: if it is held already, by another process or by this one.
        OSError: if the file cannot be opened.
    """
    from filelock import FileLock, Timeout

    held = FileLock(path, timeout=0, thread_local=False)
    try:
        held.acquire()
    except Timeout:
        raise LockHeld(path, _holder(path)) from None
    try:
        path.write_text(f"{os.uname().nodename} process {os.getpid()}\n", encoding="utf-8")
        yield
    finally:
        held.release()


def _holder(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()[:100] or "unknown"
    except OSError:
        return "unknown"


# Folders of the user; those with a variable of their own follow it first, then XDG_..._HOME if it is absolute.


def config_path() -> Path:
    """Return the path of the settings file, which need not exist: RAMIFY_CONFIG, else config.toml of the user."""
    return _from_variable(CONFIG_VARIABLE) or _platform_folders().user_config_path / "config.toml"


def cache_folder() -> Path:
    """Return the folder of what was found out about this machine: RAMIFY_CACHE_DIR, else the user's cache folder."""
    return _from_variable(CACHE_VARIABLE) or _platform_folders().user_cache_path


def data_folder() -> Path:
    """Return the folder of the user's data, which need not exist: RAMIFY_DATA, else the user's data folder."""
    return _from_variable(DATA_VARIABLE) or _platform_folders().user_data_path


def models_folder() -> Path:
    """Return the folder of the user's models, which need not exist: RAMIFY_MODELS_DIR, else in the data folder."""
    return _from_variable(MODELS_VARIABLE) or _platform_folders().user_data_path / "models"


def _from_variable(name: str) -> Path | None:
    text = os.environ.get(name)
    return user_path(text) if text else None


def _platform_folders() -> PlatformDirsABC:
    from platformdirs import PlatformDirs

    return PlatformDirs("ramify", appauthor=False)
