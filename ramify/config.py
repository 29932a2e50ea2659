"""Frozen settings of an engine and of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from ramify.search.budget import Budget
from ramify.search.stopping import PathRule, StopRule

from .errors import UsageError
from .sampling_params import SamplingParams

DEFAULT_BUDGET = Budget(generated_tokens=8192, seconds=120.0)
"""Ends a run on the bundled models within seconds, and any run within two minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """How the models of an engine are loaded and prompted.

    `isolation` is where native code runs: a worker process of its own, or a thread of this process.
    `context_tokens` is the number of KV cells that all paths of a pool share, None for a size that suits the model.
    `threads` None means the processors available to this process, shared out among the workers, and one for models
    of less than 16 million weights. `max_lanes` bounds the different paths decoded together, in each pool; those
    that are the same so far count once. `prompt_preset` and `step_format` None mean what the model file says, else
    what suits its kind (see `ramify.engine.policy.prompts`). `reward_spec` is the format of the reward model: a
    built-in name, or the path of a TOML or JSON file; None means what the file says. `profile` is the path of a file
    that `ramify calibrate` made, for the strategy "auto"; None means the bundled one.

    `workers` load the models once each, and a run goes to the least busy one; with GPUs, each worker takes one in turn.
    `gpu_layers` None means all if the build can, else none; 0 none. `main_gpu` puts each model on that GPU alone, and
    `tensor_split`, such as "3,1", shares its layers out; None leaves that to llama.cpp. `flash_attention` "auto" means
    where it pays: not on a processor with attention heads shorter than 64. `kv_type` is how keys and values are cached,
    "q8_0" or "q8_0,q4_0" for the two apart; None means f16. `pools` is into how many contexts a worker puts the trees
    of different runs, each of `context_tokens`; None means as many as pay: one on a GPU and for large models, up to
    eight for small ones on a processor.

    Raises UsageError if `isolation` is no such place; the other settings are checked when an engine is entered.
    """

    isolation: Literal["process", "thread"] = "process"
    context_tokens: int | None = None
    threads: int | None = None
    gpu_layers: int | None = None
    max_lanes: int = 64
    workers: int = 1
    main_gpu: int | None = None
    tensor_split: str | None = None
    flash_attention: Literal["auto", "on", "off"] = "auto"
    kv_type: str | None = None
    pools: int | None = None
    prompt_preset: str | None = None
    step_format: str | None = None
    reward_spec: str | None = None
    profile: str | None = None

    def __post_init__(self) -> None:
        # What is wrong with the others shows when the models are loaded with them.
        if self.isolation not in ("process", "thread"):
            raise UsageError(f"isolation is {self.isolation!r}", "use process or thread")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """How one question is searched, the strategy aside.

    `max_step_tokens` bounds one step; a step cut there is continued as if it were complete. `max_path_tokens` bounds
    the generated tokens of a path; a path that reaches it is pruned. `seed` fixes all sampling. `stop` ends the run
    early and `cut` single paths, None never.
    """

    budget: Budget = DEFAULT_BUDGET
    sampling: SamplingParams = field(default_factory=SamplingParams)
    seed: int = 0
    max_step_tokens: int = 256
    max_path_tokens: int = 1024
    stop: StopRule | None = None
    cut: PathRule | None = None

    def __post_init__(self) -> None:
        for name in ("max_step_tokens", "max_path_tokens"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}", "use 1 or more")
        if not math.isfinite(self.sampling.temperature) or self.sampling.temperature < 0:
            raise UsageError(f"temperature is {self.sampling.temperature}", "use a number from 0 upwards")
