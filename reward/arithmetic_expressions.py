"""Parser of expressions in a list of tokens, which evaluates them as exact fractions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from .arithmetic_tokens import MAX_DEPTH, Token

MAX_BITS = 512
"""Size of numerators and denominators; larger results are not followed."""
_UNIT_WORDS = 4
"""Most words of a unit, such as "duck eggs a day"."""

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
_RANGE_WORDS = frozenset(
    "second seconds minute minutes hour hours day days week weeks month months year years grade grades age ages page "
    "pages chapter chapters step steps row rows level levels round rounds game games question questions problem "
    "problems number numbers part parts stage stages".split()
)
"""Words before a range, such as the weeks 3-4."""
_CLAUSE_WORDS = frozenset("because so then since is are was were therefore thus hence if that which".split())
"""Words that belong to no unit."""


@dataclass(slots=True)
class Side:
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


class Unreadable(Exception):
    """Raised for text that is no expression."""


def suffix(tokens: Sequence[Token], *, chained: bool, closed: bool = False) -> Side | None:
    """Return the expression with which a list of tokens ends, None if there is none.

    `chained` says that an equals sign stands before the tokens, `closed` that one follows them without a blank.

    Raises:
        Unreadable: if the last tokens are a part of something else.
        ArithmeticError: if a value is divided by 0.
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
            ranged = _is_range(tokens[start : side.end]) and (word in _RANGE_WORDS or not closed)
            side.doubtful |= word in _OPERATOR_WORDS or ranged
        if before.kind in ("stop", "open") and start > 1 and tokens[start - 2].kind in ("sign", "power"):
            raise Unreadable
        if before.kind == "open" and tokens[start].kind == "open":
            side.doubtful = True
        if before.kind == "stop" and before.end == tokens[start].start and before.text not in ".:;!?'\"`":
            side.doubtful = True
    elif not side.signs and not chained:
        # A lone number on the left names something, such as a day or a step, as often as it is a value.
        side.doubtful = True
    return side


def _is_range(tokens: Sequence[Token]) -> bool:
    """Tell whether tokens may mean a range, such as the weeks 3-4; 40-3 means none."""
    if [token.kind for token in tokens] != ["number", "sign", "number"] or tokens[1].text != "-":
        return False
    if tokens[0].end != tokens[1].start or tokens[1].end != tokens[2].start:
        return False
    first, last = (Fraction(tokens[place].text.replace(",", "")) for place in (0, 2))
    return first < last


def _is_fraction(tokens: Sequence[Token], place: int) -> bool:
    """Tell whether a fraction below 1 without blanks, such as 1/2, stands at a place."""
    three = tokens[place : place + 3]
    if len(three) < 3 or [token.kind for token in three] != ["number", "sign", "number"] or three[1].text != "/":
        return False
    close = three[0].end == three[1].start and three[1].end == three[2].start
    return close and three[0].text.isdigit() and three[2].text.isdigit() and int(three[2].text) > int(three[0].text)


def _begin(tokens: Sequence[Token]) -> int | None:
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
            raise Unreadable
        begin = place = operand
        if place and tokens[place - 1].kind in ("sign", "power"):
            if place > 1 and tokens[place - 2].kind in ("sign", "power", "open"):
                # A sign of the operand itself.
                if tokens[place - 1].text not in "+-":
                    raise Unreadable
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


def _operand_before(tokens: Sequence[Token], place: int) -> int | None:
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
            raise Unreadable
        if depth == 0:
            if place and tokens[place - 1].kind == "word" and tokens[place - 1].end == tokens[place].start:
                raise Unreadable
            if place and tokens[place - 1].kind in ("number", "close") and tokens[place - 1].end == tokens[place].start:
                # A product without a sign, such as 2(3 + 4).
                return _operand_before(tokens, place)
            if place and tokens[place - 1].kind == "currency":
                place -= 1
            return place
    return None


