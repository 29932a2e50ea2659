"""Pool of the servers of one model: load balancing, failover and retries."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import anyio

from ramify.errors import UsageError

from .http import HttpError, Refused, Transport, Unreachable

log = logging.getLogger(__name__)

RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""Status codes after which a request is sent again."""

BUSY = 429
"""Status code of a server that works but is overloaded."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """When a failed request is sent again; all times are in seconds.

    `attempts` bounds the failures of one request, on all servers together, and the consecutive failures of every
    server. A server that failed pauses for `pause_s`, doubled with each further failure up to `longest_pause_s`, plus a
    random share of as much again, or for as long as it asks; beyond `longest_wait_s` the request fails instead.

    Raises:
        UsageError: if a value is out of range.
    """

    attempts: int = 6
    pause_s: float = 0.5
    longest_pause_s: float = 30.0
    longest_wait_s: float = 300.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise UsageError(f"attempts is {self.attempts}", "use 1 or more")
        for name in ("pause_s", "longest_pause_s", "longest_wait_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise UsageError(f"{name} is {value}", "use a number of seconds from 0 upwards")


class Endpoint:
    """Load and health of one server.

    `trees` counts the open trees whose beginning it has. `failures` counts consecutive failures, `failed_s` is the time
    of the last one, and `rests_until_s` the end of the pause, on the clock of `time.monotonic`. A `broken` server gets
    one request at a time until one succeeds.
    """

    def __init__(self, transport: Transport, parallel: int) -> None:
        self.transport = transport
        self.parallel = parallel
        self.in_flight = 0
        self.trees = 0
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
        """True if another request fits, regardless of a pause."""
        return self.in_flight < (1 if self.broken else self.parallel)


class EndpointPool:
    """Servers of one model, and the choice of the one for each request."""

    def __init__(self, endpoints: Sequence[Endpoint], retry: RetryPolicy) -> None:
        self.endpoints = tuple(endpoints)
        self._retry = retry
        self._changed = anyio.Event()
        self._given_up_s = 0.0
        self._last_error: HttpError | None = None

    async def send(
        self, ask: Callable[[Endpoint], Awaitable[Result]], preferred: Callable[[], Endpoint | None] = lambda: None
    ) -> Result:
        """Return the result of `ask` on the preferred server, or else on the least loaded one.

        After a failure it is called again, on any server. `preferred` is asked before each time.

        Raises:
            HttpError: the last failure, if there were too many, or it is permanent.
        """
        failures, asked_s = 0, time.monotonic()
        while True:
            endpoint = await self._free_endpoint(asked_s, preferred)
            started_s = time.monotonic()
            try:
                with self._occupied(endpoint):
                    result = await ask(endpoint)
            except (Refused, Unreachable) as error:
                if isinstance(error, Refused) and error.code not in RETRIED:
                    self._succeeded(endpoint)
                    raise
                failures += 1
                self._note_failure(endpoint, error, started_s)
                wait_s = (error.retry_after_s or 0.0) if isinstance(error, Refused) else 0.0
                too_long = wait_s > self._retry.longest_wait_s and not self._others(endpoint)
                if too_long or failures >= self._retry.attempts or self._all_dead():
                    self._give_up(error)
                    raise
            else:
                self._succeeded(endpoint)
                return result

    async def visit(self, endpoint: Endpoint, ask: Callable[[Endpoint], Awaitable[object]]) -> None:
        """Call `ask` on one server once, regardless of the others.

        Raises:
            HttpError: if it fails; the server then pauses.
        """
        started_s = time.monotonic()
        try:
            with self._occupied(endpoint):
                await ask(endpoint)
        except (Refused, Unreachable) as error:
            self._note_failure(endpoint, error, started_s)
            raise
        self._succeeded(endpoint)

    def choose(self, now_s: float, preferred: Endpoint | None = None) -> Endpoint | None:
        """Return the server for the next request, None if all are paused or full.

        The preferred one is left out while it is paused, full or broken.
        """
        free = [each for each in self.endpoints if each.room and each.rests_until_s <= now_s]
        if preferred is not None and not preferred.broken and preferred in free:
            return preferred
        return min(free, key=lambda each: (each.broken, each.in_flight), default=None)

    def home(self) -> Endpoint:
        """Return the server for a new tree: one that works, has the fewest trees, and then the least to do."""
        return min(self.endpoints, key=lambda each: (each.broken, each.trees, each.in_flight))

    async def _free_endpoint(self, asked_s: float, preferred: Callable[[], Endpoint | None]) -> Endpoint:
        """Wait for a server with room for a request of `asked_s`; fail if all were found dead after that time."""
        while True:
            if self._last_error is not None and asked_s <= self._given_up_s and self._broken():
                raise self._last_error
            now_s = time.monotonic()
            endpoint = self.choose(now_s, preferred())
            if endpoint is not None:
                return endpoint
            waking = [each.rests_until_s for each in self.endpoints if each.room and each.rests_until_s > now_s]
            with anyio.move_on_after(min(waking) - now_s if waking else None):
                await self._changed.wait()

    @contextmanager
    def _occupied(self, endpoint: Endpoint) -> Generator[None]:
        endpoint.in_flight += 1
        try:
            yield
        finally:
            endpoint.in_flight -= 1
            self._notify()

    def _succeeded(self, endpoint: Endpoint) -> None:
        if endpoint.broken:
            log.warning("the server %s answers again", endpoint.url)
        endpoint.failures, endpoint.broken = 0, False
        self._notify()

    def _note_failure(self, endpoint: Endpoint, error: HttpError, started_s: float) -> None:
        now_s = time.monotonic()
        asked_s = error.retry_after_s if isinstance(error, Refused) else None
        if asked_s is not None:
            asked_s = min(asked_s, self._retry.longest_wait_s)
            endpoint.rests_until_s = max(endpoint.rests_until_s, now_s + asked_s)
        if started_s < endpoint.failed_s:
            return  # The request was in flight when a failure was counted.
        endpoint.failed_s = now_s
        if asked_s is None:
            endpoint.rests_until_s = now_s + pause_s(self._retry, endpoint.failures, random.random())
        endpoint.failures += 1
        if not endpoint.broken and not (isinstance(error, Refused) and error.code == BUSY):
            endpoint.broken = True
            log.warning("the server %s is left out for a while: %s", endpoint.url, error)

    def _give_up(self, error: HttpError) -> None:
        """Fail the waiting requests too; requests made later get the full number of attempts."""
        self._given_up_s, self._last_error = time.monotonic(), error
        for endpoint in self.endpoints:
            endpoint.failures = 0
        self._notify()

    def _broken(self) -> bool:
        return all(each.broken for each in self.endpoints)

    def _all_dead(self) -> bool:
        """Return whether every server has as many consecutive failures as one request may have."""
        return self._broken() and all(each.failures >= self._retry.attempts for each in self.endpoints)

    def _others(self, endpoint: Endpoint) -> bool:
        return any(each is not endpoint and not each.broken for each in self.endpoints)

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


class TreePlaces:
    """Servers that hold the prefixes of one tree, so that its steps go where the least has to be read again.

    Each step goes to the server that wrote the step above it, the first ones to the tree's home, as long as that server
    has room.
    """

    def __init__(self, pool: EndpointPool) -> None:
        self._pool = pool
        self._home: Endpoint | None = None
        self._wrote = dict[int, Endpoint]()

    def below(self, node: int) -> Endpoint:
        """Return the server for a child of a node."""
        if self._home is None or self._home.broken:
            self._settle(self._pool.home())
        assert self._home is not None
        return self._wrote.get(node, self._home)

    def note(self, endpoint: Endpoint, children: Sequence[int]) -> None:
        """Note which server wrote steps."""
        for child in children:
            self._wrote[child] = endpoint

    def forget(self, nodes: Sequence[int]) -> None:
        """Forget nodes below which nothing is written any more."""
        for node in nodes:
            self._wrote.pop(node, None)

    def close(self) -> None:
        """Give up the home."""
        self._settle(None)

    def _settle(self, home: Endpoint | None) -> None:
        if self._home is not None:
            self._home.trees -= 1
        if home is not None:
            home.trees += 1
        self._home = home


def pause_s(retry: RetryPolicy, failures: int, chance: float) -> float:
    """Return the pause after a failure that follows `failures` others; `chance` in [0, 1) spreads the pauses."""
    return min(retry.longest_pause_s, retry.pause_s * 2.0 ** min(failures, 30)) * (1.0 + chance)
