"""The processes of a comparison: the endpoint, llama-server, and one adapter at a time, all ended with the run."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
START_S = 180.0
KEYS = ("OPENAI_API_KEY", "RAMIFY_API_KEY", "OPTILLM_API_KEY", "CEREBRAS_API_KEY", "HF_TOKEN")


class SideFailed(Exception):
    """Raised when a side gives no answer; the message is one line."""


class Adapter:
    """A peer's process, which answers a line with a line."""

    def __init__(self, command: Sequence[str], settings: Mapping[str, Any], key: str) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in KEYS}
        environment |= {"OPENAI_API_KEY": key, "RAMIFY_API_KEY": key}
        self._errors = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment,
            start_new_session=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self._write(settings)
        self._reply(START_S, "starting")

    def ask(self, question: str, limit_s: float) -> dict[str, Any]:
        """Return the reply to a problem.

        Raises:
            SideFailed: if it ends, or takes longer than `limit_s`.
        """
        self._write({"question": question})
        return self._reply(limit_s, "a problem")

    def close(self) -> None:
        """End the process and all that it started."""
        _end(self._process)
        self._errors.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def _write(self, data: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(data) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise SideFailed(self._last_words()) from None

    def _reply(self, limit_s: float, what: str) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=limit_s)
        except queue.Empty:
            raise SideFailed(f"{what} took more than {limit_s:.0f} s") from None
        if not line:
            raise SideFailed(self._last_words())
        return json.loads(line)

    def _last_words(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5.0)
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return f"the process ended with code {self._process.returncode}: {(lines or ['no message'])[-1][:300]}"


@contextmanager
def adapter(python: Path, script: str, settings: Mapping[str, Any], key: str) -> Generator[Adapter]:
    """Run an adapter during the block.

    Raises:
        SideFailed: if it does not start.
    """
    with contextlib.ExitStack() as stack:
        started = Adapter([str(python), str(HERE / "adapters" / script)], settings, key)
        stack.callback(started.close)
        yield started


@contextmanager
def endpoint(model: str, reward: str, *, threads: int, seed: int, upstream: str, prompt_preset: str) -> Generator[str]:
    """Run the endpoint during the block and yield its address."""
    command = [sys.executable, str(HERE / "endpoint.py"), "--model", model, "--reward", reward]
    command += ["--threads", str(threads), "--seed", str(seed), "--upstream", upstream]
    command += ["--prompt-preset", prompt_preset] if prompt_preset else []
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        if not address:
            raise SideFailed("the endpoint does not start")
        yield address
    finally:
        process.stdin.close()
        process.wait(30.0)


@contextmanager
def llama_server(binary: Path, model: Path, *, slots: int, path_tokens: int, threads: int) -> Generator[str]:
    """Run llama-server with parallel slots during the block and yield its address.

    Raises:
        SideFailed: if it does not start.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(binary), "-m", str(model), "--host", "127.0.0.1", "--port", str(port), "-np", str(slots)]
    command += ["-c", str(slots * path_tokens), "-t", str(threads), "-tb", str(threads)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + START_S
        while not _healthy(address):
            if process.poll() is not None or time.monotonic() > until:
                raise SideFailed(f"llama-server does not start: {binary}")
            time.sleep(0.2)
        yield address
    finally:
        _end(process)


def taken(address: str, key: str) -> dict[str, Any]:
    """Return the endpoint's charges to a peer since the last call."""
    request = urllib.request.Request(f"{address}/take", data=b"{}", headers={"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request) as reply:
        return json.load(reply)


def _healthy(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=2.0) as reply:
            return reply.status == 200
    except OSError:
        return False


def _end(process: subprocess.Popen[Any]) -> None:
    """End a process that leads a session of its own, and whatever is in it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            process.wait(5.0)
            break
        except subprocess.TimeoutExpired:
            continue
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
