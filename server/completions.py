"""Chat completions: a search as the API's response, whole or as a stream of chunks."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from itertools import dropwhile
from typing import TYPE_CHECKING, Any

import anyio
from starlette.responses import Response

from ramify.engine.engine import Engine
from ramify.errors import RamifyError
from ramify.event_loop import start_task
from ramify.json_text import ascii_json
from ramify.problem import Problem
from ramify.search.votes import Vote
from ramify.solution import Solution

from .admission import Admission
from .api_errors import ApiError, api_error, bad_request, json_response
from .config import Caller
from .messages import ChatRequest, Message
from .runs import RunStatus, ServedRun, ServedRuns, leading, posterior, votes_of
from .search_settings import RunPlan

if TYPE_CHECKING:
    from starlette.types import Message as AsgiMessage
    from starlette.types import Receive, Scope, Send

    from .metrics import Metrics

log = logging.getLogger("ramify.server")

UPDATE_S = 0.25
"""Shortest time between two chunks that tell how the search stands."""
PATIENCE_S = 10.0
"""Time after which a stream begins although its search has not, so that no proxy gives up; then a sign of life."""
RUN_HEADER = "X-Ramify-Run"


def problem_of(messages: Sequence[Message]) -> Problem:
    """Return the problem at the end of a conversation; system messages at its beginning are one.

    Raises:
        ApiError: if the last turn is not the user's, is empty, or the engine cannot render the turns.
    """
    if messages[-1].role != "user":
        raise bad_request("messages: the last message has to be the user's question", "messages")
    if not messages[-1].text.strip():
        raise bad_request("messages: the question is empty", "messages")
    turns = list(dropwhile(_instructs, messages))
    if any(map(_instructs, turns)):
        raise bad_request("messages: system messages have to come first", "messages")
    told = "\n\n".join(each.text for each in messages if _instructs(each))
    system = [{"role": "system", "content": told}] if told.strip() else []
    try:
        return Problem(id="0", messages=[*system, *({"role": each.role, "content": each.text} for each in turns)])
    except RamifyError as error:
        raise api_error(error, "messages") from None


def _instructs(message: Message) -> bool:
    return message.role in ("system", "developer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A search for one request; `served` is its run, `plan` has the options of the search."""

    request: ChatRequest
    served: ServedRun
    problem: Problem
    plan: RunPlan
    caller: Caller

    async def search(self, engine: Engine, admission: Admission) -> Solution:
        """Wait for a turn and search; the run's watchers get its events.

        Raises:
            RamifyError: if the search fails.
            ApiError: if the server is ending.
        """
        served = self.served
        async with admission.turn(self.caller) as queued_s:
            served.queued_s = queued_s
            async with engine.run(self.problem, **self.plan.options) as run:
                served.begin(run)
                while events := await run.next_events():
                    served.take(events)
                solution = await run.result()
                served.end(RunStatus.FINISHED)
                return solution

    @property
    def base(self) -> dict[str, Any]:
        """Fields that the response and all chunks have."""
        served = self.served
        return {"id": served.id, "created": int(served.created), "model": self.request.model}

    def whole(self, solution: Solution) -> dict[str, Any]:
        """Return the response."""
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": choice.text, "refusal": None},
                "finish_reason": choice.finish_reason,
                "logprobs": None,
            }
            for index, choice in enumerate(self.choices(solution))
        ]
        return self.base | {
            "object": "chat.completion",
            "choices": choices,
            "usage": usage_of(solution, self.served),
            "ramify": self.block(solution),
        }

    def choices(self, solution: Solution) -> list[Choice]:
        """Return the winning path, and after it the best path of each further answer, `n` at most."""
        wanted = self.request.n or 1
        ended = solution.answer is not None or any(each.text == solution.text for each in solution.candidates)
        first = Choice(steps=_steps(solution), finish_reason="stop" if ended else "length")
        groups = () if self.served.vote is None else self.served.vote.groups
        chosen = next((group for group in groups if any(each.node == solution.winner for each in group.members)), None)
        others = [group.best.text for group in groups if group is not chosen] if solution.answer is not None else []
        if self.request.schema_of_answer is not None and solution.answer is not None:
            # The value alone: clients read it as JSON.
            first = Choice(steps=(solution.answer,), finish_reason="stop")
            others = [group.answer for group in groups if group is not chosen]
        return [first, *(Choice(steps=(text,), finish_reason="stop") for text in others)][:wanted]

    def block(self, solution: Solution) -> dict[str, Any]:
        """Return the values for which the API has no field."""
        vote: Vote | None = self.served.vote
        return {
            "run": self.served.id,
            "answer": solution.answer,
            "score": solution.score,
            "posterior": posterior(vote),
            "strategy": dict(solution.strategy),
            "seed": solution.seed,
            "stop_reason": str(solution.stop_reason),
            "stop": None if solution.stop is None else solution.stop.reason,
            "candidates": len(solution.candidates),
            "votes": votes_of(vote),
            "flops": solution.usage.flops,
            "seconds": solution.usage.seconds,
            "queued_seconds": self.served.queued_s,
            "usage": solution.usage.to_dict(),
        }

    def chunk(self, index: int, delta: Mapping[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        """Return a chunk of a stream."""
        choice = {"index": index, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
        return self.base | {"object": "chat.completion.chunk", "choices": [choice]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A text for the client, in the steps in which it was written."""

    steps: tuple[str, ...]
    finish_reason: str

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.steps)


def _steps(solution: Solution) -> tuple[str, ...]:
    if solution.winner is None or solution.tree is None:
        return (solution.text,)
    return tuple(node.text for node in solution.tree.path_nodes(solution.winner))


def usage_of(solution: Solution, served: ServedRun) -> dict[str, Any]:
    """Return the usage in the form of the API: tokens of paths that are not in the answer are reasoning tokens."""
    policy = solution.usage.policy
    # A model behind another server tells its prompt's length only with the first reply.
    prompt_tokens = served.prompt_tokens or policy.prompt_tokens
    shown = next((each.generated_tokens for each in solution.candidates if each.node == solution.winner), 0)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": policy.generated_tokens,
        "total_tokens": prompt_tokens + policy.generated_tokens,
        "prompt_tokens_details": {"cached_tokens": max(0, prompt_tokens - policy.prompt_tokens)},
        "completion_tokens_details": {"reasoning_tokens": max(0, policy.generated_tokens - shown)},
    }


def standing(served: ServedRun) -> str:
    """Return how a search stands, in one line: the leading answer, its posterior and the budget used."""
    run = served.run
    if run is None:
        return ""
    usage, budget = run.usage, run.budget
    answer, chance = leading(served.vote), posterior(served.vote)
    lead = "no answer yet" if answer is None else f"leading answer {answer}"
    sure = "" if chance is None else f" (posterior {chance:.2f})"
    limit = "" if budget.generated_tokens is None else f" of {budget.generated_tokens}"
    time_limit = "" if budget.seconds is None else f" of {budget.seconds:g}"
    return f"{lead}{sure}, {usage.policy.generated_tokens}{limit} tokens, {usage.seconds:.1f}{time_limit} s\n"


class CompletionResponse(Response):
    """The response to a chat completion; it searches while it is sent, and a client that goes away cancels the run."""

    def __init__(
        self,
        completion: Completion,
        *,
        engine: Engine,
        admission: Admission,
        runs: ServedRuns,
        metrics: Metrics,
        notes: dict[str, Any],
    ) -> None:
        super().__init__()
        self._completion = completion
        self._engine = engine
        self._admission = admission
        self._runs = runs
        self._metrics = metrics
        self._notes = notes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Search and answer; afterwards the run is among those that have ended."""
        completion, served = self._completion, self._completion.served
        try:
            async with anyio.create_task_group() as tasks:
                start_task(tasks, _cancel_without_client, receive, tasks.cancel_scope.cancel)
                if completion.request.stream:
                    await self._stream(scope, receive, send)
                else:
                    await (await self._respond())(scope, receive, send)
                tasks.cancel_scope.cancel()
        finally:
            self._runs.retire(served)
            self._metrics.ended(served)
            self._notes |= _noted(served)

    async def _respond(self) -> Response:
        try:
            solution = await self._completion.search(self._engine, self._admission)
        except Exception as error:
            return self._failed(error).response()
        return json_response(self._completion.whole(solution), headers={RUN_HEADER: self._completion.served.id})

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        stream = _EventStream(send, {RUN_HEADER: self._completion.served.id})
        found: list[Solution | ApiError] = []
        ended = anyio.Event()

        async def search() -> None:
            try:
                found.append(await self._completion.search(self._engine, self._admission))
            except Exception as error:
                found.append(self._failed(error))
            ended.set()
            self._completion.served.started.set()

        async with anyio.create_task_group() as tasks:
            start_task(tasks, search)
            await self._begin(stream)
            while not ended.is_set():
                await self._tell(stream, ended)
        (outcome,) = found
        if isinstance(outcome, ApiError):
            if not stream.begun:
                await outcome.response()(scope, receive, send)
                return
            await stream.data(outcome.body)
        else:
            await self._finish(stream, outcome)
        await stream.done()

    async def _begin(self, stream: _EventStream) -> None:
        """Wait until the search has begun, and send the first chunk; an error that comes sooner has its own status."""
        served = self._completion.served
        while not served.started.is_set():
            with anyio.move_on_after(PATIENCE_S):
                await served.started.wait()
            if not served.started.is_set():
                await stream.comment("queued")
        if served.run is not None or served.solution is not None:
            first = self._completion.chunk(0, {"role": "assistant", "content": ""})
            await stream.data(first | {"ramify": {"run": served.id}})

    async def _tell(self, stream: _EventStream, ended: anyio.Event) -> None:
        """Send how the search stands, after UPDATE_S and if it goes on."""
        with anyio.move_on_after(UPDATE_S):
            await ended.wait()
        if not ended.is_set() and (text := standing(self._completion.served)):
            await stream.data(self._completion.chunk(0, {"reasoning_content": text}))

    async def _finish(self, stream: _EventStream, solution: Solution) -> None:
        completion = self._completion
        choices = completion.choices(solution)
        for index, choice in enumerate(choices):
            for step in choice.steps:
                # The role begins a choice; that of the first one has been sent.
                role = {"role": "assistant"} if index and step is choice.steps[0] else {}
                await stream.data(completion.chunk(index, {**role, "content": step}))
        figures = {"usage": usage_of(solution, completion.served), "ramify": completion.block(solution)}
        options = completion.request.stream_options
        apart = options is not None and options.include_usage
        for index, choice in enumerate(choices):
            last = completion.chunk(index, {}, choice.finish_reason)
            await stream.data(last | ({} if apart or index < len(choices) - 1 else figures))
        if apart:
            await stream.data(completion.base | {"object": "chat.completion.chunk", "choices": []} | figures)

    def _failed(self, error: Exception) -> ApiError:
        found = api_error(error)
        if not isinstance(error, RamifyError | ApiError):
            log.error("a request failed", exc_info=error)
        self._completion.served.end(RunStatus.FAILED, found.message)
        return found


class _EventStream:
    """Server-sent events over a connection; the first one sends the headers."""

    def __init__(self, send: Send, headers: Mapping[str, str]) -> None:
        self._send = send
        self._headers = headers
        self.begun = False

    async def data(self, value: Any, event: str = "") -> None:
        """Send a value as JSON, under the name of an event if one is given."""
        name = f"event: {event}\n" if event else ""
        await self._write(f"{name}data: {ascii_json(value)}\n\n")

    async def comment(self, text: str) -> None:
        """Send a sign of life, which clients skip."""
        await self._write(f": {text}\n\n")

    async def done(self) -> None:
        """Send the end that the API has, and end the response."""
        await self._write("data: [DONE]\n\n")
        await self.end()

    async def end(self) -> None:
        """End the response."""
        await self._begin()
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _write(self, text: str) -> None:
        await self._begin()
        await self._send({"type": "http.response.body", "body": text.encode("ascii"), "more_body": True})

    async def _begin(self) -> None:
        if self.begun:
            return
        self.begun = True
        headers = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache", **self._headers}
        message: AsgiMessage = {
            "type": "http.response.start",
            "status": int(HTTPStatus.OK),
            "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()],
        }
        await self._send(message)


class WatchResponse(Response):
    """The events of a run as server-sent events, from its present state to its end."""

    def __init__(self, served: ServedRun) -> None:
        super().__init__()
        self._served = served

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events as they come."""
        stream = _EventStream(send, {RUN_HEADER: self._served.id})
        async with anyio.create_task_group() as tasks:
            start_task(tasks, _cancel_without_client, receive, tasks.cancel_scope.cancel)
            async with self._served.watched() as events:
                while True:
                    with anyio.move_on_after(PATIENCE_S) as waiting:
                        try:
                            event = await events.receive()
                        except anyio.EndOfStream:
                            break
                        await stream.data(event, event["type"])
                    if waiting.cancelled_caught:
                        await stream.comment("still running")
            await stream.end()
            tasks.cancel_scope.cancel()


async def _cancel_without_client(receive: Receive, cancel: Callable[[], None]) -> None:
    """Wait until the client has gone, and cancel its work."""
    while (await receive())["type"] != "http.disconnect":
        pass
    cancel()


def _noted(served: ServedRun) -> dict[str, Any]:
    """Return the facts about a request's run for its log line."""
    solution = served.solution
    found: dict[str, Any] = {
        "run": served.id,
        "run_status": str(served.status),
        "strategy": served.strategy.name,
        "queued_s": round(served.queued_s, 3),
        "run_s": round(time.time() - served.created - served.queued_s, 3),
    }
    if solution is not None:
        found["stop_reason"] = str(solution.stop_reason)
        found["generated_tokens"] = solution.usage.policy.generated_tokens
        found["answered"] = solution.answer is not None
    return found
