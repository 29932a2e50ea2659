"""Textual normal form of an answer: answers that differ only in notation become equal."""

from __future__ import annotations

import re
import unicodedata

_CHARACTERS = str.maketrans(
    {
        **{code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d", "-"),
        **dict.fromkeys("\u00a0\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000", " "),
        **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff", ""),
        **dict.fromkeys("\u2044\u2215\u00f7", "/"),
        **dict.fromkeys("\u00b0\u02da\u00ba", r"^{\circ}"),
        "\u2103": r"^{\circ}C",
        "\u2109": r"^{\circ}F",
        "\u00b7": r"\cdot ",
        "\u22c5": r"\cdot ",
        "\u00d7": r"\times ",
        "\u00b1": r"\pm ",
        "\u03c0": r"\pi ",
        "\u03b8": r"\theta ",
        "\u221e": r"\infty ",
        "\u2264": r"\leq ",
        "\u2265": r"\geq ",
        "\u2260": r"\neq ",
        "\u2208": r"\in ",
        "\u222a": r"\cup ",
        "\u2229": r"\cap ",
        "\u2205": r"\emptyset ",
        "\u2248": r"\approx ",
        "\u27e8": r"\langle ",
        "\u27e9": r"\rangle ",
        "\u201c": '"',
        "\u201d": '"',
        "\u2019": "'",
    }
)
_RAISED = str.maketrans(
    "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207a\u207b\u207f", "0123456789+-n"
)
_RAISED_RUN = re.compile("[\u2070\u00b9\u00b2\u00b3\u2074-\u2079\u207a\u207b\u207f]+")
_LOWERED = str.maketrans("\u2080\u2081\u2082\u2083\u2084\u2085\u2086\u2087\u2088\u2089", "0123456789")
_LOWERED_RUN = re.compile("[\u2080-\u2089]+")
_FRACTIONS = {
    sign: unicodedata.normalize("NFKC", sign).replace("\u2044", "/")
    for sign in map(chr, (*range(0xBC, 0xBF), *range(0x2150, 0x215F), 0x2189))
}
_FRACTION_SIGN = re.compile("(\\d ?)?([\u00bc-\u00be\u2150-\u215e\u2189])")

_WRAPPERS = (
    ("$$", "$$"),
    ("$", "$"),
    (r"\(", r"\)"),
    (r"\[", r"\]"),
    ("**", "**"),
    ("__", "__"),
    ("*", "*"),
    ("_", "_"),
    ("`", "`"),
    ('"', '"'),
    ("\u201c", "\u201d"),
)
_TAG = re.compile(r"<(\w{1,12})>([^<>]*)</\1>")
_MOST_WRAPPERS = 8
_SPACED_NUMBER = re.compile(r"(?<![\w.,/])(?<!\d )\d{1,3}(?:[ '~]\d{3})+(?![\d/'])")
_THOUSANDS = re.compile(r"(?<![\w.,(\[])(?<!\\\{)\d{1,3}(?:,\d{3})+(?!\d|,\d)")
_REWRITES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?<=\d),\\! ?(?=\d{3})"), "{,}"),
    (re.compile(r"(?<!\\)\\!"), ""),
    (re.compile(r"(?<=\d)(?<!\\)\\, ?(?=\d{3})"), ""),
    (re.compile(r"(?<!\\)\\[;:, ]|~|\\q?quad(?![a-zA-Z])"), " "),
    (re.compile(r"\\(?:left|right|displaystyle|limits|bigl?|bigr|Bigl?|Bigr)(?![a-zA-Z])"), ""),
    (re.compile(r"\\[dtc]frac(?![a-zA-Z])"), r"\\frac"),
    (re.compile(r"\\frac (?=\d)"), r"\\frac"),
    (re.compile(r"(?<=[\d}])\\(?:text|textrm|mbox|mathrm)\s*\{(?=[A-Za-z])(?!st\}|nd\}|rd\}|th\})"), r" \\text{"),
    (
        re.compile(
            r"\\(?:text|textbf|textit|textrm|textsf|mathrm|mathbf|mathit|mbox|operatorname|emph|textsuperscript)\s*\{([^{}]*)\}"
        ),
        r"\1",
    ),
    (re.compile(r"\\([$%#&_])"), r"\1"),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"(?<![\w.])(\d+\.\d{0,20})\((\d{1,20})\)(?![\w(^!])"), r"\1\\overline{\2}"),
    (re.compile(r"\\(?:le|leqslant)(?![a-zA-Z])|<="), r"\\leq "),
    (re.compile(r"\\(?:ge|geqslant)(?![a-zA-Z])|>="), r"\\geq "),
    (re.compile(r"\\lt(?![a-zA-Z])"), "<"),
    (re.compile(r"\\gt(?![a-zA-Z])"), ">"),
    (re.compile(r"\\mid(?![a-zA-Z])"), "|"),
    (re.compile(r"\\varnothing(?![a-zA-Z])|\\\{\s*\\\}"), r"\\emptyset"),
    (re.compile(r"\\lbrace(?![a-zA-Z])"), r"\\{"),
    (re.compile(r"\\rbrace(?![a-zA-Z])"), r"\\}"),
    (re.compile(r"\\degree(?![a-zA-Z])"), r"^{\\circ}"),
    (re.compile(r"(?<![A-Za-z\\])pi(?![A-Za-z])"), r"\\pi "),
    (re.compile(r"(?<![A-Za-z\\])(?:inf|infinity)(?![A-Za-z])"), r"\\infty "),
    (re.compile(r"(?<![A-Za-z\\])sqrt ?\(([^()]*)\)"), r"\\sqrt{\1}"),
    (re.compile(r"\u221a ?(\d+|[a-zA-Z])"), r"\\sqrt{\1}"),
    (re.compile(r"\u221a ?\(([^()]*)\)"), r"\\sqrt{\1}"),
    (re.compile(r"(?<![\w}/])(\d+)/(\d+)(?: *(?=\\pi)| +(?=\\sqrt|[a-z](?![A-Za-z])))"), r"\\frac{\1}{\2}"),
    (re.compile(r"(?<=\d) ?[xX*] ?(?=10 ?(?:\^|\*\*))"), r"\\times "),
    (re.compile(r"\*\*"), "^"),
    (re.compile(r"(?<![\w.,])(\d+(?:\.\d*)?|\.\d+)[eE]([-+]?\d{1,3})(?![\w.])"), r"\1\\times 10^{\2}"),
    (re.compile(r"\^\s*\{?\s*\\circ\s*\}?"), r"^{\\circ}"),
    (re.compile(r"\^\s*\{\s*(\w)\s*\}"), r"^\1"),
    (re.compile(r"(?<=\d)\^?\{? ?(?<=[\d^{ ])(?:st|nd|rd|ths?)(?![A-Za-z])\}?"), "th"),
    (re.compile(r"\s+"), " "),
    (re.compile(r" ?([-+*/=(),\[\]{}^<>|:]) ?"), r"\1"),
)
_LONG_SPACE = re.compile(r"(\s{8})\s+(\s{8})")
"""White space that patterns would go over again and again; its ends alone matter, in the end it becomes one space."""
_GOES_ON = re.compile(r"(-?\d+\.\d{0,20}?)(\d{1,10}?)\2{2,20}(?:\.\.\.|\u2026|\\[lc]?dots)")
_BEFORE = re.compile(r"(?:=|:|\\approx(?![a-zA-Z])|\\sim(?![a-zA-Z])) ?")
_AFTER = ";,: "


