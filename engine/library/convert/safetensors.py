"""Reader and writer of safetensors files on numpy, one tensor at a time."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from ramify.errors import ModelLoadError
from ramify.files import replacing
from ramify.json_text import read_json

Array = npt.NDArray[Any]

MAX_HEADER_BYTES = 100_000_000
"""The format's own limit."""

_KINDS: Mapping[str, str] = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "<i1",
    "U8": "<u1", "BOOL": "<u1",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Entry:
    kind: str
    shape: tuple[int, ...]
    start: int


class SafetensorsFile:
    """A memory-mapped safetensors file; a tensor is read on request.

    Raises:
        ModelLoadError: if the file is missing, truncated or not a safetensors file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._data = np.memmap(path, dtype=np.uint8, mode="r")
            self._entries = _entries(self._data)
        except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
            raise ModelLoadError(f"{path} cannot be read as safetensors ({error})", "download it again") from error

    @property
    def names(self) -> list[str]:
        """Names of the tensors, in the order of the file."""
        return list(self._entries)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor."""
        return self._entries[name].shape

    def tensor(self, name: str) -> Array:
        """Return a tensor; 16-bit brain floats come as 32-bit floats, other kinds as they are."""
        entry = self._entries[name]
        kind = np.dtype(_KINDS[entry.kind])
        size = math.prod(entry.shape) * kind.itemsize
        values = self._data[entry.start : entry.start + size].view(kind).reshape(entry.shape)
        if entry.kind == "BF16":
            return cast("Array", (values.astype(np.uint32) << 16).view(np.float32))
        return values


def write_safetensors(path: Path, tensors: Mapping[str, Array]) -> None:
    """Write 32-bit tensors, whole or not at all."""
    header: dict[str, Any] = {}
    start = 0
    parts = {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in tensors.items()}
    for name, array in parts.items():
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [start, start + array.nbytes]}
        start += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with replacing(path, private=False) as part, part.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in parts.values():
            file.write(array.tobytes())


def _entries(data: npt.NDArray[np.uint8]) -> dict[str, _Entry]:
    (length,) = struct.unpack("<Q", data[:8].tobytes())
    if length > min(MAX_HEADER_BYTES, len(data) - 8):
        raise ValueError(f"its header claims {length} bytes")
    header = cast("dict[str, Any]", read_json(data[8 : 8 + length].tobytes()))
    first = 8 + length
    found: dict[str, _Entry] = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in _KINDS:
            raise ValueError(f"tensor {name!r} is of the kind {entry['dtype']}, which is not supported")
        start, end = (first + int(each) for each in entry["data_offsets"])
        shape = tuple(int(each) for each in entry["shape"])
        if end > len(data) or end - start != math.prod(shape) * np.dtype(_KINDS[entry["dtype"]]).itemsize:
            raise ValueError(f"tensor {name!r} does not lie in the file; it is truncated")
        found[name] = _Entry(entry["dtype"], shape, start)
    return found
