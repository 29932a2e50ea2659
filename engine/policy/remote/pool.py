"""Several servers of one model: each request goes to the one with the least to do, and elsewhere if that one fails."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import anyio

from .http import HttpError, Refused, Transport, Unreachable
from .settings import Patience

log = logging.getLogger(__name__)

RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""HTTP codes that may pass."""

BUSY = 429
"""The code of a server that is well but has too much to do."""

Result = TypeVar("Result")


class Endpoint:
    """One server: what it has to do and how it is doing.

    `failures` counts what went wrong in a row, `failed_s` is when it last did, `rests_until_s` when the server is asked
    again, on the clock of `time.monotonic`. One that is `broken` gets one request at a time until that works.
    """

    def __init__(self, transport: Transport, parallel: int) -> None:
        self.transport = transport
        self.parallel = parallel
        self.in_flight = 0
        self.failures = 0
        self.broken = False
        self.failed_s = 0.0
        self.rests_until_s = 0.0

    @property
    def url(self) -> str:
        """The base address."""
        return self.transport.url

    @property
    def room(self) -> bool:
        """True if it can take another request, the rest aside."""
        return self.in_flight < (1 if self.broken else self.parallel)


class EndpointPool:
    """Owns the state of all servers of one model."""

    def __init__(self, endpoints: Sequence[Endpoint], patience: Patience) -> None:
        self.endpoints = tuple(endpoints)
        self._patience = patience
        self._news = anyio.Event()
        self._given_up_s = 0.0
        self._last_error: HttpError | None = None

    async def send(self, ask: Callable[[Endpoint], Awaitable[Result]]) -> Result:
        """Return what `ask` gets from the server with the least to do; a failure is asked again, on another if it can.

        Raises:
            HttpError: the last failure, if there were too many or it is one that will not pass.
        """
        failures, asked_s = 0, time.monotonic()
        while True:
            endpoint = await self._free_endpoint(asked_s)
            started_s = time.monotonic()
            try:
                with self._occupied(endpoint):
                    result = await ask(endpoint)
            except (Refused, Unreachable) as error:
                if isinstance(error, Refused) and error.code not in RETRIED:
                    self._well(endpoint)
                    raise
                failures += 1
                self._note_failure(endpoint, error, started_s)
                wait_s = (error.retry_after_s or 0.0) if isinstance(error, Refused) else 0.0
                too_long = wait_s > self._patience.longest_wait_s and not self._others(endpoint)
                if too_long or failures >= self._patience.attempts or self._all_dead():
                    self._give_up(error)
                    raise
            else:
                self._well(endpoint)
                return result

    async def visit(self, endpoint: Endpoint, ask: Callable[[Endpoint], Awaitable[object]]) -> None:
        """Ask one server once, whatever the others do.

        Raises:
            HttpError: if it fails, and then it rests.
        """
        started_s = time.monotonic()
        try:
            with self._occupied(endpoint):
                await ask(endpoint)
        except (Refused, Unreachable) as error:
            self._note_failure(endpoint, error, started_s)
            raise
        self._well(endpoint)

    def choose(self, now_s: float) -> Endpoint | None:
        """Return the server for the next request, None if all are resting or full."""
        free = [each for each in self.endpoints if each.room and each.rests_until_s <= now_s]
        return min(free, key=lambda each: (each.broken, each.in_flight), default=None)

    async def _free_endpoint(self, asked_s: float) -> Endpoint:
        """Wait for a server with room for a request of `asked_s`, unless an earlier one has found that all are dead."""
        while True:
            if self._last_error is not None and asked_s <= self._given_up_s and self._broken():
                raise self._last_error
            now_s = time.monotonic()
            endpoint = self.choose(now_s)
            if endpoint is not None:
                return endpoint
            waking = [each.rests_until_s for each in self.endpoints if each.room and each.rests_until_s > now_s]
            with anyio.move_on_after(min(waking) - now_s if waking else None):
                await self._news.wait()

    @contextmanager
    def _occupied(self, endpoint: Endpoint) -> Generator[None]:
        endpoint.in_flight += 1
        try:
            yield
        finally:
            endpoint.in_flight -= 1
            self._tell()

    def _well(self, endpoint: Endpoint) -> None:
        if endpoint.broken:
            log.warning("the server %s answers again", endpoint.url)
        endpoint.failures, endpoint.broken = 0, False
        self._tell()

    def _note_failure(self, endpoint: Endpoint, error: HttpError, started_s: float) -> None:
        now_s = time.monotonic()
        asked_s = error.retry_after_s if isinstance(error, Refused) else None
        if asked_s is not None:
            asked_s = min(asked_s, self._patience.longest_wait_s)
            endpoint.rests_until_s = max(endpoint.rests_until_s, now_s + asked_s)
        if started_s < endpoint.failed_s:
            return  # It failed together with one that has been counted.
        endpoint.failed_s = now_s
        if asked_s is None:
            endpoint.rests_until_s = now_s + pause_s(self._patience, endpoint.failures, random.random())
        endpoint.failures += 1
        if not endpoint.broken and not (isinstance(error, Refused) and error.code == BUSY):
            endpoint.broken = True
            log.warning("the server %s is left out for a while: %s", endpoint.url, error)

    def _give_up(self, error: HttpError) -> None:
        """Let what waits fail too, and what is asked later have as much patience as this request had."""
        self._given_up_s, self._last_error = time.monotonic(), error
        for endpoint in self.endpoints:
            endpoint.failures = 0
        self._tell()

    def _broken(self) -> bool:
        return all(each.broken for each in self.endpoints)

    def _all_dead(self) -> bool:
        """Return whether every server has failed as often in a row as one request may, whoever asked."""
        return self._broken() and all(each.failures >= self._patience.attempts for each in self.endpoints)

    def _others(self, endpoint: Endpoint) -> bool:
        return any(each is not endpoint and not each.broken for each in self.endpoints)

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()


def pause_s(patience: Patience, failures: int, chance: float) -> float:
    """Return how long a server rests that had failed `failures` times before; `chance` in [0, 1) spreads the pauses."""
    return min(patience.longest_pause_s, patience.pause_s * 2.0 ** min(failures, 30)) * (1.0 + chance)
