"""Tables as text in aligned columns, as Markdown and as CSV; texts of cells are never taken for markup or formulas."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

from .text import printable

# A backslash before punctuation, markup of CommonMark, tables and struck text, and the beginnings of addresses.
_MARKUP = re.compile(
    r"\\(?=[!-/:-@\[-`{-~]|$)|[`*<>\[\]|]|(?<![^\W_])_|_(?![^\W_])|~|&(?=#?\w+;)|(?<=:)/(?=/)|(?<=www)\."
)
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
WIDEST = 200
"""Characters to which the cells of a column are filled."""
_PLAIN_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, indent: str = "") -> str:
    """Return rows in aligned columns below their headings; without headings if all are "".

    Columns are aligned up to WIDEST characters; longer cells push the cells after them to the right.
    """
    shown = [head, *rows] if any(head) else list(rows)
    widths = [min(WIDEST, max(len(cell) for cell in column)) for column in zip(head, *rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in shown)
    return "\n".join(f"{indent}{line}".rstrip() for line in lines)


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; markup in its cells is escaped."""
    lines = [_markdown_row(head), "|" + " --- |" * len(head), *map(_markdown_row, rows)]
    return "\n".join(lines)


def markdown_text(text: str) -> str:
    """Return text on one line so that Markdown shows it as it is: no HTML, links, code or further columns."""
    return _MARKUP.sub(lambda match: "\\" + match[0], printable(" ".join(text.split())))


def csv_table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Return CSV; texts that a spreadsheet would take for formulas begin with an apostrophe."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([_csv_cell(cell) for cell in row] for row in (head, *rows))
    return text.getvalue()


def _csv_cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    is_formula = value.startswith(_FORMULA) and not _PLAIN_NUMBER.fullmatch(value)
    # The writer leaves lone returns unquoted, and readers end the row there.
    text = value.replace("\r\n", "\n").replace("\r", "\n")
    return f"'{text}" if is_formula else text


def one_line(text: str, longest: int) -> str:
    """Return a text on one line of at most `longest` characters."""
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(markdown_text, cells)) + " |"
