"""Prompt presets: the system message or base template that puts a question to a model."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from ramify.conversation import Example
from ramify.errors import UsageError
from ramify.sampling_params import SamplingParams
from ramify.text import did_you_mean

PRESET_KEY = "ramify.prompt_preset"
"""GGUF metadata key under which a model names its preset."""

QUESTION = "{question}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptPreset:
    """Prompt of a question, with the form of its steps and answer.

    `system` is the system message for chat models, None for no such message. `base_template` puts a question to models
    without a chat template, with `{question}` once; the user's own system message (`base_system`) and the worked
    examples `base_examples` come before it, "" for none. `step_format` names the end of a step (see `step_formats`).
    `stop` is a pattern that ends a path in the format that the preset asks for, and `base_stop` one for models without
    a chat template, which go on with another question after their answer; "" for none (see `StepFormat`). `answer` is
    the form of the answer that the preset asks for (see `ramify.answers.answer_forms`), None if it suits any. `check`
    is the checker of problems that name none, None for the usual one. `sampling` has the parameters that suit the
    prompt, as far as it sets any. `examples` are worked examples in the form of the conversation, which the user's own
    replace. `tool` names the tool that must be there, None for none. `description` is one line for lists.
    """

    name: str
    system: str | None
    base_template: str
    step_format: str
    stop: str = ""
    base_stop: str = ""
    answer: str | None = None
    description: str = ""
    check: str | None = None
    sampling: SamplingParams = field(default_factory=SamplingParams)
    base_system: str = ""
    base_examples: str = ""
    examples: tuple[Example, ...] = ()
    tool: str | None = None

    def with_system(self, system: str | None) -> PromptPreset:
        """Return the preset with another system message, which models without a chat template get before the question.

        "" leaves the message out, None leaves the preset as it is. A message may ask for any kind of answer.

        Raises:
            UsageError: if the message has the place of the question in it.
        """
        if system is None:
            return self
        if QUESTION in system:
            raise UsageError(f"the system message holds {QUESTION}", "leave it out; the question comes after it")
        return replace(self, system=system or None, base_system=system, answer=None)

    def check_tools(self, names: Collection[str]) -> None:
        """Check that the tools of a run, by their names, are those that the preset's examples use.

        Raises:
            UsageError: if the preset names a tool and it is not the only one.
        """
        if self.tool is not None and set(names) != {self.tool}:
            raise UsageError(
                f"the prompt preset {self.name} needs the tool {self.tool} and no other",
                f"use --tools {self.tool}, or another preset",
            )

    def stops(self, chat_template: str | None) -> str:
        """Return the pattern that ends a path of a model, "" for none."""
        return "|".join(filter(None, [self.stop, "" if chat_template else self.base_stop]))


def nearest_or_all(name: str, known: Mapping[str, object]) -> str:
    """Return a next step that names the known name nearest to `name`, or all of them."""
    return did_you_mean(name.lower(), known, f"choose one of {', '.join(known)}")
