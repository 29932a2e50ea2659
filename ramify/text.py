"""Text for people: quantities and times, the nearest of the known words, and texts of models made fit to be shown.

Models may write anything, so their texts are cleaned before they go into files, drawings and terminals.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from unicodedata import category, combining, east_asian_width

SCALES: Mapping[str, float] = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "p": 1e15}
"""Decimal prefixes of counts, in lower case."""
SIZES: Mapping[str, float] = {
    **{f"{unit}{end}": 1024.0**power for power, unit in enumerate(("", "k", "m", "g", "t")) for end in ("", "b", "ib")}
}
"""Units of sizes in bytes, by powers of 1024, in lower case."""
TIMES: Mapping[str, float] = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
"""Units of time in seconds, in lower case."""
ENERGIES: Mapping[str, float] = {"": 1.0, "j": 1.0, "kj": 1e3, "mj": 1e6, "wh": 3600.0, "kwh": 3.6e6}
"""Units of energy in joules, in lower case."""

_QUANTITY = r"(?s:(?P<number>[+-]?[\d_]*\.?\d+(?:[eE][+-]?\d+)?)\s*(?P<unit>.*))"
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
ELLIPSIS = "…"
_NOT_XML = "[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
_REORDERS = "[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
"""Marks that turn the direction of the text after them, which could make it read as another text."""


def split_quantity(text: str) -> tuple[float, str] | None:
    """Return the number at the beginning of a text such as `20k` or `90 s`, and the unit after it in lower case.

    None if the text does not begin with a number. The unit is "" if there is none.
    """
    match = re.fullmatch(_QUANTITY, text.strip())
    if match is None:
        return None
    try:
        return float(match["number"]), match["unit"].lower()
    except ValueError:
        return None


def read_quantity(text: str, units: Mapping[str, float]) -> float | None:
    """Return a text such as `20k` or `90s` as a number in units of 1; None if it is no number with one of the units."""
    found = split_quantity(text)
    if found is None or found[1] not in units or is_millijoules(text):
        return None
    return found[0] * units[found[1]]


def is_millijoules(text: str) -> bool:
    """Return whether a quantity is in mJ, which are no megajoules: the only unit whose case matters."""
    return text.rstrip().endswith("mJ")


def duration_text(seconds: float) -> str:
    """Return a time in words, such as `3.2 s`, `45 s`, `1 min 20 s` or `2 h 05 min`; parts that are 0 are left out."""
    if seconds < 59.5:
        tenths = round(seconds, 1)
        return f"{tenths:.1f} s" if tenths < 10 and tenths % 1 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if minutes else f"{hours} h"


def size_text(size_bytes: int) -> str:
    """Return a number of bytes in MB or GB, powers of ten."""
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.1f} MB"


def nearest_word(word: str, known: Iterable[str], *, cutoff: float = 0.5) -> str | None:
    """Return the known word that is most like `word`; None if none has at least `cutoff` (0 to 1) in common with it."""
    # Imported here, because messages alone need it.
    from difflib import get_close_matches

    return next(iter(get_close_matches(word, list(known), n=1, cutoff=cutoff)), None)


def did_you_mean(word: str, known: Iterable[str], otherwise: str, *, cutoff: float = 0.5) -> str:
    """Return `did you mean 'x'?` for the nearest known word, `otherwise` if none is near."""
    near = nearest_word(word, known, cutoff=cutoff)
    return otherwise if near is None else f"did you mean {near!r}?"


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the known word nearest to `word`, or the list of known words."""
    choices = sorted(str(each) for each in known)
    return "; " + did_you_mean(word.lower(), choices, f"choose one of: {', '.join(choices)}")


def xml_text(text: str, *, sign: str = REPLACEMENT) -> str:
    """Return text with `sign` for each character that XML cannot hold; markup is not escaped."""
    return re.sub(_NOT_XML, sign, text)


def printable(text: str, *, sign: str = REPLACEMENT) -> str:
    """Return text that does nothing but show: without controls (line breaks and tabs stay) and lone surrogates.

    `sign` stands for each of them, and for the marks that turn the direction of text.
    """
    if text.isascii() and text.isprintable():
        return text
    plain = re.sub(_REORDERS, sign, xml_text(text, sign=sign))
    if plain.isprintable():
        return plain
    return "".join(sign if category(c) == "Cc" and c not in "\n\t" else c for c in plain)


def one_line(text: str) -> str:
    """Return text on one line, with single spaces."""
    return " ".join(printable(" ".join(text.split())).split())


def shorten(text: str, limit: int) -> str:
    """Return text on one line, cut to `limit` characters with an ellipsis."""
    line = one_line(text)
    return line if len(line) <= limit else line[: max(0, limit - 1)].rstrip() + ELLIPSIS


def cut(text: str, columns: int) -> str:
    """Return text on one line, cut to `columns` columns of a fixed-width font; wide characters take two."""
    line = one_line(text)
    if len(line) * 2 <= columns or width_of(line) <= columns:
        return line
    kept, room = list[str](), columns - 1
    for character in line:
        room -= _columns(character)
        if room < 0:
            break
        kept.append(character)
    return "".join(kept).rstrip() + ELLIPSIS if columns > 0 else ""


def padded(text: str, columns: int, *, right: bool = False) -> str:
    """Return text on one line, cut or filled to `columns` columns with blanks behind it, with `right` before it."""
    line = cut(text, columns)
    blanks = " " * (columns - width_of(line))
    return blanks + line if right else line + blanks


def width_of(text: str) -> int:
    """Return the columns that text takes in a fixed-width font."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    if combining(character) or category(character) == "Cf":
        return 0
    return 2 if east_asian_width(character) in "WF" else 1
