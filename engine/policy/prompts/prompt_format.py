"""Prompt format of one model: preset, step format, chat template and special tokens, all chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from ramify.answers.kinds import AnswerKind
from ramify.answers.thoughts import ThoughtMarks
from ramify.conversation import Conversation, Message
from ramify.errors import ModelLoadError
from ramify.reward.protocol import Tokenizer
from ramify.reward.tokens import Segment
from ramify.sampling_params import StepFormat
from ramify.tools.forms import PYTHON, CallForm, CallReader
from ramify.tools.tool import Tool

from ...runtime.messages import common_prefix
from .presets import PRESET_KEY, PromptPreset
from .prompt import (
    NO_TEXTS,
    Prompt,
    SpecialTokens,
    bridge_tokens,
    encoded_prompt,
    prompt_segments,
    render_prompt,
    special_tokens,
)
from .prompt_files import PROGRAM_PRESET, TEXT_PRESET, choose_preset
from .step_formats import choose_step_format, split_steps
from .thinking import find_marks, is_opened, switched_template
from .tool_prompt import ToolPrompt, result_segments

LEAST_SHARED_TOKENS = 16
"""Tokens that prompts must have in common before these are evaluated apart from the rest."""
MOST_KNOWN = 32
"""Beginnings of prompts whose tokens are kept."""
_OTHER_QUESTIONS = ("0", "Why?")
"""Questions that begin unlike each other, so that no question has more in common with both than the prompt has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptFormat:
    """The prompt of one model: preset, step format, chat template (None without one), begin and end tokens.

    `thoughts` are the marks of the model's thoughts, None for a model that does not think. `for_texts` is the format
    for answers that no model is asked to mark, such as summaries and code; None where the user or the model file chose
    the preset, which then holds for all questions. `for_programs` is the format for runs whose only tool is python;
    None where the preset is chosen too, and for models that think, since its worked examples have no thoughts.
    `tools` are those that replies may call. `known` keeps the tokens that prompts begin with by the pieces that they
    were made of; formats that are made of this one share it, as they are for the same model.
    """

    preset: PromptPreset
    step: StepFormat
    chat_template: str | None = None
    special: SpecialTokens = field(default_factory=SpecialTokens)
    thoughts: ThoughtMarks | None = None
    for_texts: PromptFormat | None = None
    for_programs: PromptFormat | None = None
    tools: ToolPrompt | None = None
    known: dict[tuple[Segment, ...], tuple[int, ...]] = field(
        default_factory=dict[tuple[Segment, ...], tuple[int, ...]], repr=False, compare=False
    )

    @property
    def answer(self) -> str | None:
        """The form of answer that the chosen preset asks for; None if it suits any, or was not chosen."""
        return None if self.for_texts is not None else self.preset.answer

    def suiting(self, kind: AnswerKind) -> PromptFormat:
        """Return the format for answers of a kind."""
        return self if kind.is_marked or self.for_texts is None else self.for_texts

    def with_system_of(self, question: str | Conversation) -> tuple[PromptFormat, str | Conversation]:
        """Return the format with the system message of a conversation, if it has one, and the conversation without."""
        if isinstance(question, str) or question.system is None:
            return self, question
        preset = replace(self.preset, system=question.system or None, base_system=question.system)
        return replace(self, preset=preset, for_programs=None), replace(question, system=None)

    def tool_prompt(self, tools: Sequence[Tool], model: str) -> ToolPrompt:
        """Return the tools as the model `model` reads of them.

        Raises:
            UsageError: if its chat template knows no tools and python is not the only one.
        """
        writes_code = self.thoughts is None or self.preset.tool == PYTHON
        return ToolPrompt.of(tools, self.chat_template, model, writes_code=writes_code)

    def with_tools(self, tools: ToolPrompt) -> PromptFormat:
        """Return the format with tools, whose calls end steps.

        Without `for_programs` the preset stays, and the system message says in addition how code is run.
        """
        if tools.form is CallForm.CODE and self.for_programs is not None:
            return self.for_programs.with_tools(tools)
        preset = self.preset
        if tools.system:
            told = "\n".join(filter(None, [preset.system, tools.system]))
            base = "\n".join(filter(None, [preset.base_system, tools.system]))
            preset = replace(preset, system=told, base_system=base)
        names = frozenset(each.name for each in tools.tools)
        step = replace(self.step, calls=CallReader(tools.form, names).marks)
        return replace(self, preset=preset, step=step, tools=tools)

    def result(self, results: Sequence[str], said: tuple[int, ...], tokenizer: Tokenizer) -> tuple[int, ...]:
        """Return the tokens that put results of tools into a path; `said` are those of the step that called them.

        Raises:
            UsageError: if the chat template takes no results.
        """
        assert self.tools is not None
        return self.tools.result_tokens(results, said, self.chat_template, self.special, tokenizer)

    @property
    def thought_after_result(self) -> str:
        """Text with which the chat template opens a thought after a result, "" if it opens none there."""
        if (
            self.thoughts is None
            or self.tools is None
            or self.chat_template is None
            or self.tools.form is CallForm.CODE
        ):
            return ""
        told = "".join(each.text for each in result_segments(["result"], self.chat_template, self.special))
        return f"{self.thoughts.open}\n" if is_opened(self.thoughts, told) else ""

    def encode(self, question: str | Conversation, tokenizer: Tokenizer) -> tuple[int, ...]:
        """Return the tokens of the prompt for a question, or for a conversation that ends with one.

        Raises:
            UsageError: if the question is empty, or the chat template refuses the turns of the conversation.
            ModelLoadError: if the chat template is broken or loses the question.
        """
        return self.render(question, tokenizer).tokens

    def shared_tokens(self, question: str | Conversation, tokens: tuple[int, ...], tokenizer: Tokenizer) -> int:
        """Return how many of a prompt's `tokens` stand before any question of the same system message and examples.

        0 where these are too few for a decode call of their own. The number does not depend on the question.
        """
        asked = Conversation.of(question)
        probes = [replace(asked, turns=(Message("user", other),)) for other in _OTHER_QUESTIONS]
        pieces = tuple(self._segments(probes[0]))
        shared = self.known.get(pieces)
        if shared is None:
            first, second = (self.encode(probe, tokenizer) for probe in probes)
            shared = first[: common_prefix(first, second)]
            if len(self.known) >= MOST_KNOWN:
                self.known.pop(next(iter(self.known)))
            self.known[pieces] = shared
        found = common_prefix(tokens, shared)
        return found if found >= LEAST_SHARED_TOKENS else 0

    def render(self, question: str | Conversation, tokenizer: Tokenizer) -> Prompt:
        """Return the prompt with its text; raises as `encode`."""
        return encoded_prompt(
            self._segments(question), tokenizer, special=self.special, joined=self.chat_template is None
        )

    def _segments(self, question: str | Conversation) -> list[Segment]:
        tools, texts = ((), NO_TEXTS) if self.tools is None else (self.tools.schemas, self.tools.contents)
        return prompt_segments(
            question, self.preset, self.chat_template, special=self.special, tools=tools, tool_texts=texts
        )

    def bridge(self, instruction: str, ended: tuple[int, ...], tokenizer: Tokenizer) -> tuple[int, ...]:
        """Return the tokens that follow a finished text (its tokens are `ended`) to get a reply to `instruction`.

        Raises:
            ModelLoadError: if the chat template refuses a conversation.
        """
        return bridge_tokens(instruction, ended, self.preset, self.chat_template, tokenizer, self.special)

    def split(self, text: str) -> list[str]:
        """Cut generated text into steps; joined they are `text`."""
        return split_steps(text, self.step)


