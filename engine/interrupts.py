"""Ctrl-C, wherever in a tree of tasks it strikes, comes out as itself and not inside exception groups."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def plain_interrupts() -> Generator[None]:
    """Raise a KeyboardInterrupt or SystemExit that is inside an exception group by itself.

    On trio, one that is raised in a task arrives in as many groups as there are task groups around it.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        found = group.subgroup((KeyboardInterrupt, SystemExit))
        if found is None:
            raise
        error: BaseException = found
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None
