"""Tiny model with a matrix of each type that llama.cpp has special CPU kernels for."""

from __future__ import annotations

import struct
from pathlib import Path

from ramify.files import exporting

_WIDTH, _HEADS, _TOKENS = 256, 4, 64
_F32, _Q4_0, _Q4_1, _Q8_0, _Q4_K, _Q5_K, _Q6_K, _IQ4_XS = 0, 2, 3, 8, 12, 13, 14, 23
_BLOCKS = {_F32: (1, 4), _Q4_0: (32, 18), _Q4_1: (32, 20), _Q8_0: (32, 34), _Q4_K: (256, 144), _Q5_K: (256, 176),
           _Q6_K: (256, 210), _IQ4_XS: (256, 136)}  # fmt: skip
_TENSORS = (
    ("token_embd", _Q8_0, _TOKENS),
    ("output_norm", _F32, None),
    ("output", _Q6_K, _TOKENS),
    ("blk.0.attn_norm", _F32, None),
    ("blk.0.attn_q", _Q4_0, _WIDTH),
    ("blk.0.attn_k", _Q4_1, _WIDTH),
    ("blk.0.attn_v", _Q8_0, _WIDTH),
    ("blk.0.attn_output", _Q4_K, _WIDTH),
    ("blk.0.ffn_norm", _F32, None),
    ("blk.0.ffn_gate", _Q5_K, _WIDTH),
    ("blk.0.ffn_up", _Q6_K, _WIDTH),
    ("blk.0.ffn_down", _IQ4_XS, _WIDTH),
)
"""Name, type and rows of each tensor; None for a vector."""
TENSOR_TYPES = frozenset(kind for _, kind, _ in _TENSORS) - {_F32}

_UINT32, _FLOAT32, _STRING, _ARRAY = 4, 6, 8, 9
_ALIGNMENT = 32


def write_probe_model(path: Path) -> None:
    """Write the model; all its weights are zero.

    Raises:
        OSError: if the file cannot be written.
    """
    values = {
        "general.architecture": _text("llama"),
        "llama.context_length": _number(256),
        "llama.embedding_length": _number(_WIDTH),
        "llama.block_count": _number(1),
        "llama.feed_forward_length": _number(_WIDTH),
        "llama.attention.head_count": _number(_HEADS),
        "llama.attention.layer_norm_rms_epsilon": struct.pack("<If", _FLOAT32, 1e-5),
        "tokenizer.ggml.model": _text("gpt2"),
        "tokenizer.ggml.pre": _text("gpt-2"),
        "tokenizer.ggml.tokens": _texts([chr(ord("A") + id) for id in range(_TOKENS)]),
        "tokenizer.ggml.merges": _texts(["A B"]),
        "tokenizer.ggml.eos_token_id": _number(0),
        "tokenizer.ggml.bos_token_id": _number(0),
    }
    head = b"GGUF" + struct.pack("<IQQ", 3, len(_TENSORS), len(values))
    head += b"".join(_string(key) + value for key, value in values.items())
    offset = 0
    for name, kind, rows in _TENSORS:
        shape = (_WIDTH,) if rows is None else (_WIDTH, rows)
        block, width = _BLOCKS[kind]
        head += _string(f"{name}.weight") + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
        offset += _padded(_WIDTH * (rows or 1) // block * width)
    with exporting(path) as file:
        file.write(head.ljust(_padded(len(head)), b"\0") + bytes(offset))


def _padded(size: int) -> int:
    return (size + _ALIGNMENT - 1) // _ALIGNMENT * _ALIGNMENT


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _text(text: str) -> bytes:
    return struct.pack("<I", _STRING) + _string(text)


def _number(number: int) -> bytes:
    return struct.pack("<II", _UINT32, number)


def _texts(texts: list[str]) -> bytes:
    return struct.pack("<IIQ", _ARRAY, _STRING, len(texts)) + b"".join(map(_string, texts))
