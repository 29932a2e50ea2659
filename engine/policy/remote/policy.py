"""A policy behind one or several OpenAI-compatible servers."""

from __future__ import annotations

import re
from collections.abc import Sequence

import anyio

from ramify.errors import ModelLoadError, ModelUnreachable, RamifyError, UsageError
from ramify.sampling_params import USUAL_SAMPLING, StepFormat, TokenSampling

from ..prompts.presets import choose_preset
from ..prompts.step_formats import choose_step_format, split_steps
from .address import RemoteAddress, parse_address
from .asking import UNKNOWN, Asked, Dialect, PromptWriter, adapt, body
from .http import HttpError, Refused, Transport, Untrusted
from .keys import KEY_VARIABLES, check_sendable, key_from_environment
from .notices import Notices
from .pool import RETRIED, Endpoint, EndpointPool
from .preparing import Prepared, ServerFacts, ask_facts, find_out_continuing
from .reply import Reading
from .session import RemoteSession
from .settings import RemoteSettings
from .stops import step_end

LLAMA_SERVER = "llamacpp"
"""What llama-server calls the owner of its models."""

CHAT = "chat:"
"""What the name of a preset starts with if the server's chat template is to be used with it."""

_TOO_LONG = re.compile(r"context (length|size|window)|(prompt|input) is too long|longer than the model", re.IGNORECASE)


