"""Quantities: plain numbers with or without a unit, compared exactly without a computer algebra system."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

_LONGEST = 200
_FEWEST_PLACES, _MOST_PLACES = 6, 9

_INTEGER = r"(?:\d{1,3}(?:,\d{3})+|\d+)"
_DECIMAL = rf"(?:{_INTEGER}(?:\.\d*)?|\.\d+)"
_RATIO = (
    r"(?:(?P<top>-?\d+)/(?P<bottom>\d+)"
    r"|\\frac(?:\{(?P<ltop>-?\d+)\}|(?P<dtop>\d))(?:\{(?P<lbottom>\d+)\}|(?P<dbottom>\d)))"
)
_QUANTITY = re.compile(
    rf"(?P<sign>[-+]?)(?P<currency>[$€£]?)(?P<inner>[-+]?)"
    rf"(?:(?:(?P<whole>\d+) ?)??{_RATIO}|(?P<decimal>{_DECIMAL}))"
    r"(?P<unit>(?: ?%| ?\^\{\\circ\}| ?[A-Za-z][A-Za-z .^/0-9-]*)?)"
)
_BASED = re.compile(r"(?P<digits>\d[0-9A-Za-z]*)_(?:\{(?P<long>\d{1,2})\}|(?P<short>\d))")
_UNIT_WORD = re.compile(r"[A-Za-z]+")

_NOT_UNITS = frozenset(
    "pi sqrt sin cos tan cot sec csc log ln exp inf infinity mod and or to plus minus times over by of hundred "
    "thousand million billion trillion dozen half halves third thirds quarter quarters fourths fifths tenths squared "
    "cubed factorial choose".split()
)
_UNITS = {
    "$": "dollar",
    "€": "euro",
    "£": "pound sterling",
    "usd": "dollar",
    "^{\\circ}": "degree",
    "deg": "degree",
    "m": "meter",
    "metre": "meter",
    "km": "kilometer",
    "cm": "centimeter",
    "mm": "millimeter",
    "g": "gram",
    "kg": "kilogram",
    "lb": "pound",
    "oz": "ounce",
    "ft": "foot",
    "feet": "foot",
    "inches": "inch",
    "s": "second",
    "sec": "second",
    "min": "minute",
    "h": "hour",
    "hr": "hour",
    "mph": "mile per hour",
    "l": "liter",
    "litre": "liter",
    "ml": "milliliter",
}


@dataclass(frozen=True, slots=True)
class Quantity:
    """A plain number. `decimals` is the number of its decimal places, None for a ratio; `unit` is "" without one."""

    value: Fraction
    decimals: int | None
    unit: str
    percent: bool


def parse_quantity(text: str) -> Quantity | None:
    """Return the quantity that the normalised `text` is; None if it is anything else."""
    match = _QUANTITY.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None or (match["sign"] and match["inner"]):
        return None
    unit = _unit(match["unit"], match["currency"])
    value = _value(match)
    if unit is None or value is None:
        return None
    if "-" in (match["sign"], match["inner"]):
        value = -value
    decimal = match["decimal"]
    decimals = None if decimal is None else len(decimal.partition(".")[2])
    return Quantity(value, decimals, "" if unit == "%" else unit, unit == "%")


def same_quantity(a: Quantity, b: Quantity) -> bool:
    """Return whether two quantities are equal.

    A missing unit equals any, different units differ. A percentage equals both its number and its hundredth. A
    decimal of six places or more equals the ratio that it is rounded from; places after the ninth don't count.
    """
    if a.unit and b.unit and a.unit != b.unit:
        return False
    if _same_value(a, b):
        return True
    if a.percent == b.percent:
        return False
    percent, plain = (a, b) if a.percent else (b, a)
    return percent.value == plain.value * 100


def parse_based(text: str) -> int | None:
    """Return the value of an integer written with its base, such as "2516_8"; None if `text` is anything else."""
    match = _BASED.fullmatch(text)
    if match is None:
        return None
    base = int(match["long"] or match["short"])
    try:
        return int(match["digits"], base) if base else None
    except ValueError:
        return None


def is_unit_word(word: str) -> bool:
    """Return whether a word is plain language, not mathematics in letters."""
    return len(word) > 1 and word.lower() not in _NOT_UNITS


def _same_value(a: Quantity, b: Quantity) -> bool:
    if a.value == b.value:
        return True
    if (a.decimals is None) == (b.decimals is None):
        return False
    ratio, decimal = (a, b) if a.decimals is None else (b, a)
    places = min(decimal.decimals or 0, _MOST_PLACES)
    return places >= _FEWEST_PLACES and abs(ratio.value - decimal.value) * 2 * 10**places <= 1


def _value(match: re.Match[str]) -> Fraction | None:
    if match["decimal"] is not None:
        return Fraction(match["decimal"].replace(",", "").removesuffix("."))
    top = int(match["top"] or match["ltop"] or match["dtop"])
    bottom = int(match["bottom"] or match["lbottom"] or match["dbottom"])
    whole = match["whole"]
    if bottom == 0 or (whole is not None and top < 0):
        return None
    return Fraction(top, bottom) + int(whole or 0)


def _unit(text: str, currency: str) -> str | None:
    """Return the normal form of a unit, "" for none; None if `text` may be mathematics."""
    spaced, text = text.startswith(" "), text.strip(" .")
    if not text:
        return _UNITS.get(currency, "")
    if text.lower() in ("%", "percent"):
        return "%"
    if text in _UNITS:
        known = len(text) > 1 or spaced
        return _UNITS[text] if known else None
    words = _UNIT_WORD.findall(text)
    if not all(word in _UNITS or (is_unit_word(word) and len(word) > 2) or word.lower() == "per" for word in words):
        return None
    if not spaced and words[0].lower() not in _UNITS:
        return None
    unit = _UNIT_WORD.sub(lambda word: _one_word(word.group()), text)
    return None if currency and unit != _UNITS[currency] else unit


def _one_word(word: str) -> str:
    word = word.lower()
    for form in (word, word.removesuffix("s")):
        if form in _UNITS:
            return _UNITS[form]
    if word.endswith(("xes", "ches", "shes", "sses")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word