def prefix(tokens: Sequence[Token]) -> Side | None:
    """Return the expression with which a list of tokens begins, None if there is none.

    Raises:
        Unreadable: if the first tokens are a part of something else.
        ArithmeticError: if a value is divided by 0.
    """
    if not tokens:
        return None
    parser = _Parser(tokens, 0)
    side = parser.some()
    after = tokens[side.end] if side.end < len(tokens) else None
    if after is not None:
        if after.kind in ("sign", "power"):
            raise Unreadable
        if after.kind in ("number", "open", "time", "other", "percent"):
            side.doubtful = True
        following = tokens[side.end + 1] if side.end + 1 < len(tokens) else None
        if after.kind == "stop" and following is not None and following.start == after.end:
            # A decimal comma, or the dots of a number that goes on.
            side.doubtful |= following.kind == "number" or after.text == following.text == "."
    return side


class _Parser:
    """Recursive descent over tokens from a place on."""

    def __init__(self, tokens: Sequence[Token], place: int) -> None:
        self.tokens_of = tokens
        self._start = place
        self._place = place
        self._side = Side(Fraction(0), Fraction(0), place, place)
        self._depth = 0

    def whole(self) -> Side:
        """Return the expression that goes to the last token, closing quotes aside."""
        side = self.some()
        rest = self.tokens_of[self._place :]
        if any(token.kind != "stop" or token.text not in "`'\"*" for token in rest):
            raise Unreadable
        return side

    def some(self) -> Side:
        """Return the longest expression from the beginning."""
        side = self._side
        side.value = self._sum()
        side.end = self._place
        if not side.signs and self._place > self._start:
            numbers = [token for token in self.tokens_of[self._start : self._place] if token.kind == "number"]
            side.decimals = len(numbers[-1].text.partition(".")[2]) if len(numbers) == 1 else 0
        if side.value.numerator.bit_length() > MAX_BITS or side.value.denominator.bit_length() > MAX_BITS:
            raise Unreadable
        return side

    def _peek(self) -> Token:
        return self.tokens_of[self._place] if self._place < len(self.tokens_of) else Token("end", "", -1, -1)

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
                    if spaced and _is_fraction(self.tokens_of, self._place):
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
            elif token.text.lower() == "of" and self.tokens_of[self._place - 1].kind in ("percent", "number"):
                self._place += 1
                self._side.signs += 1
                factor, second, _ = self._power()
                value, unit, percent = value * factor, unit or second, False
                factors += 1
                # The text after it may also name the whole of which the number before is a part.
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
                raise Unreadable
            value = value ** int(exponent)
        return value, unit, percent

    def _signed(self) -> tuple[Fraction, str, bool]:
        minus = False
        while self._peek().kind == "sign" and self._peek().text in "+-":
            if self._peek().text == "+" and self._place > self._start:
                raise Unreadable
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
            raise Unreadable
        if self._peek().kind == "open" and self._peek().start == self.tokens_of[self._place - 1].end:
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
            raise Unreadable
        if token.text[0] == "0" and token.text[1:2].isdigit():
            # A time, a date or a number of a list.
            self._side.doubtful = True
        if token.text.isdigit() and _is_fraction(self.tokens_of, self._place) and self._peek().start > token.end:
            # A mixed number, such as 2 1/2.
            top, _, bottom = self._next(), self._next(), self._next()
            value += Fraction(int(top.text), int(bottom.text))
        return value

    def _group(self) -> Fraction:
        self._next()
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Unreadable
        value = self._sum()
        self._depth -= 1
        if self._next().kind != "close":
            raise Unreadable
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

    def _take_word(self, token: Token) -> None:
        word = token.text.lower().rstrip(".")
        if word in _DOUBTFUL_WORDS or any(len(part) == 1 for part in word.split("-")):
            self._side.doubtful = True
        self._side.units.add(word)

    def _next(self) -> Token:
        token = self._peek()
        if token.kind == "end":
            raise Unreadable
        self._place += 1
        return token
