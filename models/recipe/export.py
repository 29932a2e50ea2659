"""Export of trained models as GGUF, quantized through llama.cpp."""

from __future__ import annotations

import ctypes
import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from tokenizers import Tokenizer

from ramify.files import replacing
from ramify.json_text import read_json

from .network import NORM_EPSILON, ROPE_BASE, Block, Decoder
from .text import (
    ASSISTANT,
    BAD,
    CHAT_TEMPLATE,
    CONTEXT_LENGTH,
    END,
    GOOD,
    SPECIAL_TOKENS,
    STEP,
    THINKING_CHAT_TEMPLATE,
    THOUGHT_TOKENS,
    USER,
)
from .tokenizer import token_id

REWARD_SPEC: dict[str, Any] = {
    "name": "ramify-demo-prm",
    "head": "lm_head",
    "prompt_template": f"{USER}{{question}}{ASSISTANT}",
    "step_template": f"{{step}}{STEP}",
    "tag": STEP,
    "good": GOOD,
    "bad": BAD,
    "read_at": "tag",
    "activation": "softmax",
    "aggregation": "last",
    "context_limit": CONTEXT_LENGTH,
}

_ARCHITECTURE = "qwen2"

_TOKEN_TYPES = dict.fromkeys(SPECIAL_TOKENS, gguf.TokenType.CONTROL) | dict.fromkeys(
    THOUGHT_TOKENS, gguf.TokenType.USER_DEFINED
)


def export_gguf(model: Decoder, tokenizer: Tokenizer, path: Path, name: str, reward: bool = False) -> None:
    """Write `model` with 16-bit matrices; `reward` marks it as a process reward model."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, private=False) as part:
        writer = gguf.GGUFWriter(part, _ARCHITECTURE)
        _add_description(writer, model, name, reward)
        _add_tokenizer(writer, tokenizer)
        _add_tensors(writer, model)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def quantize(source: Path, target: Path, file_type: str) -> None:
    """Write `source` quantized as `q8_0` or `q4_k_m`.

    Raises:
        RuntimeError: if llama.cpp refuses.
    """
    from llama_cpp import llama_cpp as native

    types = {"q8_0": native.LLAMA_FTYPE_MOSTLY_Q8_0, "q4_k_m": native.LLAMA_FTYPE_MOSTLY_Q4_K_M}
    parameters = native.llama_model_quantize_default_params()
    parameters.ftype = types[file_type]
    parameters.nthread = 1
    options: Any = ctypes.byref(parameters)
    with replacing(target, private=False) as part:
        code = native.llama_model_quantize(str(source).encode(), str(part).encode(), options)
        if code != 0:
            raise RuntimeError(f"llama.cpp could not quantize {source.name} to {file_type} (code {code})")


def _add_description(writer: gguf.GGUFWriter, model: Decoder, name: str, reward: bool) -> None:
    shape = model.shape
    writer.add_name(name)
    writer.add_license("apache-2.0")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_context_length(model.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_layer_norm_rms_eps(NORM_EPSILON)
    writer.add_rope_freq_base(ROPE_BASE)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_uint64("ramify.parameter_count", model.parameter_count())
    writer.add_string("ramify.prompt_preset", "plain")
    writer.add_string("ramify.step_format", "line")
    if reward:
        writer.add_string("ramify.reward.spec", json.dumps(REWARD_SPEC))


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    described: dict[str, Any] = read_json(tokenizer.to_str())
    vocabulary = sorted(tokenizer.get_vocab(with_added_tokens=True).items(), key=lambda item: item[1])
    merges = [m if isinstance(m, str) else " ".join(m) for m in described["model"]["merges"]]
    kinds = [_TOKEN_TYPES.get(token, gguf.TokenType.NORMAL) for token, _ in vocabulary]
    thinks = all(token in dict(vocabulary) for token in THOUGHT_TOKENS)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([token for token, _ in vocabulary])
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    end = token_id(tokenizer, END)
    writer.add_bos_token_id(end)
    writer.add_eos_token_id(end)
    writer.add_pad_token_id(end)
    writer.add_add_bos_token(False)
    writer.add_chat_template(THINKING_CHAT_TEMPLATE if thinks else CHAT_TEMPLATE)


def import_gguf(model: Decoder, path: Path) -> None:
    """Give `model` the weights of a file that `export_gguf` wrote for the same shape.

    The file's vocabulary may be shorter: the model's further tokens keep their weights.

    Raises:
        ValueError: if a weight is missing or of another shape.
    """
    stored = {tensor.name: tensor.data for tensor in gguf.GGUFReader(path).tensors}
    matrices, vectors = _tensors(model)
    for name, weight in (matrices | vectors).items():
        found = stored.get(f"{name}.weight")
        rows = len(weight) if found is None or name not in ("token_embd", "output") else min(len(weight), len(found))
        if found is None or found.shape != (rows, *weight.shape[1:]):
            raise ValueError(f"{path.name} has no {name} of shape {tuple(weight.shape)}")
        with torch.no_grad():
            weight[:rows].copy_(torch.from_numpy(found.astype(np.float32)))


def _add_tensors(writer: gguf.GGUFWriter, model: Decoder) -> None:
    matrices, vectors = _tensors(model)
    for name, matrix in matrices.items():
        writer.add_tensor(f"{name}.weight", _array(matrix, np.float16))
    for name, vector in vectors.items():
        writer.add_tensor(f"{name}.weight", _array(vector, np.float32))


def _tensors(model: Decoder) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Return the matrices and the vectors of a model by their names in a file."""
    matrices: dict[str, torch.Tensor] = {"token_embd": model.embedding.weight, "output": model.head.weight}
    vectors: dict[str, torch.Tensor] = {"output_norm": model.norm.weight}
    for i, block in enumerate(model.blocks):
        assert isinstance(block, Block)
        matrices |= {
            f"blk.{i}.attn_q": block.query.weight, f"blk.{i}.attn_k": block.key.weight,
            f"blk.{i}.attn_v": block.value.weight, f"blk.{i}.attn_output": block.output.weight,
            f"blk.{i}.ffn_gate": block.gate.weight, f"blk.{i}.ffn_up": block.up.weight,
            f"blk.{i}.ffn_down": block.down.weight,
        }  # fmt: skip
        vectors |= {f"blk.{i}.attn_norm": block.attention_norm.weight, f"blk.{i}.ffn_norm": block.feed_norm.weight}
    return matrices, vectors


def _array(tensor: torch.Tensor, kind: type[np.float16 | np.float32]) -> np.ndarray[Any, Any]:
    return np.ascontiguousarray(tensor.detach().float().numpy().astype(kind))
