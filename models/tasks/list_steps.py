"""Steps of list problems: the first wrong step, and planted errors that run through to the end."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

from ramify.answers.extract import extract_answer
from ramify.problem import Problem


def first_error(problem: Problem, steps: Sequence[str]) -> int | None:
    """Return the first wrong step, from 0, by the worked solution; None if all are right.

    Lists of the worked solution must come in its order; some may be left out, such as by one who does two
    instructions in one step. The step that gives a wrong answer is wrong.
    """
    states = [_items(line) for line in (problem.solution or "").splitlines()[:-1]]
    at = 0
    for number, step in enumerate(steps):
        answer = extract_answer(step)
        if answer is not None:
            if answer.strip() != problem.answer:
                return number
            continue
        items = _items(step)
        if items not in states[at:]:
            return number
        at = states.index(items, at) + 1
    return None


def plant_error(problem: Problem, at: int, chance: random.Random) -> list[str]:
    """Return the worked solution's lines with two items exchanged in step `at` and wherever they come afterwards."""
    lines = (problem.solution or "").splitlines()
    later = [_items(line) for line in lines[at:-1]]
    pairs = [{one: two, two: one} for one, two in itertools.combinations(later[0], 2)]
    # A list that comes later in the worked solution would be taken for a step that was left out.
    odd = [names for names in pairs if [names.get(item, item) for item in later[0]] not in later]
    names = chance.choice(odd or pairs)
    found = list(lines[:at])
    for line in lines[at:-1]:
        word, _, _ = line.partition(":")
        found.append(f"{word}: {' '.join(names.get(item, item) for item in _items(line))}.")
    answer = [names.get(item, item) for item in _items(f": {problem.answer}.")]
    return [*found, f"The answer is {' '.join(answer)}."]


def _items(line: str) -> list[str]:
    return line.strip().removesuffix(".").partition(":")[2].split()
