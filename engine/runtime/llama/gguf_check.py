"""Check of a GGUF file's header without native code: a broken file is an error and never an abort."""

from __future__ import annotations

import math
import mmap
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ramify.errors import ModelLoadError

Scalar = str | int | float | bool

MAX_TENSORS = 1 << 20
MAX_KEYS = 1 << 16
MAX_DIMENSIONS = 4
MAX_STRING = 1 << 26

_FIXED = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_INPUT = "token_embd.weight"
_LOOKED_UP = ("per_layer_token_embd.weight", "position_embd.weight", "token_types.weight")
"""Tensors of which a token reads one row and is multiplied with none."""
_OUTPUTS = ("output.weight", "cls.output.weight")
"""Output matrices; a model without one uses its input embedding."""

# Block size in elements and bytes by tensor type (ggml.h); of a type that is not listed only the start is checked.
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292),
    24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 30: (1, 2),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Matrix:
    """A tensor of two dimensions; `kind` is the number of its type in ggml."""

    name: str
    kind: int
    rows: int


@dataclass(frozen=True, slots=True)
class GgufSummary:
    """Summary of a GGUF file's header.

    `metadata` leaves arrays out. `parameters` counts all weights, `token_parameters` those that each token is
    multiplied with: an input embedding, of which a token reads one row, only where it is the output matrix too.
    """

    architecture: str
    parameters: int
    token_parameters: int
    metadata: dict[str, Scalar]
    tensor_types: frozenset[int]
    file_bytes: int
    matrices: tuple[Matrix, ...] = ()


class _Broken(Exception):
    """Raised inside the parser with the reason why the file is broken."""


