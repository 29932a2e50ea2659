"""Writer of GGUF files, tensor by tensor, so that a model need not fit into memory twice."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ramify.errors import UsageError
from ramify.files import replacing

from .architectures import Shape, TensorSource
from .safetensors import Array
from .vocabulary import VocabularyTables

FileKind = Literal["f32", "f16", "q8_0"]
OUTPUT = "output.weight"


def gguf_library() -> Any:
    """Return the package `gguf`.

    Raises:
        UsageError: if it is not installed.
    """
    try:
        import gguf
    except ImportError as error:
        raise UsageError("writing GGUF files needs the package gguf", "pip install gguf") from error
    # The package logs every file and tensor.
    logging.getLogger("gguf").setLevel(logging.WARNING)
    return gguf


def write_gguf(
    path: Path,
    *,
    shape: Shape,
    vocabulary: VocabularyTables,
    metadata: Mapping[str, str],
    tensors: Iterable[TensorSource],
    kind: FileKind,
) -> None:
    """Write a model, whole or not at all; without `tensors` the file holds the vocabulary alone."""
    gguf = gguf_library()
    with replacing(path, private=False) as part:
        writer = gguf.GGUFWriter(part, shape.layout.name)
        try:
            _describe(writer, shape, metadata)
            _add_vocabulary(writer, vocabulary)
            _write_tensors(gguf, writer, list(tensors), kind)
        finally:
            writer.close()


def _write_tensors(gguf: Any, writer: Any, sources: Sequence[TensorSource], kind: FileKind) -> None:
    for source in sources:
        stored = _stored_kind(gguf, source, kind)
        size = gguf.quant_shape_to_byte_shape(source.shape, stored) if stored == _q8(gguf) else source.shape
        dtype = {0: np.dtype(np.float32), 1: np.dtype(np.float16)}.get(int(stored), np.dtype(np.uint8))
        count = int(np.prod(size)) * dtype.itemsize
        writer.add_tensor_info(source.name, size, dtype, count, raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for source in sources:
        writer.write_tensor_data(_stored(gguf, source, _stored_kind(gguf, source, kind)))


def _describe(writer: Any, shape: Shape, metadata: Mapping[str, str]) -> None:
    for key, value in metadata.items():
        writer.add_string(key, value)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.key_value_heads)
    writer.add_key_length(shape.head_width)
    writer.add_value_length(shape.head_width)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_vocab_size(shape.vocabulary)


def _add_vocabulary(writer: Any, vocabulary: VocabularyTables) -> None:
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_token_list(list(vocabulary.tokens))
    writer.add_token_types([int(each) for each in vocabulary.kinds])
    if vocabulary.pre is not None:
        writer.add_tokenizer_pre(vocabulary.pre)
        writer.add_token_merges(list(vocabulary.merges))
    else:
        writer.add_token_scores(list(vocabulary.scores))
        writer.add_add_space_prefix(vocabulary.adds_space)
    for id, add in (
        (vocabulary.bos, writer.add_bos_token_id),
        (vocabulary.eos, writer.add_eos_token_id),
        (vocabulary.pad, writer.add_pad_token_id),
        (vocabulary.unknown, writer.add_unk_token_id),
    ):
        if id is not None:
            add(id)
    writer.add_add_bos_token(False)


def _stored_kind(gguf: Any, source: TensorSource, kind: FileKind) -> Any:
    """Return the type of a tensor in the file: vectors stay exact, and so does the matrix that scores are read from."""
    types = gguf.GGMLQuantizationType
    if len(source.shape) == 1 or kind == "f32":
        return types.F32
    if kind == "q8_0" and source.name != OUTPUT and source.shape[-1] % 32 == 0:
        return types.Q8_0
    return types.F16


def _stored(gguf: Any, source: TensorSource, stored: Any) -> Array:
    values = source.read()
    if stored == _q8(gguf):
        return gguf.quants.quantize(np.asarray(values, dtype=np.float32), stored)
    return np.ascontiguousarray(values, dtype=np.float32 if int(stored) == 0 else np.float16)


def _q8(gguf: Any) -> Any:
    return gguf.GGMLQuantizationType.Q8_0
