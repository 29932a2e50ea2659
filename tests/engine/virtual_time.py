"""Virtual time: sleeps end at once, the meter's clock goes on by them, and no result depends on the machine's speed."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial, wraps
from typing import Any
from unittest import mock

import anyio
import trio
from trio.testing import MockClock

from ramify.engine.control.meter import Meter


def in_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make an asynchronous test run in virtual time."""

    @wraps(test)
    def run(*arguments: Any, **options: Any) -> None:
        defaults: Any = Meter.__init__.__kwdefaults__
        with mock.patch.dict(defaults, {"clock": trio.current_time}):
            clock = MockClock(autojump_threshold=0)
            anyio.run(partial(test, *arguments, **options), backend="trio", backend_options={"clock": clock})

    return run
