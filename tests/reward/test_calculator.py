"""Values that complete equations: exact, written as the text writes numbers, and none where anything is uncertain."""

from __future__ import annotations

import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ramify
from ramify.reward.arithmetic import false_equations
from ramify.reward.calculator import value_after


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Emma has 74+99=", "173"),
        ("She pays 3 * 4 =", " 12"),
        ("She pays 3 * 4 = ", "12"),
        ("first line: 1 + 1 = 3\nthen 2 × 8 =", " 16"),
        ("so 7 - 12 =", " -5"),
        ("7 / 2 =", " 3.5"),
        ("10 / 3 =", ""),
        ("1 / 64 =", " 0.015625"),
        ("1 / 128 =", ""),
        ("He has 5 apples * 2 apples =", " 10"),
        ("48/2 = <<48/2=", "24"),
        ("3 + 4 = 7 * 2 =", " 14"),
        ("It costs 4 * $5 =", " $20"),
        ("It costs 4 * $5 = $", "20"),
        ("It costs 4 * $5 =$", "20"),
        ("Each pays $15 / 4 =", " $3.75"),
        ("Each pays $15 / 10 =", " $1.50"),
        ("The rest is $3 - $5 =", " -$2"),
        ("It lasts $15 / $3 =", " 5"),
        ("They sold 1,200 + 300 =", " 1,500"),
        ("They sold 1200 + 300 =", " 1500"),
        ("1{,}200 \\times 2 =", " 2{,}400"),
        ("\\(3 \\times \\$4 =", " \\$12"),
        ("\\frac{6}{3} + 1 =", " 3"),
        ("\\frac{6}{4} =", ""),
        ("20% of 50 =", ""),
        ("20% * 50 =", " 10"),
        ("100% - 20% =", " 80%"),
        ("60% * 40% =", ""),
        # A formula, not money.
        ("The perimeter is $8+8+15 =", " 31"),
        ("There are 9$ boxes and $3 * 4 =", " 12"),
        ("He is $10-7 = $", ""),
        ("x + 5 =", ""),
        ("2x + 3 =", ""),
        ("$10x^2-x-24=", ""),
        ("5 =", ""),
        ("day 3 =", ""),
        ("f(2) =", ""),
        ("3 + 4 ==", ""),
        ("3 + 4 >=", ""),
        ("3 + 4 = 7", ""),
        ("3 + 4 =\n", ""),
        ("1 - 1/2 =", ""),
        ("1/2 hour =", ""),
        ("2 dozen * 3 =", ""),
        ("17 mod 5 =", ""),
        ("7 / 0 =", ""),
        ("=", ""),
        ("", ""),
        ("9" * 40 + " * 9 =", ""),
        ("1" + " + 1" * 5_000 + " =", ""),
        ("(" * 5_000 + "1 + 1 =", ""),
    ],
)
def test_values_are_written_as_the_text_writes_numbers(text: str, value: str) -> None:
    assert value_after(text) == value


@given(
    st.integers(0, 99_999), st.sampled_from(["+", "-", "*", "/", "×", "\\times", "\\div"]), st.integers(1, 999),
    st.sampled_from(["", " "]), st.sampled_from(["", "It has ", "Step 2: ", "- ", "a = "]),
)  # fmt: skip
def test_what_is_put_in_is_the_exact_value(left: int, sign: str, right: int, blank: str, before: str) -> None:
    around = " " if sign.startswith("\\") else blank
    text = f"{before}{left}{around}{sign}{around}{right}{blank}="
    value = value_after(text)
    exact = {"+": left + right, "-": left - right, "/": Fraction(left, right)}.get(
        {"\\div": "/"}.get(sign, sign), Fraction(left * right)
    )
    if value:
        assert Fraction(value) == exact
        assert value.startswith(blank)
        assert not false_equations(text + value)
    else:
        assert Fraction(exact).denominator != 1 or (sign == "-" and not blank)


@given(st.text("0123456789+-*/=()$%.,x \n\\{}frac", max_size=60))
def test_any_text_gives_a_number_or_nothing(text: str) -> None:
    value = value_after(text + "=")
    assert re.fullmatch(r" ?-?(?:\\?\$)?[\d,{}]+(?:\.\d{1,6})?(?:\\?%)?|", value)


def test_worked_solutions_of_the_bundled_tasks_are_completed_as_they_stand() -> None:
    asked = completed = 0
    for problem in ramify.generate_problems(steps=(2, 8), count=150, seed=11):
        assert problem.solution is not None
        for match in re.finditer("=", problem.solution):
            asked += 1
            value = value_after(problem.solution[: match.end()])
            completed += bool(value)
            rest = problem.solution[match.end() :]
            assert not value or re.match(r"-?\d+", rest)[0] == value  # pyright: ignore[reportOptionalSubscript]
    assert completed > 0.6 * asked
