"""Meter of the endpoint: the tokens that every peer is charged for."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Usage of a peer so far.

    `sent_tokens` are those of all prompts as they were sent; `prompt_tokens` of them were evaluated, the rest came from
    the cache. `reward_tokens` were evaluated by the reward. `busy_s` is the time with at least one request in flight.
    """

    requests: int = 0
    texts: int = 0
    sent_tokens: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0
    reward_requests: int = 0
    reward_tokens: int = 0
    busy_s: float = 0.0

    def __add__(self, other: Count) -> Count:
        return Count(**{each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(self)})

    def to_dict(self) -> dict[str, float]:
        """Return plain JSON types."""
        return asdict(self)


class Meter:
    """Counts by peer; safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, Count] = {}
        self._in_flight: dict[str, int] = {}
        self._since: dict[str, float] = {}

    def add(self, peer: str, count: Count) -> None:
        """Charge a peer."""
        with self._lock:
            self._counts[peer] = self._counts.get(peer, Count()) + count

    @contextmanager
    def busy(self, peer: str) -> Generator[None]:
        """Measure the time of a request; overlapping requests of a peer count once."""
        with self._lock:
            self._in_flight[peer] = self._in_flight.get(peer, 0) + 1
            if self._in_flight[peer] == 1:
                self._since[peer] = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self._in_flight[peer] -= 1
                if not self._in_flight[peer]:
                    spent = Count(busy_s=time.perf_counter() - self._since[peer])
                    self._counts[peer] = self._counts.get(peer, Count()) + spent

    def take(self, peer: str) -> Count:
        """Return the usage of a peer since the last call."""
        with self._lock:
            return self._counts.pop(peer, Count())
