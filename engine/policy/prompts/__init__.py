"""Prompts: chat templates, presets, and what ends a step."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .format import PromptFormat as PromptFormat
    from .format import choose_prompt_format as choose_prompt_format
    from .presets import PRESETS as PRESETS
    from .presets import PromptPreset as PromptPreset
    from .presets import choose_preset as choose_preset
    from .render import Prompt as Prompt
    from .render import render_prompt as render_prompt
    from .special import SpecialTokens as SpecialTokens
    from .special import special_tokens as special_tokens
    from .steps import STEP_FORMATS as STEP_FORMATS
    from .steps import choose_step_format as choose_step_format
    from .steps import custom_step_format as custom_step_format
    from .steps import split_steps as split_steps
    from .steps import step_format as step_format

_HOMES = {
    "PRESETS": "presets",
    "Prompt": "render",
    "PromptFormat": "format",
    "PromptPreset": "presets",
    "STEP_FORMATS": "steps",
    "SpecialTokens": "special",
    "choose_preset": "presets",
    "choose_prompt_format": "format",
    "choose_step_format": "steps",
    "custom_step_format": "steps",
    "render_prompt": "render",
    "special_tokens": "special",
    "split_steps": "steps",
    "step_format": "steps",
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
