"""Admission of requests: how many run at a time, how many wait for their turn, and the end of a server."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus

import anyio

from .api_errors import ApiError
from .config import Caller

USUAL_S = 5.0
"""Expected time of a run before any has ended, for Retry-After."""
_MEMORY = 0.8
"""Weight of the past in the mean time of a run."""
LONGEST_RETRY_S = 600


@dataclass(eq=False, slots=True)
class _Waiting:
    caller: Caller
    admitted: anyio.Event = field(default_factory=anyio.Event)
    refusal: ApiError | None = None


class Admission:
    """Lets `max_runs` requests run at a time, in the order in which they came; `max_queued` more wait.

    A caller with a bound of its own waits longer, and those behind it pass. After `close` nobody is admitted; who
    waits goes on waiting until `refuse_waiting`.
    """

    def __init__(self, max_runs: int, max_queued: int) -> None:
        self._max_runs = max_runs
        self._max_queued = max_queued
        self._running = Counter[str]()
        self._waiting = deque[_Waiting]()
        self._usual_s = USUAL_S
        self._closed = False

    @property
    def running(self) -> int:
        """Number of requests that run."""
        return self._running.total()

    @property
    def queued(self) -> int:
        """Number of requests that wait for their turn."""
        return len(self._waiting)

    @property
    def closed(self) -> bool:
        """True if the server is ending."""
        return self._closed

    @asynccontextmanager
    async def turn(self, caller: Caller) -> AsyncGenerator[float]:
        """Wait for a turn, and yield the seconds that the request has waited; the turn ends with the block.

        Raises:
            ApiError: if the queue is full, or the server is ending.
        """
        asked_s = time.monotonic()
        await self._enter(caller)
        begun_s = time.monotonic()
        try:
            yield begun_s - asked_s
        finally:
            self._usual_s = _MEMORY * self._usual_s + (1 - _MEMORY) * (time.monotonic() - begun_s)
            self._running[caller.name] -= 1
            self._admit()

    def check(self, caller: Caller) -> None:
        """Check that a request of a caller would be admitted, or queued.

        Raises:
            ApiError: if it would not.
        """
        if self._closed:
            raise _ending()
        if len(self._waiting) >= self._max_queued and not self._is_free(caller):
            seconds = self._usual_s * (len(self._waiting) + 1) / self._max_runs
            raise ApiError(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"{self.running} requests run and {len(self._waiting)} wait; try again later",
                code="queue_full",
                headers={"Retry-After": str(max(1, min(LONGEST_RETRY_S, math.ceil(seconds))))},
            )

    def close(self) -> None:
        """Admit no new requests from now on."""
        self._closed = True

    def refuse_waiting(self) -> None:
        """Refuse the requests that wait."""
        for each in self._waiting:
            each.refusal = _ending()
            each.admitted.set()
        self._waiting.clear()

    async def _enter(self, caller: Caller) -> None:
        self.check(caller)
        if self._is_free(caller):
            self._running[caller.name] += 1
            return
        waiting = _Waiting(caller)
        self._waiting.append(waiting)
        try:
            await waiting.admitted.wait()
        except BaseException:
            # The client has gone: the place in the queue, or the turn that it was just given, is another's.
            if waiting in self._waiting:
                self._waiting.remove(waiting)
            elif waiting.refusal is None:
                self._running[caller.name] -= 1
                self._admit()
            raise
        if waiting.refusal is not None:
            raise waiting.refusal

    def _is_free(self, caller: Caller) -> bool:
        own = caller.max_runs is None or self._running[caller.name] < caller.max_runs
        return own and self.running < self._max_runs

    def _admit(self) -> None:
        for each in tuple(self._waiting):
            if self.running >= self._max_runs:
                return
            if self._is_free(each.caller):
                self._waiting.remove(each)
                self._running[each.caller.name] += 1
                each.admitted.set()


def _ending() -> ApiError:
    return ApiError(
        HTTPStatus.SERVICE_UNAVAILABLE, "the server is ending", code="server_ending", headers={"Retry-After": "5"}
    )
