"""The real program in a terminal of its own, on the bundled models."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from ramify.engine.history import RunStore
from ramify.models.tasks import generate_problems

QUESTION = "Sara has 7 flowers. Sara buys 5 flowers. How many flowers does Sara have?"


class Terminal:
    """A program in a pseudo-terminal of 100 x 30; what it writes is kept."""

    def __init__(self, *command: str, **environment: str) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, "TERM": "xterm-256color", **environment},
            start_new_session=True,
            # The terminal is the program's own, so that its end is signalled.
            preexec_fn=lambda: fcntl.ioctl(slave, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        self.output = b""

    def read(self, patience_s: float = 0.1) -> bool:
        """Take in what comes; False when the program has closed the terminal."""
        if select.select([self.master], [], [], patience_s)[0]:
            try:
                self.output += os.read(self.master, 1 << 16)
            except OSError:
                return False
        return True

    def wait_for(self, text: str, patience_s: float = 60.0) -> None:
        deadline_s = time.monotonic() + patience_s
        while text.encode() not in self.output:
            assert time.monotonic() < deadline_s, self.output[-3000:]
            assert self.read(), self.output[-3000:]

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def end(self, patience_s: float = 30.0) -> int:
        """Wait until the program and its worker are gone."""
        deadline_s = time.monotonic() + patience_s
        while self.process.poll() is None or self.has_children():
            assert time.monotonic() < deadline_s
            if self.master >= 0:
                self.read()
            else:
                time.sleep(0.1)
        return self.process.returncode

    def close(self) -> None:
        """Close the window."""
        os.close(self.master)
        self.master = -1

    def has_children(self) -> bool:
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True


@pytest.fixture
def terminal(tmp_path, bundled) -> Iterator[Terminal]:
    begun = Terminal(sys.executable, "-m", "ramify", RAMIFY_DATA=str(tmp_path))
    yield begun
    with suppress(ProcessLookupError):
        os.killpg(begun.process.pid, signal.SIGKILL)
    begun.process.wait()
    if begun.master >= 0:
        os.close(begun.master)


def test_a_question_is_typed_and_the_answer_is_read(terminal, tmp_path):
    terminal.wait_for("Question")
    terminal.type(QUESTION)
    terminal.wait_for("have?")
    terminal.type("\r")
    terminal.wait_for("votes")
    terminal.wait_for("done, ")
    terminal.type("\x11")
    assert terminal.end() == 0
    assert b"Traceback" not in terminal.output
    assert b"llama" not in terminal.output.lower()
    [run] = RunStore(tmp_path / "runs").list()
    assert run.question == QUESTION
    assert run.answer is not None
    assert run.answer.encode() in terminal.output


def test_a_terminal_that_goes_away_ends_the_program_and_its_worker(terminal):
    terminal.wait_for("Question")
    terminal.type(generate_problems(steps=(8, 8), count=1, seed=1)[0].question + "\r")
    terminal.wait_for("loading")
    os.kill(terminal.process.pid, signal.SIGHUP)
    terminal.end()


def test_a_window_that_is_closed_during_a_search_ends_the_program(tmp_path, bundled):
    question = generate_problems(steps=(8, 8), count=1, seed=1)[0].question
    command = ("-m", "ramify", "tui", "-s", "majority", "-w", "4000", "-r", "none", "--max-generated-tokens", "1m")
    begun = Terminal(sys.executable, *command, "--max-seconds", "10m", question, RAMIFY_DATA=str(tmp_path))
    try:
        begun.wait_for("tokens/s")
        begun.close()
        begun.end()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(begun.process.pid, signal.SIGKILL)
        begun.process.wait()
