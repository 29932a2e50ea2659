"""The program of the helper process: reads pairs of answers, writes whether math-verify finds them equal.

Run as a file, never imported by ramify. One request a line, a JSON list [answer, answer, seconds]; one reply a line,
"1" or "0". The parent kills this process when a request takes too long; the alarm is for when the parent is gone.
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
    """Serve requests until the input ends."""
    logging.disable(logging.CRITICAL)
    limit_memory()
    equal = load_equality()
    # The first comparison loads what later ones use, so it belongs to the start.
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
    """Return math-verify's comparison, made symmetric, and without its own time limits."""
    math_verify: Any = import_module("math_verify")
    latex = [math_verify.LatexExtractionConfig()]

    def parsed(text: str) -> Any:
        return math_verify.parse(f"${text.replace('$', '')}$", latex, parsing_timeout=None)

    def equal(a: str, b: str) -> bool:
        left, right = parsed(a), parsed(b)
        return any(math_verify.verify(*pair, timeout_seconds=None) for pair in ((left, right), (right, left)))

    return equal


def limit_memory() -> None:
    """Bound this process's address space, where the system can."""
    try:
        import resource
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = MEMORY_LIMIT_BYTES if hard == resource.RLIM_INFINITY else min(MEMORY_LIMIT_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def set_alarm(seconds: float) -> None:
    """Have this process die after `seconds`, 0 never, where the system can."""
    import signal

    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


if __name__ == "__main__":
    main()
