"""Textual normal form of an answer: answers that differ only in notation become equal."""

from __future__ import annotations

import re

_CHARACTERS = str.maketrans(
    {
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d", "-"),
        **dict.fromkeys("\u00a0\u2007\u2009\u200a\u202f", " "),
        **{chr(0xFF10 + digit): str(digit) for digit in range(10)},
        "\u2044": "/",
        "\u2215": "/",
        "\u00b7": r"\cdot ",
        "\u00d7": r"\times ",
        "\u00f7": "/",
        "\u03c0": r"\pi ",
        "\u221e": r"\infty ",
        "\u00b0": r"^{\circ}",
        "\u00b2": "^{2}",
        "\u00b3": "^{3}",
    }
)
_WRAPPERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"), ("`", "`"))
_MOST_WRAPPERS = 8
_REWRITES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?<!\\)\\[!,]"), ""),
    (re.compile(r"(?<!\\)\\[;: ]|~|\\q?quad(?![a-zA-Z])"), " "),
    (re.compile(r"\\(?:left|right|displaystyle)(?![a-zA-Z])"), ""),
    (re.compile(r"\\[dtc]frac(?![a-zA-Z])"), r"\\frac"),
    (re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox|operatorname)\s*\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\\([$%#&_])"), r"\1"),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"(?<![A-Za-z\\])pi(?![A-Za-z])"), r"\\pi "),
    (re.compile(r"(?<![A-Za-z\\])(?:inf|infinity)(?![A-Za-z])"), r"\\infty "),
    (re.compile(r"(?<![A-Za-z\\])sqrt ?\(([^()]*)\)"), r"\\sqrt{\1}"),
    (re.compile(r"\u221a ?(\d+|[a-zA-Z])"), r"\\sqrt{\1}"),
    (re.compile(r"\u221a ?\(([^()]*)\)"), r"\\sqrt{\1}"),
    (re.compile(r"\*\*"), "^"),
    (re.compile(r"(?<![\w.,])(\d+(?:\.\d*)?|\.\d+)[eE]([-+]?\d{1,3})(?![\w.])"), r"\1\\times 10^{\2}"),
    (re.compile(r"\^\s*\{?\s*\\circ\s*\}?"), r"^{\\circ}"),
    (re.compile(r"\^\s*\{\s*(\w)\s*\}"), r"^\1"),
    (re.compile(r"\s+"), " "),
    (re.compile(r" ?([-+*/=(),\[\]{}^<>|:]) ?"), r"\1"),
)


def normalise(text: str) -> str:
    """Return the text with one notation for signs, spaces and LaTeX commands, and without wrapping."""
    text = unwrap(text.translate(_CHARACTERS))
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    return unwrap(text)


def unwrap(text: str) -> str:
    """Return the text without the white space, math delimiters, emphasis and full stop around it."""
    for _ in range(_MOST_WRAPPERS):
        before, text = text, text.strip()
        if text.endswith(".") and not text.endswith(("..", r"\right.")):
            text = text[:-1]
        for opening, closing in _WRAPPERS:
            inside = text[len(opening) : -len(closing)]
            if (
                len(text) >= len(opening) + len(closing)
                and text.startswith(opening)
                and text.endswith(closing)
                and opening not in inside
            ):
                text = inside
        if text == before:
            break
    return text
