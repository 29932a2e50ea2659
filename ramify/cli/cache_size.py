"""How much memory the KV cache of a model takes with keys and values of other types than F16."""

from __future__ import annotations

from collections.abc import Mapping

BLOCK = 32
"""Numbers that ggml packs together, each block with a scale of its own."""
_BLOCK_BYTES = {
    "f16": 64, "bf16": 64, "f32": 128, "q8_0": 34, "q5_1": 24, "q5_0": 22, "q4_1": 20, "q4_0": 18, "iq4_nl": 18,
}  # fmt: skip
_WHOLE = frozenset({"f16", "bf16", "f32"})


def cache_bytes_per_token(metadata: Mapping[str, object], kv_type: str) -> int | None:
    """Return the bytes that one token takes in the cache, over all layers, as the runtime takes `kv_type`.

    None if the file does not tell, or if the width of a head does not fit the type.
    """
    from ramify.engine.runtime.memory import head_length, kv_bytes_per_token
    from ramify.engine.runtime.messages import ModelConfig

    in_f16, key = kv_bytes_per_token(metadata), head_length(metadata)
    if in_f16 is None or key is None:
        return None
    declared = metadata.get(f"{metadata.get('general.architecture')}.attention.value_length")
    value = declared if isinstance(declared, int) and declared > 0 else head_length(metadata, declared=False) or key
    parts = tuple(zip(ModelConfig(path="", kv_type=kv_type).kv_types, (key, value), strict=True))
    if any(kind not in _WHOLE and length % BLOCK for kind, length in parts):
        return None
    heads = in_f16 // (2 * (key + value))
    return heads * sum(_BLOCK_BYTES[kind] * length for kind, length in parts) // BLOCK
