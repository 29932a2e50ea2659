"""Assignment of single weights to llama.cpp's repacked CPU buffers, on machines where its own choice crashes.

llama.cpp prefers AMX buffers to repacked ones where the processor advertises AMX. Without AMX's buffers it uses none,
and some types are then a quarter slower than repacked. Buffers can be set for weights by name. A weight that the
kernels do not support, or that is used for more than a product, would crash, so only those that fit are named.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterable
from typing import Any

from .gguf_check import GgufSummary, Matrix

_KINDS = frozenset({2, 12, 20})
"""Q4_0, Q4_K and IQ4_NL: the types that llama.cpp repacks on x86 processors with AVX2."""
_ROWS = 8
"""Rows that are interleaved; their number must be a multiple of it."""
_PRODUCTS = re.compile(r"blk\.(\d+)\.(attn_(?:q|k|v|qkv|output)|ffn_(?:gate|up|down))\.weight|output\.weight")
_NAME = b"CPU_REPACK"
_CPU = 0
"""ggml_backend_dev_type."""


class Override(ctypes.Structure):
    """llama_model_tensor_buft_override."""

    _fields_ = (("pattern", ctypes.c_char_p), ("buffer_type", ctypes.c_void_p))


def repackable(summary: GgufSummary) -> bool:
    """Tell whether a model has weights that can be repacked."""
    return bool(_patterns(summary.matrices))


def overrides(lib: Any, summary: GgufSummary) -> Any:
    """Return the array that puts a model's weights into repacked buffers, to be kept until it is loaded.

    None if the model, the processor or the build has nothing to repack.
    """
    patterns = _patterns(summary.matrices)
    native = lib._lib
    if not patterns or not native.ggml_cpu_has_avx2():
        return None
    buffer_type = _buffer_type(native)
    if buffer_type is None:
        return None
    # An entry without a pattern ends the array.
    return (Override * (len(patterns) + 1))(*(Override(each.encode(), buffer_type) for each in patterns))


def _patterns(matrices: Iterable[Matrix]) -> list[str]:
    """Return regular expressions for the names of all that fit, few of them: llama.cpp tries each on each weight."""
    blocks: dict[str, list[str]] = {}
    found = list[str]()
    for each in matrices:
        match = _PRODUCTS.fullmatch(each.name)
        if match is None or each.kind not in _KINDS or each.rows % _ROWS:
            continue
        if match[2] is None:
            found.append(r"^output\.weight$")
        else:
            blocks.setdefault(match[2], []).append(match[1])
    return found + [rf"^blk\.({'|'.join(numbers)})\.{part}\.weight$" for part, numbers in blocks.items()]


def _buffer_type(native: Any) -> int | None:
    native.ggml_backend_dev_by_type.argtypes = [ctypes.c_int]
    for name in ("ggml_backend_dev_by_type", "ggml_backend_dev_backend_reg", "ggml_backend_reg_get_proc_address"):
        getattr(native, name).restype = ctypes.c_void_p
    native.ggml_backend_dev_backend_reg.argtypes = [ctypes.c_void_p]
    native.ggml_backend_reg_get_proc_address.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    native.ggml_backend_buft_name.argtypes, native.ggml_backend_buft_name.restype = [ctypes.c_void_p], ctypes.c_char_p
    device = native.ggml_backend_dev_by_type(_CPU)
    register = native.ggml_backend_dev_backend_reg(device)
    address = native.ggml_backend_reg_get_proc_address(register, b"ggml_backend_dev_get_extra_bufts")
    if not address:
        return None
    listed = ctypes.CFUNCTYPE(ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p)(address)(device)
    place = 0
    while listed and listed[place]:
        if native.ggml_backend_buft_name(listed[place]) == _NAME:
            return int(listed[place])
        place += 1
    return None
