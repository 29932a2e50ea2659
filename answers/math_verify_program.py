"""Program of `MathVerifyProcess`: compares formulas with math-verify, in a process of its own.

A request is the list [answer, answer], whose reply tells whether they are equal, or the list [formula], whose reply is
the list of the formula's key, equal for equal formulas, or [] if it cannot be read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from importlib import import_module
from typing import Any
from zlib import crc32

_DECIMAL = re.compile(r"(?<![\w.])\d*\.\d+(?![\w.])")

_comparison: list[tuple[Callable[[str, str], bool], Callable[[str], list[str] | None]]] = []


def start() -> None:
    """Load math-verify and the modules of a comparison; the first request's time must not include that."""
    equal, key = load_comparison()
    equal("x^2+1", "1+x^2")
    key("x^2+\\sqrt{2}")
    _comparison.append((equal, key))


def reply(request: list[str]) -> bool | list[str]:
    """Return whether two formulas are equal, or the key of one."""
    equal, key = _comparison[0]
    try:
        return bool(equal(*request)) if len(request) == 2 else (key(*request) or [])
    except Exception:
        return False if len(request) == 2 else []


def load_comparison() -> tuple[Callable[[str, str], bool], Callable[[str], list[str] | None]]:
    """Return math-verify's comparison in both directions, without its own time limits, and the keys of formulas."""
    math_verify: Any = import_module("math_verify")
    latex = [math_verify.LatexExtractionConfig()]

    def parsed(text: str) -> Any:
        return math_verify.parse(f"${text.replace('$', '')}$", latex, parsing_timeout=None)

    def equal(a: str, b: str) -> bool:
        left, right = parsed(a), parsed(b)
        return any(math_verify.verify(*pair, timeout_seconds=None) for pair in ((left, right), (right, left)))

    def key(text: str) -> list[str] | None:
        found = [each for each in parsed(_DECIMAL.sub(_as_ratio, text)) if not isinstance(each, str)]
        return expression_key(found[0]) if found else None

    return equal, key


def expression_key(expression: Any) -> list[str] | None:
    """Return a key that equal expressions share: an exact number, or values at fixed places of the variables."""
    sympy: Any = import_module("sympy")
    relational: Any = import_module("sympy.core.relational")
    if isinstance(expression, relational.Relational):
        left, right = expression.lhs, expression.rhs
        if not (isinstance(left, sympy.Expr) and isinstance(right, sympy.Expr)):
            return ["other", str(expression)]
        operator = str({"<": ">", "<=": ">="}.get(expression.rel_op, expression.rel_op))
        difference = left - right if operator == expression.rel_op else right - left
        values = _values(sympy, difference)
        first = next((value for value in values if value != 0), None)
        if first is None or first in (sympy.nan, sympy.zoo):
            return ["other", str(expression)]
        scale = first if operator in ("==", "!=") else abs(first)
        return ["relation", operator, *_names(expression), *(_number_key(sympy, value / scale) for value in values)]
    if not isinstance(expression, sympy.Expr):
        return ["other", str(expression)]
    expression = expression.doit()
    if expression.is_Symbol:
        return ["symbol", str(expression)]
    values = _values(sympy, expression)
    if not _names(expression):
        return ["constant", _number_key(sympy, values[0])]
    return ["expression", *_names(expression), *(_number_key(sympy, value) for value in values)]


def _names(expression: Any) -> list[str]:
    return sorted(str(symbol) for symbol in expression.free_symbols)


def _values(sympy: Any, expression: Any) -> list[Any]:
    """Return the values of an expression at three places, one of them with negative variables."""
    whole = expression.doit().replace(_is_root, _root_of_quotient)
    symbols = sorted(whole.free_symbols, key=str)
    if not symbols:
        return [whole]
    return [
        whole.subs(
            {
                symbol: sympy.Rational(sign * (1009 + crc32(f"{place}{symbol}".encode()) % 997), 811)
                for symbol in symbols
            }
        ).doit()
        for place, sign in enumerate((1, -1, 1))
    ]


def _is_root(part: Any) -> bool:
    return bool(part.is_Pow and part.exp.is_Rational and not part.exp.is_Integer and not part.base.is_number)


def _root_of_quotient(root: Any) -> Any:
    """Return the quotient of the roots, so that the root of 1/n is one over the root of n, also for negative n."""
    top, bottom = root.base.as_numer_denom()
    return root if bottom == 1 else top**root.exp / bottom**root.exp


def _number_key(sympy: Any, value: Any) -> str:
    """Return an exact ratio, or the first digits of a number that is none.

    Raises:
        ValueError: if the value is no number.
    """
    if value.is_Rational:
        return str(value)
    digits = sympy.N(value, 30, maxn=400)
    real, imaginary = digits.as_real_imag()
    if not (real.is_Float or real.is_Integer) or not (imaginary.is_Float or imaginary.is_Integer):
        if value in (sympy.nan, sympy.zoo, sympy.oo, -sympy.oo):
            return str(value)
        raise ValueError(f"{value} is no number")
    parts = [_digits(sympy, part) for part in (real, imaginary)]
    return parts[0] if parts[1] == "0" else f"{parts[0]} {parts[1]}i"


def _digits(sympy: Any, value: Any) -> str:
    if value == 0 or (value.is_Float and value._prec <= 1):
        return "0"
    exact = Fraction(str(sympy.N(value, 30)))
    ratio = exact.limit_denominator(10**9)
    if ratio and abs(ratio - exact) * 10**25 < abs(exact):
        return str(ratio)
    return str(sympy.N(value, 18))


def _as_ratio(decimal: re.Match[str]) -> str:
    whole, _, places = decimal.group().partition(".")
    return rf"{{\frac{{{int(whole + places)}}}{{{10 ** len(places)}}}}}"
