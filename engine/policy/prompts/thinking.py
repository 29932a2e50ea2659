"""Models that think: the marks of their thoughts, found from template and vocabulary, and the switch for thoughts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from ramify.answers.thoughts import KNOWN_MARKS, ThoughtMarks
from ramify.errors import ModelLoadError, UsageError
from ramify.reward.protocol import Tokenizer

from .chat_template import TemplateRefused, render_chat

SWITCHES = ("enable_thinking", "thinking")
"""Variables with which templates switch thoughts on and off."""


def find_marks(chat_template: str | None, tokenizer: Tokenizer | None) -> ThoughtMarks | None:
    """Return the marks of a model's thoughts, None for a model that does not think.

    A model thinks if its template holds the mark that ends a thought, and the mark is in its vocabulary or the template
    holds the one that begins a thought too. A template that only cuts thoughts out of earlier replies is none. Without
    a `tokenizer` the template alone decides.
    """
    if chat_template is None:
        return None
    for marks in KNOWN_MARKS:
        if marks.close in chat_template and (
            marks.open in chat_template or (tokenizer is not None and _is_token(tokenizer, marks.close))
        ):
            return marks
    return None


def thoughts_in_words(chat_template: str | None, tokenizer: Tokenizer | None = None) -> str:
    """Return whether and how a model thinks, by its chat template and, where there is one, its vocabulary."""
    marks = find_marks(chat_template, tokenizer)
    if marks is None or chat_template is None:
        return "none"
    words = f"between {marks.open} and {marks.close}"
    question = [{"role": "user", "content": "test"}]
    with suppress(TemplateRefused, ModelLoadError):
        prompts = {on: render_chat(_switched(chat_template, on=on), question) for on in (True, False)}
        if is_opened(marks, render_chat(chat_template, question)):
            words += ", opened by the chat template"
        if prompts[True] != prompts[False]:
            words += ", with a switch in the chat template"
    return words


def _is_token(tokenizer: Tokenizer, text: str) -> bool:
    return len(tokenizer.encode(text, special=True)) == 1


def is_opened(marks: ThoughtMarks, prompt: str) -> bool:
    """Tell whether a prompt ends within a thought."""
    return prompt.rfind(marks.open) > prompt.rfind(marks.close) and prompt.rstrip().endswith(marks.open)


def switched_template(chat_template: str, marks: ThoughtMarks | None, render: Callable[[str], str], *, on: bool) -> str:
    """Return the template with its thoughts switched on or off; `render` gives the prompt that a template makes.

    A template without a switch leaves thoughts to the model where they are on; where they are off, an empty thought
    ends the prompt, or the thought that the template opens is closed.

    Raises:
        UsageError: if thoughts are switched on and the model does not think.
        ModelLoadError: if the template is broken.
    """
    if marks is None:
        if on:
            raise UsageError("the model does not think", "leave --thinking out, or use a model that does")
        return chat_template
    has_switch = any(name in chat_template for name in SWITCHES) and (
        render(_switched(chat_template, on=True)) != render(_switched(chat_template, on=False))
    )
    if has_switch:
        chat_template = _switched(chat_template, on=on)
    if on:
        return chat_template
    rendered = render(chat_template)
    if is_opened(marks, rendered):
        return _with_end(chat_template, marks.end_after("" if rendered.endswith("\n\n") else "x"))
    if has_switch:
        return chat_template
    return _with_end(chat_template, f"{marks.open}{'' if marks.lead else chr(10) * 2}{marks.end_after('')}")


def _switched(chat_template: str, *, on: bool) -> str:
    value = "true" if on else "false"
    return "".join(f"{{%- set {name} = {value} -%}}" for name in SWITCHES) + chat_template


def _with_end(chat_template: str, end: str) -> str:
    return f"{chat_template}{{%- if add_generation_prompt %}}{{{{ {end!r} }}}}{{% endif %}}"
