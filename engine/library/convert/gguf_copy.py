"""Copies of GGUF files byte by byte, with another entry of metadata and other tensors.

The entries of a large vocabulary are copied as they stand: to read and write each of them takes far longer.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from ...runtime.llama.gguf_check import check_gguf
from .safetensors import Array

_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a value by its type."""
_STRING = 8
_F16 = 1
_VERSION = 3
_ALIGNMENT = "general.alignment"
_CHUNK = 1 << 24


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor in a file: its `shape` with the row length first, its type in ggml, and the places of its data."""

    shape: tuple[int, ...]
    kind: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class GgufLayout:
    """Places in a GGUF file: of each whole entry of metadata and of its value, and of each tensor, by name."""

    path: Path
    entries: Mapping[str, tuple[int, int, int]]
    tensors: Mapping[str, StoredTensor]
    alignment: int

    def strings(self, key: str) -> list[bytes]:
        """Return an entry that is an array of texts, empty if there is none."""
        if key not in self.entries:
            return []
        _, at, end = self.entries[key]
        with self.path.open("rb") as file:
            file.seek(at)
            data = file.read(end - at)
        count: int = struct.unpack_from("<Q", data, 4)[0]
        found, place = list[bytes](), 12
        for _ in range(count):
            length: int = struct.unpack_from("<Q", data, place)[0]
            found.append(data[place + 8 : place + 8 + length])
            place += 8 + length
        return found

    def integers(self, key: str) -> list[int]:
        """Return an entry that is an array of 32-bit integers, empty if there is none."""
        if key not in self.entries:
            return []
        _, at, end = self.entries[key]
        return np.fromfile(self.path, "<i4", (end - at - 12) // 4, offset=at + 12).tolist()

    def data_of(self, name: str, size: int) -> npt.NDArray[np.uint8]:
        """Return the first `size` bytes of a tensor's data, mapped from the file."""
        return np.memmap(self.path, np.uint8, "r", offset=self.tensors[name].start, shape=(size,))


def gguf_layout(path: Path) -> GgufLayout:
    """Return the places in a file.

    Raises:
        ModelLoadError: if it is no sound GGUF file.
    """
    alignment = int(check_gguf(path).metadata.get(_ALIGNMENT, 32))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        tensors, count = struct.unpack_from("<QQ", data, 8)
        at = 24
        entries = dict[str, tuple[int, int, int]]()
        for _ in range(count):
            start = at
            key, at = _text(data, at)
            value = at
            kind: int = struct.unpack_from("<I", data, at)[0]
            at = _skip(data, at + 4, kind)
            entries[key] = start, value + 4, at
        infos = list[tuple[str, tuple[int, ...], int, int]]()
        for _ in range(tensors):
            name, at = _text(data, at)
            dimensions: int = struct.unpack_from("<I", data, at)[0]
            shape: tuple[int, ...] = struct.unpack_from(f"<{dimensions}Q", data, at + 4)
            tensor_kind, offset = struct.unpack_from("<IQ", data, at + 4 + 8 * dimensions)
            at += 16 + 8 * dimensions
            infos.append((name, shape, tensor_kind, offset))
        first, size = _aligned(at, alignment), len(data)
    # A tensor ends where the next one begins: bytes between them belong to none.
    starts = sorted({offset for *_, offset in infos})
    after = dict(zip(starts, [*starts[1:], size - first], strict=True))
    found = {
        name: StoredTensor(shape, kind, first + offset, first + after[offset]) for name, shape, kind, offset in infos
    }
    return GgufLayout(path, entries, found, alignment)


def copy_gguf(layout: GgufLayout, out: IO[bytes], key: str, text: str, tensors: Mapping[str, Array]) -> None:
    """Copy a file to `out` with the text `key` of its metadata, and `tensors` [rows, width] of 16-bit floats.

    A tensor with the name of one of the file takes its place; others come after all of the file.
    """
    kept = {name: span for name, span in layout.entries.items() if name != key}
    stored = {name: each for name, each in layout.tensors.items() if name not in tensors}
    with layout.path.open("rb") as source:
        out.write(b"GGUF" + struct.pack("<IQQ", _VERSION, len(stored) + len(tensors), len(kept) + 1))
        for start, _, end in kept.values():
            _copy(source, out, start, end)
        out.write(_written(key) + struct.pack("<I", _STRING) + _written(text))
        offset = 0
        for name, each in stored.items():
            out.write(_info(name, each.shape, each.kind, offset))
            offset = _aligned(offset + each.end - each.start, layout.alignment)
        for name, each in tensors.items():
            out.write(_info(name, tuple(reversed(each.shape)), _F16, offset))
            offset = _aligned(offset + each.nbytes, layout.alignment)
        for each in stored.values():
            out.write(bytes(_aligned(out.tell(), layout.alignment) - out.tell()))
            _copy(source, out, each.start, each.end)
        for each in tensors.values():
            out.write(bytes(_aligned(out.tell(), layout.alignment) - out.tell()))
            out.write(np.ascontiguousarray(each, np.float16).tobytes())
        out.write(bytes(_aligned(out.tell(), layout.alignment) - out.tell()))


def _copy(source: IO[bytes], out: IO[bytes], start: int, end: int) -> None:
    source.seek(start)
    for at in range(start, end, _CHUNK):
        out.write(source.read(min(_CHUNK, end - at)))


def _info(name: str, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    return _written(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def _written(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _text(data: mmap.mmap, at: int) -> tuple[str, int]:
    length: int = struct.unpack_from("<Q", data, at)[0]
    return data[at + 8 : at + 8 + length].decode("utf-8", "replace"), at + 8 + length


def _skip(data: mmap.mmap, at: int, kind: int) -> int:
    """Return the end of a value of a type that begins at a place; `check_gguf` knows that it is there."""
    if kind in _SIZES:
        return at + _SIZES[kind]
    if kind == _STRING:
        return at + 8 + int(struct.unpack_from("<Q", data, at)[0])
    inner, count = struct.unpack_from("<IQ", data, at)
    at += 12
    if inner in _SIZES:
        return at + _SIZES[inner] * count
    length_at = struct.Struct("<Q").unpack_from
    for _ in range(count):
        at += 8 + length_at(data, at)[0]
    return at


def _aligned(size: int, alignment: int) -> int:
    return (size + alignment - 1) // alignment * alignment
