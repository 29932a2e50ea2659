"""Writes a model of random weights in the shape of SmolLM-135M, to measure speed where no weights are at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

WIDTH, LAYERS, HEADS, KV_HEADS, FEED, CONTEXT = 576, 30, 9, 3, 1536, 8192


def write_model(path: Path, *, vocabulary: int = 49_152, quantized: bool = True, seed: int = 0) -> Path:
    """Write the model with Q8_0 weights, or F16 ones, and return its path.

    Its tokens are the bytes, words that no text holds, and an end token that is never drawn.
    """
    from gguf import GGUFWriter, TokenType
    from tokenizers import pre_tokenizers

    writer: Any = GGUFWriter(path, "llama")
    words = [
        *sorted(pre_tokenizers.ByteLevel.alphabet()),
        *(f"word{number}" for number in range(vocabulary - 257)),
        "<|end|>",
    ]
    writer.add_name("random-135m")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(vocabulary)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(words)
    writer.add_token_types([TokenType.NORMAL] * (vocabulary - 1) + [TokenType.CONTROL])
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(vocabulary - 1)
    writer.add_bos_token_id(vocabulary - 1)
    writer.add_add_bos_token(False)
    _add_tensors(writer, vocabulary, quantized, np.random.default_rng(seed))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_tensors(writer: Any, vocabulary: int, quantized: bool, random: np.random.Generator) -> None:
    from gguf import GGMLQuantizationType, quants

    kind = GGMLQuantizationType.Q8_0 if quantized else GGMLQuantizationType.F16

    def matrix(name: str, rows: int, columns: int) -> None:
        data = (random.standard_normal((rows, columns), dtype=np.float32) * 0.02).astype(np.float32)
        if name == "token_embd":
            data[-1] = 0.0
        writer.add_tensor(f"{name}.weight", quants.quantize(data, kind), raw_dtype=kind)

    def ones(name: str) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, dtype=np.float32))

    matrix("token_embd", vocabulary, WIDTH)
    ones("output_norm")
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        ones(f"{block}.attn_norm")
        matrix(f"{block}.attn_q", WIDTH, WIDTH)
        matrix(f"{block}.attn_k", WIDTH * KV_HEADS // HEADS, WIDTH)
        matrix(f"{block}.attn_v", WIDTH * KV_HEADS // HEADS, WIDTH)
        matrix(f"{block}.attn_output", WIDTH, WIDTH)
        ones(f"{block}.ffn_norm")
        matrix(f"{block}.ffn_gate", FEED, WIDTH)
        matrix(f"{block}.ffn_up", FEED, WIDTH)
        matrix(f"{block}.ffn_down", WIDTH, FEED)
