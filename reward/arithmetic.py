r"""Equations in the text of a step, and whether they hold.

Numbers with separators, decimals, fractions and mixed numbers, percent, currency signs and units around them, the signs
+ - * / ^ and their forms in Unicode and LaTeX, parentheses, and chains a = b = c are read, and evaluated as exact
fractions. A verdict of False needs certainty: whatever could mean something else, such as a variable, a function, mixed
units or a number that may have been rounded, gives no verdict.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

MAX_LINE_CHARACTERS = 2_000
"""Longer lines are no prose; their equations are not read."""
MAX_DEPTH = 12
"""Parentheses inside each other."""
MAX_BITS = 512
"""Size of numerators and denominators; larger results are not followed."""
_UNIT_WORDS = 4
"""Most words of a unit, such as "duck eggs a day"."""
_ROUNDING = Fraction(1, 100)
"""Relative difference up to which a result with decimals or a division may come from rounded numbers."""

_DOUBTFUL_WORDS = frozenset(
    "dozen dozens hundred hundreds thousand thousands million millions billion billions trillion k mod half halves "
    "third thirds quarter quarters fourth fourths fifth fifths sixth sixths eighth eighths tenth tenths twice thrice "
    "double doubles triple score pair pairs squared cubed remainder r am pm a.m p.m o'clock gross degrees".split()
)
"""Words after a number that may change its value."""
_OPERATOR_WORDS = frozenset(
    "of by times plus minus than per over half third quarter twice double triple divided multiplied added "
    "subtracted less more to from dozen hundred thousand million point root one two three four five six seven eight "
    "nine ten eleven twelve twenty thirty forty fifty log ln sqrt sin cos tan mod choose".split()
)
"""Words before an expression that may belong to it."""
_MONEY = frozenset("$ € £ ¥ dollar dollars cent cents euro euros".split())
_CLAUSE_WORDS = frozenset("because so then since is are was were therefore thus hence if that which".split())
"""Words that belong to no unit."""
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
_LATEX = (
    (re.compile(r"(?<=\d)\{,\}(?=\d)"), ","),
    (re.compile(r"\\(?:left|right|bigl?|bigr?|Bigl?|Bigr?|displaystyle|mathbf|mathrm|mathit|bf)\b"), ""),
    (re.compile(r"\\(?:text|textbf|textit|mbox|operatorname)\s*\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"\\boxed\s*\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"\\(?:times|cdot|ast)\b"), " * "),
    (re.compile(r"\\div\b"), " / "),
    (re.compile(r"\\(?:approx|simeq)\b"), " ≈ "),
    (re.compile(r"\\(?:quad|qquad|[,;:! ])"), " "),
    (re.compile(r"\\([%$&#_])"), r"\1"),
    (re.compile(r"\\[()\[\]]"), " ; "),
)
_FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_UNICODE = str.maketrans(
    {"×": "*", "✕": "*", "·": "*", "⋅": "*", "∙": "*", "÷": "/", "∕": "/", "⁄": "/", "−": "-", "–": "-", "—": ";",
     "＝": "=", "＋": "+", "\u00a0": " ", "\u2009": " ", "²": "^2", "³": "^3", "’": "'", "½": " 1/2", "¼": " 1/4",
     "¾": " 3/4", "⅓": " 1/3", "⅔": " 2/3"}
)  # fmt: skip
_ANNOTATION = re.compile(r"<<([^<>]*)>>")
_MARKER = re.compile(r"\s*(?:[-*•>#]+\s+|\(?\d{1,3}[.)]\s+|step\s+\d+\s*[:.)-]\s*)*", re.IGNORECASE)
_TOKEN = re.compile(
    r"""
    (?P<time>\d+:\d[\d:]*)
  | (?P<number>(?:\d{1,3}(?:,\d{3})+(?![\d])|\d+)(?:\.\d+)?|\.\d+)
  | (?P<word>[^\W\d_](?:\w|['-](?=[^\W\d_]))*(?:\.[^\W\d_]\b)?)
  | (?P<approximate>≈|≃|~=)
  | (?P<other><=|>=|!=|=>|->|<|>|≤|≥|≠|[|\\_√∑∫@^]{2,}|[|\\_√∑∫∞π@&~{}])
  | (?P<equals>={1,3})
  | (?P<power>\^|(?<=\d)\*\*(?=[\d(]))
  | (?P<bold>\*\*+)
  | (?P<sign>[-+*/])
  | (?P<open>[(\[])
  | (?P<close>[)\]])
  | (?P<currency>[$€£¥])
  | (?P<percent>%)
  | (?P<stop>[^\s\w])
    """,
    re.VERBOSE,
)


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


class _Token(NamedTuple):
    kind: str
    text: str
    start: int
    end: int


@dataclass(slots=True)
class _Side:
    """An evaluated expression: `start` and `end` are places of tokens."""

    value: Fraction
    first: Fraction
    """Value of the first term, with which a running chain such as 3 + 4 = 7 + 2 = 9 goes on."""
    start: int
    end: int
    decimals: int = 0
    """Decimals of a lone number, 0 for a whole one."""
    signs: int = 0
    inexact: bool = False
    """True with decimals or a division, where numbers may have been rounded."""
    percent: bool = False
    """True for a percentage, such as 20%."""
    percents: int = 0
    doubtful: bool = False
    units: set[str] = field(default_factory=set[str])


class _Unreadable(Exception):
    """Raised inside this module for what is no expression."""


def find_equations(text: str) -> list[Equation]:
    """Return the equations of a text in order; those between the same sides of a chain are one each."""
    found = list[Equation]()
    for line in text.splitlines():
        if "=" in line or "≈" in line or "\\approx" in line:
            found.extend(_of_line(line))
    return found


def false_equations(text: str) -> list[Equation]:
    """Return the equations of a text that certainly do not hold."""
    return [equation for equation in find_equations(text) if equation.holds is False]


def evaluate(text: str) -> Fraction | None:
    """Return the exact value of an expression such as `3 * (4 + 1/2)`; None if it is none, or is not certain."""
    found = last_expression(text)
    return None if found is None else found.value


def last_expression(line: str) -> Expression | None:
    """Return the expression with which a line ends; None if there is none, or its value is not certain.

    Of a chain a = b, that is b.
    """
    if len(line) > MAX_LINE_CHARACTERS:
        return None
    plain = _plain(line)
    marker = _MARKER.match(plain)
    tokens = list(_tokens(plain[marker.end() :] if marker else plain))
    signs = [place for place, token in enumerate(tokens) if token.kind in ("equals", "approximate")]
    tokens = tokens[signs[-1] + 1 :] if signs else tokens
    try:
        side = _suffix(tokens, chained=bool(signs))
    except (_Unreadable, ArithmeticError):
        return None
    if side is None or side.doubtful or not side.signs:
        return None
    text = plain[marker.end() if marker else 0 :][tokens[side.start].start : tokens[-1].end]
    return Expression(side.value, text, frozenset(side.units), side.percent)


def _of_line(line: str) -> Iterator[Equation]:
    if len(line) > MAX_LINE_CHARACTERS:
        return
    for inner in _ANNOTATION.findall(line):
        yield from _of_plain(inner)
    yield from _of_plain(_ANNOTATION.sub("", line))


def _of_plain(line: str) -> Iterator[Equation]:
    line = _plain(line)
    tokens = list(_tokens(line[_MARKER.match(line).end() :]))  # pyright: ignore[reportOptionalMemberAccess]
    segments = list[list[_Token]]([[]])
    approximate = list[bool]()
    for token in tokens:
        if token.kind in ("equals", "approximate"):
            segments.append([])
            approximate.append(token.kind == "approximate")
        else:
            segments[-1].append(token)
    for number, about in enumerate(approximate):
        try:
            left = _suffix(segments[number], chained=number > 0)
            right = _prefix(segments[number + 1])
        except (_Unreadable, ArithmeticError):
            continue
        if left is not None and right is not None and left.signs + right.signs:
            yield Equation(
                _written(segments[number], left),
                _written(segments[number + 1], right),
                left.value,
                right.value,
                _holds(left, right, about=about),
            )


def _written(tokens: Sequence[_Token], side: _Side) -> str:
    return " ".join(token.text for token in tokens[side.start : side.end])


def _holds(left: _Side, right: _Side, *, about: bool) -> bool | None:
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
    for value in rights:
        difference = abs(left.value - value)
        if (left.inexact or right.inexact) and difference <= abs(left.value) * _ROUNDING:
            return None
        if left.inexact and not right.inexact and difference < 1:
            return None
        factors = _MONEY_CONVERSIONS if units & _MEASURES <= _MONEY else _CONVERSIONS
        if units & _MEASURES and value and left.value and {left.value / value, value / left.value} & factors:
            return None
    return False


def _rounded(left: _Side, value: Fraction, decimals: int) -> bool:
    """Return whether `value` is the left side rounded or cut at its last decimal."""
    if not decimals and not left.inexact:
        return left.value == value
    return bool(decimals) and abs(left.value - value) < Fraction(1, 10**decimals)


def _plain(text: str) -> str:
    """Return text with LaTeX and signs of Unicode in the form that the tokens are read in."""
    text = re.sub("(?<=\\d)[\u00a0\u2009\u202f](?=\\d{3}(?!\\d))", ",", text)
    text = text.translate(_UNICODE)
    if "\\" in text:
        text = text.replace("\\\\", " ; ")
        for pattern, instead in _LATEX:
            text = pattern.sub(instead, text)
        for _ in range(MAX_DEPTH):
            text, count = _FRACTION.subn(r" ((\1)/(\2)) ", text)
            if not count:
                break
        text = re.sub(r"\^\s*\{([^{}]*)\}", r"^(\1)", text)
    # Powers of units, such as cm^3, and units of rates, such as the hour of km/hour.
    text = re.sub(r"(?<=[a-zA-Z])\^\(?[23]\)?(?![\d(])", "", text)
    return re.sub(r"(?<=[a-zA-Z])/[a-zA-Z]+", "", text)


def _tokens(line: str) -> Iterator[_Token]:
    previous = ""
    for match in _TOKEN.finditer(line):
        kind = match.lastgroup or ""
        if kind == "bold":
            continue
        text = match.group()
        if kind == "word" and text in ("x", "X") and previous in ("number", "close", "percent", "word"):
            rest = line[match.end() :].lstrip()
            if rest[:1].isdigit() or rest[:1] in ("(", "$", "€", "£", "."):
                kind, text = "sign", "*"
        previous = kind
        yield _Token(kind, text, match.start(), match.end())


def _suffix(tokens: Sequence[_Token], *, chained: bool) -> _Side | None:
    """Return the expression with which a list of tokens ends, None if there is none.

    `chained` says that an equals sign stands before the tokens.
    """
    start = _begin(tokens)
    if start is None:
        return None
    side = _Parser(tokens, start).whole()
    before = tokens[start - 1] if start else None
    if before is not None:
        if before.kind in ("time", "other", "percent", "number", "close", "currency") or not side.signs:
            side.doubtful = True
        if before.kind == "word":
            if not side.signs:
                return None
            word = before.text.lower()
            if word == "and" and start > 1 and tokens[start - 2].kind in ("word", "number"):
                # The number before may be the whole of a mixed one, as in two and 1/2.
                word = tokens[start - 2].text.lower()
                side.doubtful |= tokens[start - 2].kind == "number"
            side.doubtful |= word in _OPERATOR_WORDS or _is_range(tokens[start : side.end])
        if before.kind in ("stop", "open") and start > 1 and tokens[start - 2].kind in ("sign", "power"):
            raise _Unreadable
        if before.kind == "open" and tokens[start].kind == "open":
            side.doubtful = True
        if before.kind == "stop" and before.end == tokens[start].start and before.text not in ".:;!?'\"`":
            side.doubtful = True
    elif not side.signs and not chained:
        # A lone number on the left names something, such as a day or a step, as often as it is a value.
        side.doubtful = True
    return side


def _is_range(tokens: Sequence[_Token]) -> bool:
    """Tell whether tokens may mean a range, such as the weeks 3-4."""
    if len(tokens) != 3 or tokens[1].text != "-":
        return False
    return tokens[0].end == tokens[1].start and tokens[1].end == tokens[2].start


def _is_fraction(tokens: Sequence[_Token], place: int) -> bool:
    """Tell whether a fraction below 1 without blanks, such as 1/2, stands at a place."""
    three = tokens[place : place + 3]
    if len(three) < 3 or [token.kind for token in three] != ["number", "sign", "number"] or three[1].text != "/":
        return False
    close = three[0].end == three[1].start and three[1].end == three[2].start
    return close and three[0].text.isdigit() and three[2].text.isdigit() and int(three[2].text) > int(three[0].text)


def _begin(tokens: Sequence[_Token]) -> int | None:
    """Return the place at which the expression begins that ends with the last token."""
    place = len(tokens)
    while place and tokens[place - 1].kind == "stop" and tokens[place - 1].text in "`'\"*;":
        return None if tokens[place - 1].text == ";" else _begin(tokens[: place - 1])
    begin: int | None = None
    while True:
        operand = _operand_before(tokens, place)
        if operand is None:
            if begin is None:
                return None
            # The sign before the expression has nothing to its left.
            if place == 0 and tokens[0].text in "+-":
                return 0
            raise _Unreadable
        begin = place = operand
        if place and tokens[place - 1].kind in ("sign", "power"):
            if place > 1 and tokens[place - 2].kind in ("sign", "power", "open"):
                # A sign of the operand itself.
                if tokens[place - 1].text not in "+-":
                    raise _Unreadable
                begin = place = place - 1
                if tokens[place - 1].kind == "open":
                    return begin
            place -= 1
            continue
        if place > 1 and tokens[place - 1].text.lower() == "of" and tokens[place - 2].kind in ("percent", "number"):
            place -= 1
            continue
        mixed = place > 0 and tokens[place - 1].text.isdigit() and _is_fraction(tokens, place)
        if mixed and tokens[place - 1].end < tokens[place].start:
            # A mixed number, such as 2 1/2.
            begin -= 1
        return begin


def _operand_before(tokens: Sequence[_Token], place: int) -> int | None:
    """Return where the operand begins that ends before `place`; None if there is none."""
    words = 0
    while place and tokens[place - 1].kind == "word":
        if tokens[place - 1].text.lower() in _CLAUSE_WORDS:
            return None
        words += 1
        place -= 1
        if words > _UNIT_WORDS:
            return None
    if place and tokens[place - 1].kind == "currency" and place > 1 and tokens[place - 2].kind in ("number", "close"):
        place -= 1
    if place and tokens[place - 1].kind == "percent":
        place -= 1
    if not place:
        return None
    if tokens[place - 1].kind == "number":
        place -= 1
        if place and tokens[place - 1].kind == "currency":
            place -= 1
        return place
    if tokens[place - 1].kind != "close":
        return None
    depth = 0
    while place:
        place -= 1
        depth += {"close": 1, "open": -1}.get(tokens[place].kind, 0)
        if depth > MAX_DEPTH:
            raise _Unreadable
        if depth == 0:
            if place and tokens[place - 1].kind == "word" and tokens[place - 1].end == tokens[place].start:
                raise _Unreadable
            if place and tokens[place - 1].kind in ("number", "close") and tokens[place - 1].end == tokens[place].start:
                # A product without a sign, such as 2(3 + 4).
                return _operand_before(tokens, place)
            if place and tokens[place - 1].kind == "currency":
                place -= 1
            return place
    return None


def _prefix(tokens: Sequence[_Token]) -> _Side | None:
    """Return the expression with which a list of tokens begins, None if there is none."""
    if not tokens:
        return None
    parser = _Parser(tokens, 0)
    side = parser.some()
    after = tokens[side.end] if side.end < len(tokens) else None
    if after is not None:
        if after.kind in ("sign", "power"):
            raise _Unreadable
        if after.kind in ("number", "open", "time", "other", "percent"):
            side.doubtful = True
        following = tokens[side.end + 1] if side.end + 1 < len(tokens) else None
        if after.kind == "stop" and following is not None and following.start == after.end:
            # A decimal comma, or the dots of a number that goes on.
            side.doubtful |= following.kind == "number" or after.text == following.text == "."
    return side


class _Parser:
    """Recursive descent over tokens from a place on."""

    def __init__(self, tokens: Sequence[_Token], place: int) -> None:
        self._tokens = tokens
        self._start = place
        self._place = place
        self._side = _Side(Fraction(0), Fraction(0), place, place)
        self._depth = 0

    def whole(self) -> _Side:
        """Return the expression that goes to the last token, closing quotes aside."""
        side = self.some()
        rest = self._tokens[self._place :]
        if any(token.kind != "stop" or token.text not in "`'\"*" for token in rest):
            raise _Unreadable
        return side

    def some(self) -> _Side:
        """Return the longest expression from the beginning."""
        side = self._side
        side.value = self._sum()
        side.end = self._place
        if not side.signs and self._place > self._start:
            numbers = [token for token in self._tokens[self._start : self._place] if token.kind == "number"]
            side.decimals = len(numbers[-1].text.partition(".")[2]) if len(numbers) == 1 else 0
        if side.value.numerator.bit_length() > MAX_BITS or side.value.denominator.bit_length() > MAX_BITS:
            raise _Unreadable
        return side

    def _peek(self) -> _Token:
        return self._tokens[self._place] if self._place < len(self._tokens) else _Token("end", "", -1, -1)

    def _sum(self) -> Fraction:
        top = self._depth == 0
        units, terms, percents = set[str](), 0, 0
        value, unit, percent = self._product()
        if top:
            self._side.first = value
        units.add(unit)
        terms, percents = 1, int(percent)
        while self._peek().text in ("+", "-") and self._peek().kind == "sign":
            minus = self._next().text == "-"
            self._side.signs += 1
            term, unit, percent = self._product()
            value = value - term if minus else value + term
            units.add(unit)
            terms += 1
            percents += percent
        if terms > 1 and (len(units - {""}) > 1 or percents not in (0, terms)):
            self._side.doubtful = True
        if top:
            self._side.percent = percents == terms
        return value

    def _product(self) -> tuple[Fraction, str, bool]:
        value, unit, percent = self._power()
        factors, divided = 1, False
        while True:
            token = self._peek()
            if token.kind == "sign" and token.text in "*/":
                self._place += 1
                self._side.signs += 1
                if token.text == "/":
                    self._side.inexact = True
                    spaced = self._peek().start > token.end
                    if spaced and _is_fraction(self._tokens, self._place):
                        # A division by a fraction, such as 25 / 1/3.
                        top, _, bottom = self._next(), self._next(), self._next()
                        factor, second = Fraction(int(top.text), int(bottom.text)), self._unit()
                    else:
                        factor, second, _ = self._power()
                        self._side.doubtful |= divided
                        divided = True
                    value /= factor
                else:
                    factor, second, _ = self._power()
                    value *= factor
                factors += 1
                percent = False
                unit = unit or second
            elif token.text.lower() == "of" and self._tokens[self._place - 1].kind in ("percent", "number"):
                self._place += 1
                self._side.signs += 1
                factor, second, _ = self._power()
                value, unit, percent = value * factor, unit or second, False
                factors += 1
                # What follows may also say of what the number before is a part.
                self._side.doubtful = True
            else:
                return value, unit if factors == 1 else "", percent

    def _power(self) -> tuple[Fraction, str, bool]:
        value, unit, percent = self._signed()
        if self._peek().kind == "power":
            self._place += 1
            self._side.signs += 1
            exponent, _, _ = self._signed()
            if exponent.denominator != 1 or abs(exponent) > 64 or value.numerator.bit_length() > 32:
                raise _Unreadable
            value = value ** int(exponent)
        return value, unit, percent

    def _signed(self) -> tuple[Fraction, str, bool]:
        minus = False
        while self._peek().kind == "sign" and self._peek().text in "+-":
            if self._peek().text == "+" and self._place > self._start:
                raise _Unreadable
            minus ^= self._next().text == "-"
        value, unit, percent = self._operand()
        return -value if minus else value, unit, percent

    def _operand(self) -> tuple[Fraction, str, bool]:
        unit = ""
        if self._peek().kind == "currency":
            unit = self._next().text
            self._side.units.add(unit)
        token = self._peek()
        if token.kind == "number":
            value = self._number()
        elif token.kind == "open":
            value = self._group()
        else:
            raise _Unreadable
        if self._peek().kind == "open" and self._peek().start == self._tokens[self._place - 1].end:
            self._side.signs += 1
            value *= self._group()
        percent = self._peek().kind == "percent"
        if percent:
            self._place += 1
            value /= 100
            self._side.percents += 1
            self._side.inexact = True
        if self._peek().kind == "currency" and not unit:
            unit = self._next().text
        return value, self._unit() or unit, percent

    def _number(self) -> Fraction:
        token = self._next()
        value = Fraction(token.text.replace(",", ""))
        if "." in token.text:
            self._side.inexact = True
        if token.end - token.start > 60:
            raise _Unreadable
        if token.text[0] == "0" and token.text[1:2].isdigit():
            # A time, a date or a number of a list.
            self._side.doubtful = True
        if token.text.isdigit() and _is_fraction(self._tokens, self._place) and self._peek().start > token.end:
            # A mixed number, such as 2 1/2.
            top, _, bottom = self._next(), self._next(), self._next()
            value += Fraction(int(top.text), int(bottom.text))
        return value

    def _group(self) -> Fraction:
        self._next()
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _Unreadable
        value = self._sum()
        self._depth -= 1
        if self._next().kind != "close":
            raise _Unreadable
        return value

    def _unit(self) -> str:
        """Return the unit after an operand, the last word of it without its plural; "" if there is none."""
        unit, words = "", 0
        while words < _UNIT_WORDS:
            token = self._peek()
            if token.kind == "word" and token.text.lower() not in ("of", *_CLAUSE_WORDS):
                self._take_word(token)
                if not unit or words:
                    unit = unit or token.text.lower()
                words += 1
                self._place += 1
            else:
                break
        return unit.removesuffix("s")

    def _take_word(self, token: _Token) -> None:
        word = token.text.lower().rstrip(".")
        if word in _DOUBTFUL_WORDS or any(len(part) == 1 for part in word.split("-")):
            self._side.doubtful = True
        self._side.units.add(word)

    def _next(self) -> _Token:
        token = self._peek()
        if token.kind == "end":
            raise _Unreadable
        self._place += 1
        return token
