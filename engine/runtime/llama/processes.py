"""Commands, environment and signal names of child processes that run native code."""

from __future__ import annotations

import os
import signal
import sys


def python_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module in a new interpreter.

    `-P` keeps the current folder off its path: a file `queue.py` there must not stand for the library's.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


SPINS = "600"
"""Rounds that a thread of GNU OpenMP spins for the others before it sleeps; its own default is over 100 times that.

Spinning threads take the processor from those that they wait for as soon as other programs run beside them.
"""


def child_environment() -> dict[str, str]:
    """Return the environment of a child: it finds the same modules, and does not start a debugger when it aborts.

    Its threads soon sleep while they wait for each other, unless the user's environment says how they wait.
    """
    waits = {} if "OMP_WAIT_POLICY" in os.environ else {"GOMP_SPINCOUNT": SPINS}
    return {
        **waits,
        **os.environ,
        "GGML_NO_BACKTRACE": "1",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }


def signal_name(number: int) -> str:
    """Return a signal's name, or its number if it has none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
