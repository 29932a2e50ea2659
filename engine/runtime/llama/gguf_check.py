"""Check of a GGUF file's header without native code: a broken file is an error and never an abort."""

from __future__ import annotations

import math
import mmap
import os
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from ramify.errors import ModelLoadError

Scalar = str | int | float | bool

MAX_TENSORS = 1 << 20
MAX_KEYS = 1 << 16
MAX_DIMENSIONS = 4
MAX_STRING = 1 << 26

_FIXED = {
    kind: struct.Struct(form)
    for kind, form in {
        0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d",
    }.items()
}  # fmt: skip
_STRING, _ARRAY = 8, 9
_UINT32, _UINT64 = _FIXED[4], _FIXED[10]
_TOKENS = "tokenizer.ggml.tokens"
_TOKEN_ID = re.compile(r"tokenizer\.ggml\.(?:bos|eos)_token_id")
"""Ids that have to be in the vocabulary; llama.cpp warns of others and uses its defaults."""
PART_NAME = re.compile(r"(?P<stem>.+)-(?P<part>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)
"""Names of the parts of a split model."""
NO_TOKEN = (1 << 32) - 1
"""The id that stands for no token, as some converters write it; llama.cpp ignores it."""
_COUNTS = {
    "block_count": (1, 512),
    "expert_count": (0, 1024),
    "expert_used_count": (0, 1024),
    "context_length": (0, (1 << 31) - 1),
    "embedding_length": (1, 1 << 20),
    "feed_forward_length": (0, 1 << 24),
    "attention.head_count": (0, 1 << 14),
    "attention.head_count_kv": (0, 1 << 14),
    "attention.key_length": (1, 1 << 16),
    "attention.value_length": (1, 1 << 16),
    "rope.dimension_count": (0, 1 << 16),
    "vocab_size": (0, 1 << 31),
}
"""Least and largest values of an architecture's counts: where llama.cpp aborts, or far beyond any model."""
SHORTEST_CONTEXT = 8
"""Fewest tokens of a context that a file may declare; 0 means that it declares none."""
_LENGTHS = ("attention.key_length", "attention.value_length", "rope.dimension_count")
_EVEN_HEADS = frozenset({"llama", "qwen2", "qwen3"})
"""Architectures for which llama.cpp aborts unless all of _LENGTHS are equal."""
_INPUT = "token_embd.weight"
_LOOKED_UP = ("per_layer_token_embd.weight", "position_embd.weight", "token_types.weight")
"""Tensors of which a token reads one row and is multiplied with none."""
_EXPERTS = "_exps."
"""Part of the names of tensors that hold all experts of a layer."""
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
    """A tensor of two dimensions; `kind` is the number of its type in ggml, `size_bytes` 0 for an unknown one."""

    name: str
    kind: int
    rows: int
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class GgufSummary:
    """Summary of a GGUF file's header, and the state of the file that was read.

    `metadata` leaves arrays out. `parameters` counts all weights, `token_parameters` those that each token is
    multiplied with: an input embedding, of which a token reads one row, only where it is the output matrix too.
    Of a mixture of experts a token is multiplied with those experts alone that it uses. The figures of a split model
    are those of all its parts. `modified_ns` is the last time of change in nanoseconds since 1970, `inode` the number
    of the (first) file on the disk.
    """

    architecture: str
    parameters: int
    token_parameters: int
    metadata: dict[str, Scalar]
    tensor_types: frozenset[int]
    file_bytes: int
    matrices: tuple[Matrix, ...] = ()
    modified_ns: int = 0
    inode: int = 0

    @property
    def file_state(self) -> tuple[int, int, int]:
        """Size, time of change and inode of the file, by which another one is told from it."""
        return self.file_bytes, self.modified_ns, self.inode

    def verify_same(self, path: str | os.PathLike[str]) -> None:
        """Check that the file is the one that was read.

        Raises:
            ModelLoadError: if it is another one, has changed since, or cannot be read any more.
        """
        try:
            found = [os.stat(each) for each in (Path(path), *_further_parts(Path(path), self.metadata))]
        except OSError as error:
            raise ModelLoadError(f"{path} cannot be read any more: {error.strerror}", "load it again") from None
        size, changed_ns = sum(each.st_size for each in found), max(each.st_mtime_ns for each in found)
        if (size, changed_ns, found[0].st_ino) != self.file_state:
            raise ModelLoadError(f"{path} was changed or exchanged after it had been checked", "load it again")


class _Broken(Exception):
    """Raised inside the parser with the reason why the file is broken."""


def _too_long(length: int) -> _Broken:
    return _Broken(f"it has a text of {length} bytes in its header; it is damaged")


class _Reader:
    """A cursor over the mapped file that never reads past its end."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._size = len(data)
        self.at = 0
        self.vocabulary_size: int | None = None
        self.has_byte_tokens = False

    def skip(self, count: int) -> None:
        if count > self._size - self.at:
            raise _Broken("it ends in the middle of its header; it is truncated")
        self.at += count

    def number(self, form: struct.Struct) -> Any:
        start = self.at
        self.skip(form.size)
        return form.unpack_from(self._data, start)[0]

    def string(self) -> bytes:
        length = self.number(_UINT64)
        if length > MAX_STRING:
            raise _too_long(length)
        self.skip(length)
        return self._data[self.at - length : self.at]

    def strings(self, count: int, *, keep: bool) -> list[bytes]:
        """Return an array of strings; none of them without `keep`, which only walks over them."""
        # Not by the methods above: their calls would take most of the time that a large vocabulary needs.
        data, length_at, at = self._data, _UINT64.unpack_from, self.at
        found: list[bytes] = []
        try:
            for _ in range(count):
                length: int = length_at(data, at)[0]
                if length > MAX_STRING:
                    raise _too_long(length)
                at += 8
                if keep:
                    found.append(data[at : at + length])
                at += length
        except struct.error:
            at = self._size + 1
        self.skip(at - self.at)
        return found


def check_gguf(path: str | os.PathLike[str]) -> GgufSummary:
    """Check a GGUF file's structure and return a summary of its header.

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
        first = _checked(os.fspath(file), status.st_size, status.st_mtime_ns, status.st_ino, whole=True)
        headers = [first]
        for part in _further_parts(file, first.metadata):
            status = part.stat()
            headers.append(_checked(os.fspath(part), status.st_size, status.st_mtime_ns, status.st_ino, whole=False))
        return _summary(headers)
    except (FileNotFoundError, NotADirectoryError):
        raise ModelLoadError(f"there is no file {path}", "check the path, or see `ramify models list`") from None
    except (_Broken, struct.error) as error:
        raise ModelLoadError(f"{path} cannot be read: {error}", "download or convert it again") from None
    except OSError as error:
        raise ModelLoadError(f"{path} cannot be read: {error.strerror}", "check the file's permissions") from None
    except ValueError:
        raise ModelLoadError(f"{str(path)!r} cannot be the path of a file", "check the path") from None


def part_of(file: str) -> tuple[int, int]:
    """Return the number of a part and the number of parts, by the file's name; (1, 1) for a model in one file."""
    split = PART_NAME.fullmatch(file.rpartition("/")[2])
    return (int(split["part"]), int(split["count"])) if split else (1, 1)


def part_names(file: str) -> list[str]:
    """Return the names of all parts of the model that `file` belongs to, the first part first."""
    split = PART_NAME.fullmatch(file)
    if split is None:
        return [file]
    count = int(split["count"])
    return [f"{split['stem']}-{part:05}-of-{count:05}{file[-5:]}" for part in range(1, count + 1)]


def _further_parts(file: Path, metadata: Mapping[str, Scalar]) -> list[Path]:
    """Return the parts of a split model after its first one, as many as there are."""
    count = metadata.get("split.count")
    if part_of(file.name) != (1, count):
        return []
    return [part for name in part_names(file.name)[1:] if (part := file.with_name(name)).is_file()]


@dataclass(frozen=True, slots=True)
class _Header:
    """Header of one file: its metadata, the sizes of its tensors by name, their types and the matrices."""

    metadata: dict[str, Scalar]
    sizes: Mapping[str, int]
    types: frozenset[int]
    matrices: tuple[Matrix, ...]
    file_bytes: int
    modified_ns: int = 0
    inode: int = 0


def _summary(headers: Sequence[_Header]) -> GgufSummary:
    first = headers[0]
    sizes = {name: size for each in headers for name, size in each.sizes.items()}
    return GgufSummary(
        architecture=str(first.metadata["general.architecture"]),
        parameters=sum(sizes.values()),
        token_parameters=_token_parameters(sizes, first.metadata),
        metadata=first.metadata,
        tensor_types=frozenset[int]().union(*(each.types for each in headers)),
        file_bytes=sum(each.file_bytes for each in headers),
        matrices=tuple(matrix for each in headers for matrix in each.matrices),
        modified_ns=max(each.modified_ns for each in headers),
        inode=first.inode,
    )


@lru_cache(maxsize=64)
def _checked(path: str, size: int, modified_ns: int, inode: int, *, whole: bool) -> _Header:
    """Parse the file in this state; a large vocabulary takes a while, and a load asks more than once."""
    with Path(path).open("rb") as stream:
        if size < 24 or stream.read(4) != b"GGUF":
            raise ModelLoadError(f"{path} is not a GGUF file", "convert the model to GGUF first")
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return replace(_parse(_Reader(data), len(data), whole=whole), modified_ns=modified_ns, inode=inode)


def _parse(reader: _Reader, size: int, *, whole: bool) -> _Header:
    """Return the header; without `whole` that of a further part, which has tensors and little metadata."""
    reader.skip(4)
    version = reader.number(_UINT32)
    if version not in (2, 3):
        raise _Broken(f"it has GGUF version {version}, and versions 2 and 3 are supported")
    tensors, keys = reader.number(_UINT64), reader.number(_UINT64)
    if tensors > MAX_TENSORS or keys > MAX_KEYS:
        raise _Broken(f"it claims {tensors} tensors and {keys} keys; it is damaged")
    metadata: dict[str, Scalar] = {}
    for _ in range(keys):
        key = reader.string().decode("utf-8", "replace")
        value = _value(reader, reader.number(_UINT32), key)
        if value is not None:
            metadata[key] = value
    if whole:
        if not isinstance(metadata.get("general.architecture"), str):
            raise _Broken("it does not name its architecture; it is damaged")
        _check_numbers(metadata, reader.vocabulary_size)
    sizes, types, needed, matrices = _tensors(reader, tensors)
    if metadata.get("tokenizer.ggml.model") == "llama" and not reader.has_byte_tokens:
        raise _Broken("its vocabulary lacks the byte tokens, so that some texts cannot be tokenized; it is damaged")
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment <= 0:
        raise _Broken("its alignment is not a positive number; it is damaged")
    start = (reader.at + alignment - 1) // alignment * alignment
    if tensors and start + needed > size:
        raise _Broken(f"it holds {size} bytes and its tensors need {start + needed}; it is truncated")
    return _Header(metadata, sizes, types, matrices, size)


def _token_parameters(sizes: Mapping[str, int], metadata: Mapping[str, Scalar]) -> int:
    """Return the number of weights that a token is multiplied with, by the sizes of all tensors.

    The word of a file that states its own count is taken.
    """
    stated = metadata.get("ramify.parameter_count")
    if isinstance(stated, int) and stated > 0:
        return stated
    own_output = any(name in sizes for name in _OUTPUTS)
    unused = sum(sizes.get(name, 0) for name in (*_LOOKED_UP, *((_INPUT,) if own_output else ())))
    architecture = metadata.get("general.architecture")
    experts, used = (metadata.get(f"{architecture}.{name}") for name in ("expert_count", "expert_used_count"))
    if isinstance(experts, int) and isinstance(used, int) and 0 < used < experts:
        unused += sum(size for name, size in sizes.items() if _EXPERTS in name) * (experts - used) // experts
    return sum(sizes.values()) - unused


def _tensors(reader: _Reader, count: int) -> tuple[dict[str, int], frozenset[int], int, tuple[Matrix, ...]]:
    """Return the sizes of the tensors, their types, the bytes that their data needs, and the matrices."""
    sizes: dict[str, int] = {}
    needed = 0
    types: set[int] = set()
    matrices: list[Matrix] = []
    for _ in range(count):
        name = reader.string().decode("utf-8", "replace")
        dimensions = reader.number(_UINT32)
        if not 0 < dimensions <= MAX_DIMENSIONS:
            raise _Broken(f"tensor {_shown(name)} has {dimensions} dimensions; it is damaged")
        shape = [reader.number(_UINT64) for _ in range(dimensions)]
        elements = math.prod(shape)
        kind, offset = reader.number(_UINT32), reader.number(_UINT64)
        block, width = _BLOCKS.get(kind, (1, 0))
        if elements <= 0 or elements % block:
            raise _Broken(f"tensor {_shown(name)} has a shape that its type cannot have; it is damaged")
        sizes[name] = sizes.get(name, 0) + elements
        types.add(kind)
        if dimensions == 2:
            matrices.append(Matrix(name, kind, shape[1], elements // block * width))
        needed = max(needed, offset + elements // block * width)
    return sizes, frozenset(types), needed, tuple(matrices)


def _value(reader: _Reader, kind: int, key: str) -> Scalar | None:
    """Return a metadata value, None for an array, whose elements are only walked over."""
    if kind in _FIXED:
        return reader.number(_FIXED[kind])
    if kind == _STRING:
        return reader.string().decode("utf-8", "replace")
    if kind != _ARRAY:
        raise _Broken(f"the key {_shown(key)} has a value of unknown type {kind}; it is damaged")
    inner, count = reader.number(_UINT32), reader.number(_UINT64)
    if inner in _FIXED:
        reader.skip(_FIXED[inner].size * count)
        return None
    if inner != _STRING:
        raise _Broken(f"the key {_shown(key)} is an array of unknown type {inner}; it is damaged")
    tokens = reader.strings(count, keep=key == _TOKENS)
    if key == _TOKENS:
        _check_vocabulary(reader, tokens)
    return None


def _check_vocabulary(reader: _Reader, tokens: list[bytes]) -> None:
    distinct = set(tokens)
    # llama.cpp aborts on tokens that are there twice; it gives empty ones names of their own.
    if len(distinct) < len(tokens) and len(distinct - {b""}) < len(tokens) - tokens.count(b""):
        seen: set[bytes] = set()
        twice = next(each for each in tokens if each and (each in seen or seen.add(each)))
        raise _Broken(f"its vocabulary has the token {_shown(twice.decode('utf-8', 'replace'))} twice; it is damaged")
    reader.vocabulary_size = len(tokens)
    reader.has_byte_tokens = b"<0x00>" in distinct and b"<0xFF>" in distinct


def _check_numbers(metadata: Mapping[str, Scalar], vocabulary_size: int | None) -> None:
    """Refuse counts and ids with which llama.cpp would abort, or take memory without end."""
    architecture = metadata["general.architecture"]
    found: dict[str, int | float] = {}
    for name, (least, most) in _COUNTS.items():
        value = metadata.get(f"{architecture}.{name}")
        if value is None:
            continue
        if isinstance(value, bool | str) or not least <= value <= most:
            raise _Broken(f"its {name} is {_shown_value(value)}, and {least} to {most} are possible; it is damaged")
        found[name] = value
    if 0 < found.get("context_length", 0) < SHORTEST_CONTEXT:
        raise _Broken(f"its context_length is {found['context_length']}, which holds no text; it is damaged")
    if found.get("expert_used_count", 0) > found.get("expert_count", 0):
        raise _Broken("it uses more experts for a token than it has; it is damaged")
    lengths = {found[name] for name in _LENGTHS if name in found}
    if architecture in _EVEN_HEADS and len(lengths) > 1:
        raise _Broken("its attention heads have keys, values and rotations of different lengths; it is damaged")
    if vocabulary_size is None:
        return
    for key, value in metadata.items():
        if _TOKEN_ID.fullmatch(key) is None or value == NO_TOKEN:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < vocabulary_size:
            raise _Broken(f"its {key} is {_shown_value(value)}, and its vocabulary has {vocabulary_size} tokens")


def _shown_value(value: Scalar) -> str:
    return _shown(value) if isinstance(value, str) else str(value)


def _shown(name: str) -> str:
    """Return a name from the file as it fits into one line, however damaged it is."""
    return repr(name if len(name) <= 60 else f"{name[:57]}...")
