"""Writes tiny models with random weights, so that the runtime is tested on real llama.cpp without any weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, TokenType, quants
from tokenizers import pre_tokenizers

SPECIAL = ("<|end|>", "<|step|>", "<|good|>", "<|bad|>")
MERGES = (("a", "b"), ("1", "2"))
CONTEXT = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Size of a tiny model; `end_bias` is added to the logit of the end token."""

    width: int = 64
    layers: int = 2
    heads: int = 2
    feed: int = 128
    context: int = CONTEXT
    end_bias: float = 0.0
    scale: float = 0.3
    seed: int = 0


def words() -> list[str]:
    """Return the vocabulary: bytes, two merges and four special tokens."""
    return [*sorted(pre_tokenizers.ByteLevel.alphabet()), *("".join(pair) for pair in MERGES), *SPECIAL]


def add_vocabulary(writer: GGUFWriter, *, twice: bool = False) -> int:
    """Add the vocabulary and return its size; `twice` gives one token two ids."""
    tokens = words()
    if twice:
        tokens[-1] = tokens[-2]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.NORMAL] * (len(tokens) - 4) + [TokenType.CONTROL] * 4)
    writer.add_token_merges([" ".join(pair) for pair in MERGES])
    writer.add_eos_token_id(len(tokens) - 4)
    writer.add_bos_token_id(len(tokens) - 4)
    writer.add_add_bos_token(False)
    return len(tokens)


def write_tiny(
    path: Path,
    shape: Shape | None = None,
    *,
    architecture: str = "qwen2",
    quantized: str = "",
    damage: str = "",
    tied: bool = False,
    numbers: Mapping[str, float] | None = None,
    texts: Mapping[str, str] | None = None,
    part_tensors: int = 0,
) -> Path:
    """Write a model of bytes, two merges and four special tokens; `quantized` is the type of its matrices, "" F32.

    `damage` "nan" fills the output matrix with NaN, "twice" gives one token two ids, "bare" leaves the vocabulary out.
    `tied` leaves the output matrix out, so that the input embedding is used. `numbers` and `texts` are more metadata;
    whole numbers take the place of those that a model has. With `part_tensors` above 0 the model is split into files of
    so many tensors, and the path of the first is returned.
    """
    shape = shape or Shape()
    writer = GGUFWriter(path, architecture, split_max_tensors=part_tensors)
    writer.add_name("tiny")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_layer_norm_rms_eps(1e-6)
    if damage == "bare":
        writer.add_tokenizer_model("none")
        writer.add_vocab_size(len(words()))
    else:
        add_vocabulary(writer, twice=damage == "twice")
    for key, number in (numbers or {}).items():
        if isinstance(number, int):
            # Over what was added above, which gguf only warns of.
            writer.kv_data[0].pop(key, None)
            writer.add_uint32(key, number)
        else:
            writer.add_float32(key, number)
    for key, text in (texts or {}).items():
        writer.add_string(key, text)
    _add_tensors(writer, shape, len(words()), quantized=quantized, nan=damage == "nan", tied=tied)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return next(iter(sorted(path.parent.glob(f"{path.stem}-00001-of-*.gguf")))) if part_tensors else path


def _add_tensors(writer: GGUFWriter, shape: Shape, size: int, *, quantized: str, nan: bool, tied: bool) -> None:
    random = np.random.default_rng(shape.seed)

    def matrix(name: str, rows: int, columns: int) -> None:
        data = (random.standard_normal((rows, columns)) * shape.scale).astype(np.float32)
        if name == "output" and nan:
            data[:] = np.nan
        if quantized:
            kind = GGMLQuantizationType[quantized]
            writer.add_tensor(f"{name}.weight", quants.quantize(data, kind), raw_dtype=kind)
        else:
            writer.add_tensor(f"{name}.weight", data)

    def ones(name: str) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(shape.width, dtype=np.float32))

    matrix("token_embd", size, shape.width)
    ones("output_norm")
    if not tied:
        matrix("output", size, shape.width)
    bias = np.zeros(size, dtype=np.float32)
    # Only the end of a text and what is visible can be drawn: bytes that make no text would hide errors.
    bias[size - 3 :] = -60.0
    bias[size - 4] = shape.end_bias
    writer.add_tensor("output.bias", bias)
    for layer in range(shape.layers):
        block = f"blk.{layer}"
        ones(f"{block}.attn_norm")
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            matrix(f"{block}.{part}", shape.width, shape.width)
        ones(f"{block}.ffn_norm")
        matrix(f"{block}.ffn_gate", shape.feed, shape.width)
        matrix(f"{block}.ffn_up", shape.feed, shape.width)
        matrix(f"{block}.ffn_down", shape.width, shape.feed)
