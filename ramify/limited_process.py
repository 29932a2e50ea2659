"""Child process for work on texts that others wrote, with a time limit, a memory limit, and a restart after a kill.

A process pool of the standard library, of pebble or of anyio would import the user's main module in the child, which a
script without `if __name__ == "__main__"` and a program from stdin do not survive; this one runs files of ramify only.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from threading import Lock

from .json_text import read_json

START_LIMIT_S = 60.0
LONGEST_REPLY_BYTES = 16 << 20
"""A process whose reply is longer is replaced."""

_MAIN = Path(__file__).with_name("limited_program.py")
_MOST_FAILED_STARTS = 3

_log = logging.getLogger("ramify.limited_process")


class LimitedProcess:
    """A child process that runs a program of `limited_program`; started at the first request, replaced after a failure.

    `program` is a file of ramify, `memory_bytes` the limit of the child's address space where the system has one, and
    `purpose` names in the log the feature that does not work if the child does not start. It may be used from any
    thread. Requests wait for each other; the time limit of a request starts with its turn.
    """

    def __init__(self, program: Path, *, memory_bytes: int, purpose: str) -> None:
        self._command = [sys.executable, "-P", str(_MAIN), str(program), str(memory_bytes)]
        self._purpose = purpose
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()
        self._failed_starts = 0

    def ask(self, request: object, *, time_limit_s: float) -> object | None:
        """Return the program's result for a request, both plain JSON.

        None if the program failed, or needed more time than `time_limit_s` seconds or more memory than it may have.
        """
        with self._lock:
            process = self._running()
            if process is None:
                return None
            try:
                line = json.dumps([time_limit_s, request]).encode() + b"\n"
                reply = self._exchange(process, line, time_limit_s)
            except BaseException:
                # After an interrupt the reply to this request must not be taken for that to the next.
                self._discard()
                raise
            result: list[object] = read_json(reply, lenient=True) if reply.endswith(b"\n") else []
            if not result:
                # The failed request may have left little of the memory.
                self._discard()
            return result[0] if result else None

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
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        atexit.unregister(self.close)
        atexit.register(self.close)
        try:
            ready = self._exchange(self._process, b"", START_LIMIT_S) == b"ready\n"
        except BaseException:
            self._discard()
            raise
        if ready:
            self._failed_starts = 0
            return
        self._discard()
        self._failed_starts += 1
        if self._failed_starts == _MOST_FAILED_STARTS:
            _log.warning("a child process does not start; %s", self._purpose)

    def _exchange(self, process: subprocess.Popen[bytes], request: bytes, time_limit_s: float) -> bytes:
        """Send a request and return the line of the reply; without a whole line in time, the bytes received."""
        assert process.stdin is not None and process.stdout is not None
        until = time.monotonic() + time_limit_s
        reply = bytearray()
        try:
            # The child waits for the request: the long wait comes after it.
            process.stdin.write(request)
            process.stdin.flush()
            output = process.stdout.fileno()
            poll = select.poll()
            poll.register(output, select.POLLIN)
            while not reply.endswith(b"\n") and len(reply) <= LONGEST_REPLY_BYTES:
                if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
                    break
                part = os.read(output, 1 << 16)
                if not part:
                    break
                reply += part
        except OSError:
            return b""
        return bytes(reply)

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
