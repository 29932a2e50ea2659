"""Turns a question into prompt tokens; nothing in a question can act as a special token or as template code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from secrets import token_hex

from ramify.errors import ModelLoadError, UsageError
from ramify.reward.protocol import Tokenizer
from ramify.reward.tokens import Segment, SegmentEncoder

from .chat import TemplateRefused, render_chat
from .presets import QUESTION, PromptPreset
from .special import SpecialTokens

_NO_TOKENS = SpecialTokens()


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt ready for a model.

    `tokens` are its ids, BOS included where the model expects one. `text` is what they stand for. `pieces` are the
    tokens' own bytes.
    """

    tokens: tuple[int, ...]
    text: str
    pieces: tuple[bytes, ...]


def render_prompt(
    question: str,
    preset: PromptPreset,
    chat_template: str | None,
    tokenizer: Tokenizer,
    *,
    special: SpecialTokens = _NO_TOKENS,
) -> Prompt:
    """Return the prompt for a question.

    `chat_template` is the model's Jinja template, None for a model without one. A template that refuses a system
    message gets it at the start of the question.

    Raises:
        UsageError: if the question is empty.
        ModelLoadError: if the template is broken or loses the question.
    """
    segments = prompt_segments(question, preset, chat_template, special=special)
    tokens = SegmentEncoder(tokenizer).encode(segments)
    if special.add_bos and special.bos_id is not None and tokens[:1] != [special.bos_id]:
        tokens.insert(0, special.bos_id)
    return Prompt(
        tokens=tuple(tokens),
        text="".join(segment.text for segment in segments),
        pieces=tuple(tokenizer.piece(token) for token in tokens),
    )


def prompt_segments(
    question: str, preset: PromptPreset, chat_template: str | None, *, special: SpecialTokens = _NO_TOKENS
) -> list[Segment]:
    """Return the pieces of the prompt for a question, as `render_prompt` encodes them.

    Raises:
        UsageError: if the question is empty.
        ModelLoadError: if the template is broken or loses the question.
    """
    question = question.strip()
    if not question:
        raise UsageError("the question is empty", "pass some text")
    if chat_template is None:
        before, _, after = preset.base_template.partition(QUESTION)
        return [Segment(before, special=True), Segment(question, special=False), Segment(after, special=True)]
    return _chat_segments(question, preset.system, chat_template, special)


def _chat_segments(question: str, system: str | None, chat_template: str, special: SpecialTokens) -> list[Segment]:
    if system is not None:
        segments = try_chat([("system", system), ("user", question)], chat_template, special)
        if segments is not None:
            return segments
        question = f"{system}\n\n{question}"
    segments = try_chat([("user", question)], chat_template, special)
    if segments is None:
        raise ModelLoadError(
            "the model's chat template leaves out the question or refuses it", "use another model, or another preset"
        )
    return segments


def try_chat(messages: Sequence[tuple[str, str]], chat_template: str, special: SpecialTokens) -> list[Segment] | None:
    """Return the rendered messages, None if the template refuses or drops one of them.

    The template never sees the contents: it gets marks that occur nowhere else, and these are replaced afterwards.
    """
    contents = {f"Content{token_hex(12)}": text for _, text in messages}
    marked = [{"role": role, "content": mark} for (role, _), mark in zip(messages, contents, strict=True)]
    try:
        rendered = render_chat(chat_template, marked, bos=special.bos, eos=special.eos)
    except TemplateRefused:
        return None
    if not all(mark in rendered for mark in contents):
        return None
    return list(_cut(rendered, contents))


def _cut(rendered: str, contents: Mapping[str, str]) -> Iterator[Segment]:
    while True:
        found = [(at, mark) for mark in contents if (at := rendered.find(mark)) >= 0]
        if not found:
            break
        at, mark = min(found)
        yield Segment(rendered[:at], special=True)
        yield Segment(contents[mark], special=False)
        rendered = rendered[at + len(mark) :]
    yield Segment(rendered, special=True)
