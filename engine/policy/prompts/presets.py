"""Prompt presets: the system message or base template that puts a question to a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ramify.errors import ModelLoadError, UsageError
from ramify.text import did_you_mean

PRESET_KEY = "ramify.prompt_preset"
"""GGUF metadata key under which a model names its preset."""

QUESTION = "{question}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptPreset:
    """How a question is put to a model.

    `system` is the system message for chat models, None for no such message. `base_template` is the whole prompt for
    models without a chat template, with `{question}` once. `step_format` names what ends a step (see `steps`).
    """

    name: str
    system: str | None
    base_template: str
    step_format: str


PRESETS: Mapping[str, PromptPreset] = MappingProxyType(
    {
        preset.name: preset
        for preset in (
            PromptPreset(name="plain", system=None, base_template=QUESTION, step_format="line"),
            PromptPreset(
                name="gsm8k",
                system='Solve the problem step by step, one step per line. End with a line "The answer is" and the '
                "number.",
                base_template="Question: {question}\nAnswer:",
                step_format="line",
            ),
            PromptPreset(
                name="math",
                system="Please reason step by step, and put your final answer within \\boxed{}.",
                base_template="Problem: {question}\n\nSolution:",
                step_format="blank-line",
            ),
        )
    }
)
"""Presets by name."""


def choose_preset(name: str | None, metadata: Mapping[str, object], chat_template: str | None) -> PromptPreset:
    """Return the preset `name`; None means what the model file says, else what suits its kind.

    Chat models get "math"; models without a chat template get "gsm8k", whose base template suits any of them.

    Raises:
        UsageError: if `name` is unknown.
        ModelLoadError: if the model file names an unknown preset.
    """
    if name is not None:
        if name not in PRESETS:
            raise UsageError(f"there is no prompt preset {name!r}", nearest_or_all(name, PRESETS))
        return PRESETS[name]
    own = metadata.get(PRESET_KEY)
    if own is None:
        return PRESETS["math" if chat_template else "gsm8k"]
    if own not in PRESETS:
        raise ModelLoadError(
            f"the model file names the prompt preset {own!r}, which this version does not have",
            f"choose another preset: {', '.join(PRESETS)}",
        )
    return PRESETS[str(own)]


def nearest_or_all(name: str, known: Mapping[str, object]) -> str:
    """Return a next step that names the known name nearest to `name`, or all of them."""
    return did_you_mean(name.lower(), known, f"choose one of {', '.join(known)}")
