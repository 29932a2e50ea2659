"""Quantities: plain numbers with a sign, a currency or a unit, also in words; compared exactly, without algebra."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from .arithmetic import decimal_value, exact_value
from .units import (
    BASE_WORDS,
    CURRENCIES,
    FRACTION_WORDS,
    MATHEMATICAL_WORDS,
    MONEY_MULTIPLIERS,
    MULTIPLIERS,
    NOT_UNITS,
    ONE_LETTER_UNITS,
    SI_UNIT,
    UNITS,
)

_LONGEST = 300
_FEWEST_PLACES, _MOST_PLACES = 6, 9
_SIMPLEST = 100
"""Largest denominator of a ratio that a long decimal is taken for in votes."""
_CLOSEST = 1000
"""A rounded decimal differs from its ratio by less than one part in this many."""

_DECIMAL = r"(?:\d+(?:\.\d*)?(?:\\(?:overline|bar) ?\{?\d+\}?)?|\.\d+(?:\\(?:overline|bar) ?\{?\d+\}?)?)"
_INDIAN = r"\d{1,2}(?:,\d{2})+,\d{3}"
_RATIO = (
    r"(?:(?P<top>-?\d+)/(?P<bottom>\d+)(?![/\d])"
    r"|\\frac(?:\{(?P<ltop>-?\d+)\}|(?P<dtop>\d))(?:\{(?P<lbottom>\d+)\}|(?P<dbottom>\d)))"
)
_CURRENCY = "|".join(sorted(map(re.escape, CURRENCIES), key=len, reverse=True))
_QUANTITY = re.compile(
    rf"(?P<words>(?:minus|negative|Minus|Negative) )?(?P<sign>[-+]?)(?:(?P<currency>{_CURRENCY}) ?)?(?P<inner>[-+]?)"
    rf"(?:(?:(?P<whole>\d+) ?)??{_RATIO}|(?P<indian>{_INDIAN})|(?P<decimal>{_DECIMAL}))"
    rf"(?P<half> and (?:a|one) (?:half|quarter|third))?(?P<unit>.*)"
)
_SCIENTIFIC = re.compile(r"(?P<number>-?[\d.]+\\times ?10\^(?:\{-?\d+\}|-?\d+))(?P<unit> ?[A-Za-z].*)?")
_LETTER = r"[A-Za-z\u00b5\u03bc\u03a9\u2126\u0142]"
_SI_UNIT = re.compile(SI_UNIT)
_BASED = re.compile(
    r"(?P<open>\()?(?P<digits>\d[0-9A-Fa-f]*)(?(open)\))"
    r"(?:_(?:\{(?P<long>\d{1,2}|[a-z]{3,8})\}|(?P<short>\d))|(?:,? in)? base[ -](?P<word>\d{1,2}|[a-z]{3,8}))"
)
_COMPOUND = re.compile(r"(?P<number>\d+(?:\.\d+)?(?:/\d+)?) ?(?P<unit>[A-Za-z]+)\.?(?:,? ?and |,? ?|$)")
_UNIT_TOKEN = re.compile(
    rf" |(?P<word>{_LETTER}+(?:'clock|'s?)?)\.?|(?P<power>\^(?:\{{-?\d\}}|-?\d)|(?<=m)[23])|(?P<over>/)|-|\\cdot ?"
)
_BELOW = re.compile(r"(?: ?\^\{\\circ\} ?[CF]?| degrees?(?: [A-Za-z]+)?)? below (?:zero|sea level)(?: [A-Za-z]+)?")
_HALF_DAY = re.compile(r" ?([apAP])\.? ?[mM]\.?")
_DEGREE = re.compile(r" ?\^\{\\circ\}(?: ?(?P<scale>[CFK])(?![A-Za-z]))?")
_FULL_UNITS = frozenset(UNITS.values()) | frozenset(CURRENCIES.values())
_LINKS = frozenset("of the a an per each in all total for".split())


@dataclass(frozen=True, slots=True)
class Quantity:
    """A plain number. `decimals` is the number of its decimal places, None for a ratio; `unit` is "" without one.

    `half_day` is "am" or "pm" of a time, else "".
    """

    value: Fraction
    decimals: int | None
    unit: str
    percent: bool
    half_day: str = ""


@dataclass(frozen=True, slots=True)
class _Suffix:
    """Meaning of the text after a number."""

    unit: str = ""
    factor: Fraction = Fraction(1)
    half_day: str = ""


def parse_quantity(text: str) -> Quantity | None:
    """Return the quantity that the normalised `text` is; None if it is anything else."""
    if len(text) > _LONGEST:
        return None
    match = _QUANTITY.fullmatch(text)
    if match is None or sum(bool(match[name]) for name in ("words", "sign", "inner")) > 1:
        return _scientific(text)
    suffix = _suffix(match["unit"], match["currency"] or "")
    value = _value(match)
    if suffix is None or value is None:
        return _scientific(text)
    if match["half"]:
        value += Fraction(1, {"half": 2, "quarter": 4, "third": 3}[match["half"].rpartition(" ")[2]])
    if match["words"] or "-" in (match["sign"], match["inner"]):
        value = -value
    decimal = match["decimal"]
    places = None if decimal is None or "\\" in decimal or suffix.factor != 1 else len(decimal.partition(".")[2])
    percent = suffix.unit == "%"
    return Quantity(value * suffix.factor, places, "" if percent else suffix.unit, percent, suffix.half_day)


def same_quantity(a: Quantity, b: Quantity) -> bool:
    """Return whether two quantities are equal.

    A missing unit equals any, different units differ. A percentage equals both its number and its hundredth. A
    decimal of six places or more equals the ratio that it is rounded from; places after the ninth don't count.
    """
    if (a.unit and b.unit and a.unit != b.unit) or (a.half_day and b.half_day and a.half_day != b.half_day):
        return False
    if same_value(a, b):
        return True
    if a.percent == b.percent:
        return False
    percent, plain = (a, b) if a.percent else (b, a)
    return percent.value == plain.value * 100


def same_value(a: Quantity, b: Quantity) -> bool:
    """Return whether the numbers of two quantities are equal, or one is the other, rounded to six places or more."""
    if a.value == b.value:
        return True
    if (a.decimals is None) == (b.decimals is None):
        return False
    ratio, decimal = (a, b) if a.decimals is None else (b, a)
    places = min(decimal.decimals or 0, _MOST_PLACES)
    distance = abs(ratio.value - decimal.value)
    return places >= _FEWEST_PLACES and distance * 2 * 10**places <= 1 and distance * _CLOSEST < abs(decimal.value)


def value_in_votes(quantity: Quantity) -> Fraction:
    """Return the number by which a quantity votes: a long decimal is the simple ratio that it is rounded from."""
    if quantity.decimals is None or quantity.decimals < _FEWEST_PLACES:
        return quantity.value
    ratio = quantity.value.limit_denominator(_SIMPLEST)
    rest = ratio.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    # A ratio that a short decimal can write is not rounded.
    if rest == 1 or not same_value(Quantity(ratio, None, "", False), quantity):
        return quantity.value
    return ratio


def parse_based(text: str) -> int | None:
    """Return the value of an integer written with its base, such as "2516_8"; None if `text` is anything else."""
    match = _BASED.fullmatch(text)
    if match is None:
        return None
    written = match["long"] or match["short"] or match["word"]
    base = int(written) if written.isdigit() else BASE_WORDS.get(written, 0)
    try:
        return int(match["digits"], base) if base else None
    except ValueError:
        return None


def parse_compound(text: str) -> tuple[tuple[Fraction, str], ...] | None:
    """Return the numbers and units of "5 ft 3 in" or "5 hours and 30 minutes"; None if `text` is anything else."""
    parts = list[tuple[Fraction, str]]()
    position = 0
    while position < len(text) <= _LONGEST:
        match = _COMPOUND.match(text, position)
        unit = None if match is None else _one_word(match["unit"])
        if match is None or unit is None or match["number"].endswith("/0"):
            return None
        parts.append((Fraction(match["number"]), unit))
        position = match.end()
    return tuple(parts) if len(parts) > 1 else None


def without_unit(text: str) -> str:
    """Return the normalised text of a formula without the unit that is written after it."""
    degree = re.search(r" ?\^\{\\circ\} ?[CF]?$", text)
    if degree is not None:
        return text[: degree.start()]
    for match in re.finditer(" (?=[A-Za-z])", text[-80:]):
        at = max(0, len(text) - 80) + match.start()
        suffix = _suffix(text[at:], "") if text[at - 1] not in "+-*/=,(<>" else None
        if suffix is not None and suffix.factor == 1 and not suffix.half_day and re.search(r"\d|\\", text[:at]):
            return text[:at].strip()
    return text


def is_plain_word(word: str) -> bool:
    """Return whether a word is plain language, not mathematics in letters."""
    return len(word) > 1 and word.lower() not in MATHEMATICAL_WORDS


def _scientific(text: str) -> Quantity | None:
    match = _SCIENTIFIC.fullmatch(text)
    if match is None:
        return None
    value = exact_value(match["number"])
    suffix = _suffix(f" {match['unit']}" if match["unit"] else "", "")
    if value is None or suffix is None:
        return None
    return Quantity(value * suffix.factor, None, suffix.unit, False)


def _value(match: re.Match[str]) -> Fraction | None:
    if match["decimal"] is not None:
        return decimal_value(match["decimal"])
    if match["indian"] is not None:
        known = CURRENCIES.get(match["currency"] or "") == "rupee"
        return Fraction(match["indian"].replace(",", "")) if known else None
    top = int(match["top"] or match["ltop"] or match["dtop"])
    bottom = int(match["bottom"] or match["lbottom"] or match["dbottom"])
    whole = match["whole"]
    if bottom == 0 or (whole is not None and top < 0):
        return None
    return Fraction(top, bottom) + int(whole or 0)


def _suffix(text: str, currency: str) -> _Suffix | None:
    """Return the meaning of the text after a number; None if it may be mathematics, or another statement."""
    money = CURRENCIES.get(currency, "")
    stripped = text.strip(" .")
    if not stripped:
        return _Suffix(money)
    if stripped == "th" and not text.startswith(" ") and not currency:
        return _Suffix()
    if stripped.lower() in ("%", "percent", "per cent", "percentage points"):
        return None if currency else _Suffix("%")
    if stripped in CURRENCIES and (not stripped.isalpha() or text.startswith(" ")):
        return _Suffix(CURRENCIES[stripped]) if money in ("", CURRENCIES[stripped]) else None
    if _BELOW.fullmatch(text.rstrip(" .")):
        return _Suffix("degree" if "sea" not in text else "", Fraction(-1))
    half_day = _HALF_DAY.fullmatch(text.rstrip())
    if half_day is not None and (text.startswith(" ") or not currency):
        return _Suffix(half_day=half_day[1].lower() + "m")
    degree = _DEGREE.fullmatch(text.rstrip(" ."))
    if degree is not None:
        return _Suffix(("degree " + (degree["scale"] or "")).strip())
    return _words(text, money)


def _words(text: str, money: str) -> _Suffix | None:
    factor = Fraction(1)
    rest = text.rstrip(" .")
    first = True
    if money and rest[:1] in MONEY_MULTIPLIERS and not rest[1:2].isalpha():
        factor, rest = Fraction(MONEY_MULTIPLIERS[rest[0]]), rest[1:]
    while match := re.match(r" ?-?([A-Za-z]+)\b\.?", rest):
        word = match[1].lower()
        if word in MULTIPLIERS and (rest[0] == " " or len(word) > 1):
            factor *= MULTIPLIERS[word]
        elif first and word in FRACTION_WORDS:
            factor *= FRACTION_WORDS[word]
        else:
            break
        rest, first = rest[match.end() :], False
    if not first:
        rest = re.sub(r"^ of(?: an?| the)?(?= )", "", rest)
    unit = _unit(rest, spaced=text.startswith(" ")) if rest else ""
    if unit is None:
        return None
    if money:
        if unit.startswith("per "):
            unit = f"{money} {unit}"
        elif unit not in ("", money):
            return None
        unit = unit or money
    return _Suffix(unit, factor)


def _unit(text: str, *, spaced: bool) -> str | None:
    """Return the normal form of a unit; None if `text` may be mathematics."""
    parts = list[str]()
    position = 0
    named = False
    spaced = spaced or text.startswith("m/s")
    while position < len(text):
        match = _UNIT_TOKEN.match(text, position)
        if match is None:
            return None
        position = match.end()
        word = match["word"]
        if match["over"]:
            parts.append("per")
        elif match["power"] and parts:
            parts[-1] += "^" + match["power"].strip("^{}")
        elif match["power"]:
            return None
        elif word is not None:
            if word in ("squared", "cubed") and named:
                parts[-1] += "^2" if word == "squared" else "^3"
                continue
            known = _one_word(word)
            if _is_link(word.lower(), text[:position], text[position:], named=named):
                if word.lower() == "per":
                    parts.append("per")
                continue
            if known is None or not (named or spaced or _may_touch(word) or (parts and len(word) > 2)):
                return None
            parts.append(known)
            named = True
    if not parts and text.strip() not in ("each", "in total", "in all"):
        return None
    for prefix, power in (("square", "^2"), ("sq", "^2"), ("cubic", "^3"), ("cu", "^3")):
        if len(parts) == 2 and parts[0] == prefix:
            parts = [parts[1] + power]
    return " ".join(parts)


def _is_link(word: str, before: str, after: str, *, named: bool) -> bool:
    """Return whether a word in a unit only joins others, as in "bolts of fabric", "per hour", "coins in total"."""
    if word in ("total", "all"):
        return before.lower().endswith(f"in {word}")
    if word == "each":
        return True
    return (
        word in _LINKS
        and after.startswith(" ")
        and after.strip(" .") != ""
        and (named or word in ("of", "per", "in", "a", "an"))
    )


def _may_touch(word: str) -> bool:
    """Return whether a unit may be written right behind its number: "5cm", not "5m", which may be a variable."""
    plain = word.lower()
    if len(word) == 1:
        return not word.isascii()
    one = plain.removesuffix("s")
    return plain in UNITS or one in UNITS or one in _FULL_UNITS or _SI_UNIT.fullmatch(word) is not None


def _one_word(word: str) -> str | None:
    """Return the normal form of a unit's word, None if it may be a variable or a function."""
    if len(word) == 1:
        return ONE_LETTER_UNITS.get(word)
    if word.lower() == "o'clock":
        return "o'clock"
    if _SI_UNIT.fullmatch(word) and word.lower() not in UNITS:
        return word.replace("\u00b5", "\u03bc").replace("\u2126", "\u03a9")
    plain = word.lower().removesuffix("'s").removesuffix("'")
    for form in (plain, plain.removesuffix("s")):
        if form in UNITS:
            return UNITS[form]
    if len(plain) < 3 or plain in NOT_UNITS or plain in MULTIPLIERS or plain in FRACTION_WORDS:
        return None
    if plain.endswith(("xes", "ches", "shes", "sses")):
        return plain[:-2]
    return plain[:-1] if plain.endswith("s") and not plain.endswith("ss") else plain
