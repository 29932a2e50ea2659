"""Drawing by matplotlib, which is loaded here alone: figures, their files and their SVG text."""

from __future__ import annotations

import re
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from html import escape
from importlib import import_module
from importlib.util import find_spec
from io import StringIO
from math import floor, log10
from pathlib import Path
from typing import Any

from .errors import UsageError
from .files import exporting

SUFFIXES = (".png", ".svg", ".pdf")
"""Suffixes of image files."""
COLOURS = ("#2563eb", "#c2410c", "#15803d", "#7c3aed", "#b45309", "#0e7490")
"""Colours of lines and bars, in order."""


def require_matplotlib(purpose: str = "plots need", alternative: str = "") -> None:
    """Check that matplotlib is installed; `purpose` begins the message, `alternative` ends it.

    Raises:
        UsageError: if it is not.
    """
    try:
        found = find_spec("matplotlib.figure") is not None
    except (ImportError, ValueError):
        found = False
    if not found:
        raise UsageError(f"{purpose} matplotlib", f"pip install 'ramify[plot]'{alternative}")


@contextmanager
def drawing() -> Generator[None]:
    """Apply the settings of all figures: labels are plain text, never formulas; characters need not be in the font.

    Raises:
        UsageError: if matplotlib is not installed.
    """
    require_matplotlib()
    matplotlib: Any = import_module("matplotlib")
    # With a salt the same figure has the same ids each time.
    settings = {"text.parse_math": False, "svg.fonttype": "none", "svg.hashsalt": "ramify"}
    with warnings.catch_warnings(), matplotlib.rc_context(settings):
        # A browser has other fonts than the one that measures the text here.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def new_figure(width: float, height: float) -> Any:
    """Return an empty figure of a size in inches.

    Raises:
        UsageError: if matplotlib is not installed.
    """
    require_matplotlib()
    return import_module("matplotlib.figure").Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Any, path: Path, *, dpi: int = 120, option: str = "--out") -> None:
    """Write a figure to an image file; `option` is the one that named the file.

    Raises:
        UsageError: if the file cannot be written.
    """
    try:
        with exporting(path) as file:
            figure.savefig(file, dpi=dpi, format=path.suffix[1:].lower() or None)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", f"choose another {option}") from error


def svg_text(figure: Any, label: str, prefix: str) -> str:
    """Return a figure as an SVG element for an HTML page.

    `label` describes it to readers who cannot see it; `prefix` sets its ids apart from those of other figures.
    """
    buffer = StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{prefix}-", text)
    # Without a size of its own the element takes that of the page's column.
    head = re.sub(r' (?:width|height)="[^"]*"', "", text[: text.index(">")])
    return f'{head} role="img" aria-label="{escape(label)}"{text[text.index(">") :]}'.strip()


def logarithmic_axis(axes: Any, low: float, high: float) -> None:
    """Make the horizontal axis logarithmic from below `low` to above `high`, with ticks as people write numbers."""
    bottom, top = log10(low), log10(high)
    bottom, top = (bottom - 0.5, top + 0.5) if top - bottom < 0.1 else (bottom - 0.05, top + 0.05)
    axes.set_xscale("log")
    axes.set_xlim(10**bottom, 10**top)
    powers = [step * 10.0**power for power in range(floor(bottom), floor(top) + 1) for step in (1, 2, 5)]
    ticks = [value for value in powers if bottom <= log10(value) <= top]
    axes.set_xticks(ticks, [tick_text(value) for value in ticks])
    axes.set_xticks([], minor=True)


def label_logarithms(axis: Any) -> None:
    """Label a logarithmic axis at 1, 2 and 5 times the powers of ten, as people write numbers."""
    ticker: Any = import_module("matplotlib.ticker")
    axis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(_tick_label)
    axis.set_minor_formatter(ticker.NullFormatter())


def _tick_label(value: float, place: int | None) -> str:
    return tick_text(value)


def tick_text(value: float) -> str:
    """Return 1, 2 or 5 times a power of ten as people write it."""
    if 1 <= value < 1e6:
        return f"{value:,.0f}"
    return f"{value:.4g}" if 1e-3 <= value < 1 else f"{value:.0e}".replace("e+0", "e").replace("e+", "e")
