"""Copies a GGUF file with a reward head: rows of its output matrix, or a network beside it, and the format it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ramify.errors import UsageError
from ramify.files import replacing
from ramify.reward.spec_loading import METADATA_KEY
from ramify.reward.specs import RewardSpec

from ...runtime.llama.gguf_check import check_gguf
from .safetensors import Array, write_safetensors
from .vocabulary import TokenKind, VocabularyTables
from .writing import OUTPUT, gguf_library

EMBEDDING = "token_embd.weight"


def spare_rows(path: Path, count: int) -> list[int]:
    """Return ids whose rows in a file's output matrix no token of a text uses.

    Raises:
        ModelLoadError: if the file is no GGUF file.
        UsageError: if there are fewer.
    """
    check_gguf(path)
    reader = gguf_library().GGUFReader(path)
    tokens, kinds = (reader.get_field(f"tokenizer.ggml.{name}").contents() for name in ("tokens", "token_type"))
    tables = VocabularyTables(model="", pre=None, tokens=tokens, kinds=[TokenKind(each) for each in kinds])
    return tables.spare_rows(count)


@dataclass(frozen=True, slots=True)
class HeadFiles:
    """What a head needs in the copy: `rows` of the output matrix by id, or the `layers` of a network."""

    rows: Mapping[int, Array]
    layers: Mapping[str, Array]


def copy_with_head(source: Path, target: Path, spec: RewardSpec, head: HeadFiles) -> None:
    """Write `source` to `target` with `head` and `spec`; all other tensors stay as they are.

    The output matrix is stored in 16 bits then, so that scores are exact; a file without one, whose two ends share a
    matrix, gets one.

    Raises:
        ModelLoadError: if `source` is no GGUF file.
        UsageError: if `target` is `source`, or has no such rows.
    """
    check_gguf(source)
    if source.resolve() == target.resolve():
        raise UsageError(f"{target} is the model itself", "choose another file for the output")
    gguf = gguf_library()
    reader = gguf.GGUFReader(source)
    with replacing(target) as part:
        writer = gguf.GGUFWriter(part, reader.get_field("general.architecture").contents())
        try:
            _copy_metadata(gguf, reader, writer)
            writer.add_string(METADATA_KEY, spec.model_dump_json(exclude_defaults=True))
            _copy_tensors(gguf, reader, writer, head.rows)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
        finally:
            writer.close()
        if head.layers:
            assert spec.head_file is not None
            write_safetensors(target.parent / spec.head_file, head.layers)


def _copy_metadata(gguf: Any, reader: Any, writer: Any) -> None:
    for field in reader.fields.values():
        if field.name in ("general.architecture", METADATA_KEY) or field.name.startswith("GGUF."):
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, sub_type=inner)


def _copy_tensors(gguf: Any, reader: Any, writer: Any, rows: Mapping[int, Array]) -> None:
    by_name = {tensor.name: tensor for tensor in reader.tensors}
    for name, tensor in by_name.items():
        if name != OUTPUT or not rows:
            writer.add_tensor(name, tensor.data, raw_dtype=tensor.tensor_type)
    if rows:
        tensor = by_name.get(OUTPUT, by_name[EMBEDDING])
        matrix = np.array(gguf.quants.dequantize(tensor.data, tensor.tensor_type), dtype=np.float16)
        for id, row in rows.items():
            if id >= len(matrix) or row.shape != matrix.shape[1:]:
                raise UsageError(f"the head does not fit the output matrix {matrix.shape}", "train it on this model")
            matrix[id] = row
        writer.add_tensor(OUTPUT, matrix)
