"""Mathematical equality of two answers, and the stricter relation by which answers vote together.

Ordinary answers (equal text, numbers, words, and lists, tuples, sets and intervals of them) are compared in this
process. Formulas are compared by math-verify in a child process, because that can take any amount of time and memory,
and its own time limit needs the main thread.

`answers_equal` is lenient: a missing unit equals any, 50% equals 50 and 0.5, and 1,2 equals both the pair (1,2) and the
set of both. So it is not transitive. `same_in_votes` is an equivalence relation, the equality of keys.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import NoReturn, cast

from ramify.errors import InternalError

from .forms import LONGEST, Form, Key, parse_form
from .normal_forms import normalise
from .processes import MathVerifyProcess
from .quantities import same_quantity

TIME_LIMIT_S = 2.0
_LEAST_DIGITS = 10**5
"""Numbers that differ by more than one part in this many are no roundings of each other."""

_math_verify = MathVerifyProcess()
_IN_TENS = re.compile(r"_\{?(?:10|ten)\}?$|base (?:10|ten)$")
_ORDERED = ("tuple", "interval", "matrix")
_UNORDERED = ("set", "list")


Algebra = Callable[[Form, Form], bool | None]
"""Comparison of two forms of which one is a formula; None if it does not tell."""


class _Undecided(Exception):
    """Raised when math-verify gave no result in time, so that this is not cached."""


def answers_equal(a: str, b: str, *, time_limit_s: float = TIME_LIMIT_S) -> bool:
    """Return whether two answers are mathematically equal; the order does not matter. It may be called in any thread.

    A missing unit or currency equals any; different ones differ. A percentage equals its number and its hundredth.
    Values without brackets equal the tuple in their order, and the set. Answers that cannot be compared within
    `time_limit_s` seconds count as different. An empty answer equals nothing.
    """
    decided = decide_quickly(a, b)
    if decided is not None:
        return decided
    left, right = sorted((a, b))
    try:
        return _equal_by_algebra(left, right, time_limit_s)
    except _Undecided:
        return False


def decide_quickly(a: str, b: str) -> bool | None:
    """Return whether two answers are equal; None if that takes algebra."""
    if max(len(a), len(b)) > LONGEST:
        return a.strip() == b.strip() != ""
    left, right = parse_form(a), parse_form(b)
    if left is None or right is None:
        return False
    if left == right:
        return True
    if left.variable and right.variable and left.variable != right.variable:
        return False
    return _equal_forms(left, right)


def accepts_answer(answer: str, gold: str) -> bool:
    """Return whether an answer is right: it equals the gold answer, or is its digits without the base."""
    return _base_left_out(answer, gold) or answers_equal(answer, gold)


def accepts_quickly(answer: str, gold: str) -> bool | None:
    """Return the same; None if that takes algebra."""
    return _base_left_out(answer, gold) or decide_quickly(answer, gold)


def same_in_votes(a: str, b: str, *, time_limit_s: float = TIME_LIMIT_S) -> bool:
    """Return whether two answers vote together: an equivalence relation, but for formulas that take too long.

    Units, currencies and percent signs don't count, nor does the variable of "x = 3"; a base, "a.m." and "p.m." do.
    Values without brackets are a set.
    """
    decided = same_in_votes_quickly(a, b)
    if decided is not None:
        return decided
    left, right = parse_form(a), parse_form(b)
    assert left is not None and right is not None
    try:
        return _key(left, time_limit_s) == _key(right, time_limit_s)
    except _Undecided:
        return False


def same_in_votes_quickly(a: str, b: str) -> bool | None:
    """Return the same; None if that takes algebra."""
    left, right = parse_form(a), parse_form(b)
    if left is None or right is None:
        return False
    if left == right:
        return True
    if any(True for _ in left.formulas()) or any(True for _ in right.formulas()):
        return None
    return left.key(_no_formula) == right.key(_no_formula)


def _base_left_out(answer: str, gold: str) -> bool:
    """Return whether a gold answer is a number with its base, "101_2", and the answer is its digits."""
    form = parse_form(gold)
    return form is not None and form.kind == "based" and normalise(answer) == form.text.partition("_")[0]


def _undecided(a: Form, b: Form) -> None:
    """Decide nothing about two forms of which one is a formula."""


def _equal_forms(a: Form, b: Form, algebra: Algebra = _undecided) -> bool | None:
    """Return whether two forms are equal; None if `algebra`, which compares formulas, does not tell."""
    if a.quantity is not None and b.quantity is not None:
        return same_quantity(a.quantity, b.quantity)
    if "formula" in (a.kind, b.kind):
        other = b if a.kind == "formula" else a
        return False if other.kind in ("words", "text", "time") else algebra(a, b)
    if a.kind == "list" and b.kind in _ORDERED:
        return _all_equal(a.parts, b.parts, algebra)
    if b.kind == "list" and a.kind in _ORDERED:
        return _all_equal(b.parts, a.parts, algebra)
    if (a.kind == b.kind == "union") or (a.kind in _UNORDERED and b.kind in _UNORDERED):
        return _equal_members(a.parts, b.parts, algebra)
    if {a.kind, b.kind} == {"based", "number"}:
        based, number = (a, b) if a.kind == "based" else (b, a)
        return (
            number.quantity is not None
            and number.quantity.value == based.value
            and _IN_TENS.search(based.text) is not None
        )
    if a.kind != b.kind or a.value != b.value:
        return False
    return _all_equal(a.parts, b.parts, algebra)


def _all_equal(a: tuple[Form, ...], b: tuple[Form, ...], algebra: Algebra) -> bool | None:
    if len(a) != len(b):
        return False
    verdicts = [_equal_forms(*pair, algebra) for pair in zip(a, b, strict=True)]
    return False if False in verdicts else None if None in verdicts else True


def _equal_members(a: tuple[Form, ...], b: tuple[Form, ...], algebra: Algebra) -> bool | None:
    """Return whether each member of one has an equal one in the other, and the other way round."""
    verdict: bool | None = True
    for members, others in ((a, b), (b, a)):
        for member in members:
            found = [_equal_forms(member, other) for other in others]
            if True in found:
                continue
            if algebra is not _undecided:
                found = [_equal_forms(member, other, algebra) for other in others]
            if True in found:
                continue
            if None not in found:
                return False
            verdict = None
    return verdict


@lru_cache(maxsize=4096)
def _equal_by_algebra(a: str, b: str, time_limit_s: float) -> bool:
    left, right = parse_form(a), parse_form(b)
    assert left is not None and right is not None
    if "formula" in (left.kind, right.kind):
        # As they are written, with the variables that they were assigned to.
        return _equal_formulas(left, right, normalise(a), normalise(b), time_limit_s)
    return bool(_equal_forms(left, right, lambda a, b: _equal_formulas(a, b, a.text, b.text, time_limit_s)))


def _equal_formulas(a: Form, b: Form, left: str, right: str, time_limit_s: float) -> bool:
    keys = _key(a, time_limit_s), _key(b, time_limit_s)
    if keys[0] == keys[1]:
        return True
    if _far_apart(a, b, keys):
        return False
    first, second = sorted((left, right))
    return _proved(first, second, time_limit_s)


def _far_apart(a: Form, b: Form, keys: tuple[Key, Key]) -> bool:
    """Return whether two forms are numbers that no rounding makes equal; math-verify takes all tiny ones for equal."""
    if any(key[0] not in ("number", "constant") for key in keys):
        return False
    if "." not in a.text + b.text:
        return True
    left, right = _number(keys[0]), _number(keys[1])
    if left is None or right is None:
        return False
    return abs(left - right) * _LEAST_DIGITS > max(abs(left), abs(right))


def _number(key: Key) -> Fraction | None:
    value = cast("tuple[object, ...]", key[1])[0] if isinstance(key[1], tuple) else key[1]
    try:
        return Fraction(value) if isinstance(value, str | Fraction) else None
    except ValueError:
        return None


def _key(form: Form, time_limit_s: float) -> Key:
    return form.key(lambda formula: _formula_key(formula, time_limit_s))


def _no_formula(text: str) -> NoReturn:
    raise InternalError(f"the formula {text!r} was not to be decided here")


@lru_cache(maxsize=4096)
def _formula_key(text: str, time_limit_s: float) -> Key:
    """Return the key of a formula, the same as that of the number or the variable that it is."""
    key = _math_verify.key(text, time_limit_s=time_limit_s)
    if key is None:
        raise _Undecided
    if not key:
        return ("text", text)
    if key[0] == "symbol" and len(key[1]) == 1:
        return ("choice", key[1])
    if key[0] == "constant" and key[1].lstrip("-").replace("/", "").isdigit():
        return ("number", (Fraction(key[1]), ""))
    return key


@lru_cache(maxsize=4096)
def _proved(a: str, b: str, time_limit_s: float) -> bool:
    result = _math_verify.equal(a, b, time_limit_s=time_limit_s)
    if result is None:
        raise _Undecided
    return result
