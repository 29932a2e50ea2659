"""How much memory the KV cache of a model takes, from what its file says."""

from __future__ import annotations

from collections.abc import Mapping

VALUE_BYTES = 2
"""Bytes of a cached number: llama.cpp keeps keys and values in F16."""


def kv_bytes_per_token(metadata: Mapping[str, object]) -> int | None:
    """Return the bytes that one token takes in the cache, over all layers; None if the file does not tell.

    That of models that keep another kind of state for some of their layers is an upper bound.
    """
    name = metadata.get("general.architecture")

    def number(key: str) -> int | None:
        value = metadata.get(f"{name}.{key}")
        return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None

    layers, heads, size = number("block_count"), number("attention.head_count"), number("embedding_length")
    if layers is None or heads is None or size is None:
        return None
    kv_heads = number("attention.head_count_kv") or heads
    key, value = number("attention.key_length") or size // heads, number("attention.value_length") or size // heads
    return VALUE_BYTES * layers * kv_heads * (key + value)


def kv_bytes(per_token: int, *, width: int, path_tokens: int, prompt_tokens: int = 0) -> int:
    """Return the most that a search needs: the prompt once, and `width` paths of `path_tokens` that share nothing."""
    return per_token * (prompt_tokens + width * path_tokens)