def normalise(text: str) -> str:
    """Return the text with one notation for signs, spaces and LaTeX commands, and without wrapping."""
    if not text.isascii():
        text = _FRACTION_SIGN.sub(_written_fraction, text)
        text = _RAISED_RUN.sub(lambda run: f"^{{{run.group().translate(_RAISED)}}}", text)
        text = _LOWERED_RUN.sub(lambda run: f"_{{{run.group().translate(_LOWERED)}}}", text)
        text = text.translate(_CHARACTERS)
    text = _LONG_SPACE.sub(r"\1\2", unwrap(text))
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
        if replacement == " ":
            text = _LONG_SPACE.sub(r"\1\2", text)
        if replacement == ",":
            text = _THOUSANDS.sub(_joined, _SPACED_NUMBER.sub(_joined, text))
    goes_on = _GOES_ON.fullmatch(text)
    text = text if goes_on is None else rf"{goes_on[1]}\overline{{{goes_on[2]}}}"
    before = _BEFORE.match(text)
    text = text if before is None else text[before.end() :]
    return unwrap(unwrap(text).rstrip(_AFTER)) or text.strip()


def unwrap(text: str) -> str:
    """Return the text without the white space, math delimiters, emphasis, tags, quotes and full stop around it."""
    for _ in range(_MOST_WRAPPERS):
        before, text = text, text.strip()
        if text.endswith(".") and not text.endswith(("..", r"\right.")):
            text = text[:-1]
        for opening, closing in _WRAPPERS:
            if (
                text.startswith(opening)
                and text.endswith(closing)
                and len(text) >= len(opening) + len(closing)
                and opening not in (inside := text[len(opening) : -len(closing)]).replace(r"\$", "")
            ):
                text = inside
        tag = _TAG.fullmatch(text) if text.startswith("<") else None
        text = text if tag is None else tag[2]
        if text == before:
            break
    return text


def _joined(number: re.Match[str]) -> str:
    return re.sub("[ ,'~]", "", number.group())


def _written_fraction(sign: re.Match[str]) -> str:
    return f"{sign[1].strip()} {_FRACTIONS[sign[2]]}" if sign[1] else _FRACTIONS[sign[2]]
