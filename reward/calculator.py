r"""Values that complete equations: the result after `expression =` in a text, written as the text writes numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from .arithmetic import MAX_LINE_CHARACTERS, Expression, last_expression

MOST_DECIMALS = 6
"""Values with more decimals are not written."""
MOST_DIGITS = 15
"""Longer values are not written."""

_ASKS = re.compile(r"(?<![=<>!:+*/~≈≠≤≥-])=(?P<blank>[ \u00a0]?)(?P<currency>(?:\\?\$|[€£¥])?)\Z")
_EQUALS = re.compile(r"=(?P<blank>[ \u00a0]?)(?:\\?\$|[€£¥])?")
_ANNOTATION = re.compile(r"<<([^<>]*)\Z")
_CURRENCY = re.compile(r"\\?\$|[€£¥]")
_DIVIDED_MONEY = re.compile(r"/\s*\(?\s*[$€£¥]")
_MARKED_FRACTION = re.compile(r"\\[dt]?frac")
_SMALL_FRACTION = re.compile(r"(?<![\d/.])(\d{1,9})/(\d{1,9})(?![\d/.])")
_MONEY_FIRST = re.compile(r"\$[\d.,]+ [*/x] ")


def value_after(text: str) -> str:
    """Return the value that completes the equation with whose `=` a text ends, "" where nothing is certain.

    A blank and a currency sign stand before the value where the expression has them, and thousands are separated as
    there. A sign or a blank after `=` is taken as written. Only whole numbers and decimals that end within
    MOST_DECIMALS places are written, and no decimals after a LaTeX fraction.
    """
    line = text[max(text.rfind("\n") + 1, len(text) - MAX_LINE_CHARACTERS - 8) :]
    asks = _ASKS.search(line)
    if asks is None:
        return ""
    left = line[: asks.start()]
    inner = _ANNOTATION.search(left)
    if inner is not None:
        left = inner[1]
    found = last_expression(left)
    if found is None:
        return ""
    value = _written(found, left, given=asks["currency"])
    blank = " " if left[-1:].isspace() and not asks["blank"] and not asks["currency"] else ""
    return blank + value if value else ""


def calculated_spans(text: str) -> list[tuple[int, int]]:
    """Return where the values stand in a text that the calculator puts in, as pairs of places in its UTF-8 bytes.

    A value that the model wrote itself is among them if the calculator would have written the same there.
    """
    found = list[tuple[int, int]]()
    for match in _EQUALS.finditer(text):
        for end in sorted({match.start() + 1, match.end("blank"), match.end()}):
            value = value_after(text[:end])
            if value and text.startswith(value, end):
                first = len(text[:end].encode())
                found.append((first, first + len(value.encode())))
                break
    return found


def drawn_tokens(pieces: Sequence[bytes], text: str) -> list[bool]:
    """Return for each token of a text whether the model chose it; `pieces` are the texts of the tokens.

    A token that begins inside a value of the calculator is none of the model's own. A blank that the vocabulary puts
    before the text is no part of it.
    """
    spans = calculated_spans(text)
    at = min(0, len(text.encode()) - sum(map(len, pieces)))
    drawn = list[bool]()
    for piece in pieces:
        drawn.append(not any(first <= at < end for first, end in spans))
        at += len(piece)
    return drawn


def _written(found: Expression, left: str, *, given: str) -> str:
    """Return the value of an expression at the end of `left`; `given` is the currency sign that stands there."""
    value = found.value * 100 if found.percent else found.value
    fraction = value.denominator != 1
    if fraction and (_MARKED_FRACTION.search(left) or _names_part(found.text)):
        return ""
    if not found.percent and (found.text.count("%") > 1 or "100%" in found.text):
        # The result may be a percentage or a share.
        return ""
    sign = "" if found.percent else _currency(found.text, left)
    digits = _decimal(value, money=bool(given or sign) and fraction)
    if not digits or (given and given != sign):
        return ""
    if re.search(r"\d(?:,|\{,\})\d{3}(?!\d)", left) and abs(value) >= 1000:
        whole, point, rest = digits.partition(".")
        digits = f"{int(whole):,}{point}{rest}"
        digits = digits.replace(",", "{,}") if "{,}" in left else digits
    if found.percent:
        return digits + ("\\%" if "\\%" in left else "%")
    if given or not sign:
        return digits
    return f"-{sign}{digits[1:]}" if digits.startswith("-") else sign + digits


def _names_part(expression: str) -> bool:
    """Tell whether a fraction such as 3/4 or 1/2 is a part of an expression, whose value may be one too."""
    return any(int(top) < int(bottom) for top, bottom in _SMALL_FRACTION.findall(expression))


def _currency(expression: str, left: str) -> str:
    """Return the currency sign of an expression at the end of `left`, "" if its value may be no amount of money.

    A $ may also begin a formula, as one may where it stands alone before the first number.
    """
    count = len(_CURRENCY.findall(expression))
    if not count or _DIVIDED_MONEY.search(expression):
        return ""
    sign = _CURRENCY.findall(left)[-1]
    if sign == "$":
        formulas = "\\" in left or re.search(r"\$(?!\d)", left) is not None
        if formulas or (count == 1 and expression.startswith("$") and not _MONEY_FIRST.match(expression)):
            return ""
    return sign


def _decimal(value: Fraction, *, money: bool) -> str:
    """Return a value as a decimal, with two places for amounts of `money`; "" if it is too long or does not end."""
    for places in range(MOST_DECIMALS + 1):
        scaled = value * 10**places
        if scaled.denominator == 1:
            break
    else:
        return ""
    places = max(places, 2) if money else places
    whole = str(abs(value * 10**places).numerator).zfill(places + 1)
    if len(whole) > MOST_DIGITS:
        return ""
    text = f"{whole[:-places]}.{whole[-places:]}" if places else whole
    return f"-{text}" if value < 0 else text
