"""Mathematical equality of two answers.

Ordinary answers (equal text, plain numbers, words) are compared in this process. All others are compared by math-verify
in a child process, because it can take any amount of time and memory, and its own time limit needs the main thread.
"""

from __future__ import annotations

import re
from functools import lru_cache

from .math_verify_process import MathVerifyProcess
from .normalise import normalise
from .quantities import is_unit_word, parse_based, parse_quantity, same_quantity

TIME_LIMIT_S = 2.0
LONGEST = 2048
"""Answers with more characters are compared as text only."""

_LETTER = re.compile(r"\(?([A-Za-z])\)?")
_WORDS = re.compile(r"[A-Za-z']+(?:[ -][A-Za-z']+)*")

_math_verify = MathVerifyProcess()


def answers_equal(a: str, b: str, *, time_limit_s: float = TIME_LIMIT_S) -> bool:
    """Return whether two answers are mathematically equal; the order does not matter. It may be called in any thread.

    Answers that cannot be compared within `time_limit_s` seconds count as different. An empty answer equals nothing.
    """
    decided = decide_quickly(a, b)
    if decided is not None:
        return decided
    first, second = sorted((normalise(a), normalise(b)))
    try:
        return _proved(first, second, time_limit_s)
    except _Undecided:
        return False


def decide_quickly(a: str, b: str) -> bool | None:
    """Return whether two answers are equal; None if that takes algebra."""
    if max(len(a), len(b)) > LONGEST:
        return a.strip() == b.strip()
    left, right = normalise(a), normalise(b)
    if not left or not right:
        return False
    if left == right:
        return True
    number, other_number = parse_quantity(left), parse_quantity(right)
    if number is not None and other_number is not None:
        return same_quantity(number, other_number)
    based, other_based = parse_based(left), parse_based(right)
    if based is not None and other_based is not None:
        return based == other_based
    word, other_word = _plain_word(left), _plain_word(right)
    if word is not None and other_word is not None:
        return word == other_word
    if (number is not None or word is not None) and (other_number is not None or other_word is not None):
        return False
    return None


class _Undecided(Exception):
    """Raised when math-verify gave no result in time, so that this is not cached."""


@lru_cache(maxsize=4096)
def _proved(a: str, b: str, time_limit_s: float) -> bool:
    result = _math_verify.equal(a, b, time_limit_s=time_limit_s)
    if result is None:
        raise _Undecided
    return result


def _plain_word(text: str) -> str | None:
    """Return the normal form of an answer in plain words, or of a choice such as "(A)"; None if it is neither."""
    letter = _LETTER.fullmatch(text)
    if letter:
        return letter[1]
    if _WORDS.fullmatch(text) and all(is_unit_word(word) for word in re.split("[ -]", text)):
        return text.casefold()
    return None