def choose_prompt_format(
    metadata: Mapping[str, object],
    tokenizer: Tokenizer,
    *,
    chat_template: str | None = None,
    preset: str | None = None,
    step_format: str | None = None,
    system: str | None = None,
    thinking: str = "auto",
) -> PromptFormat:
    """Return the prompt format for a model file.

    `preset` and `step_format` are the caller's, None for those of the file or those that suit its kind, and
    `system` is the system message, None for the preset's and "" for none. `thinking` switches the model's thoughts "on"
    or "off", or leaves them to the template ("auto"). The chat template is checked with a question
    of one word, so that a broken one shows when the model is loaded. That may take seconds: call it in a thread.

    Raises:
        UsageError: if `preset` or `step_format` does not exist, `system` holds the place of the question, or thoughts
            are switched on and the model does not think.
        ModelLoadError: if the chat template is broken, or the file names a preset or step format that does not exist.
    """
    chosen = choose_preset(preset, metadata, chat_template).with_system(system)
    special = special_tokens(metadata, tokenizer)
    thoughts = find_marks(chat_template, tokenizer)

    def rendered(template: str) -> str:
        return render_prompt("test", chosen, template, tokenizer, special=special).text

    if thinking != "auto":
        chat_template = switched_template(chat_template or "", thoughts, rendered, on=thinking == "on") or None
    if thoughts is not None and chat_template is not None:
        thoughts = replace(thoughts, opened=is_opened(thoughts, rendered(chat_template)))

    def made(preset: PromptPreset) -> PromptFormat:
        step = choose_step_format(step_format, metadata, preset)
        return PromptFormat(
            preset=preset,
            step=step if PRESET_KEY in metadata else replace(step, stop=preset.stops(chat_template)),
            chat_template=chat_template or None,
            special=special,
            thoughts=thoughts,
        )

    format = made(chosen)
    if preset is None and PRESET_KEY not in metadata:
        format = replace(
            format,
            for_texts=made(TEXT_PRESET.with_system(system)),
            for_programs=None if thoughts is not None or system is not None else made(PROGRAM_PRESET),
        )
    format.encode("test", tokenizer)
    with suppress(ModelLoadError):
        # The text between the turns is kept as well: no template is rendered in the middle of a search.
        format.bridge("test", (), tokenizer)
    return format
