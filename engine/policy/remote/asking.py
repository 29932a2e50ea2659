"""What is sent to a server for one or several texts that start alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ramify.sampling_params import TokenSampling

from ...runtime.messages import Turn
from ..prompts.presets import QUESTION, PromptPreset

SEED_MASK = (1 << 63) - 1
"""Servers take seeds as signed 64-bit numbers."""

CONTINUES = {"continue_final_message": True, "add_generation_prompt": False}
"""How vLLM, SGLang and llama-server are told to go on with the last message."""

OPTIONAL = frozenset(
    {"logprobs", "top_logprobs", "stream_options", "repetition_penalty", "seed", "verbose", *CONTINUES}
)
"""Fields that a server may refuse without changing what is drawn."""

UNKNOWN = (400, 422)
"""HTTP codes of servers that do not know something of a request."""

OFF = {"top_k": -1, "min_p": 0.0}
"""Values that switch a filter off; a server that does not know the filter has none either."""


@dataclass(slots=True)
class Dialect:
    """What is known of how a server is to be asked.

    `refused` holds the fields that it does not know. `flags` tells whether it has to be told to continue a message.
    `whole_limit` is its word for the limit of tokens. `siblings` turns False when it ignores `n`. `leads` turns True
    when texts there tend to start with what ends a step, so that its stop strings are of no use. `verbose` tells that
    it is llama-server, which then says what ended a text.
    """

    refused: set[str] = field(default_factory=set[str])
    flags: bool = True
    limit_field: str = "max_tokens"
    siblings: bool = True
    leads: bool = False
    verbose: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Texts that start alike: `count` continuations of `prefix`, with at most `max_tokens` each."""

    prefix: str
    turns: tuple[Turn, ...]
    max_tokens: int
    sampling: TokenSampling
    seed: int
    count: int = 1
    stops: tuple[str, ...] = ()


class PromptWriter:
    """Writes a question as a server wants it: as text for its completions, or as messages for its chat.

    `preset` says how the question is put; `as_text` chooses completions.
    """

    def __init__(self, preset: PromptPreset, *, as_text: bool) -> None:
        self.preset = preset
        self.as_text = as_text

    @property
    def path(self) -> str:
        """Where requests go, below the server's base address."""
        return "/completions" if self.as_text else "/chat/completions"

    def prompt(self, question: str, asked: Asked, dialect: Dialect) -> dict[str, Any]:
        """Return the fields of a request that hold the prompt."""
        if self.as_text:
            return {"prompt": self._text(question, asked.turns, asked.prefix)}
        messages = chat_messages(self.preset, question, asked.turns, asked.prefix)
        return {"messages": messages, **(CONTINUES if asked.prefix and dialect.flags else {})}

    def characters(self, question: str, turns: Sequence[Turn], prefix: str) -> int:
        """Return the length of what the server reads before it goes on, its chat template's own text left out."""
        if self.as_text:
            return len(self._text(question, turns, prefix))
        return sum(len(each["content"]) for each in chat_messages(self.preset, question, turns, prefix))

    def _text(self, question: str, turns: Sequence[Turn], prefix: str) -> str:
        told = "".join(f"{turn.text}\n\n{turn.instruction}\n" for turn in turns)
        return self.preset.base_template.replace(QUESTION, question.strip()) + told + prefix


def chat_messages(preset: PromptPreset, question: str, turns: Sequence[Turn], prefix: str) -> list[dict[str, str]]:
    """Return a conversation whose last message is the text so far, if there is any."""
    messages = [] if preset.system is None else [{"role": "system", "content": preset.system}]
    messages.append({"role": "user", "content": question.strip()})
    for turn in turns:
        messages.append({"role": "assistant", "content": turn.text})
        messages.append({"role": "user", "content": turn.instruction})
    return [*messages, {"role": "assistant", "content": prefix}] if prefix else messages


def body(model: str, prompt: dict[str, Any], asked: Asked, dialect: Dialect, *, logprobs: bool) -> dict[str, Any]:
    """Return a whole request.

    All filters are named also where they are off, since servers have defaults of their own.
    """
    sampling = asked.sampling
    fields: dict[str, Any] = {
        "model": model,
        **prompt,
        dialect.limit_field: asked.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k or OFF["top_k"],
        "min_p": sampling.min_p,
        "repetition_penalty": 1.0,
        "seed": asked.seed & SEED_MASK,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if asked.stops:
        fields["stop"] = list(asked.stops)
    if asked.count > 1:
        fields["n"] = asked.count
    if logprobs:
        fields |= {"logprobs": True, "top_logprobs": 1} if "messages" in prompt else {"logprobs": 1}
    if dialect.verbose:
        fields["verbose"] = True
    return {name: value for name, value in fields.items() if name not in dialect.refused or not _spare(name, value)}


def adapt(dialect: Dialect, sent: dict[str, Any], message: str) -> str | None:
    """Note what a server does not know by its words of refusal; return the field, None if none can be left out."""
    if "max_completion_tokens" in message and "max_tokens" in sent:
        dialect.limit_field = "max_completion_tokens"
        return "max_tokens"
    for name in sorted(sent, key=len, reverse=True):
        if name in message and _spare(name, sent[name]):
            dialect.refused |= {name, "top_logprobs"} if name == "logprobs" else {name}
            return name
    return None


def _spare(name: str, value: object) -> bool:
    """Return whether a field can be left out without changing what is drawn."""
    return name in OPTIONAL or (name in OFF and value == OFF[name])
