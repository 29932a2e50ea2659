"""Process that runs math-verify: requests with a time limit, a kill when it is over, and restarts.

A process pool of the standard library, of pebble or of anyio would import the user's main module in the child, which a
script without `if __name__ == "__main__"` and a program from stdin do not survive; this one runs a file of ramify only.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from threading import Lock, Timer

START_LIMIT_S = 60.0
_PROGRAM = Path(__file__).with_name("math_verify_program.py")
_MOST_FAILED_STARTS = 3
_REPLIES = {b"1\n": True, b"0\n": False}

_log = logging.getLogger("ramify.answers")


class MathVerifyProcess:
    """A child process that compares answers; started at the first request, replaced after one that took too long.

    It may be used from any thread. Requests wait for each other; the time limit of a request starts with its turn.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()
        self._failed_starts = 0

    def equal(self, a: str, b: str, *, time_limit_s: float) -> bool | None:
        """Return whether math-verify finds two answers equal; None without a reply within `time_limit_s` seconds."""
        return _REPLIES.get(self._ask([a, b, time_limit_s], time_limit_s))

    def key(self, formula: str, *, time_limit_s: float) -> tuple[str, ...] | None:
        """Return what a formula shares with those that equal it, () if it cannot be read; None without a reply."""
        reply = self._ask([formula, time_limit_s], time_limit_s)
        if not reply.endswith(b"\n"):
            return None
        return tuple(json.loads(reply) or ())

    def _ask(self, request: list[str | float], time_limit_s: float) -> bytes:
        """Return the line of the reply, b"" without one; then the process is replaced."""
        with self._lock:
            process = self._running()
            if process is None:
                return b""
            reply = self._exchange(process, json.dumps(request).encode() + b"\n", time_limit_s)
            if not reply.endswith(b"\n"):
                self._discard()
            return reply

    def close(self) -> None:
        """End the process; the next request starts another."""
        with self._lock:
            self._discard()

    def _running(self) -> subprocess.Popen[bytes] | None:
        if self._owner != os.getpid():
            # After a fork the child belongs to the other process.
            self._process, self._owner = None, os.getpid()
        if self._process is not None and self._process.poll() is not None:
            self._discard()
        if self._process is None and self._failed_starts < _MOST_FAILED_STARTS:
            self._start()
        return self._process

    def _start(self) -> None:
        # -P keeps the program's folder off its module path; in a session of its own it gets no Ctrl-C.
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        atexit.unregister(self.close)
        atexit.register(self.close)
        if self._exchange(self._process, b"", START_LIMIT_S) == b"ready\n":
            self._failed_starts = 0
            return
        self._discard()
        self._failed_starts += 1
        if self._failed_starts == _MOST_FAILED_STARTS:
            _log.warning("math-verify does not start; answers are compared as text and as plain numbers only")

    def _exchange(self, process: subprocess.Popen[bytes], request: bytes, time_limit_s: float) -> bytes:
        """Send a request and return the reply; b"" if the process died or was killed at the time limit."""
        assert process.stdin is not None and process.stdout is not None
        timer = Timer(time_limit_s, process.kill)
        timer.daemon = True
        timer.start()
        try:
            process.stdin.write(request)
            process.stdin.flush()
            return process.stdout.readline()
        except OSError:
            return b""
        finally:
            timer.cancel()
            # Joined, so that a late timer cannot kill the process during the next request.
            timer.join()

    def _discard(self) -> None:
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    pass
