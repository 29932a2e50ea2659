"""Child process of `LimitedProcess`: runs a program's `reply` on one request after the other, under limits.

Run as `python limited_program.py PROGRAM BYTES`, never imported by ramify, so that nothing of the user's program runs
in it. A program is a Python file with a function `reply(request)`, whose results are plain JSON, and perhaps `start()`.
A request is a line of JSON, the list [seconds, request]; its reply is the line of JSON [result], or [] if the program
failed. The parent kills the process when a request takes too long; the alarm ends it when the parent is gone.
"""

from __future__ import annotations

import json
import logging
import sys
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType


def main() -> None:
    """Reply to requests until the input ends."""
    logging.disable(logging.CRITICAL)
    limit_memory(int(sys.argv[2]))
    program = load(sys.argv[1])
    if hasattr(program, "start"):
        program.start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        seconds, request = json.loads(line)
        set_alarm(seconds + 1)
        try:
            written = json.dumps([program.reply(request)])
        except (Exception, MemoryError):
            written = "[]"
        set_alarm(0)
        sys.stdout.write(written + "\n")
        sys.stdout.flush()


def load(path: str) -> ModuleType:
    """Return the program of a file as a module."""
    spec = spec_from_file_location("limited_request_program", path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def limit_memory(limit_bytes: int) -> None:
    """Limit the address space of this process, where the system can."""
    try:
        import resource
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = limit_bytes if hard == resource.RLIM_INFINITY else min(limit_bytes, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    # A process that the alarm or the lack of memory ends leaves no file behind.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def set_alarm(seconds: float) -> None:
    """End this process after `seconds` (0: never), where the system can."""
    import signal

    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


if __name__ == "__main__":
    main()
