"""Files of KV states in a store: the cells of long prompt prefixes, each with a checksum over its name and content."""

from __future__ import annotations

from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from ramify.files import make_subfolder, read_bytes, replacing

FOLDER = "states"
SUFFIX = ".kv"
LEAST_TOKENS = 256
"""Shorter prefixes are evaluated again sooner than they are read."""

_MAGIC = b"ramify KV state 1\n"
_SUM_BYTES = 16


def state_file(folder: Path, key: bytes) -> Path:
    """Return the file of the state with a key in a store's folder."""
    return folder / FOLDER / f"{key.hex()}{SUFFIX}"


def write_state(path: Path, state: bytes) -> bool:
    """Write a state, whole or not at all; return whether there was room and a right to."""
    try:
        make_subfolder(path.parent)
        with replacing(path) as part, part.open("wb") as file:
            file.write(_MAGIC + _checksum(path, state))
            file.write(state)
    except OSError:
        return False
    return True


def read_state(path: Path) -> bytes | None:
    """Return the state of a file, None if there is none or it is damaged."""
    try:
        content = read_bytes(path)
    except OSError:
        return None
    head = len(_MAGIC) + _SUM_BYTES
    state = content[head:]
    return state if content[:head] == _MAGIC + _checksum(path, state) else None


def state_files(folder: Path) -> list[Path]:
    """Return the files of all states in a store's folder, the one that was written first at the beginning."""
    found = list[tuple[float, Path]]()
    for path in (folder / FOLDER).glob(f"*{SUFFIX}"):
        with suppress(OSError):
            found.append((path.stat().st_mtime, path))
    return [path for _, path in sorted(found)]


def _checksum(path: Path, state: bytes) -> bytes:
    return blake2b(path.name.encode() + b"\n" + state, digest_size=_SUM_BYTES).digest()
