"""Calls from threads of our own into the event loop, and tasks that Ctrl-C does not lose."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from typing import Any

from anyio import from_thread
from anyio.abc import TaskGroup
from anyio.lowlevel import EventLoopToken


def run_in_event_loop(token: EventLoopToken, function: Callable[..., None], *arguments: Any) -> None:
    """Run a function in the event loop of `token`, and wait until it has returned.

    Ctrl-C that comes meanwhile reaches the program's main task. trio would raise KeyboardInterrupt in the function and
    pass it to the calling thread: the thread would end and the program would not.

    Raises:
        RuntimeError: if the event loop has ended.
    """
    _keep_interrupts_out_of(_call)
    from_thread.run_sync(_call, function, *arguments, token=token)


def _call(function: Callable[..., None], *arguments: Any) -> None:
    function(*arguments)


def start_task(tasks: TaskGroup, function: Callable[..., Coroutine[Any, Any, Any]], *arguments: Any) -> None:
    """Start a task, as `tasks.start_soon` does.

    Ctrl-C that comes meanwhile reaches the program's main task once the task is started. trio would raise
    KeyboardInterrupt between the making of the coroutine and its start: Python then warns that it was never awaited.
    """
    _keep_interrupts_out_of(start_task)
    tasks.start_soon(function, *arguments)


def _keep_interrupts_out_of(function: Callable[..., None]) -> None:
    trio: Any = sys.modules.get("trio")
    if trio is not None:
        trio.lowlevel.enable_ki_protection(function)
