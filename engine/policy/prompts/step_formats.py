"""Step formats: the patterns that end a reasoning step, their names, and the choice for a model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from ramify.errors import ModelLoadError, UsageError
from ramify.sampling_params import StepFormat

from ...runtime.decode.step_text import find_step_end
from .presets import PromptPreset, nearest_or_all

STEP_FORMAT_KEY = "ramify.step_format"
"""GGUF metadata key under which a model names its step format."""

CUSTOM_PREFIX = "regex:"
"""What a step format given as text starts with if it is a regular expression."""

STEP_FORMATS: Mapping[str, StepFormat] = MappingProxyType(
    {
        "line": StepFormat(name="line", pattern=r"\n"),
        "blank-line": StepFormat(name="blank-line", pattern=r"\n\s*\n", whole_blocks=True),
        "step-k": StepFormat(name="step-k", pattern=r"\nStep \d+:", whole_blocks=True),
    }
)
"""Step formats by name. A step ends where the pattern is first found in it, beyond leading white space.

Blank lines and labels in code fences and display math end none, nor do those after a heading alone.
"""


def step_format(text: str) -> StepFormat:
    """Return the step format that `text` names, or `regex:PATTERN` for one's own.

    Raises:
        UsageError: if there is no such format, or the pattern cannot end a step.
    """
    if text.startswith(CUSTOM_PREFIX):
        return custom_step_format(text.removeprefix(CUSTOM_PREFIX))
    if text not in STEP_FORMATS:
        known = {**STEP_FORMATS, f"{CUSTOM_PREFIX}PATTERN": None}
        raise UsageError(f"there is no step format {text!r}", nearest_or_all(text, known))
    return STEP_FORMATS[text]


def custom_step_format(pattern: str) -> StepFormat:
    """Return a step format from a regular expression.

    Raises:
        UsageError: if it is not valid, or matches the empty text, which would end every step at once.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"the step pattern {pattern!r} is not a regular expression ({error})", "correct it") from error
    if compiled.search(""):
        raise UsageError(f"the step pattern {pattern!r} matches the empty text", "make it match at least one character")
    return StepFormat(name="custom", pattern=pattern)


def choose_step_format(text: str | None, metadata: Mapping[str, object], preset: PromptPreset) -> StepFormat:
    """Return the step format `text`; None means what the model file says, else the preset's.

    Raises:
        UsageError: if `text` is not a step format.
        ModelLoadError: if the model file names one that does not exist.
    """
    if text is not None:
        return step_format(text)
    own = metadata.get(STEP_FORMAT_KEY)
    if own is None:
        return STEP_FORMATS[preset.step_format]
    try:
        return step_format(str(own))
    except UsageError as error:
        raise ModelLoadError(f"the model file names a step format that does not work: {error.message}") from error


def split_steps(text: str, format: StepFormat) -> list[str]:
    """Cut generated text into steps where generation would have ended them; joined they are `text`.

    White space that remains after the last step belongs to that step.
    """
    steps: list[str] = []
    start = 0
    while start < len(text):
        rest = text[start:]
        end, _ = find_step_end(rest, format, 0, len(rest) - len(rest.lstrip()))
        if end is None or not rest[end:].strip():
            break
        steps.append(rest[:end])
        start += end
    return [*steps, text[start:]] if start < len(text) or not steps else steps
