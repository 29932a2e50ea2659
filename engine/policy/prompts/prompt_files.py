"""Prompt files: presets as TOML, those of ramify and those of a user, and the choice of one for a model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo

from ramify.answers.answer_forms import answer_form
from ramify.answers.checkers import make_checker
from ramify.answers.processes import patterns
from ramify.conversation import Example
from ramify.errors import MalformedText, ModelLoadError, UsageError
from ramify.files import config_path, is_file, user_path
from ramify.json_text import read_toml
from ramify.sampling_params import SamplingParams
from ramify.settings import verify

from .presets import PRESET_KEY, QUESTION, PromptPreset, nearest_or_all
from .step_formats import step_format

SUFFIX = ".toml"
_PATTERN_LIMIT_S = 1.0
_LONGEST_FILE = 1 << 20
_OWN = "own"


def _checked(check: Callable[[str], object]) -> AfterValidator:
    """Return a validator that refuses a text for which `check` raises a UsageError; ramify's own texts are right."""

    def validate(text: str, info: ValidationInfo) -> str:
        try:
            if info.context is not _OWN:
                check(text)
        except UsageError as error:
            raise ValueError(str(error)) from None
        return text

    return AfterValidator(validate)


def _check_stop(pattern: str) -> None:
    if pattern and patterns.matches(pattern, "", time_limit_s=_PATTERN_LIMIT_S) is not False:
        raise UsageError(f"the pattern {pattern[:60]!r} matches the empty text, or takes too long", "correct it")
    try:
        # While a path is written it is a part of a longer pattern of `re`.
        re.compile(f"(?:{pattern})|.", re.MULTILINE)
    except re.error as error:
        hint = "use what Python's `re` knows, and (?i:…) in place of (?i)"
        raise UsageError(f"the pattern {pattern[:60]!r} cannot be used ({error})", hint) from None


def _check_template(template: str) -> None:
    if template.count(QUESTION) != 1:
        raise UsageError(f"the template has no {QUESTION}, or several", "write it once, where the question stands")


def _check_system(system: str) -> None:
    if QUESTION in system:
        raise UsageError(f"the system message holds {QUESTION}", "leave it out; the question comes after it")


_Stop = Annotated[str, _checked(_check_stop)]
_System = Annotated[str, _checked(_check_system)]
_Steps = Annotated[str, _checked(step_format)]
_Answer = Annotated[str, _checked(answer_form)]
_Check = Annotated[str, _checked(make_checker)]


class _Base(BaseModel):
    """Prompt of models without a chat template."""

    model_config = ConfigDict(extra="forbid", strict=True)

    template: Annotated[str, _checked(_check_template)] = f"Question: {QUESTION}\nAnswer:"
    examples: str = ""
    stop: _Stop = ""


class _Sampling(BaseModel):
    """Sampling where the user leaves it open."""

    model_config = ConfigDict(extra="forbid")

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None


class _Example(BaseModel):
    """A worked example."""

    model_config = ConfigDict(extra="forbid", strict=True)

    question: Annotated[str, Field(min_length=1)]
    answer: Annotated[str, Field(min_length=1)]


class _PromptFile(BaseModel):
    """Contents of a prompt file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    description: str = ""
    system: _System | None = None
    step_format: _Steps = "blank-line"
    answer: _Answer | None = None
    check: _Check | None = None
    stop: _Stop = ""
    tool: Literal["python"] | None = None
    examples: list[_Example] = []
    base: _Base = _Base()
    sampling: _Sampling = _Sampling()

    def preset(self, name: str) -> PromptPreset:
        """Return the preset that the file describes."""
        sampling = SamplingParams(**self.sampling.model_dump())
        verify(sampling)
        return PromptPreset(
            name=name,
            description=self.description,
            system=self.system,
            base_template=self.base.template,
            base_examples=self.base.examples,
            step_format=self.step_format,
            stop=self.stop,
            base_stop=self.base.stop,
            answer=self.answer,
            check=self.check,
            sampling=sampling,
            examples=tuple(Example(each.question, each.answer.strip()) for each in self.examples),
            tool=self.tool,
        )


def read_prompt_file(path: Path, *, own: bool = False) -> PromptPreset:
    """Return the preset of a prompt file, which has the path's stem as its name; those of ramify itself are `own`.

    Raises:
        UsageError: if the file cannot be read, or is no prompt file; the message names the field.
    """
    try:
        data = path.read_bytes()
        if len(data) > _LONGEST_FILE:
            raise UsageError(f"{path} has more than {_LONGEST_FILE:,} bytes", "shorten it")
        return _PromptFile.model_validate(read_toml(data.decode("utf-8")), context=_OWN if own else None).preset(
            path.stem
        )
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8 text", "save it as UTF-8") from None
    except (OSError, ValueError) as error:
        if isinstance(error, UsageError | ValidationError):
            reason, step = _reason(error)
            raise UsageError(f"the prompt file {path} is not valid: {reason}", step) from None
        raise UsageError(f"the prompt file {path} cannot be read ({error})", "check the path") from None
    except UsageError as error:
        raise UsageError(f"the prompt file {path} is not valid: {error.message}", error.next_step) from None


def _reason(error: ValidationError | UsageError) -> tuple[str, str]:
    if isinstance(error, MalformedText | UsageError):
        return error.message, error.next_step
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = ", ".join(_PromptFile.model_fields)
        return f"there is no field {place!r}", f"the fields are {known}"
    return f"{place}: {first['msg'].removeprefix('Value error, ')}", "see docs/howto/prompts.md"


def _own_presets() -> Mapping[str, PromptPreset]:
    folder = Path(__file__).with_name("files")
    return MappingProxyType({name: read_prompt_file(folder / f"{name}{SUFFIX}", own=True) for name in OWN_NAMES})


OWN_NAMES = ("plain", "gsm8k", "math", "program", "text")
PRESETS = _own_presets()
"""Presets of ramify by name."""
TEXT_PRESET = PRESETS["text"]
"""The preset for answers that no model is asked to mark, where nobody chose another one."""
PROGRAM_PRESET = PRESETS["program"]
"""The preset for runs whose only tool is python, where nobody chose another one."""


def prompts_folder() -> Path:
    """Return the folder of the user's prompt files, which need not exist: `prompts` beside the settings file."""
    return config_path().parent / "prompts"


