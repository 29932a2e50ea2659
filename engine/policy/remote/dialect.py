"""Differences between OpenAI-compatible servers, and the requests that detect them before a server is used."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import anyio
from pydantic import BaseModel, ValidationError

from ramify.errors import MalformedText, ModelLoadError
from ramify.json_text import read_json

from .http import Refused
from .pool import Endpoint
from .reply import ReplyParser, StreamedText

_BEGUN = "The"
"""A word that is one token in almost every vocabulary."""

NEXT_STEP = (
    "choose a prompt preset (--prompt-preset), which writes prompts for its completions instead, or use vLLM, SGLang "
    "or llama-server"
)

_COUNT = "Write the numbers from 1 to 12, separated by commas."
_COUNTED = "1, 2, 3, 4, 5, 6, 7,"
_NEXT = "8"

CONTINUE_FIELDS = {"continue_final_message": True, "add_generation_prompt": False}
"""Fields that make vLLM, SGLang and llama-server continue the last message."""

OPTIONAL_FIELDS = frozenset({"logprobs", "top_logprobs", "stream_options", "seed", "verbose", *CONTINUE_FIELDS})
"""Fields without which a server draws the same tokens."""

UNSUPPORTED_CODES = (400, 422)
"""Status codes of a server that does not support a field of a request."""

FILTER_OFF = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
"""Values that switch a filter off; they are left out for a server without the filter."""


@dataclass(slots=True)
class Dialect:
    """Properties of one server that change the requests to it.

    `unsupported` holds the fields that it refuses. `continue_flags` tells whether it needs CONTINUE_FIELDS to continue
    a message. `limit_field` is its name for the limit of tokens. `supports_n` is False once it was seen to ignore `n`.
    `stops_at_start` is True once a text there started with a stop string, which ended the step before it began.
    `verbose` asks for llama-server's details, which tell the cause of a text's end. `continues` is False for a server
    that starts a new message instead of continuing one: it writes each path in one go.
    """

    unsupported: set[str] = field(default_factory=set[str])
    continue_flags: bool = True
    limit_field: str = "max_tokens"
    supports_n: bool = True
    stops_at_start: bool = False
    verbose: bool = False
    continues: bool = True


def adapt(dialect: Dialect, sent: dict[str, Any], message: str) -> str | None:
    """Note the field that a server refuses, by its error message, and return it; None if no field can be left out."""
    if "max_completion_tokens" in message and "max_tokens" in sent:
        dialect.limit_field = "max_completion_tokens"
        return "max_tokens"
    for name in sorted(sent, key=len, reverse=True):
        if name in message and may_omit(name, sent[name]):
            dialect.unsupported |= {name, "top_logprobs"} if name == "logprobs" else {name}
            return name
    return None


def may_omit(name: str, value: object) -> bool:
    """Return whether a field can be left out without changing the tokens drawn."""
    return name in OPTIONAL_FIELDS or (name in FILTER_OFF and value == FILTER_OFF[name])


class _Meta(BaseModel):
    n_ctx: int | None = None
    n_params: int | None = None


class _Served(BaseModel):
    id: str = ""
    owned_by: str | None = None
    max_model_len: int | None = None
    meta: _Meta | None = None


class _Models(BaseModel):
    data: list[_Served] = []


class ServerFacts(BaseModel):
    """Properties of a model that its server lists.

    Properties not listed are None (`context_tokens`), 0 (`parameters`) or "" (`software`, the owner of the model).
    """

    context_tokens: int | None = None
    parameters: int = 0
    software: str = ""


async def fetch_facts(endpoint: Endpoint, model: str) -> ServerFacts:
    """Return the facts that a server lists about a model; a server need not list its models.

    Raises:
        HttpError: if it does not answer, or refuses the key.
    """
    try:
        data = await endpoint.transport.request("/models", None)
        listed = _Models.model_validate(read_json(data or b"", lenient=True)).data
    except Refused as error:
        if error.code in (404, 405, 501):
            return ServerFacts()
        raise
    except (MalformedText, ValidationError):
        return ServerFacts()
    served = next((each for each in listed if each.id == model), listed[0] if len(listed) == 1 else _Served())
    meta = served.meta or _Meta()
    return ServerFacts(
        context_tokens=served.max_model_len or meta.n_ctx,
        parameters=meta.n_params or 0,
        software=served.owned_by or "",
    )


async def detect_continuation(endpoint: Endpoint, model: str, dialect: Dialect) -> None:
    """Detect how a server's chat continues a message, and set `dialect.continue_flags`.

    A prompt that ends inside the model's message has fewer tokens than one that closes it and opens another, and one
    token more than one that only opens it. If the server's token counts do not tell, the model is asked to go on
    counting. Sets `dialect.continues` to False if it starts a new message instead.

    Raises:
        ModelLoadError: if the server does not chat.
        HttpError: if it does not answer.
    """
    probe = _ChatProbe(endpoint, model, dialect)
    plain = flagged = 0
    try:
        opened = await probe.prompt_tokens(_BEGUN, "", flags=False)
    except Refused as error:
        if error.code not in UNSUPPORTED_CODES:
            raise
        raise ModelLoadError(f"the server {endpoint.url} does not chat ({error})", NEXT_STEP) from None
    with suppress(Refused):
        flagged = await probe.prompt_tokens(_BEGUN, _BEGUN, flags=True)
    with suppress(Refused):
        plain = await probe.prompt_tokens(_BEGUN, _BEGUN, flags=False)
    if flagged and (flagged < plain or flagged == opened + 1):
        dialect.continue_flags = True
        return
    if plain and opened and plain == opened + 1:
        dialect.continue_flags = False
        return
    for flags in (True, False):
        with suppress(Refused):
            if (await probe.text(_COUNT, _COUNTED, flags=flags)).lstrip().startswith(_NEXT):
                dialect.continue_flags = flags
                return
    dialect.continues = False


class _ChatProbe:
    """Short chat requests that detect a server's behaviour."""

    def __init__(self, endpoint: Endpoint, model: str, dialect: Dialect) -> None:
        self._endpoint = endpoint
        self._model = model
        self._dialect = dialect

    async def prompt_tokens(self, question: str, begun: str, *, flags: bool) -> int:
        """Return the server's count of a prompt's tokens, 0 if it does not tell."""
        reply = await self._ask(question, begun, 1, flags)
        return 0 if reply.usage is None else reply.usage.prompt_tokens

    async def text(self, question: str, begun: str, *, flags: bool) -> str:
        """Return the likeliest continuation."""
        return (await self._ask(question, begun, 6, flags)).texts[0].text

    async def _ask(self, question: str, begun: str, max_tokens: int, flags: bool) -> ReplyParser:
        messages = [{"role": "user", "content": question}]
        if begun:
            messages.append({"role": "assistant", "content": begun})
        while True:
            sent: dict[str, Any] = {
                "model": self._model,
                "messages": messages,
                self._dialect.limit_field: max_tokens,
                "temperature": 0.0,
                **(CONTINUE_FIELDS if flags else {}),
            }
            try:
                data = await self._endpoint.transport.request("/chat/completions", sent)
            except Refused as error:
                if "max_completion_tokens" in error.message and adapt(self._dialect, sent, error.message):
                    continue
                raise
            reply = ReplyParser([StreamedText("", None)])
            reply.take_whole(data or b"")
            reply.missing()
            return reply


class DialectCache:
    """Dialects of the servers, each detected once, when the server is first used."""

    def __init__(self, detect: Callable[[Endpoint], Awaitable[Dialect]]) -> None:
        self._detect = detect
        self._known: dict[str, Dialect] = {}
        self._locks: dict[str, anyio.Lock] = {}

    async def dialect(self, endpoint: Endpoint) -> Dialect:
        """Return a server's dialect; raises the errors of its detection."""
        async with self._locks.setdefault(endpoint.url, anyio.Lock()):
            if endpoint.url not in self._known:
                self._known[endpoint.url] = await self._detect(endpoint)
        return self._known[endpoint.url]
