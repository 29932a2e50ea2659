r"""Equations in the text of a step, with verdicts on them.

Numbers with separators, decimals, fractions and mixed numbers, percent, currency signs and units around them, the signs
+ - * / ^ and their forms in Unicode and LaTeX, parentheses, and chains a = b = c are read, and evaluated as exact
fractions. A verdict of False needs certainty: text with another possible meaning, such as a variable, a function,
mixed units or a number that may have been rounded, gives no verdict.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from .arithmetic_expressions import Side, Unreadable, prefix, suffix
from .arithmetic_tokens import MARKER, Token, plain_text, tokens_of

MAX_LINE_CHARACTERS = 2_000
"""Longer lines are no prose; their equations are not read."""
_ROUNDING = Fraction(1, 100)
"""Relative difference up to which a result with decimals or a division may come from rounded numbers."""

_MONEY = frozenset("$ € £ ¥ dollar dollars cent cents euro euros".split())
_MONEY_CONVERSIONS = frozenset(map(Fraction, (100, 1000, 10**6, 10**9)))
_CONVERSIONS = frozenset(map(Fraction, (2, 3, 4, 5, 7, 8, 10, 12, 16, 20, 24, 25, 30, 31, 36, 52, 60, 100, 365, 1000,
                                        1440, 3600, 5280, 86400, 1760, 10**6, 10**4, 10**9)))  # fmt: skip
_MEASURES = frozenset(
    "second seconds sec secs minute minutes min mins hour hours hr hrs day days week weeks month months year years "
    "decade decades century centuries cent cents dollar dollars $ € £ ¥ penny pennies nickel nickels dime dimes euro "
    "euros pound pounds lb lbs ounce ounces oz ton tons gram grams kilogram kilograms kg mg milligram milligrams inch "
    "inches foot feet ft yard yards mile miles meter meters metre metres cm km mm centimeter centimeters kilometer "
    "kilometers millimeter millimeters liter liters litre litres ml milliliter milliliters gallon gallons quart quarts "
    "pint pints cup cups tablespoon tablespoons teaspoon teaspoons percent % point points bit bits byte bytes gb mb kb "
    "box boxes pack packs row rows roll rolls bundle bundles case cases set sets".split()
)
_ANNOTATION = re.compile(r"<<([^<>]*)>>")


@dataclass(frozen=True, slots=True)
class Equation:
    """One equation: its sides as written, their values, and whether it `holds`; None if that is not certain."""

    left: str
    right: str
    left_value: Fraction
    right_value: Fraction
    holds: bool | None


@dataclass(frozen=True, slots=True)
class Expression:
    """Expression at the end of a text: its exact value, its `text` without LaTeX, and its units.

    `percent` says that it is a sum of percentages, such as 20% + 5%.
    """

    value: Fraction
    text: str
    units: frozenset[str]
    percent: bool


def find_equations(text: str, *, exact: bool = False) -> list[Equation]:
    """Return the equations of a text in order; those between the same sides of a chain are one each.

    With `exact`, whole results count as not rounded: 7/2 = 3 does not hold then, and is not certain else.
    """
    found = list[Equation]()
    for line in text.splitlines():
        if "=" in line or "≈" in line or "\\approx" in line:
            found.extend(_of_line(line, exact))
    return found


def false_equations(text: str, *, exact: bool = False) -> list[Equation]:
    """Return the equations of a text that certainly do not hold; `exact` as in `find_equations`."""
    return [equation for equation in find_equations(text, exact=exact) if equation.holds is False]


def last_expression(line: str) -> Expression | None:
    """Return the expression with which a line ends before an equals sign; None if there is none, or it is not certain.

    Of a chain a = b, that is b. The end of the line tells whether there is a blank before the sign.
    """
    if len(line) > MAX_LINE_CHARACTERS:
        return None
    plain = plain_text(line)
    marker = MARKER.match(plain)
    body = plain[marker.end() if marker else 0 :]
    tokens = list(tokens_of(body))
    closed = bool(tokens) and tokens[-1].end == len(body)
    signs = [place for place, token in enumerate(tokens) if token.kind in ("equals", "approximate")]
    tokens = tokens[signs[-1] + 1 :] if signs else tokens
    try:
        side = suffix(tokens, chained=bool(signs), closed=closed)
    except (Unreadable, ArithmeticError):
        return None
    if side is None or side.doubtful or not side.signs:
        return None
    text = body[tokens[side.start].start : tokens[-1].end]
    return Expression(side.value, text, frozenset(side.units), side.percent)


def _of_line(line: str, exact: bool) -> Iterator[Equation]:
    if len(line) > MAX_LINE_CHARACTERS:
        return
    for inner in _ANNOTATION.findall(line):
        yield from _of_plain(inner, exact)
    yield from _of_plain(_ANNOTATION.sub("", line), exact)


def _of_plain(line: str, exact: bool) -> Iterator[Equation]:
    line = plain_text(line)
    tokens = list(tokens_of(line[MARKER.match(line).end() :]))  # pyright: ignore[reportOptionalMemberAccess]
    segments = list[list[Token]]([[]])
    signs = list[Token]()
    for token in tokens:
        if token.kind in ("equals", "approximate"):
            segments.append([])
            signs.append(token)
        else:
            segments[-1].append(token)
    for number, sign in enumerate(signs):
        own = segments[number]
        try:
            left = suffix(own, chained=number > 0, closed=bool(own) and own[-1].end == sign.start)
            right = prefix(segments[number + 1])
        except (Unreadable, ArithmeticError):
            continue
        if left is not None and right is not None and left.signs + right.signs:
            yield Equation(
                _written(own, left),
                _written(segments[number + 1], right),
                left.value,
                right.value,
                _holds(left, right, about=sign.kind == "approximate", exact=exact),
            )


def _written(tokens: Sequence[Token], side: Side) -> str:
    return " ".join(token.text for token in tokens[side.start : side.end])


def _holds(left: Side, right: Side, *, about: bool, exact: bool) -> bool | None:
    rights = [right.value]
    if right.percent:
        rights.append(right.value * 100)
    elif left.percents:
        rights.append(right.value / 100)
    if right.signs and right.first != right.value:
        if right.first == left.value:
            return None
        rights.append(right.first)
    if right.value == left.value or (right.percent and right.value * 100 == left.value):
        return True
    if any(_rounded(left, value, right.decimals) for value in rights):
        return True if left.inexact else None
    if about or left.doubtful or right.doubtful:
        return None
    units = left.units | right.units
    whole = exact and not right.inexact
    for value in rights:
        difference = abs(left.value - value)
        if not whole and (left.inexact or right.inexact) and difference <= abs(left.value) * _ROUNDING:
            return None
        if not whole and left.inexact and not right.inexact and difference < 1:
            return None
        factors = _MONEY_CONVERSIONS if units & _MEASURES <= _MONEY else _CONVERSIONS
        if units & _MEASURES and value and left.value and {left.value / value, value / left.value} & factors:
            return None
    return False


def _rounded(left: Side, value: Fraction, decimals: int) -> bool:
    """Return whether `value` is the left side rounded or cut at its last decimal."""
    if not decimals and not left.inexact:
        return left.value == value
    return bool(decimals) and abs(left.value - value) < Fraction(1, 10**decimals)
