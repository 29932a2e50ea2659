"""Memory of a model's KV cache, computed from the metadata of its file."""

from __future__ import annotations

from collections.abc import Mapping

BLOCK = 32
"""Numbers that ggml packs together, each block with a scale of its own."""
_BLOCK_BYTES = {
    "f16": 64, "bf16": 64, "f32": 128, "q8_0": 34, "q5_1": 24, "q5_0": 22, "q4_1": 20, "q4_0": 18, "iq4_nl": 18,
}  # fmt: skip
_WHOLE = frozenset({"f16", "bf16", "f32"})


def kv_bytes_per_token(metadata: Mapping[str, object], kinds: tuple[str, str] = ("f16", "f16")) -> int | None:
    """Return the bytes that one token takes in the cache, over all layers; `kinds` are the types of keys and values.

    None if the file does not tell, or if the width of a head does not fit a type. That of models that keep another kind
    of state for some of their layers is an upper bound.
    """
    layers, heads = _number(metadata, "block_count"), _number(metadata, "attention.head_count")
    key = head_length(metadata)
    if layers is None or heads is None or key is None:
        return None
    value = _number(metadata, "attention.value_length") or _even_length(metadata) or key
    parts = tuple(zip(kinds, (key, value), strict=True))
    if any(kind not in _WHOLE and length % BLOCK for kind, length in parts):
        return None
    kv_heads = _number(metadata, "attention.head_count_kv") or heads
    return layers * kv_heads * sum(_BLOCK_BYTES[kind] * length for kind, length in parts) // BLOCK


def head_length(metadata: Mapping[str, object]) -> int | None:
    """Return the length of an attention head's keys; None if the file does not tell."""
    return _number(metadata, "attention.key_length") or _even_length(metadata)


def _even_length(metadata: Mapping[str, object]) -> int | None:
    """Return the length that heads have if they share out the model's width."""
    heads, size = _number(metadata, "attention.head_count"), _number(metadata, "embedding_length")
    return None if heads is None or size is None else size // heads


def _number(metadata: Mapping[str, object], key: str) -> int | None:
    value = metadata.get(f"{metadata.get('general.architecture')}.{key}")
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def kv_bytes(per_token: int, *, width: int, path_tokens: int, prompt_tokens: int = 0) -> int:
    """Return the most that a search needs: the prompt once, and `width` paths of `path_tokens` that share nothing."""
    return per_token * (prompt_tokens + width * path_tokens)
