"""The bundled task: problems are solvable, varied, deterministic, and never shared between training and evaluation."""

from __future__ import annotations

import re

import pytest

from ramify.models import generate_problems
from ramify.models.tasks import generate_one
from ramify.models.tasks.partition import part_of, stream_seed
from ramify.problem import Problem

SUM = re.compile(r"(\d+)([-+*/])(\d+)=(\d+)")


def calculations(problem: Problem) -> list[str]:
    return [m[0] for m in SUM.finditer(problem.solution or "")]


def value(text: str) -> int:
    match = SUM.fullmatch(text)
    assert match
    a, b = int(match[1]), int(match[3])
    whole, rest = divmod(a, b) if match[2] == "/" else ({"+": a + b, "-": a - b, "*": a * b}[match[2]], 0)
    assert rest == 0
    return whole


def test_solutions_calculate_correctly_and_end_in_the_answer() -> None:
    for problem in generate_problems((1, 12), 400, seed=5):
        *lines, last = (problem.solution or "").split("\n")
        done = calculations(problem)
        assert len(lines) == len(done) == problem.metadata["steps"]
        assert all(value(c) == int(c.split("=")[1]) for c in done)
        assert all(1 <= int(c.split("=")[1]) <= 9000 for c in done)
        assert last == f"The answer is {problem.answer}."
        assert problem.answer == done[-1].split("=")[1]


def test_steps_stay_in_range_and_are_spread_evenly() -> None:
    counts = [p.metadata["steps"] for p in generate_problems((2, 8), 700, seed=1)]
    assert set(counts) == set(range(2, 9))
    assert all(60 <= counts.count(s) <= 140 for s in range(2, 9))


def test_every_operand_is_in_the_question_or_was_calculated_before() -> None:
    for problem in generate_problems((2, 8), 300, seed=9):
        words = {"half": "2", "third": "3", "quarter": "4", "fifth": "5", "twice": "2",
                 "three": "3", "four": "4", "five": "5", "six": "6"}  # fmt: skip
        known = set(re.findall(r"\d+", problem.question))
        known |= {number for word, number in words.items() if word in problem.question}
        for text in calculations(problem):
            left, right, result = re.findall(r"\d+", text)
            assert {left, right} <= known, (problem.question, text)
            known.add(result)


def test_same_seed_same_problems() -> None:
    assert generate_problems(count=30, seed=3) == generate_problems(count=30, seed=3)
    assert generate_problems(count=30, seed=3)[:10] == generate_problems(count=10, seed=3)
    assert {p.question for p in generate_problems(count=30, seed=3)}.isdisjoint(
        p.question for p in generate_problems(count=30, seed=4)
    )


@pytest.mark.parametrize("seed", [0, 1, 7, -5, 10**12])
def test_evaluation_problems_are_never_training_problems(seed: int) -> None:
    assert all(part_of(calculations(p)) == "eval" for p in generate_problems((1, 9), 60, seed))


def test_training_problems_are_of_the_other_part() -> None:
    problems = [generate_one(stream_seed("train", 1, i), (1, 9), "train", "") for i in range(200)]
    assert all(part_of(calculations(p)) == "train" for p in problems)


def test_the_part_depends_on_the_numbers_alone() -> None:
    assert part_of(["45+18=63"]) == part_of(["45+18=63"])
    parts = [part_of([f"{a}+18={a + 18}"]) for a in range(1000)]
    assert 180 <= parts.count("eval") <= 320


def test_ids_are_unique() -> None:
    problems = generate_problems(count=50, seed=2)
    assert len({p.id for p in problems}) == 50


def test_wording_varies() -> None:
    problems = generate_problems((2, 8), 300, seed=11)
    text = " ".join(p.question for p in problems)
    assert len({p.question.split()[0] for p in problems}) >= 20
    for word in ("twice", "half", "fewer", "together", "Monday", "dollars", "years", "each", "he", "she", "left"):
        assert re.search(rf"\b{word}\b", text), word


@pytest.mark.parametrize("steps", [(3, 2), (0, 4), (2, 13), (-1, -1)])
def test_impossible_steps_are_refused(steps: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="steps must satisfy"):
        generate_problems(steps)


def test_a_negative_count_is_refused_and_zero_is_empty() -> None:
    with pytest.raises(ValueError, match="count"):
        generate_problems(count=-1)
    assert generate_problems(count=0) == []
