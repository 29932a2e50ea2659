"""Defaults for a model by its file, or by its kind: sampling, prompt preset, step format, ends of paths, width."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from ramify.errors import UsageError
from ramify.sampling_params import UNFILTERED, USUAL_SAMPLING, SamplingParams, TokenSampling
from ramify.settings import verify

from .prompts.presets import PRESET_KEY
from .prompts.prompt_files import choose_preset
from .prompts.step_formats import choose_step_format

ANSWER_ENDS = "the first answer, or the model's own end"
TEXT_ENDS = "the model's own end"


@dataclass(frozen=True, slots=True, kw_only=True)
class IntendedUse:
    """Prompt, step format and sampling of a model where the user leaves them open.

    `prompt` is "chat template" or "base template"; `path_end` tells the end of a path in words, `step_format` is the
    name of the step format.
    """

    preset: str
    prompt: str
    step_format: str
    path_end: str
    sampling: TokenSampling


def intended_use(metadata: Mapping[str, object], chat_template: str | None) -> IntendedUse:
    """Return the intended use of a model file; `chat_template` None is that of a base model.

    Raises:
        ModelLoadError: if the file names a preset or a step format that does not exist.
    """
    preset = choose_preset(None, metadata, chat_template)
    ends = [TEXT_ENDS]
    if PRESET_KEY not in metadata:
        ends += ['a line "The answer is ..."'] if preset.stop else []
        ends += ["another question"] if preset.base_stop and not chat_template else []
    return IntendedUse(
        preset=preset.name,
        prompt="chat template" if chat_template else "base template",
        step_format=choose_step_format(None, metadata, preset).name,
        path_end=ANSWER_ENDS if PRESET_KEY in metadata else " or ".join(ends),
        sampling=recommended_sampling(metadata),
    )


_RECOMMENDED = {
    "temperature": "temp",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "repeat_penalty": "penalty_repeat",
}
"""Parameters of sampling, and their names in the metadata of a GGUF file behind `general.sampling.`."""


@runtime_checkable
class RecommendsSampling(Protocol):
    """A policy that has a sampling of its own for the parameters that the user leaves open."""

    @property
    def sampling(self) -> TokenSampling:
        """The sampling that suits the model."""
        ...


def recommended_sampling(metadata: Mapping[str, object]) -> TokenSampling:
    """Return the sampling that suits a model file: that of its metadata, else USUAL_SAMPLING.

    Models that were trained for ramify, whose files name a prompt preset, are sampled from their own distribution. A
    recommendation that is no number in its range is passed over.
    """
    if PRESET_KEY in metadata:
        return UNFILTERED
    given = SamplingParams()
    for name, key in _RECOMMENDED.items():
        given = _with_recommended(given, name, metadata.get(f"general.sampling.{key}"))
    return given.resolved(USUAL_SAMPLING if given == SamplingParams() else UNFILTERED)


def _with_recommended(given: SamplingParams, name: str, value: object) -> SamplingParams:
    """Return `given` with a parameter that a file recommends, as it is if the value is none in the range."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return given
    # Files hold 32-bit numbers: 0.6 reads 0.60000002.
    changes: dict[str, Any] = {name: int(value) if name == "top_k" else round(float(value), 6)}
    found = replace(given, **changes)
    try:
        verify(found)
    except UsageError:
        return given
    return found


WIDEST, NARROWEST = 16, 4
"""Number of paths where none was given: of small models, and at least."""
WEIGHTS_PER_THREAD = 2_500_000_000
"""Weights, times the paths, that a processor is expected to work on within the patience of a user."""


@runtime_checkable
class SuggestsWidth(Protocol):
    """A policy that says how many paths suit it where the user gives no width."""

    @property
    def width(self) -> int:
        """Number of paths."""
        ...


def suitable_width(parameters: int, threads: int) -> int:
    """Return the number of paths for a model on processors, where the user gives none.

    It is the largest power of two, from NARROWEST to WIDEST, for which the weights times the paths are no more than
    WEIGHTS_PER_THREAD times the threads: on two processors 16 up to 312 M weights, 8 up to 625 M, 4 above.
    """
    width = WIDEST
    while width > NARROWEST and width * parameters > WEIGHTS_PER_THREAD * threads:
        width //= 2
    return width
