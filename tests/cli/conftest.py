"""Running the command line: inside the test process with a scripted model, or as a process of its own."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from ramify.cli import main
from ramify.engine.engine import Engine
from ramify.engine.library.catalog import list_bundled


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that a failed command may write."""
        lines = self.err.strip().splitlines()
        assert len(lines) == 1, self.err
        return lines[0]


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def ramify(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run the command line in this process; stdin is empty."""

    def run(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        code = main(arguments)
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture
def process() -> Callable[..., Result]:
    """Run the command line as a process; `stdin` is text for a pipe, `timeout` in seconds."""

    def run(*arguments: str, stdin: str | None = None, timeout: float = 100) -> Result:
        done = subprocess.run(
            command(arguments),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def on_terminal() -> Callable[..., str]:
    """Run a process with stdout, and with `stderr` that too, on a terminal; return what came out of it."""

    def run(arguments: Sequence[str], *, stderr: bool = False, **variables: str) -> str:
        ours, theirs = pty.openpty()
        environment = {**os.environ, "TERM": "xterm-256color", **variables}
        streams = {"stdout": theirs, "stderr": theirs if stderr else None}
        with subprocess.Popen(arguments, stdin=subprocess.DEVNULL, env=environment, **streams) as child:
            os.close(theirs)
            seen = b""
            while True:
                try:
                    block = os.read(ours, 65536)
                except OSError:
                    break
                seen += block
            child.wait(30)
        os.close(ours)
        return seen.decode()

    return run


def command(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "ramify", *arguments]


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the command line as the leader of a process group, as a terminal does."""
    children: list[subprocess.Popen[str]] = []

    def begin(*arguments: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            command(arguments),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        children.append(child)
        return child

    yield begin
    for child in children:
        with child:
            child.kill()


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let commands in this process search with the given model and reward instead of loading files."""

    def use(policy: Any, scores: Any = None) -> None:
        def engine(model: str, reward: str | None, **options: Any) -> Engine:
            return Engine(model=policy, reward=None if reward is None else scores, **options)

        monkeypatch.setattr("ramify.cli.searching.Engine", engine)

    return use


@pytest.fixture
def bundled() -> None:
    """Skip where the model files are left out of the checkout."""
    if {"demo-m", "demo-prm"} - {entry.name for entry in list_bundled()}:
        pytest.skip("the bundled models are not in this checkout")
