"""Policy whose model runs behind one or several OpenAI-compatible servers."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import anyio

from ramify.answers.kinds import AnswerKind
from ramify.answers.thoughts import ThoughtMarks
from ramify.conversation import Conversation
from ramify.errors import ModelLoadError, ModelUnreachable, RamifyError, UsageError
from ramify.event_loop import start_task
from ramify.sampling_params import USUAL_SAMPLING, StepFormat, TokenSampling

from ...metering.plan import Place
from ..prompts.prompt_files import TEXT_PRESET, choose_preset
from ..prompts.step_formats import choose_step_format, split_steps
from .address import KEY_VARIABLES, RemoteAddress, check_sendable, key_from_environment, parse_address
from .dialect import NEXT_STEP, UNSUPPORTED_CODES, Dialect, DialectCache, adapt, detect_continuation, fetch_facts
from .http import HttpError, Refused, Transport, Untrusted
from .pool import RETRIED, Endpoint, EndpointPool, RetryPolicy
from .reply import SERVER_THOUGHTS, ReplyParser
from .requests import CompletionRequest, PromptWriter, body
from .session import RemoteSession
from .step_end import step_end

log = logging.getLogger(__name__)

DEFAULT_RETRY = RetryPolicy()

LLAMA_SERVER = "llamacpp"
"""Owner of the models that llama-server lists."""

CHAT = "chat:"
"""Prefix of a preset's name that leaves the prompt to the server's chat template."""

_TOO_LONG = re.compile(
    r"context (length|size|window|holds)|(prompt|input) is too long|longer than the model", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteSettings:
    """Settings of the connection to a remote model.

    `parallel` bounds the requests in flight at one server. `connect_s` limits connecting and `silence_s` the time in
    which a server sends nothing, in seconds. `retry` says when failed requests are sent again. `logprobs` asks for the
    tokens' log probabilities. `siblings_together` asks for all children of a node in one request (`n`): cheaper where a
    server shares the prompt only then, but the children share one seed, so that a resumed search may differ from an
    uninterrupted one. `sticky` sends a step to the server that wrote the step above it, as long as that one has room;
    without it each goes to the server with the least to do.

    Raises:
        UsageError: if a value is out of range.
    """

    parallel: int = 16
    connect_s: float = 10.0
    silence_s: float = 120.0
    retry: RetryPolicy = DEFAULT_RETRY
    logprobs: bool = True
    siblings_together: bool = False
    sticky: bool = True

    def __post_init__(self) -> None:
        if self.parallel < 1:
            raise UsageError(f"parallel is {self.parallel}", "use 1 or more")
        for name in ("connect_s", "silence_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise UsageError(f"{name} is {value}", "use a number of seconds above 0")


class WarnOnce:
    """Logs every warning about the servers of a model once."""

    def __init__(self) -> None:
        self._said = set[str]()

    def warn(self, message: str) -> None:
        """Log a warning, unless it was logged already."""
        if message not in self._said:
            self._said.add(message)
            log.warning("%s", message)


class RemotePolicy:
    """A model behind servers; made by `RemotePolicy.connect`.

    `context_tokens` is the smallest context that the servers report, None if none reports it. `parameters` is the
    number of weights, 0 if no server reports it (llama-server does); FLOPs are then 0 and cannot be limited.
    `text_writer` writes the prompts for answers that no model is asked to mark, None for the same writer.
    """

    def __init__(
        self,
        address: RemoteAddress,
        writer: PromptWriter,
        step: StepFormat,
        settings: RemoteSettings,
        pool: EndpointPool,
        text_writer: PromptWriter | None = None,
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
        self.warnings = WarnOnce()
        self.writer = writer
        self.text_writer = text_writer or writer
        self._dialects = DialectCache(self._detect)

    @property
    def ends_at_answer(self) -> bool:
        """False: a path ends where the model or a stop sequence of the preset ends it, as with a file."""
        return False

    @property
    def writes_forms(self) -> bool:
        """True: a server gets the schema of an answer as `response_format`."""
        return True

    @property
    def answer_kind(self) -> str | None:
        """The form of answer that its prompt asks for; None if the prompt follows from the question."""
        return None if self.text_writer is not self.writer else self.writer.preset.answer

    @property
    def place(self) -> Place:
        """Servers: the energy there is not known here."""
        return "server"

    @property
    def thoughts(self) -> ThoughtMarks:
        """Marks of the thoughts that servers keep apart from the text, or that the model writes into it."""
        return SERVER_THOUGHTS

    @property
    def check(self) -> str | None:
        """The checker that its prompt names, None for the usual one."""
        return self.writer.preset.check

    @property
    def sampling(self) -> TokenSampling:
        """Sampling of the preset, else that of models whose files are not known."""
        return self.writer.preset.sampling.resolved(USUAL_SAMPLING)

    @classmethod
    async def connect(
        cls,
        address: str | RemoteAddress,
        *,
        prompt_preset: str | None = None,
        step_format: str | None = None,
        system_prompt: str | None = None,
        thinking: str = "auto",
        settings: RemoteSettings | None = None,
    ) -> RemotePolicy:
        """Return the policy at an address once a server has answered; servers that do not answer are retried later.

        With a `prompt_preset`, prompts are rendered here with its template for models without a chat template, and sent
        as text (/completions). With None the server's chat template renders them (/chat/completions), with the system
        message of the preset "math"; a server that does not continue messages writes each path in one go. "chat:NAME"
        takes the system message of another preset. `step_format` None means the preset's, and `system_prompt` None its
        system message.
        `thinking` "on" or "off" is passed to the server's chat template. The key comes from RAMIFY_API_KEY or
        OPENAI_API_KEY.

        Raises:
            UsageError: if the address, the preset, the step format or the key is wrong, the key would be sent
                unencrypted, or thoughts are switched where no chat template is used.
            ModelLoadError: if a server refuses, or does not chat.
            ModelUnreachable: if no server answers.
        """
        where = parse_address(address) if isinstance(address, str) else address
        settings = settings or RemoteSettings()
        as_text = prompt_preset is not None and not prompt_preset.startswith(CHAT)
        if as_text and thinking != "auto":
            raise UsageError(
                "thoughts are switched by the server's chat template, which a prompt preset leaves out",
                "leave --thinking out, or use a preset chat:NAME",
            )
        named = None if prompt_preset is None else prompt_preset.removeprefix(CHAT)
        preset = choose_preset(named, {}, None if as_text else "any").with_system(system_prompt)
        preset.check_tools(())
        key = key_from_environment()
        for url in where.urls:
            check_sendable(key, url)
        limits = {"connect_s": settings.connect_s, "silence_s": settings.silence_s}
        transports = [Transport(url=url, key=key, **limits) for url in where.urls]
        policy = cls(
            where,
            PromptWriter(preset, as_text=as_text, thinking=thinking),
            replace(choose_step_format(step_format, {}, preset), stop=preset.stops(None if as_text else "any")),
            settings,
            EndpointPool([Endpoint(each, settings.parallel) for each in transports], settings.retry),
            None
            if prompt_preset is not None
            else PromptWriter(TEXT_PRESET.with_system(system_prompt), as_text=False, thinking=thinking),
        )
        await policy._connect()
        return policy

    async def open(self, question: str) -> RemoteSession:
        """Start a session.

        Raises:
            UsageError: if the question is empty.
        """
        return await self.open_as(question, AnswerKind.BOX)

    @property
    def takes_conversations(self) -> bool:
        """True: they are sent as messages, or as one text with a preset for models without a chat template."""
        return True

    async def open_as(self, question: str | Conversation, kind: AnswerKind) -> RemoteSession:
        """Start a session for an answer of a kind; raises as `open`."""
        if not Conversation.of(question).question.strip():
            raise UsageError("the question is empty", "pass some text")
        return RemoteSession(self, question, self.writer if kind.is_marked else self.text_writer)

    def split(self, text: str) -> list[str]:
        """Split generated text into steps, whose concatenation is `text`."""
        return split_steps(text, self.step)

    async def dialect(self, endpoint: Endpoint) -> Dialect:
        """Return the dialect of a server.

        Raises:
            HttpError: if it does not answer.
            ModelLoadError: if it cannot be used.
        """
        return await self._dialects.dialect(endpoint)

    async def write(
        self,
        endpoint: Endpoint,
        dialect: Dialect,
        prompt: dict[str, Any],
        completion: CompletionRequest,
        reply: ReplyParser,
    ) -> None:
        """Send a request to one server and parse its reply; optional fields that it refuses are left out.

        `prompt` are the fields of the request that hold the prompt.

        Raises:
            HttpError: if there is no usable reply.
        """
        while True:
            fields = body(self.address.model, prompt, completion, dialect, logprobs=self.settings.logprobs)
            try:
                data = await endpoint.transport.request(self.writer.path, fields, reply.take_line)
            except Refused as error:
                name = adapt(dialect, fields, error.message) if error.code in UNSUPPORTED_CODES else None
                if name is None:
                    raise
                self._note_refused(endpoint, name)
                continue
            if data is not None:
                reply.take_whole(data)
            return

    def failure(self, error: HttpError) -> RamifyError:
        """Return the error to raise for a request that failed permanently."""
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
        """Return whether a server refused a text because it exceeds the context."""
        return isinstance(error, Refused) and error.code in (400, 413, 422) and bool(_TOO_LONG.search(error.message))

    async def _connect(self) -> None:
        """Detect the dialect of every server; if none answers, retry."""
        failures: list[Exception] = []

        async def ask(endpoint: Endpoint) -> None:
            try:
                await self.pool.visit(endpoint, self.dialect)
            except (HttpError, ModelLoadError) as error:
                failures.append(error)

        async with anyio.create_task_group() as tasks:
            for endpoint in self.pool.endpoints:
                start_task(tasks, ask, endpoint)
        _raise_permanent(self, failures)
        if len(failures) == len(self.pool.endpoints):
            try:
                await self.pool.send(self.dialect)
            except HttpError as error:
                raise self.failure(error) from None

    async def _detect(self, endpoint: Endpoint) -> Dialect:
        facts = await fetch_facts(endpoint, self.address.model)
        dialect = Dialect(verbose=facts.software == LLAMA_SERVER)
        self.parameters = self.parameters or facts.parameters
        if facts.context_tokens is not None:
            self.context_tokens = min(self.context_tokens or facts.context_tokens, facts.context_tokens)
        if not self.writer.as_text:
            await detect_continuation(endpoint, self.address.model, dialect)
            if not dialect.continues:
                self.warnings.warn(
                    f"{endpoint.url} starts a new message instead of continuing one, so each path is written in one "
                    f"go, of --max-step-tokens at most; for searches over steps {NEXT_STEP}"
                )
        return dialect

    def _note_refused(self, endpoint: Endpoint, name: str) -> None:
        if name == "seed":
            self.warnings.warn(f"{endpoint.url} takes no seed, so runs with it are not reproducible")
        elif name in ("logprobs", "stream_options", "repetition_penalty"):
            self.warnings.warn(f"{endpoint.url} does not know the field {name}; it is left out")


def _raise_permanent(policy: RemotePolicy, failures: Sequence[Exception]) -> None:
    """Raise the first permanent failure."""
    for error in failures:
        if isinstance(error, ModelLoadError):
            raise error
        if isinstance(error, Untrusted) or (isinstance(error, Refused) and error.code not in RETRIED):
            raise policy.failure(error)
