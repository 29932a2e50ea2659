r"""Exact values of arithmetic in plain numbers: `\frac{1}{20!}`, `1.6\times 10^{-19}`, `0.1\overline{6}`, `2^{-60}`."""

from __future__ import annotations

import math
import re
from fractions import Fraction

_LONGEST = 300
_DEEPEST = 40
_MOST_BITS = 200_000
_LARGEST_FACTORIAL = 3000

_TOKEN = re.compile(
    r" ?(?:(?P<number>\d+(?:\.\d*)?(?:\\(?:overline|bar|dot) ?\{?\d+\}?)?|\.\d+(?:\\(?:overline|bar|dot) ?\{?\d+\}?)?)"
    r"|(?P<sign>\\frac|\\(?:cdot|times|ast|div)(?![a-zA-Z])|[-+*/^!(){}]))"
)
_REPEATING = re.compile(r"(\d*)\.(\d*)\\(?:overline|bar|dot) ?\{?(\d+)\}?")
_PRODUCTS = {"*", "\\cdot", "\\times", "\\ast"}
_QUOTIENTS = {"/", "\\div"}


def exact_value(text: str) -> Fraction | None:
    """Return the value of a normalised text of numbers and the signs between them; None if it is anything else.

    Values of more than 200,000 bits are not calculated. Two quotients in a row, "1/2/2020", are a date, no value.
    """
    if len(text) > _LONGEST or not any(character.isdigit() for character in text):
        return None
    tokens: list[str] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            return None
        tokens.append(match["number"] or match["sign"])
        position = match.end()
    try:
        reader = _Reader(tokens)
        value = reader.sum()
        return value if reader.next == "" else None
    except (_NoValueError, ZeroDivisionError, ValueError):
        return None


def decimal_value(text: str) -> Fraction:
    r"""Return the value of a decimal, which may have a repeating part, `0.1\overline{6}`."""
    match = _REPEATING.fullmatch(text)
    if match is None:
        return Fraction(text.removesuffix("."))
    whole, fixed, repeating = match.groups()
    return Fraction(
        int(whole + fixed + repeating or "0") - int(whole + fixed or "0"),
        (10 ** len(repeating) - 1) * 10 ** len(fixed),
    )


class _NoValueError(Exception):
    """Raised where the text is no arithmetic, or its value is too large."""


class _Reader:
    """Recursive descent over the tokens."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._position = 0
        self._depth = 0

    @property
    def next(self) -> str:
        return self._tokens[self._position] if self._position < len(self._tokens) else ""

    def _take(self, *expected: str) -> str:
        token = self.next
        if not token or (expected and token not in expected):
            raise _NoValueError
        self._position += 1
        return token

    def sum(self) -> Fraction:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _NoValueError
        value = self._product()
        while self.next in ("+", "-"):
            sign = self._take()
            term = self._product()
            value = value + term if sign == "+" else value - term
        self._depth -= 1
        return _checked(value)

    def _product(self) -> Fraction:
        if self.next in ("+", "-"):
            return self._product() if self._take() == "+" else -self._product()
        value = self._power()
        quotients = 0
        while True:
            if self.next in _PRODUCTS:
                self._take()
                value *= self._signed_power()
            elif self.next in _QUOTIENTS:
                quotients += 1
                if quotients > 1:
                    raise _NoValueError
                self._take()
                value /= self._signed_power()
            elif self.next == "\\frac" and self._tokens[self._position - 1].isdigit() and value.denominator == 1:
                # A mixed number.
                part = self._power()
                value = value + part if value >= 0 else value - part
            elif self.next in ("(", "\\frac"):
                if quotients:
                    raise _NoValueError
                value *= self._power()
            else:
                return value
            _checked(value)

    def _signed_power(self) -> Fraction:
        if self.next == "-":
            self._take()
            return -self._power()
        return self._power()

    def _power(self) -> Fraction:
        base = self._atom()
        while self.next == "!":
            self._take()
            if base.denominator != 1 or not 0 <= base <= _LARGEST_FACTORIAL:
                raise _NoValueError
            base = Fraction(math.factorial(int(base)))
        if self.next != "^":
            return base
        self._take()
        exponent = self._signed_power()
        if exponent.denominator != 1:
            raise _NoValueError
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
        if abs(exponent) * bits > _MOST_BITS and abs(base) != 1:
            raise _NoValueError
        return base ** int(exponent)

    def _atom(self) -> Fraction:
        token = self._take()
        if token in ("(", "{"):
            value = self.sum()
            self._take(")" if token == "(" else "}")
            return value
        if token == "\\frac":
            top = self._part()
            return top / self._part()
        if token[0].isdigit() or token[0] == ".":
            return decimal_value(token)
        raise _NoValueError

    def _part(self) -> Fraction:
        r"""Return the value of an argument of `\frac`: a group, or one digit."""
        if self.next == "{":
            return self._atom()
        token = self._take()
        if not token.isdigit():
            raise _NoValueError
        if len(token) > 1:
            self._position -= 1
            self._tokens[self._position] = token[1:]
        return Fraction(int(token[0]))


def _checked(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > _MOST_BITS:
        raise _NoValueError
    return value
