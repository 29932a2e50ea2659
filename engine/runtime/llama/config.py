"""Configuration of a loaded model, and its description once it is loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from ramify.errors import UsageError

FlashWord = Literal["auto", "on", "off"]
"""Whether flash attention is used; "auto" where it pays."""

BufferWord = Literal["all", "repacked", "none"]
"""Which of llama.cpp's extra CPU buffers weights may go to: "repacked" leaves out those that crash on some machines."""

KV_TYPES = {
    "f16": 1, "bf16": 30, "f32": 0, "q8_0": 8, "q5_1": 7, "q5_0": 6, "q4_1": 3, "q4_0": 2, "iq4_nl": 20,
}  # fmt: skip
"""How keys and values can be kept: names and numbers of ggml's types."""
_QUANTIZED = frozenset(KV_TYPES) - {"f16", "bf16", "f32"}

MAX_GPUS = 16
"""As many as llama.cpp is built for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """How one model is loaded.

    `context_tokens` is the number of KV cells shared by all paths of a pool, None for a size that suits. `threads`
    None means the processors available. `max_lanes` bounds the different paths decoded together. `batch_tokens`
    bounds the tokens of one decode call. `pools` is the number of contexts that runs are shared out to, None for as
    many as pay. `states` loads it for the reading of final hidden states, and of nothing else; so does `rank` for
    the outputs of the file's own classifier.

    `gpu_layers` None means all if the build can offload, else 0. `main_gpu` puts all of the model on that GPU, and
    `tensor_split` ("3,1") shares its layers out over the GPUs; None leaves it to llama.cpp, which takes what memory
    is free. `gpu_turn` is the number of the worker among several, which take one GPU each in turn, None with one.
    `kv_type` is how keys and values are kept, one of KV_TYPES or two ("q8_0,q4_0"); None means f16. `muted` are ids
    that are never drawn, because their rows in the output matrix hold a reward head.
    """

    path: str
    context_tokens: int | None = None
    threads: int | None = None
    gpu_layers: int | None = None
    max_lanes: int = 64
    batch_tokens: int = 512
    pools: int | None = None
    extra_buffers: BufferWord = "all"
    states: bool = False
    rank: bool = False
    main_gpu: int | None = None
    tensor_split: str | None = None
    gpu_turn: int | None = None
    flash_attention: FlashWord = "auto"
    kv_type: str | None = None
    muted: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        limits = {"context_tokens": (256, 1 << 24), "threads": (1, 512), "gpu_layers": (0, 100_000)}
        limits.update({"main_gpu": (0, MAX_GPUS - 1), "pools": (1, 64)})
        for name, (low, high) in {**limits, "max_lanes": (1, 254), "batch_tokens": (1, 1 << 16)}.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise UsageError(f"{name} is {value}", f"use a number from {low} to {high}")
        self._check_devices()

    def _check_devices(self) -> None:
        if self.main_gpu is not None and self.tensor_split is not None:
            raise UsageError("both main_gpu and tensor_split are set", "set the one or the other")
        if self.gpu_shares and len(self.gpu_shares) > MAX_GPUS:
            raise UsageError(f"tensor_split is {self.tensor_split!r}", f"give at most {MAX_GPUS} shares")
        if self.flash_attention not in get_args(FlashWord):
            raise UsageError(f"flash_attention is {self.flash_attention!r}", "use auto, on or off")
        if self.kv_types[1] in _QUANTIZED and self.flash_attention == "off":
            raise UsageError(
                f"values are kept as {self.kv_types[1]} and flash attention is off", "switch it on, or use f16"
            )

    @property
    def kv_types(self) -> tuple[str, str]:
        """Types of keys and of values; raises UsageError if there is no such type."""
        names = ("f16" if self.kv_type is None else self.kv_type).lower().replace(" ", "").split(",")
        if len(names) > 2 or any(name not in KV_TYPES for name in names):
            raise UsageError(f"kv_type is {self.kv_type!r}", f"use one or two (keys,values) of {', '.join(KV_TYPES)}")
        return names[0], names[-1]

    @property
    def gpu_shares(self) -> tuple[float, ...]:
        """Share of each GPU, () if none are given; raises UsageError if they are no such numbers."""
        if self.tensor_split is None:
            return ()
        try:
            shares = tuple(float(each) for each in self.tensor_split.split(","))
        except ValueError:
            shares = ()
        if not (all(math.isfinite(each) and each >= 0 for each in shares) and sum(shares) > 0):
            raise UsageError(f"tensor_split is {self.tensor_split!r}", "give a share for each GPU, such as 3,1")
        return shares


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """What is known of a loaded model.

    `context_tokens` is the longest path, `cells` the KV cells of all paths. `window_tokens` is how far back layers with
    a sliding window see, 0 without such layers.
    """

    path: str
    name: str
    architecture: str
    parameters: int
    vocabulary_size: int
    context_tokens: int
    cells: int
    chat_template: str | None
    bos: int
    eos: int
    add_bos: bool
    eog: tuple[int, ...]
    window_tokens: int = 0
    metadata: Mapping[str, str | int | float | bool] = field(default_factory=dict[str, "str | int | float | bool"])
