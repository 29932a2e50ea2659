"""Calls from threads of our own into the event loop."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from anyio import from_thread
from anyio.lowlevel import EventLoopToken


def run_in_event_loop(token: EventLoopToken, function: Callable[..., None], *arguments: Any) -> None:
    """Run a function in the event loop of `token`, and wait until it has returned.

    Ctrl-C that comes meanwhile reaches the program's main task. trio would raise KeyboardInterrupt in the function and
    pass it to the calling thread: the thread would end and the program would not.

    Raises:
        RuntimeError: if the event loop has ended.
    """
    trio: Any = sys.modules.get("trio")
    if trio is not None:
        trio.lowlevel.enable_ki_protection(_call)
    from_thread.run_sync(_call, function, *arguments, token=token)


def _call(function: Callable[..., None], *arguments: Any) -> None:
    function(*arguments)
