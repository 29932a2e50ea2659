"""Program of `PatternProcess`: compiles regular expressions and matches whole texts, in a process of its own.

A request is the list [pattern, text, seconds]; its reply is true, false, null after `seconds` of processor time, or the
text of the error in the pattern.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import Any


def start() -> None:
    """Load the library."""
    import_module("regex")


def reply(request: tuple[str, str, float]) -> bool | str | None:
    """Return whether the pattern matches all of the text, or the error in the pattern."""
    pattern, text, seconds = request
    regex: Any = import_module("regex")
    try:
        return compiled(pattern).fullmatch(text, timeout=seconds) is not None
    except TimeoutError:
        return None
    except regex.error as error:
        return str(error)


@lru_cache(maxsize=64)
def compiled(pattern: str) -> Any:
    """Return a pattern for matching."""
    # The library has no type annotations.
    regex: Any = import_module("regex")
    return regex.compile(pattern)
