"""Command line of ramify; model libraries, numpy and pydantic are imported by the commands that need them."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; `arguments` None means those of the process."""
    from .app import app
    from .exits import exit_code_for, explain
    from .terminal import OutputClosed, cleaned_stderr, guarded_echo, prepare_streams

    called_s = time.monotonic() - (_process_age_s() if arguments is None else 0.0)
    prepare_streams()
    given = sys.argv[1:] if arguments is None else list(arguments)
    with cleaned_stderr():
        try:
            with guarded_echo():
                return int(app.main(given, prog_name="ramify", standalone_mode=False, obj=called_s) or 0)
        except OutputClosed:
            return 0
        except (Exception, KeyboardInterrupt) as error:
            explain(error)
            # An interrupt in a dataclass that is being made, as by an import, would end the process by SIGINT with any
            # exit code: CPython keeps a mark of it until code is run from a text again.
            exec("")
            return int(exit_code_for(error))


def _process_age_s() -> float:
    """Return the seconds since this process began; where the system does not tell, its processor time."""
    try:
        with open("/proc/self/stat", encoding="ascii", errors="replace") as file:
            ticks = int(file.read().rpartition(")")[2].split()[19])
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
    except (AttributeError, IndexError, OSError, ValueError):
        return time.process_time()