class RemotePolicy:
    """A model that servers run; made by `RemotePolicy.connect`.

    `context_tokens` is the longest path by the word of the servers, None if none says. `parameters` is 0 if none says
    (llama-server does); then FLOPs are 0 and cannot be limited.
    """

    def __init__(
        self,
        address: RemoteAddress,
        writer: PromptWriter,
        step: StepFormat,
        settings: RemoteSettings,
        pool: EndpointPool,
    ) -> None:
        self.address = address
        self.name = str(address)
        self.settings = settings
        self.siblings_together = settings.siblings_together
        self.pool = pool
        self.step = step
        self.end = step_end(step)
        self.context_tokens: int | None = None
        self.parameters = 0
        self.notices = Notices()
        self.writer = writer
        self._prepared = Prepared(self._find_out)

    @property
    def sampling(self) -> TokenSampling:
        """The sampling of models whose files are not known."""
        return USUAL_SAMPLING

    @classmethod
    async def connect(
        cls,
        address: str | RemoteAddress,
        *,
        prompt_preset: str | None = None,
        step_format: str | None = None,
        settings: RemoteSettings | None = None,
    ) -> RemotePolicy:
        """Return the policy at an address after its servers have answered; those that do not are tried again later.

        With a `prompt_preset` the prompts are written here, with its template for models without a chat template, and
        sent as text (/completions). None leaves them to the server's chat template (/chat/completions), which has to
        continue messages, with the system message of the preset "math"; "chat:NAME" does so with that of another one.
        `step_format` None means the preset's. The key comes from RAMIFY_API_KEY or OPENAI_API_KEY.

        Raises:
            UsageError: if the address, the preset, the step format or the key is wrong, or the key would be sent
                unencrypted.
            ModelLoadError: if a server refuses, or its chat does not continue messages.
            ModelUnreachable: if no server answers.
        """
        where = parse_address(address) if isinstance(address, str) else address
        settings = settings or RemoteSettings()
        as_text = prompt_preset is not None and not prompt_preset.startswith(CHAT)
        named = None if prompt_preset is None else prompt_preset.removeprefix(CHAT)
        preset = choose_preset(named, {}, None if as_text else "any")
        key = key_from_environment()
        for url in where.urls:
            check_sendable(key, url)
        limits = {"connect_s": settings.connect_s, "silence_s": settings.silence_s}
        transports = [Transport(url=url, key=key, **limits) for url in where.urls]
        policy = cls(
            where,
            PromptWriter(preset, as_text=as_text),
            choose_step_format(step_format, {}, preset),
            settings,
            EndpointPool([Endpoint(each, settings.parallel) for each in transports], settings.patience),
        )
        await policy._connect()
        return policy

    async def open(self, question: str) -> RemoteSession:
        """Start a session.

        Raises:
            UsageError: if the question is empty.
        """
        if not question.strip():
            raise UsageError("the question is empty", "pass some text")
        return RemoteSession(self, question)

    def split(self, text: str) -> list[str]:
        """Cut generated text into steps; joined they are `text`."""
        return split_steps(text, self.step)

    async def dialect(self, endpoint: Endpoint) -> Dialect:
        """Return how a server is asked.

        Raises:
            HttpError: if it does not answer.
            ModelLoadError: if it cannot be used.
        """
        return await self._prepared.dialect(endpoint)

    async def write(self, endpoint: Endpoint, dialect: Dialect, question: str, asked: Asked, reading: Reading) -> None:
        """Have one server write what is asked for into `reading`; fields that it does not know are left out.

        Raises:
            HttpError: if it does not.
        """
        prompt = self.writer.prompt(question, asked, dialect)
        while True:
            fields = body(self.address.model, prompt, asked, dialect, logprobs=self.settings.logprobs)
            try:
                data = await endpoint.transport.request(self.writer.path, fields, reading.take_line)
            except Refused as error:
                name = adapt(dialect, fields, error.message) if error.code in UNKNOWN else None
                if name is None:
                    raise
                self._note_refused(endpoint, name)
                continue
            if data is not None:
                reading.take_whole(data)
            return

    def failure(self, error: HttpError) -> RamifyError:
        """Return the error of ramify for a request that failed for good."""
        if isinstance(error, Untrusted):
            message = f"the certificate of a server of {self.name} is not valid ({error})"
            return ModelLoadError(message, "correct the address, or let SSL_CERT_FILE name its authority")
        if not isinstance(error, Refused) or error.code in RETRIED:
            answers = f"answers {error}" if isinstance(error, Refused) else f"cannot be used: {error}"
            which = "the server" if len(self.address.urls) == 1 else "every server"
            return ModelUnreachable(f"{which} of {self.name} {answers}", "check that it runs, and its address")
        if error.code in (401, 403):
            names = " or ".join(KEY_VARIABLES)
            return ModelLoadError(f"{self.name} refuses the key ({error})", f"set {names} to one that is allowed there")
        if error.code == 404:
            return ModelLoadError(f"{self.name} is not found there ({error})", "check the address and the model's name")
        return ModelLoadError(f"{self.name} refuses the request: {error}", "change what it names")

    @staticmethod
    def is_too_long(error: HttpError) -> bool:
        """Return whether a server refused a text that does not fit its context."""
        return isinstance(error, Refused) and error.code in (400, 413, 422) and bool(_TOO_LONG.search(error.message))

    async def _connect(self) -> None:
        """Ask every server once; if none answers, go on asking for a while."""
        failures: list[Exception] = []

        async def ask(endpoint: Endpoint) -> None:
            try:
                await self.pool.visit(endpoint, self.dialect)
            except (HttpError, ModelLoadError) as error:
                failures.append(error)

        async with anyio.create_task_group() as tasks:
            for endpoint in self.pool.endpoints:
                tasks.start_soon(ask, endpoint)
        _raise_hopeless(self, failures)
        if len(failures) == len(self.pool.endpoints):
            try:
                await self.pool.send(self.dialect)
            except HttpError as error:
                raise self.failure(error) from None

    async def _find_out(self, endpoint: Endpoint) -> Dialect:
        facts: ServerFacts = await ask_facts(endpoint, self.address.model)
        dialect = Dialect(verbose=facts.software == LLAMA_SERVER)
        self.parameters = self.parameters or facts.parameters
        if facts.context_tokens is not None:
            self.context_tokens = min(self.context_tokens or facts.context_tokens, facts.context_tokens)
        if not self.writer.as_text:
            await find_out_continuing(endpoint, self.address.model, dialect)
        return dialect

    def _note_refused(self, endpoint: Endpoint, name: str) -> None:
        if name == "seed":
            self.notices.say(f"{endpoint.url} takes no seed, so runs with it are not reproducible")
        elif name in ("logprobs", "stream_options", "repetition_penalty"):
            self.notices.say(f"{endpoint.url} does not know the field {name}; it is left out")


def _raise_hopeless(policy: RemotePolicy, failures: Sequence[Exception]) -> None:
    """Raise the first failure that will not pass by itself."""
    for error in failures:
        if isinstance(error, ModelLoadError):
            raise error
        if isinstance(error, Untrusted) or (isinstance(error, Refused) and error.code not in RETRIED):
            raise policy.failure(error)
