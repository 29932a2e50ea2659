"""Defaults of sampling for a model: what its file recommends, else what suits its kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from ramify.errors import UsageError
from ramify.sampling_params import UNFILTERED, USUAL_SAMPLING, SamplingParams, TokenSampling
from ramify.settings import verify

from .prompts.presets import PRESET_KEY

_RECOMMENDED = {"temperature": "temp", "top_k": "top_k", "top_p": "top_p", "min_p": "min_p"}
"""Parameters of sampling, and their names in the metadata of a GGUF file behind `general.sampling.`."""


@runtime_checkable
class RecommendsSampling(Protocol):
    """A policy that has a sampling of its own for what the user leaves open."""

    @property
    def sampling(self) -> TokenSampling:
        """The sampling that suits the model."""
        ...


def recommended_sampling(metadata: Mapping[str, object]) -> TokenSampling:
    """Return the sampling that suits a model file: what its metadata recommends, else USUAL_SAMPLING.

    Models that were trained for ramify, whose files name a prompt preset, are sampled from their own distribution. A
    recommendation that is no number in its range is passed over.
    """
    if PRESET_KEY in metadata:
        return UNFILTERED
    found = {name: _recommended(metadata, name, key) for name, key in _RECOMMENDED.items()}
    given = SamplingParams(**{name: value for name, value in found.items() if value is not None})
    return given.resolved(USUAL_SAMPLING if given == SamplingParams() else UNFILTERED)


def _recommended(metadata: Mapping[str, object], name: str, key: str) -> float | None:
    value = metadata.get(f"general.sampling.{key}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # Files hold 32-bit numbers: 0.6 reads 0.60000002.
    number = int(value) if name == "top_k" else round(float(value), 6)
    try:
        verify(SamplingParams(**{name: number}))
    except UsageError:
        return None
    return number
