"""What makes an answer right: checkers by name, or a function of the answer and the gold answer.

A checker says two things: whether an answer is right (`accepts`), and whether two answers without rank mean the same
(`same`), which is what paths vote by. The gold answer never takes part in a vote.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from ramify.errors import UsageError

from .equality import answers_equal, decide_quickly
from .normalise import normalise
from .patterns import matches, matches_quickly
from .quantities import parse_quantity

Check = str | Callable[[str, str], bool]
"""A checker's name, `numeric:0.01` with a tolerance, or a function of (answer, gold answer)."""

DEFAULT_CHECK = "math"
CHECK_NAMES = ("math", "exact", "regex", "numeric")
DEFAULT_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Checker:
    """Compares answers. The quick forms return None where only the others, which may take seconds, can tell.

    `accepts` takes the answer and the gold answer, `same` two answers in any order.
    """

    name: str
    accepts: Callable[[str, str], bool]
    accepts_quickly: Callable[[str, str], bool | None]
    same: Callable[[str, str], bool]
    same_quickly: Callable[[str, str], bool | None]


def make_checker(check: Check) -> Checker:
    """Return the checker that `check` means.

    `math` is mathematical equality, `exact` equality of the texts without the white space around them. `regex` takes
    the gold answer as a pattern for the whole answer, within a time limit, and lets equal texts vote together.
    `numeric` compares numbers, which may differ by 1e-6, or by the number after the colon, absolutely or as a share of
    the larger one. With a function, answers vote together if their texts are equal or it takes each for the other's
    gold answer.

    Raises:
        UsageError: if there is no such checker, its tolerance is no number from 0, or the function is asynchronous.
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
            accepts=answers_equal,
            accepts_quickly=decide_quickly,
            same=answers_equal,
            same_quickly=decide_quickly,
        )
    if name == "numeric":
        return _quick(text, _numeric(_tolerance(argument) if colon else DEFAULT_TOLERANCE))
    if name == "exact":
        return _quick(text, _equal_texts)
    return Checker(
        name=text,
        accepts=matches,
        accepts_quickly=matches_quickly,
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
            # It is written for gold answers; what it cannot take as one is no equal.
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
    quantity = parse_quantity(normalise(text))
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
