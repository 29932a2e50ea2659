"""Workers in a process or in a thread, behind the same connection."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Generator
from contextlib import contextmanager, suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Literal, Protocol

from ramify.config import EngineConfig
from ramify.errors import RamifyError

from ..llama.processes import child_environment, python_command, signal_name

Isolation = Literal["process", "thread"]


OUTPUT_BYTES = 4096
"""Bytes at the end of a worker's output that are searched for the cause of its death."""


JOIN_S = 5.0
"""Seconds that a worker may take to end before it is killed."""


class WorkerHandle(Protocol):
    """A running worker, as the engine has it."""

    connection: Connection

    def describe_end(self) -> str:
        """Return how the worker ended, after its connection has closed."""
        ...

    def join(self, timeout_s: float) -> None:
        """Wait for the end, and force it after the timeout where that is possible."""
        ...

    def kill(self) -> bool:
        """End it at once; False if that is not possible."""
        ...


_workers = weakref.WeakSet["ProcessWorker"]()


def worker_processes() -> list[int]:
    """Return the ids of the processes of workers that have not been waited for."""
    return [each.process.pid for each in tuple(_workers) if each.process.returncode is None]


class ProcessWorker:
    """A worker in a process of its own, so that a native crash ends only that.

    It is started as a command, not through multiprocessing, which would import the caller's main module again and so
    fails in notebooks and in scripts without a guard.
    """

    def __init__(self) -> None:
        self.connection, theirs = Pipe()
        # Native code writes there before it aborts; a pipe could fill up.
        self._output = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            python_command("ramify.engine.runtime.serve.worker", str(theirs.fileno())),
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            env=child_environment(),
        )
        _workers.add(self)
        theirs.close()

    def describe_end(self) -> str:
        """Return the exit code or the signal in words."""
        code = self.process.wait()
        end = f"exit code {code}" if code >= 0 else f"signal {signal_name(-code)}"
        error = self._last_error()
        return f"{end}: {error}" if error else end

    def _last_error(self) -> str:
        if self._output.closed:
            return ""
        self._output.seek(max(0, self._output.seek(0, os.SEEK_END) - OUTPUT_BYTES))
        lines = [line.strip() for line in self._output.read().decode("utf-8", "replace").splitlines() if line.strip()]
        telling = [line for line in lines if "GGML_ASSERT" in line or "error" in line.lower()]
        return telling[-1] if telling else (lines[-1] if lines else "")

    def join(self, timeout_s: float) -> None:
        """Wait for the process and kill it after the timeout."""
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._output.close()

    def kill(self) -> bool:
        """Kill the process."""
        self.process.kill()
        return True


class ThreadWorker:
    """A worker in a thread: nothing to start, but a native crash ends the whole process."""

    def __init__(self) -> None:
        self.connection, theirs = Pipe()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._serve, args=(theirs,), name="ramify-worker", daemon=True)
        self._thread.start()

    def _serve(self, connection: Connection) -> None:
        from .worker import Worker

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

    def kill(self) -> bool:
        """Return False: a thread cannot be ended from outside."""
        return False


def start_worker(isolation: Isolation) -> WorkerHandle:
    """Start a worker, or take the spare one."""
    return ThreadWorker() if isolation == "thread" else _take_spare() or ProcessWorker()


_spare_lock = threading.Lock()
_spare: ProcessWorker | None = None


@contextmanager
def spare_worker(path: str, settings: EngineConfig) -> Generator[None]:
    """Start a worker for the first engine that is opened in the block, and let it load a file.

    So it loads while the caller still imports the engine. Errors come when the engine loads the file.
    """
    global _spare
    if settings.isolation == "process" and settings.workers == 1:
        with _spare_lock:
            _spare = _spare or ProcessWorker()
        _warm(_spare, path, settings)
    try:
        yield
    finally:
        left = _take_spare()
        if left is not None:
            left.kill()
            left.connection.close()
            left.join(JOIN_S)


def _take_spare() -> ProcessWorker | None:
    global _spare
    with _spare_lock:
        taken, _spare = _spare, None
        return taken


def _warm(worker: ProcessWorker, path: str, settings: EngineConfig) -> None:
    from ..llama.config import ModelConfig
    from ..llama.gguf_check import check_gguf
    from ..llama.probe import usable_buffers
    from ..messages import Warm

    with suppress(RamifyError, OSError):
        # The check comes first: a file that is no model must not be probed.
        summary = check_gguf(path)
        config = ModelConfig.of(settings, path, extra_buffers=usable_buffers(path))
        worker.connection.send(Warm(config, summary))
