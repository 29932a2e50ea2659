"""Writes tiny models of other kinds than plain attention: with a sliding window, recurrent, and mixed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from gguf import GGUFWriter

from .tiny_gguf import CONTEXT, add_vocabulary

WIDTH, LAYERS, HEADS, FEED, WINDOW = 64, 4, 2, 128, 16
INNER, STATE, RANK, KERNEL = 128, 8, 8, 4

Tensor = tuple[str, tuple[int, ...]]
"""Name and shape, in numpy's order; ones where the shape has one dimension."""

KINDS = {
    "gemma2": "window",
    "gemma3": "window",
    "mamba": "recurrent",
    "lfm2": "mixed",
    "jamba": "mixed",
    "bert": "encoder",
}
"""Architectures that can be written, and what is special about them."""


def write_kind(path: Path, architecture: str, *, layers: int = LAYERS, end_bias: float = -60.0) -> Path:
    """Write a model of one of KINDS with random weights that never draws its end token."""
    writer = GGUFWriter(path, architecture)
    writer.add_name(f"tiny-{architecture}")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(layers)
    writer.add_layer_norm_rms_eps(1e-6)
    size = add_vocabulary(writer)
    tensors = _SHAPES[architecture](writer, layers)
    random = np.random.default_rng(0)
    output = random.standard_normal((size, WIDTH)).astype(np.float32) * 0.3
    # The special tokens come last; the first of them ends a text.
    output[-4:] = 0.0
    writer.add_tensor("token_embd.weight", output)
    for name, shape in tensors:
        values = np.ones(shape) if len(shape) == 1 else random.standard_normal(shape) * 0.15
        # A state must fade: a positive rate lets it grow without end.
        writer.add_tensor(name, (-np.abs(values) if name.endswith("ssm_a") else values).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _attention(block: str) -> Iterator[Tensor]:
    for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
        yield f"{block}.{part}.weight", (WIDTH, WIDTH)


def _feed(block: str) -> Iterator[Tensor]:
    yield f"{block}.ffn_norm.weight", (WIDTH,)
    yield f"{block}.ffn_gate.weight", (FEED, WIDTH)
    yield f"{block}.ffn_up.weight", (FEED, WIDTH)
    yield f"{block}.ffn_down.weight", (WIDTH, FEED)


def _heads(writer: GGUFWriter) -> None:
    writer.add_feed_forward_length(FEED)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)


def _gemma(writer: GGUFWriter, layers: int) -> list[Tensor]:
    _heads(writer)
    writer.add_key_length(WIDTH // HEADS)
    writer.add_value_length(WIDTH // HEADS)
    writer.add_sliding_window(WINDOW)
    third = writer.arch == "gemma3"
    found: list[Tensor] = [("output_norm.weight", (WIDTH,))]
    for layer in range(layers):
        block = f"blk.{layer}"
        found += [(f"{block}.attn_norm.weight", (WIDTH,)), *_attention(block), *_feed(block)]
        found += [(f"{block}.{part}.weight", (WIDTH,)) for part in ("post_attention_norm", "post_ffw_norm")]
        if third:
            found += [(f"{block}.{part}.weight", (WIDTH // HEADS,)) for part in ("attn_q_norm", "attn_k_norm")]
    return found


def _state_space(block: str) -> Iterator[Tensor]:
    yield f"{block}.ssm_in.weight", (2 * INNER, WIDTH)
    yield f"{block}.ssm_conv1d.weight", (INNER, KERNEL)
    yield f"{block}.ssm_conv1d.bias", (INNER,)
    yield f"{block}.ssm_x.weight", (RANK + 2 * STATE, INNER)
    yield f"{block}.ssm_dt.weight", (INNER, RANK)
    yield f"{block}.ssm_dt.bias", (INNER,)
    yield f"{block}.ssm_a", (INNER, STATE)
    yield f"{block}.ssm_d", (INNER,)
    yield f"{block}.ssm_out.weight", (WIDTH, INNER)


def _state_space_sizes(writer: GGUFWriter) -> None:
    writer.add_ssm_conv_kernel(KERNEL)
    writer.add_ssm_inner_size(INNER)
    writer.add_ssm_state_size(STATE)
    writer.add_ssm_time_step_rank(RANK)


def _mamba(writer: GGUFWriter, layers: int) -> list[Tensor]:
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    _state_space_sizes(writer)
    found: list[Tensor] = [("output_norm.weight", (WIDTH,))]
    for layer in range(layers):
        found += [(f"blk.{layer}.attn_norm.weight", (WIDTH,)), *_state_space(f"blk.{layer}")]
    return found


def _lfm2(writer: GGUFWriter, layers: int) -> list[Tensor]:
    writer.add_feed_forward_length(FEED)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv([HEADS if layer % 2 else 0 for layer in range(layers)])
    writer.add_shortconv_l_cache(3)
    found: list[Tensor] = [("token_embd_norm.weight", (WIDTH,))]
    for layer in range(layers):
        block = f"blk.{layer}"
        found += [(f"{block}.attn_norm.weight", (WIDTH,)), *_feed(block)]
        if layer % 2:
            found += [(f"{block}.{part}.weight", (WIDTH // HEADS,)) for part in ("attn_q_norm", "attn_k_norm")]
            found += _attention(block)
        else:
            found += [
                (f"{block}.shortconv.conv.weight", (WIDTH, 3)),
                (f"{block}.shortconv.in_proj.weight", (3 * WIDTH, WIDTH)),
                (f"{block}.shortconv.out_proj.weight", (WIDTH, WIDTH)),
            ]
    return found


def _jamba(writer: GGUFWriter, layers: int) -> list[Tensor]:
    writer.add_feed_forward_length(FEED)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv([HEADS if layer % 2 else 0 for layer in range(layers)])
    _state_space_sizes(writer)
    found: list[Tensor] = [("output_norm.weight", (WIDTH,))]
    for layer in range(layers):
        block = f"blk.{layer}"
        found += [(f"{block}.attn_norm.weight", (WIDTH,)), *_feed(block)]
        if layer % 2:
            found += _attention(block)
        else:
            found += _state_space(block)
            found += [(f"{block}.ssm_dt_norm.weight", (RANK,))]
            found += [(f"{block}.{part}.weight", (STATE,)) for part in ("ssm_b_norm", "ssm_c_norm")]
    return found


def _bert(writer: GGUFWriter, layers: int) -> list[Tensor]:
    _heads(writer)
    writer.add_layer_norm_eps(1e-6)
    writer.add_causal_attention(False)
    writer.add_token_type_count(2)
    found: list[Tensor] = [("position_embd.weight", (CONTEXT, WIDTH)), ("token_types.weight", (2, WIDTH))]
    found += [(f"token_embd_norm.{part}", (WIDTH,)) for part in ("weight", "bias")]
    for layer in range(layers):
        block = f"blk.{layer}"
        found += _attention(block)
        found += [(f"{block}.ffn_up.weight", (FEED, WIDTH)), (f"{block}.ffn_down.weight", (WIDTH, FEED))]
        for norm in ("attn_output_norm", "layer_output_norm"):
            found += [(f"{block}.{norm}.{part}", (WIDTH,)) for part in ("weight", "bias")]
    return found


_SHAPES: dict[str, Callable[[GGUFWriter, int], list[Tensor]]] = {
    "gemma2": _gemma,
    "gemma3": _gemma,
    "mamba": _mamba,
    "lfm2": _lfm2,
    "jamba": _jamba,
    "bert": _bert,
}
