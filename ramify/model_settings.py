"""Settings with which a model is loaded: threads, the KV cache and GPUs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from .errors import UsageError
from .settings import COMPACT, COUNT, INTEGER, setting, verify

FlashWord = Literal["auto", "on", "off"]
"""Use of flash attention; "auto" uses it where it pays."""

KV_TYPES = {
    "f16": 1, "bf16": 30, "f32": 0, "q8_0": 8, "q5_1": 7, "q5_0": 6, "q4_1": 3, "q4_0": 2, "iq4_nl": 20,
}  # fmt: skip
"""Types of cached keys and values: names and numbers of ggml's types."""
_QUANTIZED = frozenset(KV_TYPES) - {"f16", "bf16", "f32"}
MAX_GPUS = 16
"""Number of GPUs that llama.cpp is built for."""


def read_kv_types(text: str | None) -> tuple[str, str]:
    """Return the types of cached keys and of values that a text such as "q8_0" or "q8_0,q4_0" names; None means f16.

    Raises:
        UsageError: if there is no such type.
    """
    names = ("f16" if text is None else text).lower().replace(" ", "").split(",")
    if len(names) > 2 or any(name not in KV_TYPES for name in names):
        raise UsageError(f"kv_type is {text!r}", f"use one or two (keys,values) of {', '.join(KV_TYPES)}")
    return names[0], names[-1]


def read_gpu_shares(text: str | None) -> tuple[float, ...]:
    """Return the share of each GPU that a text such as "3,1" gives; None means none.

    Raises:
        UsageError: if they are no numbers from 0 upwards, all are 0, or there are too many.
    """
    if text is None:
        return ()
    try:
        shares = tuple(float(each) for each in text.split(","))
    except ValueError:
        shares = ()
    if not (all(math.isfinite(each) and each >= 0 for each in shares) and sum(shares) > 0):
        raise UsageError(f"tensor_split is {text!r}", "give a share for each GPU, such as 3,1")
    if len(shares) > MAX_GPUS:
        raise UsageError(f"tensor_split is {text!r}", f"give at most {MAX_GPUS} shares")
    return shares


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """Settings with which each model of an engine is loaded.

    `context_tokens` is the number of KV cells that all paths of a pool share, None for a size that suits the model.
    `threads` None means the physical cores that this process may use, fewer while other programs use them, shared out
    among the workers, and one for models of less than 16 million weights. `max_lanes` bounds the different paths
    decoded together, in each pool; those that are the same so far count once. `pools` is the number of contexts among
    which a worker distributes the trees of different runs, each of `context_tokens`; None means as many as pay: one on
    a GPU and for large models, up to eight for small ones on a processor.

    `gpu_layers` None means all if the build can offload, else none; 0 none. `main_gpu` puts each model on that GPU
    alone, and `tensor_split`, such as "3,1", shares its layers out; None leaves that to llama.cpp. `flash_attention`
    "auto" means where it pays: not on a processor with attention heads shorter than 64. `kv_type` is the type of
    cached keys and values, "q8_0" or "q8_0,q4_0" for the two apart; None means f16.
    """

    threads: int | None = setting(
        None,
        INTEGER,
        low=1,
        high=512,
        help="Processor threads.",
        unset="as suits the model",
        explanation="processor threads; by default all physical cores that the process may use, divided among the "
        "workers, fewer while other programs use them, and one for models below 16 million weights",
        identity="never",
    )
    context_tokens: int | None = setting(
        None,
        COUNT,
        low=256,
        high=1 << 24,
        help="Size of a KV cache in tokens.",
        unset="as suits the model",
        explanation="tokens of a KV cache; by default 16 times the model's context, at most 16,384",
        identity="never",
    )
    pools: int | None = setting(
        None,
        INTEGER,
        low=1,
        high=64,
        help="KV caches that problems are shared out to.",
        unset="as pays",
        explanation="KV caches among which problems are distributed, each of `--context-tokens`; by default one on a "
        "GPU and for large models, up to eight for small ones on a processor",
        identity="never",
    )
    max_lanes: int = setting(64, INTEGER, low=1, high=254, option=False, identity="never")
    kv_type: str | None = setting(
        None,
        COMPACT,
        check=read_kv_types,
        metavar="TYPE",
        help="Type of the KV cache, such as q8_0 or q8_0,q4_0.",
        unset="f16",
        explanation="type of the KV cache, or two for keys and values apart, such as `q8_0,q4_0`; `f16` by default",
    )
    flash_attention: FlashWord = setting(
        "auto",
        choices=get_args(FlashWord),
        help="Whether to use it.",
        explanation="`on`, `off` or `auto`; `auto`, the default, switches it on where it is faster",
        identity="never",
    )
    gpu_layers: int | None = setting(
        None,
        INTEGER,
        low=0,
        high=100_000,
        help="Layers on the GPU.",
        unset="all, if there is one",
        explanation="layers on the GPU; all by default if the build can, 0 for none",
        identity="never",
    )
    main_gpu: int | None = setting(
        None,
        INTEGER,
        low=0,
        high=MAX_GPUS - 1,
        metavar="N",
        help="Put each model on this GPU alone.",
        explanation="put each model on this GPU alone",
        identity="never",
    )
    tensor_split: str | None = setting(
        None,
        COMPACT,
        check=read_gpu_shares,
        metavar="SHARES",
        help="Share layers out over the GPUs, such as 3,1.",
        explanation="divide the layers among the GPUs, such as `3,1`",
        identity="never",
    )

    @property
    def kv_types(self) -> tuple[str, str]:
        """Types of keys and of values; raises UsageError if there is no such type."""
        return read_kv_types(self.kv_type)

    @property
    def gpu_shares(self) -> tuple[float, ...]:
        """Share of each GPU, () if none are given; raises UsageError if they are no such numbers."""
        return read_gpu_shares(self.tensor_split)

    def verify_loading(self) -> None:
        """Check that a model can be loaded with these settings.

        Raises:
            UsageError: if one is out of range, or two do not go together.
        """
        verify(self)
        if self.main_gpu is not None and self.tensor_split is not None:
            raise UsageError("both main_gpu and tensor_split are set", "set the one or the other")
        read_gpu_shares(self.tensor_split)
        if self.kv_types[1] in _QUANTIZED and self.flash_attention == "off":
            raise UsageError(
                f"values are kept as {self.kv_types[1]} and flash attention is off", "switch it on, or use f16"
            )
