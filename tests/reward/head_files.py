"""GGUF files with a head of their own, as earlier versions trained them and published reward models have them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from ramify.engine.library.convert.safetensors import write_safetensors
from ramify.reward.spec_loading import METADATA_KEY
from ramify.reward.specs import RewardSpec

gguf: Any = pytest.importorskip("gguf")

Floats = npt.NDArray[np.float32]
OUTPUT = "output.weight"


def spare_row(path: Path) -> int:
    """Return the last id whose row in the output matrix belongs to no token of a text."""
    kinds = gguf.GGUFReader(path).get_field("tokenizer.ggml.token_type").contents()
    unused = [id for id, kind in enumerate(kinds) if kind == gguf.TokenType.UNUSED]
    return (unused or [id for id, kind in enumerate(kinds) if kind == gguf.TokenType.CONTROL])[-1]


def matrix_of(path: Path) -> Floats:
    """Return the output matrix of a file."""
    tensor = next(each for each in gguf.GGUFReader(path).tensors if each.name == OUTPUT)
    return gguf.quants.dequantize(tensor.data, tensor.tensor_type)


def copy_with_head(
    source: Path,
    target: Path,
    spec: RewardSpec,
    rows: Mapping[int, Floats] | None = None,
    layers: Mapping[str, Floats] | None = None,
) -> None:
    """Copy a file with other `rows` of its output matrix, by token id, or with a network's `layers` beside it."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.get_field("general.architecture").contents())
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name != "general.architecture":
            kinds = [*field.types, None]
            writer.add_key_value(field.name, field.contents(), kinds[0], sub_type=kinds[1])
    writer.add_string(METADATA_KEY, spec.model_dump_json(exclude_defaults=True))
    for tensor in reader.tensors:
        if tensor.name == OUTPUT and rows:
            matrix = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float16)
            for id, row in rows.items():
                matrix[id] = row
            writer.add_tensor(OUTPUT, matrix)
        else:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    if layers:
        assert spec.head_file is not None
        write_safetensors(target.parent / spec.head_file, layers)
