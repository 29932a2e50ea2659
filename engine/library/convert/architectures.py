"""Architectures of decoders: names, shapes and layout of tensors and settings, from a checkpoint to a GGUF file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ramify.errors import UsageError

from .checkpoint import Checkpoint
from .safetensors import Array

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TensorSource:
    """A tensor to write: its name in the GGUF file, its shape, and the function that reads it."""

    name: str
    shape: tuple[int, ...]
    read: Callable[[], Array]


@dataclass(frozen=True, slots=True)
class Layout:
    """A GGUF architecture. `permuted` query and key rows are paired neighbours instead of halves (rotary positions)."""

    name: str
    permuted: bool


LAYOUTS: Mapping[str, Layout] = {
    "llama": Layout("llama", permuted=True),
    "mistral": Layout("llama", permuted=True),
    "qwen2": Layout("qwen2", permuted=False),
    "qwen3": Layout("qwen3", permuted=False),
}
"""By the `model_type` of the checkpoint."""

_OUTER = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
_INNER = {
    "input_layernorm.weight": "attn_norm.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.q_proj.bias": "attn_q.bias",
    "self_attn.k_proj.bias": "attn_k.bias",
    "self_attn.v_proj.bias": "attn_v.bias",
    "self_attn.o_proj.weight": "attn_output.weight",
    "self_attn.q_norm.weight": "attn_q_norm.weight",
    "self_attn.k_norm.weight": "attn_k_norm.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
}
_DERIVED = "rotary_emb.inv_freq"
"""Suffix of the names of tensors that follow from the settings."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Settings of a decoder; `rope_factors` divide the rotation frequencies, one for each pair, None for plain RoPE."""

    layout: Layout
    layers: int
    width: int
    feed: int
    heads: int
    key_value_heads: int
    head_width: int
    context: int
    vocabulary: int
    norm_epsilon: float
    rope_base: float
    rope_factors: Floats | None


def shape_of(checkpoint: Checkpoint) -> Shape:
    """Return a checkpoint's settings.

    Raises:
        UsageError: if its architecture, or the scaling of its positions, is not supported.
    """
    config = checkpoint.config
    kind = str(config.get("model_type"))
    if kind not in LAYOUTS:
        raise UsageError(
            f"{checkpoint.folder} is a model of the type {kind!r}, which cannot be converted here "
            f"({', '.join(LAYOUTS)} can)",
            "convert it with llama.cpp's convert_hf_to_gguf.py and pass the GGUF file",
        )
    rope: Mapping[str, Any] = config.get("rope_parameters") or {}
    scaling: Mapping[str, Any] = rope or config.get("rope_scaling") or {}
    heads = int(config["num_attention_heads"])
    head_width = int(config.get("head_dim") or config["hidden_size"] // heads)
    base = float(rope.get("rope_theta") or config.get("rope_theta") or 10_000.0)
    return Shape(
        layout=LAYOUTS[kind],
        layers=int(config["num_hidden_layers"]),
        width=int(config["hidden_size"]),
        feed=int(config["intermediate_size"]),
        heads=heads,
        key_value_heads=int(config.get("num_key_value_heads") or heads),
        head_width=head_width,
        context=int(config["max_position_embeddings"]),
        vocabulary=int(config["vocab_size"]),
        norm_epsilon=float(config["rms_norm_eps"]),
        rope_base=base,
        rope_factors=_rope_factors(scaling, base, head_width),
    )


def decoder_tensors(checkpoint: Checkpoint, shape: Shape) -> Iterator[TensorSource]:
    """Yield the tensors of the decoder; heads of rewards are left out.

    Raises:
        UsageError: if a tensor has no place in the file.
    """
    if shape.rope_factors is not None:
        factors = shape.rope_factors
        yield TensorSource("rope_freqs.weight", factors.shape, lambda: factors)
    for name in checkpoint.names:
        if name.startswith(("score.", "v_head.")) or name.endswith(_DERIVED):
            continue
        if name == "lm_head.weight" and checkpoint.config.get("tie_word_embeddings"):
            continue
        yield TensorSource(gguf_name(name), checkpoint.shape(name), _reader(checkpoint, name, shape))


def gguf_name(name: str) -> str:
    """Return the name of a tensor in a GGUF file.

    Raises:
        UsageError: if it has no place there.
    """
    if name in _OUTER:
        return _OUTER[name]
    parts = name.split(".", 3)
    if len(parts) == 4 and parts[:2] == ["model", "layers"] and parts[3] in _INNER:
        return f"blk.{parts[2]}.{_INNER[parts[3]]}"
    raise UsageError(f"the tensor {name!r} has no place in a GGUF file of this architecture", "use another checkpoint")


def _reader(checkpoint: Checkpoint, name: str, shape: Shape) -> Callable[[], Array]:
    def read() -> Array:
        values = checkpoint.tensor(name)
        if not shape.layout.permuted:
            return values
        if ".q_proj." in name:
            return _permuted(values, shape.heads)
        return _permuted(values, shape.key_value_heads) if ".k_proj." in name else values

    return read


def _permuted(values: Array, heads: int) -> Array:
    halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    return halves.swapaxes(1, 2).reshape(values.shape)


def _rope_factors(scaling: Mapping[str, Any], base: float, width: int) -> Floats | None:
    """Return the divisor of each pair's rotation frequency in Llama 3.1's context extension, None without it."""
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind in (None, "default"):
        return None
    if kind != "llama3":
        raise UsageError(
            f"the checkpoint scales its positions by {kind!r}, which cannot be converted here",
            "convert it with llama.cpp's convert_hf_to_gguf.py and pass the GGUF file",
        )
    factor, original = float(scaling["factor"]), float(scaling["original_max_position_embeddings"])
    low, high = float(scaling["low_freq_factor"]), float(scaling["high_freq_factor"])
    wavelengths = 2 * math.pi * base ** (np.arange(0, width, 2) / width)
    smooth = np.clip((original / wavelengths - low) / (high - low), 0.0, 1.0)
    # Where `smooth` is 1 the pair turns fast and stays; where it is 0 it is slowed down by the whole factor.
    return (1.0 / ((1.0 - smooth) / factor + smooth)).astype(np.float32)
