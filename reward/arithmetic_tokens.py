"""Tokens of a line in which expressions stand: numbers, words, signs and brackets, without LaTeX."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

MAX_DEPTH = 12
"""Parentheses, and fractions, inside each other."""
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
MARKER = re.compile(r"\s*(?:[-*•>#]+\s+|\(?\d{1,3}[.)]\s+|step\s+\d+\s*[:.)-]\s*)*", re.IGNORECASE)
"""The signs of lists and the numbers of steps with which a line may begin."""
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


class Token(NamedTuple):
    """A token: its kind, as the pattern names it, its text, and its place in the line."""

    kind: str
    text: str
    start: int
    end: int


def plain_text(text: str) -> str:
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


def tokens_of(line: str) -> Iterator[Token]:
    """Yield the tokens of a line of plain text; signs of bold text are none."""
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
        yield Token(kind, text, match.start(), match.end())
