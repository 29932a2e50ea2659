"""Starting and ending workers: the same connection to a process or to a thread."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Literal, Protocol

Isolation = Literal["process", "thread"]


class WorkerHandle(Protocol):
    """A running worker."""

    connection: Connection

    def describe_end(self) -> str:
        """Return how the worker ended, after its connection has closed."""
        ...

    def join(self, timeout_s: float) -> None:
        """Wait for the end, and force it after the timeout where that is possible."""
        ...


class ProcessWorker:
    """A worker in a process of its own, so that a native crash ends only that.

    It is started as a command, not through multiprocessing, which would import the caller's main module again and so
    fails in notebooks and in scripts without a guard.
    """

    def __init__(self) -> None:
        self.connection, theirs = Pipe()
        environment = {**os.environ, "GGML_NO_BACKTRACE": "1"}
        command = [sys.executable, "-m", "ramify.engine.runtime.worker", str(theirs.fileno())]
        self.process = subprocess.Popen(
            command,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        theirs.close()

    def describe_end(self) -> str:
        """Return the exit code or the signal in words."""
        code = self.process.wait()
        if code >= 0:
            return f"exit code {code}"
        import signal

        try:
            return f"signal {signal.Signals(-code).name}"
        except ValueError:
            return f"signal {-code}"

    def join(self, timeout_s: float) -> None:
        """Wait for the process and kill it after the timeout."""
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class ThreadWorker:
    """A worker in a thread: nothing to start, but a native crash ends the whole process."""

    def __init__(self) -> None:
        self.connection, theirs = Pipe()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._serve, args=(theirs,), name="ramify-worker", daemon=True)
        self._thread.start()

    def _serve(self, connection: Connection) -> None:
        from ramify.engine.runtime.worker import Worker

        try:
            Worker(connection).run()
        except Exception as error:
            self._error = error

    def describe_end(self) -> str:
        """Return the error that ended the thread."""
        self._thread.join()
        return "its thread ended" if self._error is None else f"{type(self._error).__name__}: {self._error}"

    def join(self, timeout_s: float) -> None:
        """Wait for the thread; it cannot be forced."""
        self._thread.join(timeout_s)


def start_worker(isolation: Isolation) -> WorkerHandle:
    """Start a worker."""
    return ProcessWorker() if isolation == "process" else ThreadWorker()
