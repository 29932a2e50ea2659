"""Files and folders of ramify: guarded opening, atomic replacement, lock files, the user's folders.

Every file that ramify writes is opened by these functions. A folder may have come from somebody else: symbolic links in
it are not followed, and existing files are written only if they are regular files of this user under one name.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from .errors import LockHeld, UsageError

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
ACCESS_VARIABLE = "RAMIFY_FILE_ACCESS"
"""Environment variable that says who may read new files: `private` (the default), or as the `umask` says."""

PART_SUFFIX = ".part"
_ABANDONED_S = 3600.0
_NAME_KEPT = 40
"""Characters of a file's name that its temporary file has too."""


# Guarded opening


def is_private() -> bool:
    """Tell whether only their owner can read new files and folders.

    Raises:
        UsageError: if RAMIFY_FILE_ACCESS has another value than `private` or `umask`.
    """
    access = os.environ.get(ACCESS_VARIABLE) or "private"
    if access not in ("private", "umask"):
        raise UsageError(f"{ACCESS_VARIABLE} is {access!r}", "set it to private or umask")
    return access == "private"


def open_guarded(path: Path, flags: int, *, private: bool = True) -> int:
    """Return a descriptor of a file, made if it is missing; `flags` are those of `os.open` for reading and writing.

    `private` makes a new file readable by its owner alone, unless RAMIFY_FILE_ACCESS is `umask`.

    Raises:
        OSError: if it cannot be opened, or is a symbolic link, no regular file, another user's (and not that of its
            folder's owner), or has further names (hard links).
    """
    flags |= os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    while True:
        with suppress(FileExistsError):
            return os.open(path, flags | os.O_CREAT | os.O_EXCL, _mode(private))
        try:
            descriptor = os.open(path, flags)
        except FileNotFoundError:
            continue  # Another process removed it just now.
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EMLINK):
                raise _refusal(path, "it is a symbolic link, which is not followed") from None
            if error.errno in (errno.ENXIO, errno.EOPNOTSUPP):
                raise _refusal(path, "it is no regular file") from None
            raise
        try:
            _check_ownership(path, os.fstat(descriptor))
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


def _mode(private: bool) -> int:
    return 0o600 if private and is_private() else 0o666


def _check_ownership(path: Path, facts: os.stat_result) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise _refusal(path, "it is no regular file")
    # Where all files show another user, as on some network disks, the folder shows that user too.
    if facts.st_uid not in (os.geteuid(), path.parent.stat().st_uid):
        raise _refusal(path, "it belongs to another user")
    if facts.st_nlink > 1:
        raise _refusal(path, "it has further names (hard links)")


def _refusal(path: Path, reason: str) -> OSError:
    return OSError(errno.EPERM, reason, str(path))


def open_regular(path: Path) -> IO[bytes]:
    """Open a file for reading; a pipe or device, which might never end, is refused.

    Raises:
        OSError: if it cannot be read, or is no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        if stat.S_ISDIR(mode := os.fstat(descriptor).st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise _refusal(path, "it is no regular file")
        return open(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: Path) -> bytes:
    """Return the content of a file, opened as by `open_regular`."""
    with open_regular(path) as file:
        return file.read()


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits.

    Raises:
        OSError: if it cannot be read.
    """
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_folder(path: Path) -> None:
    """Make a folder, with those above it, if it is missing; only its owner can enter a new one, as for files.

    Raises:
        OSError: if it cannot be made.
    """
    path.mkdir(mode=0o700 if is_private() else 0o777, parents=True, exist_ok=True)


def make_subfolder(path: Path) -> None:
    """Make a folder as `make_folder` does, inside of a folder that may have come from somebody else.

    Raises:
        OSError: if it cannot be made, or is a symbolic link.
    """
    make_folder(path)
    if path.is_symlink():
        raise _refusal(path, "it is a symbolic link, which is not followed")


