"""The parent's side of the helper process that runs math-verify."""

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
_HELPER = Path(__file__).with_name("helper.py")
_MOST_FAILED_STARTS = 3
_REPLIES = {b"1\n": True, b"0\n": False}

_log = logging.getLogger("ramify.answers")


class Prover:
    """One helper process, started when it is first needed, killed when it takes too long, and replaced then.

    Safe from any thread; requests wait for each other, and the time limit of a request starts when its turn comes.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()
        self._failed_starts = 0

    def equal(self, a: str, b: str, *, time_limit_s: float) -> bool | None:
        """Return whether math-verify finds two answers equal, None if it did not say in time."""
        request = json.dumps([a, b, time_limit_s]).encode() + b"\n"
        with self._lock:
            process = self._running()
            if process is None:
                return None
            reply = _REPLIES.get(self._exchange(process, request, time_limit_s))
            if reply is None:
                self._discard()
            return reply

    def close(self) -> None:
        """End the helper; the next request starts another."""
        with self._lock:
            self._discard()

    def _running(self) -> subprocess.Popen[bytes] | None:
        if self._owner != os.getpid():
            # After a fork the helper is the other process's.
            self._process, self._owner = None, os.getpid()
        if self._process is not None and self._process.poll() is not None:
            self._discard()
        if self._process is None and self._failed_starts < _MOST_FAILED_STARTS:
            self._start()
        return self._process

    def _start(self) -> None:
        # -P keeps the helper's own folder off its module path; a session of its own keeps Ctrl-C away from it.
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_HELPER)],
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
        """Send a request and return the reply; b"" if the helper died or was killed for taking too long."""
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
            # Joined, so that a late timer cannot kill the helper in the middle of the next request.
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