class _Reader:
    """A cursor over the mapped file that never reads past its end."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self.at = 0
        self.has_byte_tokens = False

    def take(self, count: int) -> bytes:
        if count > len(self._data) - self.at:
            raise _Broken("it ends in the middle of its header; it is truncated")
        self.at += count
        return self._data[self.at - count : self.at]

    def skip(self, count: int) -> None:
        if count > len(self._data) - self.at:
            raise _Broken("it ends in the middle of its header; it is truncated")
        self.at += count

    def number(self, form: str) -> int:
        return int(struct.unpack(form, self.take(struct.calcsize(form)))[0])

    def string(self) -> bytes:
        length = self.number("<Q")
        if length > MAX_STRING:
            raise _Broken(f"it has a text of {length} bytes in its header; it is damaged")
        return self.take(length)


def check_gguf(path: str | os.PathLike[str]) -> GgufSummary:
    """Check a GGUF file's structure and return what its header says.

    Raises:
        ModelLoadError: if the file is missing, unreadable, not a GGUF file, truncated or damaged.
    """
    file = Path(path)
    try:
        if file.is_dir():
            raise ModelLoadError(f"{path} is a folder", "name a .gguf file in it")
        status = file.stat()
        if not file.is_file():
            raise ModelLoadError(f"{path} is not a regular file", "name a .gguf file")
        return _checked(os.fspath(file), status.st_size, status.st_mtime_ns, status.st_ino)
    except (FileNotFoundError, NotADirectoryError):
        raise ModelLoadError(f"there is no file {path}", "check the path, or see `ramify models list`") from None
    except (_Broken, struct.error) as error:
        raise ModelLoadError(f"{path} cannot be read: {error}", "download or convert it again") from None
    except OSError as error:
        raise ModelLoadError(f"{path} cannot be read: {error.strerror}", "check the file's permissions") from None
    except ValueError:
        raise ModelLoadError(f"{str(path)!r} cannot be the path of a file", "check the path") from None


@lru_cache(maxsize=16)
def _checked(path: str, size: int, modified_ns: int, inode: int) -> GgufSummary:
    """Parse the file in this state; a large vocabulary takes a while, and a load asks more than once."""
    with Path(path).open("rb") as stream:
        if size < 24 or stream.read(4) != b"GGUF":
            raise ModelLoadError(f"{path} is not a GGUF file", "convert the model to GGUF first")
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _parse(_Reader(data), len(data))


def _parse(reader: _Reader, size: int) -> GgufSummary:
    reader.skip(4)
    version = reader.number("<I")
    if version not in (2, 3):
        raise _Broken(f"it has GGUF version {version}, and versions 2 and 3 are supported")
    tensors, keys = reader.number("<Q"), reader.number("<Q")
    if tensors > MAX_TENSORS or keys > MAX_KEYS:
        raise _Broken(f"it claims {tensors} tensors and {keys} keys; it is damaged")
    metadata: dict[str, Scalar] = {}
    for _ in range(keys):
        key = reader.string().decode("utf-8", "replace")
        value = _value(reader, reader.number("<I"), key)
        if value is not None:
            metadata[key] = value
    architecture = metadata.get("general.architecture")
    if not isinstance(architecture, str):
        raise _Broken("it does not name its architecture; it is damaged")
    sizes, types, needed, matrices = _tensors(reader, tensors)
    if metadata.get("tokenizer.ggml.model") == "llama" and not reader.has_byte_tokens:
        raise _Broken("its vocabulary lacks the byte tokens, so that some texts cannot be tokenized; it is damaged")
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment <= 0:
        raise _Broken("its alignment is not a positive number; it is damaged")
    start = (reader.at + alignment - 1) // alignment * alignment
    if tensors and start + needed > size:
        raise _Broken(f"it holds {size} bytes and its tensors need {start + needed}; it is truncated")
    return GgufSummary(
        architecture, sum(sizes.values()), _token_parameters(sizes, metadata), metadata, types, size, matrices
    )


def _token_parameters(sizes: Mapping[str, int], metadata: Mapping[str, Scalar]) -> int:
    """Return the number of weights that a token is multiplied with, by the sizes of all tensors.

    The word of a file that states its own count is taken.
    """
    stated = metadata.get("ramify.parameter_count")
    if isinstance(stated, int) and stated > 0:
        return stated
    own_output = any(name in sizes for name in _OUTPUTS)
    looked_up = sum(sizes.get(name, 0) for name in (*_LOOKED_UP, *((_INPUT,) if own_output else ())))
    return sum(sizes.values()) - looked_up


def _tensors(reader: _Reader, count: int) -> tuple[dict[str, int], frozenset[int], int, tuple[Matrix, ...]]:
    """Return the sizes of the tensors, their types, the bytes that their data needs, and the matrices."""
    sizes: dict[str, int] = {}
    needed = 0
    types: set[int] = set()
    matrices: list[Matrix] = []
    for _ in range(count):
        name = reader.string().decode("utf-8", "replace")
        dimensions = reader.number("<I")
        if not 0 < dimensions <= MAX_DIMENSIONS:
            raise _Broken(f"tensor {_shown(name)} has {dimensions} dimensions; it is damaged")
        shape = [reader.number("<Q") for _ in range(dimensions)]
        elements = math.prod(shape)
        kind, offset = reader.number("<I"), reader.number("<Q")
        block, width = _BLOCKS.get(kind, (1, 0))
        if elements <= 0 or elements % block:
            raise _Broken(f"tensor {_shown(name)} has a shape that its type cannot have; it is damaged")
        sizes[name] = sizes.get(name, 0) + elements
        types.add(kind)
        if dimensions == 2:
            matrices.append(Matrix(name, kind, shape[1]))
        needed = max(needed, offset + elements // block * width)
    return sizes, frozenset(types), needed, tuple(matrices)


def _value(reader: _Reader, kind: int, key: str) -> Scalar | None:
    """Return a metadata value, None for an array, whose elements are only walked over."""
    if kind in _FIXED:
        form = _FIXED[kind]
        return struct.unpack(form, reader.take(struct.calcsize(form)))[0]
    if kind == _STRING:
        return reader.string().decode("utf-8", "replace")
    if kind != _ARRAY:
        raise _Broken(f"the key {_shown(key)} has a value of unknown type {kind}; it is damaged")
    inner, count = reader.number("<I"), reader.number("<Q")
    if inner in _FIXED:
        reader.skip(struct.calcsize(_FIXED[inner]) * count)
        return None
    if inner != _STRING:
        raise _Broken(f"the key {_shown(key)} is an array of unknown type {inner}; it is damaged")
    unique = key == "tokenizer.ggml.tokens"
    seen: set[bytes] = set()
    for _ in range(count):
        text = reader.string()
        if unique:
            # llama.cpp aborts on these.
            if text in seen:
                raise _Broken(
                    f"its vocabulary has the token {_shown(text.decode('utf-8', 'replace'))} twice; it is damaged"
                )
            seen.add(text)
    if unique:
        reader.has_byte_tokens = b"<0x00>" in seen and b"<0xFF>" in seen
    return None


def _shown(name: str) -> str:
    """Return a name from the file as it fits into one line, however damaged it is."""
    return repr(name if len(name) <= 60 else f"{name[:57]}...")
