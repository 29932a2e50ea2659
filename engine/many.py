"""Solving several problems at once on one engine, results in the order in which they finish."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import replace
from types import TracebackType
from typing import TypeVar, cast

import anyio
from anyio.abc import TaskGroup

from ramify.errors import check_kind
from ramify.event_loop import start_task
from ramify.problem import Problem
from ramify.solution import Solution

from .planning.parallel import ParallelLimit

END_S = 5.0
"""Longest time in seconds for cancelled searches to end."""

Item = TypeVar("Item")
Problems = Iterable[Problem | str] | AsyncIterable[Problem | str]


class SolutionStream:
    """Solutions of many problems, to be read with `async for`; problems are started as results are read.

    At most as many problems as `limit` allows are in flight. Leaving the loop early leaves those in flight to the
    engine, which cancels them when it closes; `aclose()` or `async with` cancels them at once. An error of one problem
    is raised to the reader and ends the stream.
    """

    def __init__(self, tasks: TaskGroup, solve: Callable[[Problem], Awaitable[Solution]], limit: ParallelLimit) -> None:
        self._scope = anyio.CancelScope()
        self._solve = solve
        self._limit = limit
        self._send, self._receive = anyio.create_memory_object_stream[Solution | Exception](0)
        self._tasks = tasks
        self._ended = anyio.Event()

    def start(self, problems: Problems) -> None:
        """Begin to take problems in."""
        start_task(self._tasks, self._feed, problems)

    async def _feed(self, problems: Problems) -> None:
        try:
            with self._scope:
                async with aclosing(_each(problems)) as each, anyio.create_task_group() as group:
                    try:
                        async for problem in each:
                            await self._limit.begin()
                            start_task(group, self._solve_one, problem)
                    except Exception as error:
                        # The source of the problems has failed: an error for the reader, not for the engine.
                        await self._send.send(error)
        finally:
            self._send.close()
            self._receive.close()
            self._ended.set()

    async def _solve_one(self, problem: Problem) -> None:
        try:
            outcome: Solution | Exception = await self._solve(problem)
            self._limit.note(outcome)
        except Exception as error:
            outcome = error
        try:
            await self._send.send(outcome)
        finally:
            self._limit.end()

    def __aiter__(self) -> AsyncIterator[Solution]:
        return self

    async def __anext__(self) -> Solution:
        try:
            outcome = await self._receive.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            raise StopAsyncIteration from None
        if isinstance(outcome, Exception):
            await self.aclose()
            raise outcome
        return outcome

    async def __aenter__(self) -> SolutionStream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Cancel the problems in flight, wait until they have ended, and end the stream."""
        self._scope.cancel()
        await self._receive.aclose()
        # In an engine that is closing, it may have been cancelled before it began.
        with anyio.move_on_after(END_S, shield=True):
            await self._ended.wait()


async def _each(problems: Problems) -> AsyncGenerator[Problem]:
    number = 0
    if isinstance(problems, AsyncIterable):
        async for problem in problems:
            yield as_problem(problem, number)
            number += 1
        return
    for problem in problems:
        yield as_problem(problem, number)
        number += 1


def as_problem(problem: Problem | str, number: int = 0) -> Problem:
    """Return `problem`, or wrap a bare question; one without an id gets its number.

    Raises:
        ArgumentError: if it is neither a text nor a Problem.
    """
    if isinstance(problem, str):
        return Problem(id=str(number), question=problem)
    wanted = "the question as text, or a Problem; messages of a chat as Problem(messages=...)"
    check_kind("the problem", problem, Problem, wanted)
    return problem if problem.id else replace(problem, id=str(number))


def refuse_one_problem(problems: object) -> None:
    """Check that several problems are given, not one.

    Raises:
        ArgumentError: if it is one, or no problem at all.
    """
    wanted = "a list of questions or Problems; use solve for one of them"
    check_kind("`problems`", problems, (Iterable, AsyncIterable), wanted)
    if isinstance(problems, str | bytes | Mapping):
        check_kind("`problems`", cast("object", problems), (), wanted)


async def for_each(items: Iterable[Item], work: Callable[[Item], Awaitable[None]], *, parallel: int) -> None:
    """Call `work` with each item, `parallel` at a time, in order; the first error ends all and is raised as it is."""
    queue = iter(items)
    failures: list[Exception] = []

    async def take() -> None:
        for item in queue:
            try:
                await work(item)
            except Exception as error:
                # Raised below, so that it does not come in a group.
                failures.append(error)
                tasks.cancel_scope.cancel()
                return

    async with anyio.create_task_group() as tasks:
        for _ in range(parallel):
            start_task(tasks, take)
    if failures:
        raise failures[0]
