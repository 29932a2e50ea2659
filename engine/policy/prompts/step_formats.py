"""Step formats: the patterns that end a reasoning step, their names, and the choice for a model."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ramify.answers.processes import patterns
from ramify.errors import ModelLoadError, UsageError
from ramify.sampling_params import StepFormat

from ...runtime.decode.step_text import find_end_after
from .presets import PromptPreset, nearest_or_all

STEP_FORMAT_KEY = "ramify.step_format"
"""GGUF metadata key under which a model names its step format."""

CUSTOM_PREFIX = "regex:"
"""Prefix of a step format given as text that is a regular expression."""

COMPILE_LIMIT_S = 1.0
LONGEST_PATTERN = 500
"""Most characters of one's own pattern. The library prepares a long literal for its first search without a time limit:
0.3 s for 1,000 characters that repeat, 14 s for 6,000."""

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
    """Return a step format from a regular expression of the library `regex`.

    Raises:
        UsageError: if it is not valid, too long, takes too much time or memory to compile, or matches the empty text,
            which would end every step at once.
    """
    if len(pattern) > LONGEST_PATTERN:
        raise UsageError(
            f"the step pattern has {len(pattern):,} characters", f"give one of {LONGEST_PATTERN:,} at most"
        )
    shown = repr(pattern if len(pattern) <= 100 else f"{pattern[:100]}...")
    try:
        matches = patterns.matches(pattern, "", time_limit_s=COMPILE_LIMIT_S)
    except UsageError as error:
        raise UsageError(f"the step pattern {error.message}", error.next_step) from error
    if matches is None:
        raise UsageError(f"the step pattern {shown} takes too much time or memory to compile", "simplify it")
    if matches:
        raise UsageError(f"the step pattern {shown} matches the empty text", "make it match at least one character")
    return StepFormat(name="custom", pattern=pattern, custom=True)


def choose_step_format(text: str | None, metadata: Mapping[str, object], preset: PromptPreset) -> StepFormat:
    """Return the step format `text`; None means that of the model file, else the preset's.

    A model file may name one of `STEP_FORMATS` only: a regular expression can take any amount of time.

    Raises:
        UsageError: if `text` is not a step format.
        ModelLoadError: if the model file names one that does not exist, or has a pattern.
    """
    if text is not None:
        return step_format(text)
    own = metadata.get(STEP_FORMAT_KEY)
    if own is None:
        return STEP_FORMATS[preset.step_format]
    named = str(own)
    if named in STEP_FORMATS:
        return STEP_FORMATS[named]
    shown = repr(named if len(named) <= 60 else f"{named[:60]}...")
    why = "is a pattern of the model file, which may only name" if named.startswith(CUSTOM_PREFIX) else "is none of"
    raise ModelLoadError(
        f"the step format {shown} {why} {', '.join(STEP_FORMATS)}", "choose one with --step-format (step_format=...)"
    )


def split_steps(text: str, format: StepFormat) -> list[str]:
    """Cut generated text into steps where generation would have ended them; joined they are `text`.

    White space that remains after the last step belongs to that step.
    """
    steps: list[str] = []
    start = 0
    last = len(text.rstrip())
    while start < last:
        end = find_end_after(text, format, start)
        if end is None or end >= last:
            break
        steps.append(text[start:end])
        start = end
    return [*steps, text[start:]] if start < len(text) or not steps else steps
