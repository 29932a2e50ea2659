"""Tool `calculator`: exact values of arithmetic."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, cast

from .tool import Tool, ToolError, tool

LONGEST_EXPRESSION = 500
_MOST_BITS = 4096
_NAMES = {"pi": math.pi, "e": math.e}
_SEVERAL_ARGUMENTS = re.compile(r"\b(?:min|max|round|log|gcd|lcm)\s*\(")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_PERCENT = re.compile(r"%(?!\s*[\w.(])")
"""A percent sign; before an operand the same sign stands for the remainder."""


def calculate(expression: str) -> str:
    """Return the value of an arithmetic expression as text: exact while it is rational, else to 15 digits.

    Raises:
        ToolError: if the text is no arithmetic, divides by 0, or has too large a value.
    """
    text = expression.strip()
    if len(text) > LONGEST_EXPRESSION:
        raise ToolError(f"the expression is longer than {LONGEST_EXPRESSION} characters")
    for sign, plain in (("×", "*"), ("·", "*"), ("÷", "/"), ("−", "-"), ("^", "**"), ("$", "")):
        text = text.replace(sign, plain)
    text = _PERCENT.sub("/100", text)
    try:
        value = _value(ast.parse(_without_separators(text), mode="eval").body)
        return _text(value)
    except ToolError:
        raise
    except ZeroDivisionError:
        raise ToolError("division by zero") from None
    except OverflowError:
        raise ToolError("the value is too large") from None
    except (ArithmeticError, ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        raise ToolError(f"{expression.strip()[:100]!r} is no arithmetic expression, such as (12 + 3) * 4") from None


def _without_separators(text: str) -> str:
    """Return an expression without the commas of thousands; in calls of several arguments a comma parts these."""
    if "(" not in text:
        return text.replace(",", "")
    return text if _SEVERAL_ARGUMENTS.search(text) else _THOUSANDS.sub("", text)


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return Fraction(ast.unparse(node))
        case ast.Name(id=name) if name in _NAMES:
            return _NAMES[name]
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return -_value(inner)
        case ast.UnaryOp(op=ast.UAdd(), operand=inner):
            return _value(inner)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _bounded(_power(_value(left), _value(right)))
        case ast.BinOp(left=left, op=sign, right=right):
            return _bounded(_combined(sign, _value(left), _value(right)))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            value = _FUNCTIONS[name](*map(_value, args))
            return _bounded(Fraction(value) if isinstance(value, int) else value)
        case _:
            raise ToolError(f"{ast.unparse(node)[:80]!r} is no arithmetic")


def _combined(sign: ast.operator, left: Any, right: Any) -> Any:
    match sign:
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.Mult():
            return left * right
        case ast.Div():
            return left / right
        case ast.FloorDiv():
            return left // right
        case ast.Mod():
            return left % right
        case _:
            raise ToolError("only + - * / // % and ** are known")


def _power(base: Any, exponent: Any) -> Any:
    if isinstance(exponent, Fraction) and exponent.denominator == 1:
        bits = max(base.numerator.bit_length(), base.denominator.bit_length()) if isinstance(base, Fraction) else 0
        if base not in (-1, 0, 1) and abs(exponent) * bits > _MOST_BITS:
            # The exact value has too many digits; as a float it is right to 15. Whole numbers are too large here.
            value = float(base) ** int(exponent)
            if not value:
                raise ToolError("the value is too small")
            return value
        return base ** int(exponent)
    value = float(base) ** float(exponent)
    if isinstance(value, complex):
        raise ToolError("the value is no real number")
    return value


def _bounded(value: Any) -> Any:
    if isinstance(value, Fraction) and value.numerator.bit_length() > _MOST_BITS:
        raise ToolError("the value is too large")
    return value


def _root(value: Any) -> Any:
    if isinstance(value, Fraction) and value >= 0:
        top, bottom = math.isqrt(value.numerator), math.isqrt(value.denominator)
        if top * top == value.numerator and bottom * bottom == value.denominator:
            return Fraction(top, bottom)
    return math.sqrt(value)


def _rounded(value: Any, places: Any = 0) -> Any:
    return round(value, _whole(places)) if places else round(value)


def _whole(value: Any) -> int:
    if value != int(value):
        raise ToolError("this needs whole numbers")
    return int(value)


def _factorial(value: Any) -> int:
    number = _whole(value)
    if number > 300:
        raise ToolError("the value is too large")
    return math.factorial(number)


def _gcd(*values: Any) -> int:
    return math.gcd(*map(_whole, values))


def _lcm(*values: Any) -> int:
    return math.lcm(*map(_whole, values))


_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "abs": cast("Callable[..., Any]", abs),
    "min": cast("Callable[..., Any]", min),
    "max": cast("Callable[..., Any]", max),
    "round": _rounded,
    "sqrt": _root,
    "exp": math.exp,
    "ln": math.log,
    "log": math.log,
    "log10": math.log10,
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "factorial": _factorial,
    "gcd": _gcd,
    "lcm": _lcm,
    "floor": cast("Callable[..., Any]", math.floor),
    "ceil": cast("Callable[..., Any]", math.ceil),
}


def _text(value: Any) -> str:
    if not isinstance(value, Fraction):
        return f"{float(value):.15g}"
    if value.denominator == 1:
        return str(value.numerator)
    for places in range(1, 16):
        if 10**places % value.denominator == 0:
            return f"{float(value):.{places}f}" if value.numerator.bit_length() < 50 else str(value)
    return f"{float(value):.15g}"


@tool(name="calculator")
async def _calculator(expression: str) -> str:
    """Calculate the exact value of an arithmetic expression, such as (12 + 3) * 4 / 2 or sqrt(2) ** 3."""
    return calculate(expression)


CALCULATOR: Tool = _calculator
"""The tool of this module."""
