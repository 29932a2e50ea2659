"""How much memory the KV cache of a model takes, from what its file says."""

from __future__ import annotations

from collections.abc import Mapping

VALUE_BYTES = 2
"""Bytes of a cached number: llama.cpp keeps keys and values in F16."""


def kv_bytes_per_token(metadata: Mapping[str, object]) -> int | None:
    """Return the bytes that one token takes in the cache, over all layers; None if the file does not tell.

    That of models that keep another kind of state for some of their layers is an upper bound.
    """
    layers, heads = _number(metadata, "block_count"), _number(metadata, "attention.head_count")
    key = head_length(metadata)
    if layers is None or heads is None or key is None:
        return None
    kv_heads = _number(metadata, "attention.head_count_kv") or heads
    value = _number(metadata, "attention.value_length") or head_length(metadata, declared=False) or key
    return VALUE_BYTES * layers * kv_heads * (key + value)


def head_length(metadata: Mapping[str, object], *, declared: bool = True) -> int | None:
    """Return the length of an attention head's keys; None if the file does not tell.

    `declared` False leaves out what the file says of keys alone.
    """
    heads, size = _number(metadata, "attention.head_count"), _number(metadata, "embedding_length")
    found = _number(metadata, "attention.key_length") if declared else None
    return found or (None if heads is None or size is None else size // heads)


def _number(metadata: Mapping[str, object], key: str) -> int | None:
    value = metadata.get(f"{metadata.get('general.architecture')}.{key}")
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def kv_bytes(per_token: int, *, width: int, path_tokens: int, prompt_tokens: int = 0) -> int:
    """Return the most that a search needs: the prompt once, and `width` paths of `path_tokens` that share nothing."""
    return per_token * (prompt_tokens + width * path_tokens)
