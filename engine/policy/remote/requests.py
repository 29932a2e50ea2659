"""Requests to a server: the prompt as text or as messages, sampling parameters and stop strings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ramify.conversation import Conversation
from ramify.json_text import read_json
from ramify.sampling_params import TokenSampling

from ...runtime.messages import Turn
from ..prompts.presets import PromptPreset
from ..prompts.prompt import base_segments
from ..prompts.thinking import SWITCHES
from .dialect import CONTINUE_FIELDS, FILTER_OFF, Dialect, may_omit

SEED_MASK = (1 << 63) - 1
"""Servers take seeds as signed 64-bit numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionRequest:
    """A request for `count` continuations of `prefix`, of at most `max_tokens` each.

    `turns` are the earlier turns of a conversation; `stops` are the stop strings. `schema` is the JSON schema that the
    text has to fit, "" for any text. `to_the_end` says that the text runs to the end of the path, or of the answer.
    """

    prefix: str
    turns: tuple[Turn, ...]
    max_tokens: int
    sampling: TokenSampling
    seed: int
    count: int = 1
    stops: tuple[str, ...] = ()
    schema: str = ""
    to_the_end: bool = False


class PromptWriter:
    """Renders prompts with a preset: as text for /completions if `as_text`, else as messages for /chat/completions.

    `thinking` "on" or "off" has the server's chat template switch thoughts, "auto" leaves them to it.
    """

    def __init__(self, preset: PromptPreset, *, as_text: bool, thinking: str = "auto") -> None:
        self.preset = preset
        self.as_text = as_text
        on = thinking == "on"
        self._switch = {} if thinking == "auto" else {"chat_template_kwargs": dict.fromkeys(SWITCHES, on)}

    @property
    def path(self) -> str:
        """Path of the requests, below the server's base address."""
        return "/completions" if self.as_text else "/chat/completions"

    def prompt(self, question: str | Conversation, completion: CompletionRequest, dialect: Dialect) -> dict[str, Any]:
        """Return the fields of a request that hold the prompt."""
        if self.as_text:
            return {"prompt": self._text(question, completion.turns, completion.prefix)}
        messages = chat_messages(self.preset, question, completion.turns, completion.prefix)
        flags = CONTINUE_FIELDS if completion.prefix and dialect.continue_flags else {}
        return {"messages": messages, **flags, **self._switch}

    def characters(self, question: str | Conversation, turns: Sequence[Turn], prefix: str) -> int:
        """Return the length of a prompt in characters, without the text of the server's chat template."""
        if self.as_text:
            return len(self._text(question, turns, prefix))
        return sum(len(each["content"]) for each in chat_messages(self.preset, question, turns, prefix))

    def _text(self, question: str | Conversation, turns: Sequence[Turn], prefix: str) -> str:
        told = "".join(f"{turn.text}\n\n{turn.instruction}\n" for turn in turns)
        return "".join(each.text for each in base_segments(Conversation.of(question), self.preset)) + told + prefix


def chat_messages(
    preset: PromptPreset, question: str | Conversation, turns: Sequence[Turn], prefix: str
) -> list[dict[str, str]]:
    """Return the messages of a conversation; the last one is `prefix`, if there is any."""
    messages = [each.to_dict() for each in Conversation.of(question).messages(preset.system)]
    for turn in turns:
        messages.append({"role": "assistant", "content": turn.text})
        messages.append({"role": "user", "content": turn.instruction})
    return [*messages, {"role": "assistant", "content": prefix}] if prefix else messages


def _penalties(sampling: TokenSampling, dialect: Dialect) -> dict[str, float]:
    """Return the fields of the penalties; servers have the repetition penalty under two names."""
    fields = {"repetition_penalty": sampling.repeat_penalty}
    if dialect.verbose and sampling.repeat_penalty != 1.0:
        fields["repeat_penalty"] = sampling.repeat_penalty
    for name in ("frequency_penalty", "presence_penalty"):
        if getattr(sampling, name):
            fields[name] = getattr(sampling, name)
    return fields


def body(
    model: str, prompt: dict[str, Any], completion: CompletionRequest, dialect: Dialect, *, logprobs: bool
) -> dict[str, Any]:
    """Return the body of a request.

    Filters are sent also where they are off, since servers have defaults of their own.
    """
    sampling = completion.sampling
    fields: dict[str, Any] = {
        "model": model,
        **prompt,
        dialect.limit_field: completion.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k or FILTER_OFF["top_k"],
        "min_p": sampling.min_p,
        **_penalties(sampling, dialect),
        "seed": completion.seed & SEED_MASK,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if completion.stops:
        fields["stop"] = list(completion.stops)
    if completion.schema:
        schema = read_json(completion.schema)
        fields["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
        if dialect.verbose and "prompt" in prompt:
            # llama-server's completions know the schema by this name alone.
            fields["json_schema"] = schema
    if completion.count > 1:
        fields["n"] = completion.count
    if logprobs:
        fields |= {"logprobs": True, "top_logprobs": 1} if "messages" in prompt else {"logprobs": 1}
    if dialect.verbose:
        fields["verbose"] = True
    return {
        name: value for name, value in fields.items() if name not in dialect.unsupported or not may_omit(name, value)
    }