def user_prompt_files() -> Iterator[Path]:
    """Yield the user's prompt files by name; those with the name of a preset of ramify come to nothing."""
    folder = prompts_folder()
    try:
        found = sorted(folder.glob(f"*{SUFFIX}"))
    except OSError:
        found = []
    return (path for path in found if path.stem not in PRESETS)


def prompt_file(name: str) -> Path | None:
    """Return the prompt file that a name stands for: a path, or one of the user's; None for a preset of ramify.

    Raises:
        UsageError: if there is no such preset and no such file.
    """
    if name in PRESETS:
        return None
    if name.endswith(SUFFIX) or "/" in name:
        return user_path(name)
    path = prompts_folder() / f"{name}{SUFFIX}"
    if is_file(path):
        return path
    known = {**PRESETS, **{each.stem: None for each in user_prompt_files()}}
    raise UsageError(f"there is no prompt preset {name!r}", nearest_or_all(name, known))


def find_preset(name: str) -> PromptPreset:
    """Return the preset that a name or the path of a prompt file stands for.

    Raises:
        UsageError: if there is none, or its file is not valid.
    """
    path = prompt_file(name)
    return PRESETS[name] if path is None else _read_once(path, _stamp(path))


@lru_cache(maxsize=16)
def _read_once(path: Path, stamp: object) -> PromptPreset:
    """Return the preset of a file; `stamp` is that of its present contents."""
    del stamp
    return read_prompt_file(path)


def _stamp(path: Path) -> object:
    try:
        facts = path.stat()
    except (OSError, ValueError):
        return None
    return facts.st_mtime_ns, facts.st_size


def choose_preset(name: str | None, metadata: Mapping[str, object], chat_template: str | None) -> PromptPreset:
    """Return the preset `name`, also a prompt file; None means the model file's, else one that suits its kind.

    Chat models get "math"; models without a chat template get "gsm8k", whose base template suits any of them.

    Raises:
        UsageError: if `name` is unknown, or its file is not valid.
        ModelLoadError: if the model file names an unknown preset.
    """
    if name is not None:
        return find_preset(name)
    own = metadata.get(PRESET_KEY)
    if own is None:
        return PRESETS["math" if chat_template else "gsm8k"]
    if own not in PRESETS:
        raise ModelLoadError(
            f"the model file names the prompt preset {own!r}, which this version does not have",
            f"choose another preset: {', '.join(PRESETS)}",
        )
    return PRESETS[str(own)]


def preset_to_dict(preset: PromptPreset) -> dict[str, Any]:
    """Return a preset in the form of its file, in plain JSON types, without fields left open."""
    base = {"template": preset.base_template, "examples": preset.base_examples, "stop": preset.base_stop}
    fields: dict[str, Any] = {
        "name": preset.name,
        "description": preset.description,
        "system": preset.system,
        "step_format": preset.step_format,
        "answer": preset.answer,
        "check": preset.check,
        "stop": preset.stop or None,
        "tool": preset.tool,
        "examples": [{"question": each.question, "answer": each.answer} for each in preset.examples] or None,
        "base": {name: text for name, text in base.items() if text},
        "sampling": {name: value for name, value in preset.sampling.to_dict().items() if value is not None} or None,
    }
    return {name: value for name, value in fields.items() if value is not None}
