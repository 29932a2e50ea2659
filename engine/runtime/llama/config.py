"""Configuration of a loaded model, and its description once it is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ramify.model_settings import ModelSettings
from ramify.settings import INTEGER, declared, setting

BufferWord = Literal["all", "repacked", "none"]
"""llama.cpp's extra CPU buffers that weights may go to: "repacked" leaves out those that crash on some machines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig(ModelSettings):
    """Configuration of one loaded model: the settings of the engine for it, and further values of the engine.

    `batch_tokens` bounds the tokens of one decode call. `extra_buffers` are the CPU buffers that weights may go to.
    `states` loads the model for the reading of final hidden states, and of nothing else; so does `rank` for the
    outputs of the file's own classifier. `gpu_turn` is the number of the worker among several, which take one GPU each
    in turn, None with one. `muted` are ids that are never drawn, because their rows in the output matrix hold a reward
    head. `drafts` says that next tokens are drafted from the texts of a run.

    Raises:
        UsageError: if a setting is out of range, or two do not go together.
    """

    path: str
    batch_tokens: int = setting(512, INTEGER, low=1, high=1 << 16, option=False)
    extra_buffers: BufferWord = "all"
    states: bool = False
    rank: bool = False
    gpu_turn: int | None = None
    muted: tuple[int, ...] = ()
    drafts: bool = False

    def __post_init__(self) -> None:
        self.verify_loading()

    @classmethod
    def of(cls, settings: ModelSettings, path: str | Path, **more: Any) -> ModelConfig:
        """Return the configuration of the model at `path` with the settings of an engine; `more` are further fields."""
        shared = {each.attribute: getattr(settings, each.attribute) for each in declared(ModelSettings)}
        return cls(path=str(path), **{**shared, **more})


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """Description of a loaded model.

    `parameters` are all its weights, `token_parameters` those that each token is multiplied with (see `GgufSummary`).
    `context_tokens` is the longest path, `cells` the KV cells of all paths. `offloaded` says that a GPU does the work.
    `window_tokens` is the length of the window of layers with a sliding window, 0 without such layers.
    """

    path: str
    name: str
    architecture: str
    parameters: int
    token_parameters: int
    vocabulary_size: int
    context_tokens: int
    cells: int
    offloaded: bool
    chat_template: str | None
    bos: int
    eos: int
    add_bos: bool
    window_tokens: int = 0
    metadata: Mapping[str, str | int | float | bool] = field(default_factory=dict[str, "str | int | float | bool"])
