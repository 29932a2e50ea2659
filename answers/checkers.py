"""Checkers of answers, by name or as a function of the answer and the gold answer.

A checker says whether an answer is right (`accepts`), and whether two answers, neither of them the gold answer, mean
the same (`same`), by which paths vote. The gold answer never takes part in a vote.

The gold answer of `python-tests` is a program that tests the answer (see `programs`).

Gold answers that are regular expressions come from files: a short one can take all memory when it is compiled, and a
match can take longer than anybody waits. So both happen in a child process with limits (`processes`).
"""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from ramify.errors import UsageError

from .equality import accepts_answer, accepts_quickly, same_in_votes, same_in_votes_quickly
from .forms import parse_form
from .processes import PATTERN_MEMORY_BYTES, patterns
from .schemas import same_values

Check = str | Callable[[str, str], bool]
"""A checker's name, `numeric:0.01` with a tolerance, or a function of (answer, gold answer)."""

DEFAULT_CHECK = "math"
PYTHON_TESTS = "python-tests"
JSON_VALUES = "json"
CHECK_NAMES = ("math", "exact", "regex", "numeric", JSON_VALUES, PYTHON_TESTS)
DEFAULT_TOLERANCE = 1e-6

PATTERN_LIMIT_S = 1.0
"""Seconds of processor time that a match may take, so that a busy machine decides no answer."""
_LONGEST_MATCHED = 1 << 20
_LONGEST_PATTERN = 1 << 16

