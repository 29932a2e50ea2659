"""Scratch thoughts for training: sentence by sentence, with wrong tries that are found and mended before the reply."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from random import Random

from ..tasks.arithmetic_steps import CHANGES, with_error
from ..tasks.generate import tell_one
from ..tasks.partition import Part
from ..tasks.story import Story
from .text import END, NO_THOUGHT, REPLY, policy_solution_text, prompt_text

MISTAKES, LATE_MISTAKES, SECOND_CHECKS = 0.12, 0.2, 0.15
"""Chances that a line is first written wrong, that a mistake is found by the check alone, and of a second check."""

CUT_THOUGHTS, NO_THOUGHTS = 0.12, 0.08
"""Shares of examples whose thought ends early, and that have none."""

MENDED = "Wait, no.\n"
CHECK = "Wait, check:\n"

_SUM = re.compile(r"(\d+)([-+*/])(\d+)=(\d+)")


@dataclass(slots=True)
class Text:
    """A text under construction; characters in the ranges `planted` are shown to the model, not taught."""

    text: str = ""
    planted: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])

    def add(self, text: str, taught: bool = True) -> None:
        """Append a text."""
        if not taught:
            self.planted.append((len(self.text), len(self.text) + len(text)))
        self.text += text

    def cut(self, length: int) -> None:
        """Drop the text after the first `length` characters."""
        self.text = self.text[:length]
        self.planted = [(start, min(end, length)) for start, end in self.planted if start < length]


@dataclass(frozen=True, slots=True)
class Example:
    """Prompt of a policy and the text that it learns to write; `planted` ranges of characters are not taught."""

    prompt: str
    written: str
    planted: tuple[tuple[int, int], ...] = ()


def solution_example(question: str, solution: str) -> Example:
    """Return the example of a policy that writes the worked solution at once."""
    return Example(prompt_text(question), policy_solution_text(solution))


def thought_example(seed: int, steps: tuple[int, int], part: Part) -> Example:
    """Return the example of a policy that thinks, about the problem that `seed` determines.

    Most thoughts are whole; some end early, as under a limit, and some are empty, before a worked solution.
    """
    story, answer = tell_one(seed, steps, part)
    chance, question = Random(seed + 1), " ".join(story.sentences)
    kind, reply = chance.random(), f"The answer is {answer}."
    if kind < NO_THOUGHTS:
        solution = "\n".join([*story.lines, reply])
        return Example(prompt_text(question) + NO_THOUGHT, policy_solution_text(solution))
    thought = make_thought(story, chance)
    is_cut = kind < NO_THOUGHTS + CUT_THOUGHTS
    if is_cut:
        ends = [match.end() for match in re.finditer("\n", thought.text)]
        thought.cut(chance.choice(ends))
    thought.add(REPLY, taught=not is_cut)
    thought.add(f"\n\n{reply}{END}")
    return Example(prompt_text(question, thinks=True), thought.text, tuple(thought.planted))


def make_thought(story: Story, chance: Random) -> Text:
    """Return a thought: each sentence with the lines that follow from it, then a check of all calculations."""
    late = _late_mistake(story, chance)
    lines = story.lines if late is None else late
    thought, seen = Text(), list[str]()
    number = 0
    for told, sentence in enumerate(story.sentences, 1):
        thought.add(f"{sentence}\n")
        seen += re.findall(r"\d+", sentence)
        while number < len(lines) and story.told[number] == told:
            if late is None and chance.random() < MISTAKES:
                _mend(thought, lines[number], seen, chance)
            _write(thought, lines[number], story.lines[number])
            seen += re.findall(r"\d+", lines[number])
            number += 1
    for check in range(1 + (chance.random() < SECOND_CHECKS)):
        thought.add(CHECK)
        for wrong, right in zip(lines, story.lines, strict=True):
            calculation, before = _sum(right), _sum(wrong)
            other = f", not {before[4]}" if check == 0 and before[4] != calculation[4] else ""
            thought.add(f"{calculation[0]}{other}.\n")
    return thought


def _sum(line: str) -> re.Match[str]:
    match = _SUM.search(line)
    assert match is not None
    return match


def _write(thought: Text, line: str, right: str) -> None:
    """Append a line; the result of the first wrong calculation is not taught, what follows from it is."""
    found = _sum(line)
    is_planted = str(_result(found)) != found[4] and line != right
    thought.add(line[: found.start(4)])
    thought.add(found[4], taught=not is_planted)
    thought.add(f"{line[found.end(4) :]}\n")


def _mend(thought: Text, line: str, seen: list[str], chance: Random) -> None:
    """Append a wrong form of a line and the remark that finds it."""
    found = _sum(line)
    left, sign, right, result = found.groups()
    kind = chance.choice(("result", "sign", "number", "number"))
    if kind == "result":
        start, wrong = found.start(4), str(abs(int(result) + chance.choice(CHANGES)))
    elif kind == "sign":
        sign = chance.choice([other for other in "+-*" if other != sign])
        start, wrong = found.start(2), f"{sign}{right}={_calculated(left, sign, right)}"
    else:
        other = chance.choice(seen)
        if chance.random() < 0.5:
            start, wrong = found.start(1), f"{other}{sign}{right}={_calculated(other, sign, right)}"
        else:
            start, wrong = found.start(3), f"{other}={_calculated(left, sign, other)}"
    if line[start : found.end(4)] == wrong:
        return
    thought.add(line[:start])
    thought.add(wrong, taught=False)
    thought.add(f"{line[found.end(4) :]}\n{MENDED}")


def _late_mistake(story: Story, chance: Random) -> list[str] | None:
    """Return the lines with a wrong result that runs through to the end, None for none."""
    if chance.random() >= LATE_MISTAKES:
        return None
    at = chance.randrange(len(story.lines))
    lines = with_error([*story.lines, ""], at, chance.choice(CHANGES))[:-1]
    return lines if all(_holds(_SUM.search(line)) for line in lines[at + 1 :]) else None


def _holds(calculation: re.Match[str] | None) -> bool:
    """Tell whether a calculation is right and has a natural result."""
    if calculation is None or int(calculation[4]) < 1 or str(_result(calculation)) != calculation[4]:
        return False
    return calculation[2] != "/" or int(calculation[1]) % int(calculation[3]) == 0


def _result(match: re.Match[str]) -> int:
    return _calculated(match[1], match[2], match[3])


def _calculated(left: str, sign: str, right: str) -> int:
    first, second = int(left), int(right)
    if sign == "/":
        return first // second if second else 0
    return {"+": first + second, "-": first - second, "*": first * second}[sign]
