"""Equations of steps: which are read, which are false, and which give no verdict."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramify.reward.arithmetic import MAX_LINE_CHARACTERS, false_equations, find_equations, last_expression
from ramify.reward.arithmetic_reward import FALSE_SCORE, ArithmeticReward
from ramify.reward.protocol import ScoredStep

TRUE = [
    "She has 16 - 3 - 4 = 9 eggs left.",
    "9 * $2 = $18",
    "So she makes 9 × 2 = 18 dollars.",
    "1,200 + 300 = 1,500",
    "1 200 + 300 = 1500".replace(" ", "\u202f", 1),
    "20% of 50 = 10",
    "50 * 20% = 10",
    "5 / 20 = 25%",
    "5 / 20 * 100 = 25%",
    "1/2 + 1/4 = 3/4",
    "1 1/2 + 1/4 = 1 3/4",
    "10 / 3 = 3.33",
    "2(3 + 4) = 14",
    "2^3 + 1 = 9",
    "2**3 + 1 = 9",
    "**3 + 4 = 7**",
    "- 3 + 4 = 7",
    "2. 3 + 4 = 7",
    "Step 2: 3 + 4 = 7",
    "-3 + 4 = 1",
    "5 - -3 = 8",
    r"\[ 16 - 3 - 4 = 9 \text{ eggs} \]",
    r"\( \frac{60}{20} = 3 \)",
    r"\frac{1}{2} \times 18 = 9",
    r"0.60 \times 5 = 3",
    r"80{,}000 + 50{,}000 = \boxed{130{,}000}",
    r"&= 3 \cdot 4 \\ 3 \cdot 4 = 12",
    "5 x 3 = 15",
    "60 minutes/hour * 2 hours = 120 minutes",
    "3 eggs/day * 7 days = 21 eggs",
    "<<16-3-4=9>>9",
    "25 / 1/3 = 75",
    "10^2 = 100",
    "500 cm³ * 2 = 1000 cm³",
    "Kim has 241-15=226 shells.",
]
FALSE = [
    "She has 16 - 3 - 4 = 8 eggs left.",
    "9 * $2 = $19",
    r"\[ 540 \text{ meters} + 180 \text{ meters} = 700 \text{ meters} \]",
    "20 + 80 + 160 = 360",
    "1,200 + 300 = 1,600",
    "2(3 + 4) = 15",
    "1/2 + 1/4 = 5/6",
    "12 * 12 = 124",
    "<<16-3-4=8>>9",
    r"\frac{60}{20} = 4",
    "3 + 4 = 7, and 5 + 5 = 11.",
    "**3 + 4 = 8**",
    "80,000 + 50,000 = 13,000",
    "10 / 4 = 3.5",
    "Ann has 114-37=78 cups.",
    "Kim has 241-15=246 shells.",
    "Ann needs 98-108=80 more cups.",
]
NO_VERDICT = [
    "2x + 3 = 12",
    "x + 3 = 11",
    "total + 3 = 12",
    "P(3) = 4 + 5",
    "sqrt(16) + 1 = 6",
    "log 8 + 1 = 5",
    "Day 2 = 14 eggs",
    "2 hours = 120 minutes",
    "3 hours + 30 minutes = 3.5 hours",
    "50 + 20% = 60",
    "16 - 3 = 13 - 4 = 9",
    "10 / 3 = 3",
    "17 / 5 = 3 remainder 2",
    "3 dozen * 2 = 72 eggs",
    "4 * 0.5 = 200 cents",
    "120 seconds * 2 = 4 minutes",
    "two thirds of 30 + 5 = 25",
    "weeks 3-4 = 10 + 5",
    "He reads pages 10-20=11 pages.",
    "Group 1-2 = 14 people",
    "Each has 7/2=3 cups.",
    "9:30 + 1 = 10:30",
    "3,5 + 1 = 4,5",
    "8 am + 5 hours = 1 pm",
    "3 + 4 <= 8",
    "12 x-10 = 7",
    "16 / 4 / 2 = 8",
    "3 + 4 ≈ 10",
    "5! + 1 = 121",
    "C(5, 2) = 11",
    "2 / 3 = 66.666...%",
    "= 12",
    "3 + = 4",
    "((3 + 4) = 8",
    "3 + 4 = twelve",
]


@pytest.mark.parametrize("text", TRUE)
def test_right_equations_hold(text: str) -> None:
    found = find_equations(text)
    assert found and all(equation.holds for equation in found), found


@pytest.mark.parametrize("text", FALSE)
def test_wrong_equations_are_found(text: str) -> None:
    assert len(false_equations(text)) == 1, find_equations(text)


@pytest.mark.parametrize("text", NO_VERDICT)
def test_texts_that_may_mean_something_else_give_no_verdict(text: str) -> None:
    assert not false_equations(text), find_equations(text)


NUMBERS = st.integers(0, 9999)
OPERATORS = st.sampled_from("+-*")


@given(st.lists(st.tuples(OPERATORS, NUMBERS), min_size=1, max_size=5), NUMBERS, st.integers(1, 50), st.booleans())
def test_whole_numbers_are_exact(rest: list[tuple[str, int]], first: int, off: int, grouped: bool) -> None:
    text = f"{first}" + "".join(f" {sign} {number}" for sign, number in rest)
    value = eval(text)
    shown = f"{value:,}" if grouped else f"{value}"
    assert [equation.holds for equation in find_equations(f"So {text} = {shown} apples.")] == [True]
    wrong = find_equations(f"So {text} = {value + off}.")
    assert [equation.holds for equation in wrong] == [False]
    assert wrong[0].left_value == value and wrong[0].right_value == value + off


@given(st.integers(1, 999), st.integers(1, 99), st.integers(1, 4))
def test_a_rounded_quotient_holds(top: int, bottom: int, decimals: int) -> None:
    text = f"{top} / {bottom} = {top / bottom:.{decimals}f}"
    assert not false_equations(text), text


@given(st.text(st.sampled_from("0123456789+-*/=().,%$ x^|\\{}[]<>frac&abc\n"), max_size=60))
def test_no_text_is_too_odd(text: str) -> None:
    find_equations(text)


@pytest.mark.parametrize(
    "text", ["(" * 1000 + "1" + ")" * 1000 + " = 2", "1 = " * 900 + "1", "9^9^9^9 = 1", "9" * 1900 + " + 1 = 2",
             "1/" * 900 + "1 = 5", "\\frac{" * 300 + "1" + "}{2}" * 300 + " = 3", "- " * 900 + "1 = 2"],
    ids=["nested", "chain", "powers", "long", "quotients", "fractions", "signs"],
)  # fmt: skip
def test_hostile_lines_give_no_verdict(text: str) -> None:
    assert not [equation for equation in find_equations(text) if equation.holds is False and "1 = " not in text]
    assert not find_equations(text + " " * MAX_LINE_CHARACTERS)


@pytest.mark.parametrize(
    ("text", "value"),
    [("3 * (4 + 1/2)", Fraction(27, 2)), ("16 - 3 - 4", 9), ("$5 * 3", 15), ("3x + 2", None), ("7", None), ("", None)],
)
def test_an_expression_has_one_value(text: str, value: Fraction | None) -> None:
    found = last_expression(text)
    assert (None if found is None else found.value) == value


def test_whole_results_may_count_as_not_rounded() -> None:
    assert false_equations("Each has 7/2=3 cups.", exact=True) and false_equations("98/3 = 33", exact=True)
    for right in ("98/7=14", "7/2=3.5", "7/3=2.33", "weeks 3-4=15", "25% of 30 = 7", "17 / 5 = 3 remainder 2"):
        assert not false_equations(right, exact=True), right


def step(node: int, parent: int | None, *path: str) -> ScoredStep:
    return ScoredStep(node=node, parent=parent, path=path)


async def test_a_path_with_a_false_equation_stays_low() -> None:
    session = await ArithmeticReward().open("?")
    assert await session.score([step(1, None, "3 + 4 = 7.\n"), step(2, None, "3 + 4 = 8.\n")]) == [1.0, FALSE_SCORE]
    later = [step(3, 1, "3 + 4 = 7.\n", "7 + 1 ="), step(4, 2, "3 + 4 = 8.\n", "So it is 8.")]
    assert await session.score(later) == [1.0, FALSE_SCORE]
    # An equation that goes on in the next step is read as one.
    assert await session.score([step(5, 3, "3 + 4 = 7.\n", "7 + 1 =", " 9.")]) == [FALSE_SCORE]
    await session.release([1, 2])
    assert await session.score([step(6, 1, "3 + 4 = 8.\n", "fine")]) == [FALSE_SCORE]
    assert session.usage.evaluated_tokens == 0
    await session.close()
    exact = await ArithmeticReward(exact=True).open("?")
    assert await exact.score([step(1, None, "7/2=3.\n"), step(2, None, "8/2=4.\n")]) == [FALSE_SCORE, 1.0]
