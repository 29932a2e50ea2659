"""What stands between a model's own text and its next one when it is told something meanwhile."""

from __future__ import annotations

from ramify.errors import ModelLoadError
from ramify.reward.protocol import Tokenizer
from ramify.reward.tokens import Segment, SegmentEncoder

from .presets import PromptPreset
from .render import try_chat
from .special import SpecialTokens

_QUESTION, _ANSWER = "question", "answer"
"""They stand for texts that the model has read already."""


def bridge_tokens(
    instruction: str,
    ended: tuple[int, ...],
    preset: PromptPreset,
    chat_template: str | None,
    tokenizer: Tokenizer,
    special: SpecialTokens,
) -> tuple[int, ...]:
    """Return the tokens from the end of a model's text to the start of its reply to `instruction`.

    `ended` are the text's own tokens: an end token that both have is not repeated. A model without a chat template
    gets the instruction as a paragraph of its own.

    Raises:
        ModelLoadError: if the chat template refuses a conversation.
    """
    segments = _segments(instruction, preset, chat_template, special)
    tokens = tuple(SegmentEncoder(tokenizer).encode(segments))
    return tokens[1:] if ended and tokens[:1] == ended[-1:] else tokens


def _segments(
    instruction: str, preset: PromptPreset, chat_template: str | None, special: SpecialTokens
) -> list[Segment]:
    if chat_template is None:
        return [Segment(f"\n\n{instruction}\n", special=False)]
    messages = [("user", _QUESTION), ("assistant", _ANSWER), ("user", instruction)]
    system = [] if preset.system is None else [("system", preset.system)]
    for attempt in (system + messages, messages):
        segments = try_chat(attempt, chat_template, special)
        if segments is not None:
            answer = max(place for place, each in enumerate(segments) if each == Segment(_ANSWER, special=False))
            return segments[answer + 1 :]
    raise ModelLoadError(
        "the model's chat template refuses a conversation of more than one question",
        "use a model that can converse, or a strategy without critiques and revisions",
    )
