"""Models that think: the marks of their thoughts, found from template and vocabulary, and the switch for thoughts."""

from __future__ import annotations

from collections.abc import Callable

from ramify.answers.thoughts import KNOWN_MARKS, ThoughtMarks
from ramify.errors import UsageError
from ramify.reward.protocol import Tokenizer

SWITCHES = ("enable_thinking", "thinking")
"""Variables with which templates switch thoughts on and off."""


def find_marks(chat_template: str | None, tokenizer: Tokenizer) -> ThoughtMarks | None:
    """Return the marks of a model's thoughts, None for a model that does not think.

    A model thinks if its template holds the mark that ends a thought, and the mark is in its vocabulary or the template
    holds the one that begins a thought too. A template that only cuts thoughts out of earlier replies is none.
    """
    if chat_template is None:
        return None
    for marks in KNOWN_MARKS:
        if marks.close in chat_template and (marks.open in chat_template or _is_token(tokenizer, marks.close)):
            return marks
    return None


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
    has_switch = SWITCHES[0] in chat_template
    value = "true" if on else "false"
    if has_switch:
        chat_template = "".join(f"{{%- set {name} = {value} -%}}" for name in SWITCHES) + chat_template
    if on:
        return chat_template
    if is_opened(marks, render(chat_template)):
        return _with_end(chat_template, f"\n{marks.close}\n\n")
    return chat_template if has_switch else _with_end(chat_template, f"{marks.open}\n\n{marks.close}\n\n")


def _with_end(chat_template: str, end: str) -> str:
    return f"{chat_template}{{%- if add_generation_prompt %}}{{{{ {end!r} }}}}{{% endif %}}"
