"""Checks before a long measurement, and the forecast of its tokens and minutes from its first problems."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ramify.answers.checkers import make_checker
from ramify.errors import LockHeld, UsageError
from ramify.files import lock
from ramify.problem import Problem

SPARE_BYTES = 16 << 20
"""Room on a disk beyond the expected size of a file."""


def check_output(path: Path, size: int = 0, *, option: str = "--out") -> None:
    """Check that a file of `size` bytes can be written, and make its folder.

    Raises:
        UsageError: if the folder cannot be made or written, the path is a folder, or the disk has no room.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{path.parent} cannot be made ({error.strerror})", f"choose another {option}") from error
    if path.is_dir():
        raise UsageError(f"{path} is a folder", f"choose another {option}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"{path} cannot be written (no permission)", f"choose another {option}")
    free = shutil.disk_usage(path.parent).free
    if free < size + SPARE_BYTES:
        raise UsageError(
            f"{path} will have about {_megabytes(size)} and the disk has {_megabytes(free)} free",
            f"make room, or choose another {option}",
        )


@contextmanager
def sole_writer(path: Path, work: str) -> Generator[None]:
    """Hold the lock file beside an output in the block; `work` is what another process that holds it does there.

    Raises:
        UsageError: if another process holds it, or it cannot be made.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(lock(path.with_name(f"{path.name}.lock")))
        except LockHeld as error:
            hint = "wait for its end, or choose another --out"
            raise UsageError(f"another {work} writes {path} ({error.holder})", hint) from error
        except OSError as error:
            raise UsageError(f"{path} cannot be locked ({error.strerror})", "choose another --out") from error
        yield


def file_identity(path: Path) -> list[str | int]:
    """Return the path, the size and the time of change of a file, which tell it from one that takes its place.

    Raises:
        UsageError: if it cannot be read.
    """
    try:
        facts = path.stat()
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror})", "check the path") from error
    return [str(path.resolve()), facts.st_size, facts.st_mtime_ns]


def digest(value: Any) -> str:
    """Return a short hash of a JSON value."""
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=12).hexdigest()


def problem_key(problem: Problem) -> str:
    """Return a short hash of all that a problem says: its conversation, answer, check and worked solution."""
    return digest([problem.id, problem.identity, problem.answer, str(problem.check), problem.solution])


def problems_key(problems: Iterable[Problem]) -> str:
    """Return a short hash of problems in their order."""
    return digest([problem_key(problem) for problem in problems])


def check_answered(problems: Iterable[Problem], purpose: str) -> None:
    """Check that all problems can be graded; `purpose` says what is done with them, such as "calibrate on".

    Raises:
        UsageError: if one has no answer, or names no checker.
    """
    for problem in problems:
        make_checker(problem.check)
        if not (problem.answer or "").strip():
            raise UsageError(f"problem {problem.id} has no answer", f"{purpose} problems with known answers")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"


@dataclass(slots=True, kw_only=True)
class Forecast:
    """Forecast of the cost of `total` units of work, from the first ones.

    `unit` is their name in the plural. It is told once, when `first` of them are done, which should be no fewer than
    are worked on at a time.
    """

    total: int
    unit: str = "problems"
    first: int = 1
    told: bool = False

    def tell(self, done: int, tokens: int, seconds: float) -> str | None:
        """Return the forecast after `done` units of `tokens` in `seconds`, None if it is too early or was told."""
        if self.told or done < self.first or not done:
            return None
        self.told = True
        left = self.total - done
        if left <= 0:
            return None
        rate = f"{tokens / max(seconds, 1e-3):,.0f} tokens/s" if tokens else ""
        cost = f"{tokens * left / done:,.0f} tokens, " if tokens else ""
        return (
            f"by the first {done} {self.unit}{f' ({rate})' if rate else ''} the other {left:,} take about "
            f"{cost}{duration(seconds * left / done)}"
        )


def duration(seconds: float) -> str:
    """Return a time for people: seconds below two minutes, then minutes, then hours."""
    if seconds < 120:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:,.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"
