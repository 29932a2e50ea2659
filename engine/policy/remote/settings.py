"""Frozen settings of the connection to a remote model."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ramify.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """When a failed request is made again.

    `attempts` bounds the failures of one request, on all servers together, and those in a row of all servers. A server
    that failed rests for `pause_s`, doubled with each further failure up to `longest_pause_s`, plus up to as much again
    by chance, or for as long as it asks; if that is more than `longest_wait_s`, the request fails instead.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteSettings:
    """How a remote model is asked.

    `parallel` bounds the requests in flight at one server. `connect_s` and `silence_s` are how long a server may take
    to take a connection, and then send nothing. `logprobs` asks for the tokens' log probabilities. `siblings_together`
    asks for all children of one node in one request (`n`): cheaper where the server shares the prompt only then, but
    children then have one seed in common, so that a resumed search does not write what an unbroken one would have.
    """

    parallel: int = 16
    connect_s: float = 10.0
    silence_s: float = 120.0
    patience: Patience = Patience()
    logprobs: bool = True
    siblings_together: bool = False

    def __post_init__(self) -> None:
        if self.parallel < 1:
            raise UsageError(f"parallel is {self.parallel}", "use 1 or more")
        for name in ("connect_s", "silence_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise UsageError(f"{name} is {value}", "use a number of seconds above 0")
