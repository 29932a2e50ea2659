"""Programs that models write: the tool python, and runs of code against tests, examples and inputs."""

from __future__ import annotations

import json
import logging
import secrets
import signal
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from threading import Thread
from typing import Any, Literal, cast

import anyio

from ramify.errors import MalformedText
from ramify.json_text import read_json

from .forms import PYTHON
from .sandbox import DEFAULT_LIMITS, Outcome, run_python
from .tool import Tool, tool

CODE_LIMITS = replace(DEFAULT_LIMITS, cpu_s=6)
"""Limits of a program that is run against tests, examples or inputs."""
LONGEST_WAIT_S = 120.0
"""Seconds after which such a program is ended even if it used no processor time."""
_PROGRAM = Path(__file__).with_name("code_program.py")
_log = logging.getLogger("ramify.tools")


@cache
def python_tool() -> Tool:
    """Return the tool `python`; its schema needs pydantic, whose import takes long."""

    @tool(name=PYTHON)
    async def python(code: str) -> str:
        """Run a Python program and return what it prints. Nothing is kept from one call to the next."""
        return told(await run_python(code))

    return python


def told(outcome: Outcome) -> str:
    """Return the text that a model reads of a program's end."""
    text = outcome.output.rstrip("\n")
    if outcome.flooded:
        return f"{text}\nerror: ended, because it printed without end"
    if outcome.code < 0:
        name = signal.Signals(-outcome.code).name if -outcome.code in set(signal.Signals) else str(-outcome.code)
        return f"{text}\nerror: ended by {name}, for example at a limit of time or memory".strip()
    if not text:
        return "(no output)" if outcome.code == 0 else f"error: exit code {outcome.code}"
    return text


@dataclass(frozen=True, slots=True)
class TestRun:
    """End of a program's tests: whether all passed, and the first error, "" without one."""

    passed: bool
    error: str = ""


@dataclass(frozen=True, slots=True)
class ExampleRun:
    """Number of a question's examples that a program passes, and whether it runs at all."""

    passed: int
    total: int
    runs: bool

    @property
    def share(self) -> float | None:
        """Share of the examples that pass; None if the question has none."""
        return self.passed / self.total if self.total else None


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Values that a program gives on the inputs of a question, errors among them; `works` says that some are none."""

    values: tuple[str, ...]
    works: bool


async def run_tests(code: str, tests: str, setup: str = "") -> TestRun:
    """Run a program's tests, another program, after it, in the sandbox.

    `setup` runs before the code, which may also be the rest of its last function.

    Raises:
        UsageError: if there is no sandbox here.
    """
    reply = await _run("tests", code, setup, tests)
    if reply is None:
        return TestRun(False, "the program ended before its tests did")
    return TestRun(reply.get("passed") is True, str(reply.get("error", "")))


async def run_examples(code: str, question: str) -> ExampleRun:
    """Run a program on the examples that its question shows: doctests, else assertions, else lines like `f(3) == 4`.

    Raises:
        UsageError: if there is no sandbox here.
    """
    reply = await _run("examples", code, question_code(question), question)
    if reply is None:
        reply = await _run("examples", "pass", "", question) or {}
        return ExampleRun(0, int(reply.get("total", 0)), False)
    return ExampleRun(int(reply["passed"]), int(reply["total"]), bool(reply["runs"]))


async def run_inputs(code: str, question: str) -> Behaviour:
    """Return the results of a program's function on the inputs of its question's examples and on generated ones.

    The inputs follow from the question, and where it shows neither examples nor the function, from the function's
    parameters. A script without functions gives its output.

    Raises:
        UsageError: if there is no sandbox here.
    """
    reply = await _run("behaviour", code, question_code(question), question)
    if reply is None:
        return Behaviour((), False)
    return Behaviour(tuple(map(str, reply["values"])), bool(reply["works"]))


def question_code(question: str) -> str:
    """Return the Python code of a question: its one block of code, or all of it if it begins like code; else ""."""
    parts = question.split("```")
    if len(parts) == 3:
        head, _, body = parts[1].partition("\n")
        return body if head.strip() in ("", "python", "py") else ""
    return question if question.lstrip().startswith(("def ", "from ", "import ", "class ", "async def ")) else ""


async def _run(
    task: Literal["tests", "examples", "behaviour"], code: str, setup: str, text: str
) -> Mapping[str, Any] | None:
    """Return the reply of the sandbox's program, None if the code ended it."""
    mark = secrets.token_hex(16)
    request = json.dumps({"task": task, "mark": mark, "code": code, "setup": setup, "text": text})
    outcome = Outcome("", -signal.SIGKILL)
    with anyio.move_on_after(LONGEST_WAIT_S):
        outcome = await run_python(request, CODE_LIMITS, program=_source())
    _, found, reply = outcome.output.rpartition(mark)
    if not found:
        if outcome.code > 0:
            _log.debug("a program ended with code %d: %s", outcome.code, outcome.output[-500:])
        return None
    try:
        value: object = read_json(reply, lenient=True)
    except MalformedText:
        return None
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else None


@cache
def _source() -> str:
    return _PROGRAM.read_text(encoding="utf-8")


def tests_pass(code: str, tests: str, setup: str = "") -> bool:
    """Return whether a program passes its tests, from any thread without an event loop's help; it takes a while.

    Raises:
        UsageError: if there is no sandbox here.
    """
    return _waited(run_tests, code, tests, setup).passed


def behaviour_of(code: str, question: str) -> Behaviour:
    """Return the result of `run_inputs`, from any thread without an event loop's help; it takes a while.

    Raises:
        UsageError: if there is no sandbox here.
    """
    return _waited(run_inputs, code, question)


def _waited(work: Any, *arguments: Any) -> Any:
    """Return the result of a coroutine function that runs in an event loop of its own, in a thread of its own."""
    done = list[tuple[Any, BaseException | None]]()

    def run() -> None:
        try:
            done.append((anyio.run(work, *arguments), None))
        except BaseException as error:
            done.append((None, error))

    thread = Thread(target=run, name="ramify programs", daemon=True)
    thread.start()
    thread.join()
    value, error = done[0]
    if error is not None:
        raise error
    return value
