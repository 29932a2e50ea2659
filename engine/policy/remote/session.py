"""Session of a remote policy: every step of a question is a request that holds the text so far."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import anyio

from ramify.answers.extract import extract_answer
from ramify.answers.schemas import ANSWER_MARK
from ramify.conversation import Conversation
from ramify.errors import RamifyError, UsageError
from ramify.event_loop import start_task
from ramify.search.node import FinishReason

from ...runtime.messages import StepRequest, StepResult, Turn
from ..protocol import AdoptedNode
from .dialect import UNSUPPORTED_CODES, Dialect
from .http import HttpError, Refused
from .pending import PendingStep, group_requests
from .pool import Endpoint, TreePlaces
from .reply import (
    CHARACTERS_A_TOKEN,
    SERVER_THOUGHTS,
    ReplyParser,
    StreamedText,
    charged_tokens,
    finish_reason_of,
    miscounted,
    stopped_before_start,
)
from .requests import CompletionRequest, PromptWriter
from .step_end import StepEnd, ignored

if TYPE_CHECKING:
    from .policy import RemotePolicy

ANSWER_ALONE = "Now give the answer alone, as JSON by the schema."
"""Message that asks for the answer by a schema where a server does not continue the text before it."""
PROGRESS_S = 0.1
"""Seconds between two progress reports."""


class RemoteSession:
    """Session of a RemotePolicy; servers hold no state for it, apart from their prompt caches."""

    prompt_tokens = 0
    """Unknown until a server has counted them; the first result holds the number."""

    def __init__(self, policy: RemotePolicy, question: str | Conversation, writer: PromptWriter) -> None:
        self._policy = policy
        self._writer = writer
        self._question = question
        self._scopes = set[anyio.CancelScope]()
        self._places = TreePlaces(policy.pool)
        self._prompt_counted = False
        self._input_share = 1 / CHARACTERS_A_TOKEN
        """Tokens evaluated per character of the prompt, by the latest reply."""

    async def expand(
        self,
        requests: Sequence[StepRequest],
        *,
        allowance: int | None,
        on_result: Callable[[StepResult], None],
        on_progress: Callable[[int, int, str], None] | None = None,
    ) -> None:
        """Generate all requested children; see PolicySession.expand.

        An allowance below the sum of the steps' limits is divided among the steps; tokens that some of them leave are
        divided again among those that reached their share, which are then continued.

        Raises:
            ModelUnreachable: if no server answers any more.
            ModelLoadError: if a server refuses the requests.
            UsageError: if the question is longer than the context.
        """
        steps = [PendingStep(request, on_result) for request in requests]
        failures: list[RamifyError] = []
        with anyio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                async with anyio.create_task_group() as tasks:
                    if on_progress is not None:
                        start_task(tasks, _report, steps, on_progress)
                    await self._rounds(steps, allowance, failures)
                    tasks.cancel_scope.cancel()
            finally:
                self._scopes.discard(scope)
        if failures:
            raise failures[0]
        for step in steps:
            step.complete(FinishReason.CANCELLED)

    def input_tokens(self, prefix: str, turns: Sequence[Turn]) -> int:
        """Return the expected input tokens of a step: every request holds the whole text so far."""
        return math.ceil(self._writer.characters(self._question, turns, prefix) * self._input_share)

    async def adopt(self, nodes: Sequence[AdoptedNode]) -> None:
        """Do nothing: every request holds the text of its path."""

    async def interrupt(self) -> None:
        """Cancel the steps in progress and close their connections."""
        for scope in tuple(self._scopes):
            scope.cancel()

    async def release(self, nodes: Sequence[int]) -> None:
        """Forget which server has the prefixes of nodes."""
        self._places.forget(nodes)

    async def close(self) -> None:
        """Count the tree no longer among those of its server."""
        self._places.close()

    async def _rounds(self, steps: list[PendingStep], allowance: int | None, failures: list[RamifyError]) -> None:
        while open_steps := [step for step in steps if not step.completed]:
            for step in open_steps:
                step.begin_due_answer()
            rooms = [step.room for step in open_steps]
            given = rooms if allowance is None else _shares(allowance, rooms)
            for step, tokens in zip(open_steps, given, strict=True):
                if not tokens:
                    step.complete(FinishReason.BUDGET)
            before = sum(step.generated for step in steps)
            await self._round([each for each in zip(open_steps, given, strict=True) if each[1]], failures)
            if failures:
                return
            if allowance is not None:
                allowance = max(0, allowance - (sum(step.generated for step in steps) - before))

    async def _round(self, work: list[tuple[PendingStep, int]], failures: list[RamifyError]) -> None:
        """Continue every step by its number of tokens; the first failure cancels the others."""

        async def write(steps: list[PendingStep], tokens: int) -> None:
            try:
                await self._write(steps, tokens)
            except RamifyError as error:
                failures.append(error)
                tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            for steps, tokens in group_requests(work, together=self._policy.siblings_together):
                start_task(tasks, write, steps, tokens)

    async def _write(self, steps: list[PendingStep], tokens: int) -> None:
        """Continue steps with the same prompt, in one request if the server supports it."""
        before = {step: step.generated for step in steps}
        again = await self._ask(steps, tokens)
        if not again:
            return
        async with anyio.create_task_group() as tasks:
            for step in again:
                left = max(1, tokens - (step.generated - before[step]))
                start_task(tasks, self._write, [step], left)

    async def _ask(self, steps: list[PendingStep], tokens: int) -> list[PendingStep]:
        """Make one request and evaluate the reply; return the steps that need a further request, one by one."""
        policy, request, answering = self._policy, steps[0].request, steps[0].answering

        async def ask(endpoint: Endpoint) -> tuple[Endpoint, Dialect, CompletionRequest, ReplyParser]:
            dialect = await policy.dialect(endpoint)
            end = None if request.to_the_end or answering or not dialect.continues else policy.end
            completion = _completion_request(steps, tokens, end, dialect)
            stop = "" if answering else _stop(policy.step.stop, request.stop)
            reply = ReplyParser([step.start(end, stop) for step in steps[: completion.count]])
            prompt = self._writer.prompt(self._question, completion, dialect)
            await policy.write(endpoint, dialect, prompt, completion, reply)
            reply.missing()
            return endpoint, dialect, completion, reply

        def preferred() -> Endpoint | None:
            return self._places.below(request.parent) if policy.settings.sticky else None

        try:
            endpoint, dialect, completion, reply = await policy.pool.send(ask, preferred)
        except HttpError as error:
            return self._take_failure(steps, error)
        except _NotContinued:
            for step in steps:
                step.complete(FinishReason.CONTEXT)
            return []
        self._places.note(endpoint, [step.request.child for step in steps])
        return self._take(steps, endpoint, dialect, completion, reply)

    def _take_failure(self, steps: list[PendingStep], error: HttpError) -> list[PendingStep]:
        if len(steps) > 1 and isinstance(error, Refused) and error.code in UNSUPPORTED_CODES:
            self._policy.warnings.warn(f"{self._policy.name} does not write several texts in one request: {error}")
            self._policy.siblings_together = False
            return steps
        step = steps[0]
        if not self._policy.is_too_long(error):
            raise self._policy.failure(error)
        if not step.request.prefix and not step.text:
            raise UsageError(f"the question does not fit the model's context ({error})", "shorten it")
        step.complete(FinishReason.CONTEXT)
        return []

    def _take(
        self,
        steps: list[PendingStep],
        endpoint: Endpoint,
        dialect: Dialect,
        completion: CompletionRequest,
        reply: ReplyParser,
    ) -> list[PendingStep]:
        missing = set(reply.missing())
        if missing:
            self._policy.warnings.warn(f"{endpoint.url} ignores n, so children are asked for one by one")
            dialect.supports_n = False
        came = [(step, step.current) for place, step in enumerate(steps[: completion.count]) if place not in missing]
        self._note(endpoint, [streamed for _, streamed in came], completion, reply)
        prompt = self._prompt_usage(reply, completion)
        again = [step for place, step in enumerate(steps) if place in missing or place >= completion.count]
        counts = charged_tokens([streamed for _, streamed in came], reply.usage)
        for (step, streamed), count in zip(came, counts, strict=True):
            head = step.text
            step.charge(count, *prompt)
            prompt = (0, 0, 0)
            if stopped_before_start(streamed, head, completion.stops):
                dialect.stops_at_start = True
                step.drop()
                again.append(step)
            else:
                known = reply.usage is not None
                self._finish(step, streamed, completion, known=known, count=count, apart=not dialect.continues)
        return again

    def _finish(
        self,
        step: PendingStep,
        streamed: StreamedText,
        completion: CompletionRequest,
        *,
        known: bool,
        count: int,
        apart: bool,
    ) -> None:
        """Take in a text that has ended; `apart` says that the server does not continue it."""
        end = None if completion.to_the_end else self._policy.end
        whole = step.request.prefix + step.text + streamed.text
        reason, tail = finish_reason_of(
            streamed,
            end,
            stops=completion.stops,
            out_of_room=not known or count >= completion.max_tokens,
            has_answer=lambda: extract_answer(whole) is not None,
        )
        if not known and streamed.finish_reason == "length":
            step.charge(max(0, completion.max_tokens - count), 0, 0, 0)
        if tail and streamed.ends_path(tail):
            reason, tail = FinishReason.EOS, ""
        step.append(tail)
        if reason is FinishReason.EOS and step.request.answer is not None and not step.answering:
            if apart or step.may_answer(streamed.text):
                step.begin_answer(apart=apart)
            else:
                step.complete(FinishReason.STEP)
            return
        if reason is FinishReason.STEP and step.room > 0 and not step.may_end(self._policy.step):
            step.pass_over()
            return
        step.begin_due_answer()
        if reason is not FinishReason.LENGTH or step.room <= 0:
            step.complete(reason)

    def _prompt_usage(self, reply: ReplyParser, completion: CompletionRequest) -> tuple[int, int, int]:
        """Return the prompt tokens evaluated for the first time, cached, and evaluated again."""
        if reply.usage is None:
            self._input_share = 0.0
            return 0, 0, 0
        cached = reply.usage.cached_tokens
        evaluated = reply.usage.prompt_tokens - cached
        characters = self._writer.characters(self._question, completion.turns, completion.prefix)
        self._input_share = evaluated / characters
        if self._prompt_counted:
            return 0, cached, evaluated
        self._prompt_counted = True
        return evaluated, cached, 0

    def _note(
        self, endpoint: Endpoint, texts: list[StreamedText], completion: CompletionRequest, reply: ReplyParser
    ) -> None:
        warn = self._policy.warnings.warn
        if miscounted(texts, reply.usage):
            warn(f"{endpoint.url} counts its tokens otherwise than it lists them; the larger number is charged")
        if completion.stops and any(streamed.cut and ignored(self._policy.end, streamed.raw) for streamed in texts):
            warn(f"{endpoint.url} ignores stop strings; steps are cut here, and what it wrote beyond is charged")


class _NotContinued(Exception):
    """Raised where a server that does not continue messages would have to write the rest of a text."""


def _stop(*patterns: str) -> str:
    """Return the pattern that matches where one of these does, "" for none."""
    return "|".join(filter(None, patterns))


def _completion_request(
    steps: list[PendingStep], tokens: int, end: StepEnd | None, dialect: Dialect
) -> CompletionRequest:
    first = steps[0]
    stops = () if end is None else end.stops
    # The server would find a stop string in the leading white space of the step.
    blank = dialect.stops_at_start or first.stopped_at_start or bool(first.text and not first.text.strip())
    prefix, turns, answer = first.request.prefix + first.text, first.request.turns, first.request.answer
    schema = answer.schema if answer is not None and first.answering else ""
    if prefix and not dialect.continues:
        if not schema:
            raise _NotContinued
        # Chat templates take earlier replies without their thoughts.
        said = SERVER_THOUGHTS.reply(prefix.partition(ANSWER_MARK)[0]).strip()
        prefix, turns = "", (*turns, Turn(node=first.request.child, text=said, tokens=(), instruction=ANSWER_ALONE))
    return CompletionRequest(
        prefix=prefix,
        turns=turns,
        schema=schema,
        to_the_end=end is None,
        max_tokens=tokens,
        sampling=first.request.sampling,
        seed=first.seed,
        count=len(steps) if dialect.supports_n else 1,
        stops=() if blank and not first.text.strip() else stops,
    )


async def _report(steps: list[PendingStep], on_progress: Callable[[int, int, str], None]) -> None:
    while True:
        await anyio.sleep(PROGRESS_S)
        for step in steps:
            if not step.completed and step.tokens_so_far:
                on_progress(step.request.child, step.tokens_so_far, step.text_so_far)


def _shares(tokens: int, rooms: Sequence[int]) -> list[int]:
    """Return `tokens` divided equally among steps that can take `rooms` tokens each.

    Tokens that a step cannot take go to the others; the first steps get one token more if there is a remainder.
    """
    given = [0] * len(rooms)
    left = min(tokens, sum(rooms))
    while left:
        open_ones = [place for place, room in enumerate(rooms) if given[place] < room]
        each = max(1, left // len(open_ones))
        for place in open_ones:
            more = min(each, rooms[place] - given[place], left)
            given[place] += more
            left -= more
    return given
