"""The tool `calculator`: exact values, and what it refuses."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramify.tools.calculator import calculate
from ramify.tools.tool import ToolError

WHOLE = st.integers(1, 10**6)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("(12 + 3) * 4 / 2", "30"),
        ("1,234 + 1", "1235"),
        ("7/8", "0.875"),
        ("50%", "0.5"),
        ("15% * 200", "30"),
        ("200*15%", "30"),
        ("20% + 5%", "0.25"),
        ("(3 + 4)%", "0.07"),
        ("17%5", "2"),
        ("17 % 5", "2"),
        ("10%3+1", "2"),
        ("2**10 % 7", "2"),
        ("7 % (2 + 1)", "1"),
        ("round(sqrt(2), 2)", "1.41"),
        ("round(pi, 2)", "3.14"),
        ("round(7/3, 2)", "2.33"),
        ("round(7/3)", "2"),
        ("sqrt(16/9) * 3", "4"),
        ("gcd(12, 18)", "6"),
        ("$1,200*(1+0.05)", "1260"),
        ("sqrt(1,600)", "40"),
        ("(1+0.0425/12)**360", "3.57065"),
        ("0.999**1000", "0.367695"),
        ("1**5000", "1"),
        ("e**65", "1.69489e+28"),
    ],
)
def test_values(expression, value):
    found = calculate(expression)
    assert found == value or ("." in value and len(found) > 8 and f"{float(found):.6g}" == value)


@given(base=st.fractions(min_value=Fraction(1, 2), max_value=2, max_denominator=50), exponent=st.integers(0, 800))
def test_a_power_is_right_to_15_digits_whatever_its_size(base, exponent):
    assert float(calculate(f"({base})**{exponent}")) == pytest.approx(float(base**exponent), rel=1e-12)


@given(left=WHOLE, right=WHOLE)
def test_a_percent_sign_between_operands_is_the_remainder_and_else_a_hundredth(left, right):
    assert calculate(f"{left}%{right}") == calculate(f"{left} % {right}") == str(left % right)
    assert Fraction(calculate(f"{left}%")) == Fraction(left, 100)


@pytest.mark.parametrize(
    "expression",
    ["1/0", "two", "9**9**9", "factorial(301)", "round(1, 0.5)", "x" * 501, "(-8)**(1/3)", "2**5000", "(1/3)**5000"],
)
def test_what_has_no_value_is_refused(expression):
    with pytest.raises(ToolError):
        calculate(expression)
