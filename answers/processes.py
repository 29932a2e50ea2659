"""Child processes that compare formulas and match patterns, which can take any amount of time and memory."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from ramify.errors import UsageError
from ramify.limited_process import LimitedProcess

FORMULA_MEMORY_BYTES = 2 << 30
PATTERN_MEMORY_BYTES = 256 << 20
"""Address space of the child that compiles and matches regular expressions."""
PATTERN_WAIT_S = 5.0
"""Seconds of real time for compiling a pattern and matching a text; the match has a limit of processor time beside."""


class MathVerifyProcess(LimitedProcess):
    """A child process in which math-verify compares formulas."""

    def __init__(self) -> None:
        super().__init__(
            Path(__file__).with_name("math_verify_program.py"),
            memory_bytes=FORMULA_MEMORY_BYTES,
            purpose="answers are compared as text and as plain numbers only",
        )

    def equal(self, a: str, b: str, *, time_limit_s: float) -> bool | None:
        """Return whether math-verify finds two answers equal; None without a reply within `time_limit_s` seconds."""
        return cast("bool | None", self.ask([a, b], time_limit_s=time_limit_s))

    def key(self, formula: str, *, time_limit_s: float) -> tuple[str, ...] | None:
        """Return the key that a formula shares with its equals, () if it cannot be read; None without a reply."""
        reply = self.ask([formula], time_limit_s=time_limit_s)
        return None if reply is None else tuple(cast("list[str]", reply))


class PatternProcess(LimitedProcess):
    """A child process that compiles regular expressions with the library `regex`, and matches texts."""

    def __init__(self) -> None:
        super().__init__(
            Path(__file__).with_name("pattern_program.py"),
            memory_bytes=PATTERN_MEMORY_BYTES,
            purpose="answers that are to match patterns count as wrong",
        )

    def matches(self, pattern: str, text: str, *, time_limit_s: float) -> bool | None:
        """Return whether a pattern matches all of a text; None if that takes too much time or memory.

        `time_limit_s` are seconds of the child's processor time, so that a busy machine decides no answer.

        Raises:
            UsageError: if the pattern is no regular expression.
        """
        reply = self.ask([pattern, text, time_limit_s], time_limit_s=PATTERN_WAIT_S)
        if isinstance(reply, str):
            raise UsageError(f"{pattern[:100]!r} is no regular expression ({reply})", "correct it")
        return cast("bool | None", reply)


patterns = PatternProcess()
"""The child process of all patterns, started with the first."""
