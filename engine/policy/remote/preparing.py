"""What is found out about a server before it is used: that it answers, its context, and that it continues messages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import anyio
from pydantic import BaseModel, ValidationError

from ramify.errors import ModelLoadError

from .asking import CONTINUES, UNKNOWN, Dialect, adapt
from .http import Refused
from .pool import Endpoint
from .reply import Draft, Reading

_BEGUN = "The"
"""A word that is one token in almost any vocabulary."""

NEXT_STEP = (
    "choose a prompt preset (--prompt-preset), which writes prompts for its completions instead, or use vLLM, SGLang "
    "or llama-server"
)

_COUNT = "Write the numbers from 1 to 12, separated by commas."
_COUNTED = "1, 2, 3, 4, 5, 6, 7,"
_NEXT = "8"


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
    """What a server says of a model: the longest path in tokens, None if unknown, its weights, and its software."""

    context_tokens: int | None = None
    parameters: int = 0
    software: str = ""


async def ask_facts(endpoint: Endpoint, model: str) -> ServerFacts:
    """Return what a server lists of a model; servers need not list any.

    Raises:
        HttpError: if it does not answer, or wants another key.
    """
    try:
        data = await endpoint.transport.request("/models", None)
        listed = _Models.model_validate_json(data or b"").data
    except Refused as error:
        if error.code in (404, 405, 501):
            return ServerFacts()
        raise
    except ValidationError:
        return ServerFacts()
    served = next((each for each in listed if each.id == model), listed[0] if len(listed) == 1 else _Served())
    meta = served.meta or _Meta()
    return ServerFacts(
        context_tokens=served.max_model_len or meta.n_ctx,
        parameters=meta.n_params or 0,
        software=served.owned_by or "",
    )


async def find_out_continuing(endpoint: Endpoint, model: str, dialect: Dialect) -> None:
    """Find out how a server's chat is made to continue a message; `dialect.flags` notes it.

    A prompt that ends within the model's message is shorter than one that closes it and opens another, and by one
    word longer than one that opens it: the server's count of tokens tells. Where that says nothing, the model is asked
    to go on counting.

    Raises:
        ModelLoadError: if it starts a new message instead.
        HttpError: if it does not answer.
    """
    probe = _Prober(endpoint, model, dialect)
    plain = flagged = 0
    try:
        opened = await probe.prompt_tokens(_BEGUN, "", flags=False)
    except Refused as error:
        if error.code not in UNKNOWN:
            raise
        raise ModelLoadError(f"the server {endpoint.url} does not chat ({error})", NEXT_STEP) from None
    with suppress(Refused):
        flagged = await probe.prompt_tokens(_BEGUN, _BEGUN, flags=True)
    with suppress(Refused):
        plain = await probe.prompt_tokens(_BEGUN, _BEGUN, flags=False)
    if flagged and (flagged < plain or flagged == opened + 1):
        dialect.flags = True
        return
    if plain and opened and plain == opened + 1:
        dialect.flags = False
        return
    for flags in (True, False):
        with suppress(Refused):
            if (await probe.text(_COUNT, _COUNTED, flags=flags)).lstrip().startswith(_NEXT):
                dialect.flags = flags
                return
    raise ModelLoadError(
        f"the server {endpoint.url} starts a new message instead of continuing the one that it is given, so steps "
        "cannot be written there through its chat",
        NEXT_STEP,
    )


class _Prober:
    """Asks short questions."""

    def __init__(self, endpoint: Endpoint, model: str, dialect: Dialect) -> None:
        self._endpoint = endpoint
        self._model = model
        self._dialect = dialect

    async def prompt_tokens(self, question: str, begun: str, *, flags: bool) -> int:
        """Return the length of a prompt by the server's count, 0 if it does not say."""
        reading = await self._ask(question, begun, 1, flags)
        return 0 if reading.usage is None else reading.usage.prompt_tokens

    async def text(self, question: str, begun: str, *, flags: bool) -> str:
        """Return what is likeliest to follow."""
        return (await self._ask(question, begun, 6, flags)).drafts[0].text

    async def _ask(self, question: str, begun: str, max_tokens: int, flags: bool) -> Reading:
        messages = [{"role": "user", "content": question}]
        if begun:
            messages.append({"role": "assistant", "content": begun})
        while True:
            sent: dict[str, Any] = {
                "model": self._model,
                "messages": messages,
                self._dialect.limit_field: max_tokens,
                "temperature": 0.0,
                **(CONTINUES if flags else {}),
            }
            try:
                data = await self._endpoint.transport.request("/chat/completions", sent)
            except Refused as error:
                if "max_completion_tokens" in error.message and adapt(self._dialect, sent, error.message):
                    continue
                raise
            reading = Reading([Draft("", None)])
            reading.take_whole(data or b"")
            reading.missing()
            return reading


class Prepared:
    """The dialect of each server, found out once, when the server is first used."""

    def __init__(self, find_out: Callable[[Endpoint], Awaitable[Dialect]]) -> None:
        self._find_out = find_out
        self._known: dict[str, Dialect] = {}
        self._locks: dict[str, anyio.Lock] = {}

    async def dialect(self, endpoint: Endpoint) -> Dialect:
        """Return how a server is asked; raises what finding out raises."""
        async with self._locks.setdefault(endpoint.url, anyio.Lock()):
            if endpoint.url not in self._known:
                self._known[endpoint.url] = await self._find_out(endpoint)
        return self._known[endpoint.url]
