"""GPUs that llama.cpp finds, and the choice of those that a model goes to."""

from __future__ import annotations

import ctypes
from typing import Any

from ramify.errors import UsageError

from .config import ModelConfig

FLASH_NUMBERS = {"auto": -1, "off": 0, "on": 1}
"""llama_flash_attn_type."""
_GPU, _INTEGRATED = 1, 2
"""ggml_backend_dev_type."""


def gpu_count(lib: Any) -> int:
    """Number of GPUs that llama.cpp can use; 0 for a build without support for any."""
    if not lib.llama_supports_gpu_offload():
        return 0
    # The binding does not name them, but they come with the same library.
    native = lib._lib
    native.ggml_backend_dev_count.restype = ctypes.c_size_t
    native.ggml_backend_dev_get.argtypes, native.ggml_backend_dev_get.restype = [ctypes.c_size_t], ctypes.c_void_p
    native.ggml_backend_dev_type.argtypes = [ctypes.c_void_p]
    places = range(native.ggml_backend_dev_count())
    kinds = [native.ggml_backend_dev_type(native.ggml_backend_dev_get(place)) for place in places]
    return kinds.count(_GPU) or min(1, kinds.count(_INTEGRATED))


def place(lib: Any, params: Any, config: ModelConfig) -> Any:
    """Set the GPUs for a model in `params`; return memory that must be kept until the model is loaded, None if none.

    Raises:
        UsageError: if a GPU is named that is not there.
    """
    shares = config.gpu_shares
    if config.main_gpu is None and not shares and config.gpu_turn is None:
        return None
    gpus = gpu_count(lib)
    named = len(shares) if shares else 0 if config.main_gpu is None else config.main_gpu + 1
    if named > gpus:
        setting = f"tensor_split is {config.tensor_split}" if shares else f"main_gpu is {config.main_gpu}"
        raise UsageError(
            f"{setting} and llama.cpp finds {gpus or 'no'} GPU{'s' * (gpus > 1)} here", "see `ramify doctor`"
        )
    if shares:
        room = (ctypes.c_float * int(lib.llama_max_devices()))(*shares)
        params.split_mode = lib.LLAMA_SPLIT_MODE_LAYER
        params.tensor_split = ctypes.cast(room, ctypes.POINTER(ctypes.c_float))
        return room
    if gpus:
        params.split_mode = lib.LLAMA_SPLIT_MODE_NONE
        params.main_gpu = (config.gpu_turn or 0) % gpus if config.main_gpu is None else config.main_gpu
    return None
