"""Prompt tokens of questions and follow-ups, in which text of other people is never a special token or a template."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from secrets import token_hex
from types import MappingProxyType
from typing import Any

from ramify.conversation import Conversation, Message
from ramify.errors import ModelLoadError, UsageError
from ramify.reward.protocol import Tokenizer
from ramify.reward.tokens import Segment, SegmentEncoder

from ...runtime.llama.gguf_check import NO_TOKEN
from .chat_template import TemplateRefused, render_chat
from .presets import QUESTION, PromptPreset

_BPE_WITH_BOS = frozenset({"llama-bpe", "llama3", "llama-v3", "tekken", "chameleon"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecialTokens:
    """Begin and end tokens.

    `bos` and `eos` are their texts, "" where there is none. `bos_id` is None without a BOS. `add_bos` tells whether
    the model expects every prompt to start with BOS.
    """

    bos: str = ""
    eos: str = ""
    bos_id: int | None = None
    add_bos: bool = False


def special_tokens(metadata: Mapping[str, object], tokenizer: Tokenizer) -> SpecialTokens:
    """Return the begin and end tokens that a GGUF file's metadata names.

    Where the file does not say whether BOS is added, the default is llama.cpp's for its kind of vocabulary.
    """
    bos_id = _token_id(metadata, "tokenizer.ggml.bos_token_id")
    eos_id = _token_id(metadata, "tokenizer.ggml.eos_token_id")
    says = metadata.get("tokenizer.ggml.add_bos_token")
    add_bos = _adds_bos(metadata) if says is None else str(says).lower() in ("true", "1")
    return SpecialTokens(
        bos=_text(tokenizer, bos_id),
        eos=_text(tokenizer, eos_id),
        bos_id=bos_id,
        add_bos=add_bos and bos_id is not None,
    )


def _token_id(metadata: Mapping[str, object], key: str) -> int | None:
    """Return the id of a special token, None without one: some converters write -1 there, as an unsigned number."""
    try:
        found = int(str(metadata.get(key)))
    except ValueError:
        return None
    return found if 0 <= found < NO_TOKEN else None


def _text(tokenizer: Tokenizer, token: int | None) -> str:
    return "" if token is None else tokenizer.piece(token).decode("utf-8", errors="replace")


def _adds_bos(metadata: Mapping[str, object]) -> bool:
    kind = metadata.get("tokenizer.ggml.model")
    return kind == "llama" or (kind == "gpt2" and metadata.get("tokenizer.ggml.pre") in _BPE_WITH_BOS)


_NO_TOKENS = SpecialTokens()
NO_TEXTS: Mapping[str, str] = MappingProxyType({})
_QUESTION, _ANSWER = "question", "answer"
"""They stand for texts that the model has read already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt ready for a model.

    `tokens` are its ids, BOS included where the model expects one. `text` is their text. `pieces` are the
    tokens' own bytes.
    """

    tokens: tuple[int, ...]
    text: str
    pieces: tuple[bytes, ...]


def render_prompt(
    question: str | Conversation,
    preset: PromptPreset,
    chat_template: str | None,
    tokenizer: Tokenizer,
    *,
    special: SpecialTokens = _NO_TOKENS,
) -> Prompt:
    """Return the prompt for a question, or for a conversation that ends with one.

    `chat_template` is the model's Jinja template, None for a model without one.

    Raises:
        UsageError: if a question is empty, or the template refuses the turns of a conversation.
        ModelLoadError: if the template is broken or loses the question.
    """
    segments = prompt_segments(question, preset, chat_template, special=special)
    return encoded_prompt(segments, tokenizer, special=special, joined=chat_template is None)


def encoded_prompt(
    segments: Sequence[Segment], tokenizer: Tokenizer, *, special: SpecialTokens, joined: bool
) -> Prompt:
    """Return the prompt of its pieces.

    `joined` says that they are one text, as without a chat template: tokens may reach across the ends of the question.
    """
    tokens = SegmentEncoder(tokenizer).encode(list(segments), joined=joined)
    if special.add_bos and special.bos_id is not None and tokens[:1] != [special.bos_id]:
        tokens.insert(0, special.bos_id)
    return Prompt(
        tokens=tuple(tokens),
        text="".join(segment.text for segment in segments),
        pieces=tuple(tokenizer.piece(token) for token in tokens),
    )


def prompt_segments(
    question: str | Conversation,
    preset: PromptPreset,
    chat_template: str | None,
    *,
    special: SpecialTokens = _NO_TOKENS,
    tools: Sequence[Mapping[str, Any]] = (),
    tool_texts: Mapping[str, str] = NO_TEXTS,
) -> list[Segment]:
    """Return the pieces of the prompt for a question or a conversation, as `encoded_prompt` encodes them.

    A template that refuses a system message gets it at the start of the first question. `tools` are the schemas of
    tools that the reply may call, and `tool_texts` the texts for the marks in them.

    Raises:
        UsageError: if a question is empty, or the template refuses the turns of a conversation.
        ModelLoadError: if the template is broken or loses the question.
    """
    conversation = Conversation.of(question)
    if preset.examples and not conversation.examples:
        shown = replace(conversation, examples=preset.examples)
        # A template that takes no turns of an assistant goes without the preset's examples.
        with suppress(UsageError):
            return prompt_segments(shown, preset, chat_template, special=special, tools=tools, tool_texts=tool_texts)
    if not conversation.question.strip():
        raise UsageError("the question is empty", "pass some text")
    if chat_template is None:
        return list(base_segments(conversation, preset))
    chat = _Chat(chat_template, special, tools, tool_texts)
    return _chat_segments(conversation.messages(preset.system), chat)


def base_segments(conversation: Conversation, preset: PromptPreset) -> Iterator[Segment]:
    """Yield the pieces of the prompt for models without a chat template.

    Earlier questions and examples have the form of the preset's template, each with its answer; examples take the
    place of the preset's.
    """
    system = preset.base_system if conversation.system is None else conversation.system
    if system:
        yield Segment(f"{system}\n\n", special=False)
    if preset.base_examples and not conversation.examples:
        yield Segment(preset.base_examples, special=True)
    before, _, after = preset.base_template.partition(QUESTION)
    gap = "" if after.endswith("\n") else " " if after else "\n"
    answered = True
    for message in conversation.messages(None):
        match message.role:
            case "user":
                if not answered:
                    yield Segment("\n\n", special=False)
                yield Segment(before, special=True)
                yield Segment(message.content, special=False)
                yield Segment(after, special=True)
            case "assistant":
                yield Segment(f"{gap}{message.content}\n\n", special=False)
            case "system":
                continue
        answered = message.role == "assistant"


def _chat_segments(messages: list[Message], chat: _Chat) -> list[Segment]:
    segments = chat.segments([(each.role, each.content) for each in messages])
    if segments is None and messages[0].role == "system":
        system, first, *rest = messages
        joined = Message(first.role, f"{system.content}\n\n{first.content}")
        segments = chat.segments([(each.role, each.content) for each in (joined, *rest)])
    if segments is not None:
        return segments
    if sum(each.role != "system" for each in messages) > 1:
        raise UsageError(
            "the model's chat template refuses these messages or leaves some out",
            "let user and assistant take turns, the user first, or use another model",
        )
    raise ModelLoadError(
        "the model's chat template leaves out the question or refuses it", "use another model, or another preset"
    )


@dataclass(frozen=True, slots=True)
class _Chat:
    """A chat template with its end tokens, and the tools that it shows."""

    template: str
    special: SpecialTokens
    tools: Sequence[Mapping[str, Any]] = ()
    tool_texts: Mapping[str, str] = field(default_factory=dict[str, str])

    def segments(self, messages: Sequence[tuple[str, str]]) -> list[Segment] | None:
        """Return the rendered messages, None if the template refuses or drops one of them.

        The template never sees the contents: it gets marks that nobody can guess, and these are replaced afterwards.
        They stay the same in this process, so that a conversation of one shape is rendered once.
        """
        contents = {_mark(place): text for place, (_, text) in enumerate(messages)}
        marked = [{"role": role, "content": mark} for (role, _), mark in zip(messages, contents, strict=True)]
        special = self.special
        try:
            rendered = render_chat(self.template, marked, bos=special.bos, eos=special.eos, tools=self.tools)
        except TemplateRefused:
            return None
        if not all(mark in rendered for mark in contents):
            return None
        return list(cut_at_marks(rendered, {**self.tool_texts, **contents}))


def try_chat(messages: Sequence[tuple[str, str]], chat_template: str, special: SpecialTokens) -> list[Segment] | None:
    """Return the rendered messages, None if the template refuses or drops one of them."""
    return _Chat(chat_template, special).segments(messages)


def _mark(place: int) -> str:
    return mark_of("Content", place)


@lru_cache(maxsize=256)
def mark_of(kind: str, place: int) -> str:
    """Return a text that nobody can guess, the same one in this process for the same kind and place."""
    return f"{kind}{place}x{token_hex(12)}"


def cut_at_marks(rendered: str, contents: Mapping[str, str]) -> Iterator[Segment]:
    """Yield the pieces of a rendered text, with the contents in the places of their marks."""
    while True:
        found = [(at, mark) for mark in contents if (at := rendered.find(mark)) >= 0]
        if not found:
            break
        at, mark = min(found)
        yield Segment(rendered[:at], special=True)
        yield Segment(contents[mark], special=False)
        rendered = rendered[at + len(mark) :]
    yield Segment(rendered, special=True)


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
