"""Steps of word problems: the first wrong step, and planted errors that run through to the end."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence

from ramify.answers.extract import extract_answer
from ramify.problem import Problem

_SUM = re.compile(r"(\d+)([-+*/])(\d+)=(\d+)")
CHANGES = (-3, -2, -1, 1, 2, 3)


def first_error(problem: Problem, steps: Sequence[str]) -> int | None:
    """Return the first wrong step, from 0, by the worked solution; None if all are right.

    A step is wrong if its calculation is, if the worked solution does not have it and the path's answer is wrong, or
    if it gives a wrong answer.
    """
    known = Counter(_key(match) for match in _SUM.finditer(problem.solution or ""))
    answer = extract_answer("".join(steps))
    right = problem.grader().right(answer)
    for number, step in enumerate(steps):
        match = _SUM.search(step)
        if match is None:
            if not right and (extract_answer(step) is not None or step.strip()):
                return number
            continue
        if str(_result(int(match[1]), match[2], int(match[3]))) != match[4]:
            return number
        if not right and not known[_key(match)]:
            return number
        known[_key(match)] -= 1
    return None


def plant_error(problem: Problem, at: int, chance: random.Random) -> list[str]:
    """Return the worked solution's lines with a wrong number in step `at`, and all that follows from it."""
    return with_error((problem.solution or "").splitlines(), at, chance.choice(CHANGES))


def with_error(lines: list[str], at: int, change: int) -> list[str]:
    """Return a solution whose step `at` is off by `change`, or by more if the result were negative, and its sequel."""
    changed: dict[str, str] = {}

    def redo(match: re.Match[str]) -> str:
        left, sign, right = changed.get(match[1], match[1]), match[2], changed.get(match[3], match[3])
        result = _result(int(left), sign, int(right))
        if str(result) != match[4]:
            changed[match[4]] = str(result)
        return f"{left}{sign}{right}={result}"

    def spoil(match: re.Match[str]) -> str:
        wrong = int(match[4]) + (change if int(match[4]) + change > 0 else abs(change))
        changed[match[4]] = str(wrong)
        return f"{match[1]}{match[2]}{match[3]}={wrong}"

    found = list(lines[:at])
    found.append(_SUM.sub(spoil, lines[at], count=1))
    found += [_SUM.sub(redo, line) for line in lines[at + 1 : -1]]
    found.append(re.sub(r"\d+", lambda match: changed.get(match[0], match[0]), lines[-1]))
    return found


def _key(match: re.Match[str]) -> tuple[str, ...]:
    """Return a calculation in one way of writing: the order of what is added or multiplied does not matter."""
    left, sign, right = match[1], match[2], match[3]
    return (sign, *(sorted((left, right)) if sign in "+*" else (left, right)))


def _result(left: int, sign: str, right: int) -> int:
    if sign == "/":
        return left // right if right else 0
    return {"+": left + right, "-": left - right, "*": left * right}[sign]
