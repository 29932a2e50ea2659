"""Gold answers that are regular expressions, matched within a time limit.

Python's own `re` cannot be stopped, and some patterns take longer than anybody waits. The library `regex` can, on any
thread, and lets other threads run meanwhile.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from importlib import import_module
from typing import Any

from ramify.errors import UsageError

TIME_LIMIT_S = 1.0
QUICK_LIMIT_S = 0.01
"""Seconds of this process's processor time, so that a busy machine decides no answer."""

_log = logging.getLogger("ramify.answers")


def matches(answer: str, pattern: str) -> bool:
    """Return whether `pattern` matches all of `answer`; what takes longer than `TIME_LIMIT_S` does not, and is logged.

    Raises:
        UsageError: if `pattern` is no regular expression.
    """
    return _decided(answer.strip(), pattern)


def matches_quickly(answer: str, pattern: str) -> bool | None:
    """Return the same if it takes no longer than `QUICK_LIMIT_S`, else None.

    Raises:
        UsageError: if `pattern` is no regular expression.
    """
    try:
        return _matched(answer.strip(), pattern, QUICK_LIMIT_S)
    except TimeoutError:
        return None


@lru_cache(maxsize=4096)
def _decided(answer: str, pattern: str) -> bool:
    try:
        return _matched(answer, pattern, TIME_LIMIT_S)
    except TimeoutError:
        shown = pattern if len(pattern) <= 100 else f"{pattern[:100]}..."
        _log.warning(
            "the pattern %r took longer than %g s on an answer, which counts as wrong; simplify it",
            shown,
            TIME_LIMIT_S,
        )
        return False


def _matched(answer: str, pattern: str, limit_s: float) -> bool:
    return _compiled(pattern).fullmatch(answer, concurrent=True, timeout=limit_s) is not None


@lru_cache(maxsize=1024)
def _compiled(text: str) -> Any:
    # The library has no types of its own.
    regex: Any = import_module("regex")
    try:
        return regex.compile(text)
    except regex.error as error:
        raise UsageError(f"the gold answer {text!r} is no regular expression ({error})", "correct it") from error