_log = logging.getLogger("ramify.answers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checker:
    """Comparison of answers. The quick forms return None where only the others, which may take seconds, can tell.

    `accepts` takes the answer and the gold answer, `same` two answers in any order.
    """

    name: str
    accepts: Callable[[str, str], bool]
    accepts_quickly: Callable[[str, str], bool | None]
    same: Callable[[str, str], bool]
    same_quickly: Callable[[str, str], bool | None]


class AnswerEquality:
    """Equality of the answers of one problem, without holding up the event loop; each pair is compared once.

    `quick` decides at once or returns None; `slow` may take seconds and runs in a thread. A pair that only `slow` can
    decide counts as different until `resolve` has been awaited.
    """

    def __init__(self, quick: Callable[[str, str], bool | None], slow: Callable[[str, str], bool]) -> None:
        self._quick = quick
        self._slow = slow
        self._verdicts: dict[tuple[str, str], bool] = {}
        self._open: set[tuple[str, str]] = set()

    @property
    def unresolved(self) -> bool:
        """True if `same` called a pair different, since the last `resolve`, that only `slow` can decide."""
        return bool(self._open)

    def same(self, left: str, right: str) -> bool:
        """Return whether two answers are known to mean the same."""
        pair = (left, right) if left <= right else (right, left)
        verdict = self._verdicts.get(pair)
        if verdict is None:
            verdict = self._quick(*pair)
            if verdict is None:
                self._open.add(pair)
                return False
            self._verdicts[pair] = verdict
        return verdict

    async def resolve(self) -> None:
        """Decide all pairs that only `slow` can decide."""
        from anyio.to_thread import run_sync

        pairs = sorted(self._open)
        verdicts = await run_sync(lambda: [self._slow(*pair) for pair in pairs])
        self._verdicts.update(zip(pairs, verdicts, strict=True))
        self._open.difference_update(pairs)


def make_checker(check: Check) -> Checker:
    """Return the checker that `check` means.

    `math` is mathematical equality, `exact` equality of the texts without the white space around them. `regex` takes
    the gold answer as a pattern for the whole answer, within a time limit, and lets equal texts vote together.
    `json` compares JSON values. `python-tests` runs the gold answer, which are tests, after the answer, a program, in
    the sandbox of `ramify.tools`. `numeric` compares numbers, which may differ by 1e-6, or by the number after the
    colon, absolutely or as a share of the larger one. With a function, answers vote together if their texts are equal
    or it takes each for the other's gold answer.

    Raises:
        UsageError: if there is no such checker, its tolerance is no number from 0, the function is asynchronous, or
            tests are to be run and there is no sandbox here.
    """
    return _named(check) if isinstance(check, str) else _called(check)


@lru_cache(maxsize=64)
def _named(text: str) -> Checker:
    name, colon, argument = text.partition(":")
    if name not in CHECK_NAMES or (colon and name != "numeric"):
        raise UsageError(f"there is no checker {text!r}", f"use {', '.join(CHECK_NAMES)} or numeric:TOLERANCE")
    if name == "math":
        return Checker(
            name=text,
            accepts=accepts_answer,
            accepts_quickly=accepts_quickly,
            same=same_in_votes,
            same_quickly=same_in_votes_quickly,
        )
    if name == "numeric":
        return _quick(text, _numeric(_tolerance(argument) if colon else DEFAULT_TOLERANCE))
    if name == "exact":
        return _quick(text, _equal_texts)
    if name == JSON_VALUES:
        return _quick(text, same_values)
    if name == PYTHON_TESTS:
        return _tests()
    return _slow(text, _matches)


def _tests() -> Checker:
    # Only these answers need the sandbox, whose import takes long.
    from .programs import check_sandbox, passes

    check_sandbox()
    return _slow(PYTHON_TESTS, passes)


def _slow(name: str, accepts: Callable[[str, str], bool]) -> Checker:
    """Return a checker whose gold answers always take time, and which votes by equal texts."""
    return Checker(
        name=name,
        accepts=accepts,
        accepts_quickly=lambda answer, gold: None,
        same=_equal_texts,
        same_quickly=_equal_texts,
    )


def _quick(name: str, accepts: Callable[[str, str], bool]) -> Checker:
    """Return a checker that never takes long."""
    return Checker(name=name, accepts=accepts, accepts_quickly=accepts, same=accepts, same_quickly=accepts)


def _called(function: Callable[[str, str], bool]) -> Checker:
    if inspect.iscoroutinefunction(function):
        raise UsageError("a checker must not be asynchronous", "give a plain function of (answer, gold)")
    name = getattr(function, "__name__", type(function).__name__)

    def same(left: str, right: str) -> bool:
        try:
            return _equal_texts(left, right) or bool(function(left, right) and function(right, left))
        except Exception:
            # The function is written for gold answers; an answer that it cannot take as one equals nothing.
            return False

    return Checker(
        name=name,
        accepts=lambda answer, gold: bool(function(answer, gold)),
        accepts_quickly=lambda answer, gold: None,
        same=same,
        same_quickly=lambda left, right: True if _equal_texts(left, right) else None,
    )


def _equal_texts(left: str, right: str) -> bool:
    return left.strip() == right.strip() != ""


def _numeric(tolerance: float) -> Callable[[str, str], bool]:
    def close(left: str, right: str) -> bool:
        first, second = _number(left), _number(right)
        if first is None or second is None:
            return False
        return math.isclose(first, second, rel_tol=tolerance, abs_tol=tolerance)

    return close


def _number(text: str) -> float | None:
    form = parse_form(text)
    quantity = None if form is None else form.quantity
    try:
        value = float(text.strip()) if quantity is None else float(quantity.value)
    except (ValueError, OverflowError):
        return None
    if not math.isfinite(value):
        return None
    return value / 100 if quantity is not None and quantity.percent else value


def _tolerance(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise UsageError(f"the tolerance {text!r} is no number from 0 upwards", "write it like numeric:0.01")
    return value


def _matches(answer: str, pattern: str) -> bool:
    """Return whether `pattern` matches all of `answer`; False, with a warning, if that takes too much time or memory.

    Answers of more than a million characters match nothing.

    Raises:
        UsageError: if the pattern is no regular expression, or has more than 65,536 characters.
    """
    if len(pattern) > _LONGEST_PATTERN:
        raise UsageError(
            f"the gold answer {pattern[:50]!r}... has {len(pattern)} characters", f"use at most {_LONGEST_PATTERN}"
        )
    return len(answer) <= _LONGEST_MATCHED and _match_logged(answer.strip(), pattern)


@lru_cache(maxsize=4096)
def _match_logged(answer: str, pattern: str) -> bool:
    try:
        matched = patterns.matches(pattern, answer, time_limit_s=PATTERN_LIMIT_S)
    except UsageError as error:
        raise UsageError(f"the gold answer {error.message}", error.next_step) from error
    if matched is None:
        _log.warning(
            "the pattern %r took longer than %g s or more than %d MB on an answer, which counts as wrong; simplify it",
            pattern if len(pattern) <= 100 else f"{pattern[:100]}...",
            PATTERN_LIMIT_S,
            PATTERN_MEMORY_BYTES >> 20,
        )
    return bool(matched)
