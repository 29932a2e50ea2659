"""Program that compares pairs of answers with math-verify, in a process of its own with a memory limit.

Run as a file, never imported by ramify, so that nothing of the user's program runs in it. A request is a line with the
JSON list [answer, answer, seconds]; a reply is the line "1" (equal) or "0". The parent kills the process when a request
takes too long; the alarm ends it when the parent is gone.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

MEMORY_LIMIT_BYTES = 2 << 30


def main() -> None:
    """Reply to requests until the input ends."""
    logging.disable(logging.CRITICAL)
    limit_memory()
    equal = load_equality()
    # The first comparison loads what later ones use; it must not count against the first request's time.
    equal("x^2+1", "1+x^2")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        a, b, seconds = json.loads(line)
        set_alarm(seconds + 1)
        try:
            reply = equal(a, b)
        except (Exception, MemoryError):
            reply = False
        set_alarm(0)
        sys.stdout.write("1\n" if reply else "0\n")
        sys.stdout.flush()


def load_equality() -> Callable[[str, str], bool]:
    """Return math-verify's comparison in both directions, without its own time limits."""
    math_verify: Any = import_module("math_verify")
    latex = [math_verify.LatexExtractionConfig()]

    def parsed(text: str) -> Any:
        return math_verify.parse(f"${text.replace('$', '')}$", latex, parsing_timeout=None)

    def equal(a: str, b: str) -> bool:
        left, right = parsed(a), parsed(b)
        return any(math_verify.verify(*pair, timeout_seconds=None) for pair in ((left, right), (right, left)))

    return equal


def limit_memory() -> None:
    """Limit the address space of this process to `MEMORY_LIMIT_BYTES`, where the system can."""
    try:
        import resource
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = MEMORY_LIMIT_BYTES if hard == resource.RLIM_INFINITY else min(MEMORY_LIMIT_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def set_alarm(seconds: float) -> None:
    """End this process after `seconds` (0: never), where the system can."""
    import signal

    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


if __name__ == "__main__":
    main()