@contextmanager
def exporting(path: Path) -> Generator[IO[bytes]]:
    """Yield a binary file for a user's output to `path`, which it replaces at the end of the block.

    A device or pipe is written to as it is.

    Raises:
        OSError: if it cannot be written.
    """
    if _is_stream(path):
        with open(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOCTTY | os.O_CLOEXEC), "wb") as stream:
            yield stream
    elif not os.access(path.parent, os.W_OK) and path.exists():
        with open(open_guarded(path, os.O_WRONLY), "wb") as file:
            file.truncate()
            yield file
    else:
        with replacing(path, empty=True) as part, part.open("wb") as file:
            yield file


def export_text(path: Path, text: str, *, errors: str = "strict") -> None:
    """Write `text` in UTF-8 to where a user asked for, as `exporting` does."""
    with exporting(path) as file:
        file.write(text.encode("utf-8", errors))


_DESCRIPTORS = ("/dev/fd", "/proc/self/fd")
"""Folders of what the process has open."""


def _is_stream(path: Path) -> bool:
    if str(path) in ("/dev/stdout", "/dev/stderr") or any(map(path.is_relative_to, _DESCRIPTORS)):
        return True
    try:
        mode = path.lstat().st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


# Atomic replacement


@contextmanager
def replacing(path: Path, *, private: bool = True, empty: bool = False) -> Generator[Path]:
    """Yield the path of an empty temporary file beside `path`; after the block it is synced and takes that name.

    If the block raises, the temporary file is removed and `path` stays as it was. A symbolic link at `path` is
    replaced itself. `private` is as for `open_guarded`; `empty` says that the file may stay without content.

    Raises:
        FileNotFoundError: if nothing was written and the file has to have content.
        OSError: if it cannot be written.
    """
    part = path.with_name(f".{path.name[:_NAME_KEPT]}.{os.getpid()}.{os.urandom(8).hex()}{PART_SUFFIX}")
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _mode(private)))
    try:
        yield part
        if not empty and part.stat().st_size == 0:
            raise FileNotFoundError(errno.ENOENT, "nothing was written", str(part))
        sync(part)
        part.replace(path)
        sync(path.parent)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def write_text(path: Path, text: str, *, errors: str = "strict", private: bool = True) -> None:
    """Replace a file by `text` in UTF-8, whole or not at all; `errors` as for `open`, `private` as for `replacing`."""
    with replacing(path, private=private, empty=True) as part:
        part.write_text(text, encoding="utf-8", errors=errors)


def copy_file(source: Path, target: Path) -> None:
    """Replace the file `target` by a copy of `source` that others may read as the umask says."""
    with replacing(target, private=False) as part, source.open("rb") as read, part.open("wb") as written:
        shutil.copyfileobj(read, written)


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


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# Locks


@contextmanager
def lock(path: Path) -> Generator[None]:
    """Hold a lock file in the block, without waiting for it; the file says which process holds it, and stays.

    Raises:
        LockHeld: if it is held already, by another process or by this one.
        OSError: if the file cannot be opened.
    """
    while True:
        descriptor = open_guarded(path, os.O_RDWR)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LockHeld(path, _holder(descriptor)) from None
            if not _is_open_at(descriptor, path):
                continue  # The holder before removed the file with its folder.
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.uname().nodename} process {os.getpid()}\n".encode(), 0)
            yield
            return
        finally:
            os.close(descriptor)


def _is_open_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _holder(descriptor: int) -> str:
    return os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip()[:100] or "unknown"


# Folders of the user; those with a variable of their own follow it first, then XDG_..._HOME if it is absolute.


def config_path() -> Path:
    """Return the path of the settings file, which need not exist: RAMIFY_CONFIG, else config.toml of the user."""
    return _from_variable(CONFIG_VARIABLE) or _platform_folders().user_config_path / "config.toml"


def cache_folder() -> Path:
    """Return the folder of kept measurements: RAMIFY_CACHE_DIR, else the user's cache folder."""
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
