"""One question at a remote model: every step is a request of its own, with the text so far."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import anyio

from ramify.answers.extract import extract_answer
from ramify.errors import RamifyError, UsageError
from ramify.search.node import FinishReason

from ...runtime.messages import StepRequest, StepResult, Turn
from ..protocol import AdoptedNode
from .asking import UNKNOWN, Asked, Dialect
from .counting import charged_tokens, miscounted, shares
from .endings import ending, needs_other_stops
from .http import HttpError, Refused
from .pool import Endpoint
from .reply import CHARACTERS_A_TOKEN, Draft, Reading
from .stops import StepEnd, ignored
from .writing import StepInWriting, groups

if TYPE_CHECKING:
    from .policy import RemotePolicy

PROGRESS_S = 0.1
"""Time between two reports of steps in the making."""


class RemoteSession:
    """The session of a RemotePolicy. Servers keep nothing for it but what they cache by themselves."""

    prompt_tokens = 0
    """Not known before a server has counted them; the first result tells."""

    def __init__(self, policy: RemotePolicy, question: str) -> None:
        self._policy = policy
        self._question = question
        self._scopes = set[anyio.CancelScope]()
        self._prompt_counted = False
        self._input_share = 1 / CHARACTERS_A_TOKEN
        """Tokens that a server evaluates for each character that it is sent, by the latest reply."""

    async def expand(
        self,
        requests: Sequence[StepRequest],
        *,
        allowance: int | None,
        on_result: Callable[[StepResult], None],
        on_progress: Callable[[int, int, str], None] | None = None,
    ) -> None:
        """Write all requested children; see PolicySession.expand.

        A common allowance that is shorter than what the steps may need is divided among them; what some leave is
        divided again among those that it cut, which then go on from there.

        Raises:
            ModelUnreachable: if no server answers any more.
            ModelLoadError: if a server refuses the requests.
            UsageError: if the question is longer than the context.
        """
        steps = [StepInWriting(request, on_result) for request in requests]
        failures: list[RamifyError] = []
        with anyio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                async with anyio.create_task_group() as tasks:
                    if on_progress is not None:
                        tasks.start_soon(_report, steps, on_progress)
                    await self._rounds(steps, allowance, failures)
                    tasks.cancel_scope.cancel()
            finally:
                self._scopes.discard(scope)
        if failures:
            raise failures[0]
        for step in steps:
            step.complete(FinishReason.CANCELLED)

    def input_tokens(self, prefix: str, turns: Sequence[Turn]) -> int:
        """Return what a step is expected to cost as input: a server is sent the whole text so far with each step."""
        return math.ceil(self._policy.writer.characters(self._question, turns, prefix) * self._input_share)

    async def adopt(self, nodes: Sequence[AdoptedNode]) -> None:
        """Do nothing: requests hold the text of their paths."""

    async def interrupt(self) -> None:
        """Cut the steps in the making, and the connections with them."""
        for scope in tuple(self._scopes):
            scope.cancel()

    async def release(self, nodes: Sequence[int]) -> None:
        """Do nothing; nothing is held."""

    async def close(self) -> None:
        """Do nothing; nothing is held."""

    # The work

    async def _rounds(self, steps: list[StepInWriting], allowance: int | None, failures: list[RamifyError]) -> None:
        while open_steps := [step for step in steps if not step.completed]:
            rooms = [step.room for step in open_steps]
            given = rooms if allowance is None else shares(allowance, rooms)
            for step, tokens in zip(open_steps, given, strict=True):
                if not tokens:
                    step.complete(FinishReason.BUDGET)
            before = sum(step.generated for step in steps)
            await self._round([each for each in zip(open_steps, given, strict=True) if each[1]], failures)
            if failures:
                return
            if allowance is not None:
                allowance = max(0, allowance - (sum(step.generated for step in steps) - before))

    async def _round(self, work: list[tuple[StepInWriting, int]], failures: list[RamifyError]) -> None:
        """Write on each step with so many tokens; the first failure ends all."""

        async def write(steps: list[StepInWriting], tokens: int) -> None:
            try:
                await self._write(steps, tokens)
            except RamifyError as error:
                failures.append(error)
                tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            for steps, tokens in groups(work, together=self._policy.siblings_together):
                tasks.start_soon(write, steps, tokens)

    async def _write(self, steps: list[StepInWriting], tokens: int) -> None:
        """Write on steps that start alike, in one request if the server takes it."""
        before = {step: step.generated for step in steps}
        again = await self._ask(steps, tokens)
        if not again:
            return
        async with anyio.create_task_group() as tasks:
            for step in again:
                left = max(1, tokens - (step.generated - before[step]))
                tasks.start_soon(self._write, [step], left)

    async def _ask(self, steps: list[StepInWriting], tokens: int) -> list[StepInWriting]:
        """Make one request and take what came; return the steps that have to be asked for once more, one by one."""
        policy, request = self._policy, steps[0].request
        end = None if request.to_the_end else policy.end

        async def ask(endpoint: Endpoint) -> tuple[Endpoint, Dialect, Asked, Reading]:
            dialect = await policy.dialect(endpoint)
            asked = _asked(steps, tokens, end, dialect)
            reading = Reading([step.start(end) for step in steps[: asked.count]])
            await policy.write(endpoint, dialect, self._question, asked, reading)
            reading.missing()
            return endpoint, dialect, asked, reading

        try:
            endpoint, dialect, asked, reading = await policy.pool.send(ask)
        except HttpError as error:
            return self._take_failure(steps, error)
        return self._take(steps, endpoint, dialect, asked, reading)

    def _take_failure(self, steps: list[StepInWriting], error: HttpError) -> list[StepInWriting]:
        if len(steps) > 1 and isinstance(error, Refused) and error.code in UNKNOWN:
            self._policy.notices.say(f"{self._policy.name} does not write several texts in one request: {error}")
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
        self, steps: list[StepInWriting], endpoint: Endpoint, dialect: Dialect, asked: Asked, reading: Reading
    ) -> list[StepInWriting]:
        missing = set(reading.missing())
        if missing:
            self._policy.notices.say(f"{endpoint.url} ignores n, so children are asked for one by one")
            dialect.siblings = False
        came = [(step, step.draft) for place, step in enumerate(steps[: asked.count]) if place not in missing]
        self._note(endpoint, [draft for _, draft in came], asked, reading)
        prompt = self._prompt_usage(reading, asked)
        again = [step for place, step in enumerate(steps) if place in missing or place >= asked.count]
        counts = charged_tokens([draft for _, draft in came], reading.usage)
        for (step, draft), count in zip(came, counts, strict=True):
            head = step.text
            step.charge(count, *prompt)
            prompt = (0, 0, 0)
            if needs_other_stops(draft, head, asked.stops):
                dialect.leads = True
                step.drop()
                again.append(step)
            else:
                self._finish(step, draft, asked, known=reading.usage is not None, count=count)
        return again

    def _finish(self, step: StepInWriting, draft: Draft, asked: Asked, *, known: bool, count: int) -> None:
        end = None if step.request.to_the_end else self._policy.end
        whole = step.request.prefix + step.text + draft.text
        reason, tail = ending(
            draft,
            end,
            stops=asked.stops,
            out_of_room=not known or count >= asked.max_tokens,
            has_answer=lambda: extract_answer(whole) is not None,
        )
        if not known and draft.finish_reason == "length":
            step.charge(max(0, asked.max_tokens - count), 0, 0, 0)
        step.take(tail)
        if reason is not FinishReason.LENGTH or step.room <= 0:
            step.complete(reason)

    def _prompt_usage(self, reading: Reading, asked: Asked) -> tuple[int, int, int]:
        """Return prompt tokens read for the first time, taken from a cache, and read again."""
        if reading.usage is None:
            self._input_share = 0.0
            return 0, 0, 0
        cached = reading.usage.cached_tokens
        evaluated = reading.usage.prompt_tokens - cached
        self._input_share = evaluated / self._policy.writer.characters(self._question, asked.turns, asked.prefix)
        if self._prompt_counted:
            return 0, cached, evaluated
        self._prompt_counted = True
        return evaluated, cached, 0

    def _note(self, endpoint: Endpoint, drafts: list[Draft], asked: Asked, reading: Reading) -> None:
        say = self._policy.notices.say
        if miscounted(drafts, reading.usage):
            say(f"{endpoint.url} counts its tokens otherwise than it lists them; the larger number is charged")
        if asked.stops and any(draft.cut and ignored(self._policy.end, draft.raw) for draft in drafts):
            say(f"{endpoint.url} ignores stop strings; steps are cut here, and what it wrote beyond is charged")
        if any(draft.hidden for draft in drafts):
            say(f"{endpoint.url} keeps the model's reasoning apart, where it cannot be searched; switch that off there")


def _asked(steps: list[StepInWriting], tokens: int, end: StepEnd | None, dialect: Dialect) -> Asked:
    first = steps[0]
    stops = () if end is None else end.stops
    # The server would find a stop string in the space that the step starts with.
    blank = dialect.leads or first.led or bool(first.text and not first.text.strip())
    return Asked(
        prefix=first.request.prefix + first.text,
        turns=first.request.turns,
        max_tokens=tokens,
        sampling=first.request.sampling,
        seed=first.seed,
        count=len(steps) if dialect.siblings else 1,
        stops=() if blank and not first.text.strip() else stops,
    )


async def _report(steps: list[StepInWriting], on_progress: Callable[[int, int, str], None]) -> None:
    while True:
        await anyio.sleep(PROGRESS_S)
        for step in steps:
            if not step.completed and step.tokens_so_far:
                on_progress(step.request.child, step.tokens_so_far, step.text_so_far)
