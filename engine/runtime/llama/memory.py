"""Memory of a model, computed from the header of its file: KV cache, weights, interim results, processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .gguf_check import GgufSummary

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


DEFAULT_CELLS = 16384
"""Cells of a context where the user sets none, unless the model's own context is far shorter."""
OUTPUT_ROWS_BYTES = 64 << 20
"""Rows of logits that llama.cpp keeps beside a context, for as many sequences as they give room to."""
PROGRAM_BYTES = 95 << 20
"""Memory of two Python processes with their libraries."""
TOKEN_BYTES = 350
"""Memory of one token of a loaded vocabulary."""
LEAST_CELLS = 1024
"""A context of fewer cells holds no search worth the name; one that would be narrowed to fewer is refused."""
_REPACKED_KINDS = frozenset({2, 12, 20})
"""Q4_0, Q4_K and IQ4_NL, of which llama.cpp makes a copy in another order on x86 processors."""
_INPUT = "token_embd.weight"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryNeed:
    """Memory in bytes that a model takes at the peak of a search, all of it in main memory.

    `weights_bytes` are the file's own pages, which are mapped, `copies_bytes` the weights that llama.cpp copies into
    another order. `cache_bytes` are the cells, used or not, `work_bytes` the vocabulary, the rows of logits and interim
    results, and `program_bytes` the Python processes.
    """

    weights_bytes: int
    copies_bytes: int
    cache_bytes: int
    work_bytes: int
    program_bytes: int = PROGRAM_BYTES

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return self.weights_bytes + self.copies_bytes + self.cache_bytes + self.work_bytes + self.program_bytes


def memory_need(
    summary: GgufSummary,
    *,
    cells: int,
    width: int,
    kinds: tuple[str, str] = ("f16", "f16"),
    copies: bool = True,
) -> MemoryNeed | None:
    """Return the memory of a model with contexts of `cells` cells in all, while `width` sequences are decoded together.

    `copies` says whether weights are copied into the order that the processor likes. None if the file does not tell
    the size of a cell.
    """
    per_cell = kv_bytes_per_token(summary.metadata, kinds)
    if per_cell is None:
        return None
    vocabulary = next((each.rows for each in summary.matrices if each.name == _INPUT), 0)
    size = _number(summary.metadata, "embedding_length") or 0
    inner = _number(summary.metadata, "feed_forward_length") or 4 * size
    copied = (each.size_bytes for each in summary.matrices if each.kind in _REPACKED_KINDS and each.name != _INPUT)
    return MemoryNeed(
        weights_bytes=summary.file_bytes,
        copies_bytes=sum(copied) if copies else 0,
        cache_bytes=per_cell * cells,
        work_bytes=OUTPUT_ROWS_BYTES + TOKEN_BYTES * vocabulary + 4 * width * (vocabulary + 4 * size + 3 * inner),
    )


def default_cells(metadata: Mapping[str, object]) -> int:
    """Return the cells of a context where the user sets none."""
    trained = _number(metadata, "context_length") or 512
    return min(16 * trained, DEFAULT_CELLS)


def fitting_cells(need: MemoryNeed, cells: int, free_bytes: int) -> int:
    """Return how many of the cells fit into free memory beside all else, at least 0."""
    if need.total_bytes <= free_bytes:
        return cells
    room = free_bytes - (need.total_bytes - need.cache_bytes)
    return max(0, room // max(1, need.cache_bytes // cells) // 256 * 256)
