"""Prompt presets: the system message or base template that puts a question to a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from ramify.answers.kinds import AnswerKind
from ramify.errors import ModelLoadError, UsageError
from ramify.text import did_you_mean

PRESET_KEY = "ramify.prompt_preset"
"""GGUF metadata key under which a model names its preset."""

QUESTION = "{question}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptPreset:
    """How a question is put to a model.

    `system` is the system message for chat models, None for no such message. `base_template` puts a question to models
    without a chat template, with `{question}` once; the user's own system message (`base_system`) and the worked
    examples `base_examples` come before it, "" for none. `step_format` names what ends a step (see `step_formats`).
    `stop` is a pattern that ends a path in the format that the preset asks for, and `base_stop` one for models without
    a chat template, which go on with another question after their answer; "" for none (see `StepFormat`). `answer` is
    the kind of answer that the preset asks for, None if it suits any.
    """

    name: str
    system: str | None
    base_template: str
    step_format: str
    stop: str = ""
    base_stop: str = ""
    answer: AnswerKind | None = None
    base_system: str = ""
    base_examples: str = ""

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

    def stops(self, chat_template: str | None) -> str:
        """Return the pattern that ends a path of a model, "" for none."""
        return "|".join(filter(None, [self.stop, "" if chat_template else self.base_stop]))


_EXAMPLES = """\
Question: A baker packs 6 boxes with 8 rolls each and has 5 rolls left over. How many rolls did the baker bake?
Answer: The boxes hold 6 * 8 = 48 rolls.
With the rolls left over, that is 48 + 5 = 53 rolls.
The answer is 53.

Question: Nina has 90 dollars. She buys 3 books for 14 dollars each and spends half of the rest on a lamp. How many \
dollars does she have left?
Answer: The books cost 3 * 14 = 42 dollars.
After that Nina has 90 - 42 = 48 dollars.
The lamp costs 48 / 2 = 24 dollars.
So 48 - 24 = 24 dollars are left.
The answer is 24.

Question: A train travels 60 kilometers an hour for 2 hours and then 45 kilometers an hour for 4 hours. How far does \
it travel?
Answer: In the first 2 hours it travels 60 * 2 = 120 kilometers.
In the next 4 hours it travels 45 * 4 = 180 kilometers.
In all it travels 120 + 180 = 300 kilometers.
The answer is 300.

"""
"""Worked examples that show a model without a chat template what an answer looks like."""
_ANSWER_LINE = r"^[ \t]*The answer is:? [^\n]*\d[^\n]*(?P<stop>\n)"
_NEXT_QUESTION = r"^[ \t#*]*(?:Question|Problem|Exercise|Q)[ \t]*\d*[ \t]*[:.]"

PRESETS: Mapping[str, PromptPreset] = MappingProxyType(
    {
        preset.name: preset
        for preset in (
            PromptPreset(name="plain", system=None, base_template=QUESTION, step_format="line"),
            PromptPreset(
                name="gsm8k",
                system='Solve the problem step by step, one step per line. End with a line "The answer is" and the '
                "number.",
                base_examples=_EXAMPLES,
                base_template=f"Question: {QUESTION}\nAnswer:",
                step_format="line",
                stop=_ANSWER_LINE,
                base_stop=_NEXT_QUESTION,
                answer=AnswerKind.NUMBER,
            ),
            PromptPreset(
                name="math",
                system="Please reason step by step, and put your final answer within \\boxed{}.",
                base_template="Problem: {question}\n\nSolution:",
                step_format="blank-line",
                base_stop=_NEXT_QUESTION,
                answer=AnswerKind.BOX,
            ),
            PromptPreset(
                name="text",
                system=None,
                base_template=f"Question: {QUESTION}\nAnswer:",
                step_format="blank-line",
                base_stop=_NEXT_QUESTION,
            ),
        )
    }
)
"""Presets by name."""
TEXT_PRESET = PRESETS["text"]
"""The preset for answers that no model is asked to mark, where nobody chose another one."""


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
