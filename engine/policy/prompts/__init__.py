"""Prompts: chat templates, presets, and what ends a step."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .presets import PRESETS as PRESETS
    from .presets import PromptPreset as PromptPreset
    from .presets import choose_preset as choose_preset
    from .prompt import Prompt as Prompt
    from .prompt import SpecialTokens as SpecialTokens
    from .prompt import render_prompt as render_prompt
    from .prompt import special_tokens as special_tokens
    from .prompt_format import PromptFormat as PromptFormat
    from .prompt_format import choose_prompt_format as choose_prompt_format
    from .step_formats import STEP_FORMATS as STEP_FORMATS
    from .step_formats import choose_step_format as choose_step_format
    from .step_formats import custom_step_format as custom_step_format
    from .step_formats import split_steps as split_steps
    from .step_formats import step_format as step_format

_HOMES = {
    "PRESETS": "presets",
    "Prompt": "prompt",
    "PromptFormat": "prompt_format",
    "PromptPreset": "presets",
    "STEP_FORMATS": "step_formats",
    "SpecialTokens": "prompt",
    "choose_preset": "presets",
    "choose_prompt_format": "prompt_format",
    "choose_step_format": "step_formats",
    "custom_step_format": "step_formats",
    "render_prompt": "prompt",
    "special_tokens": "prompt",
    "split_steps": "step_formats",
    "step_format": "step_formats",
}

__all__ = [
    "PRESETS",
    "STEP_FORMATS",
    "Prompt",
    "PromptFormat",
    "PromptPreset",
    "SpecialTokens",
    "choose_preset",
    "choose_prompt_format",
    "choose_step_format",
    "custom_step_format",
    "render_prompt",
    "special_tokens",
    "split_steps",
    "step_format",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(_HOMES)
