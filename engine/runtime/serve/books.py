"""What is kept of the runs of a loaded model, so that a new worker can be told all of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import anyio

from ramify.errors import RamifyError

from ..messages import LaneRequest, ReadRequest


@dataclass(eq=False, slots=True)
class Wait:
    """Requests that somebody waits for; `left` are the nodes whose results are missing.

    `interrupted` ones have been asked to end, `abandoned` ones too, and nobody wants their results. `failure` is what
    taking a result raised.
    """

    left: dict[int, LaneRequest | ReadRequest]
    take: Callable[[Any], None]
    allowance: int | None = None
    progress: Callable[[int, int, str], None] | None = None
    done: anyio.Event = field(default_factory=anyio.Event)
    error: RamifyError | None = None
    failure: Exception | None = None
    interrupted: bool = False
    abandoned: bool = False


@dataclass(eq=False, slots=True)
class RunBooks:
    """What a new worker must be told of a run."""

    prompt: tuple[int, ...]
    background: bool = False
    nodes: dict[int, tuple[int, tuple[int, ...]]] = field(default_factory=dict[int, "tuple[int, tuple[int, ...]]"])
    waits: list[Wait] = field(default_factory=list[Wait])


def ignore(result: Any) -> None:
    """Take a result that nobody wants any more."""
