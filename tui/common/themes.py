"""The themes ramify-dark and ramify-light, and scores, shares and series as colours and bars."""

from __future__ import annotations

from collections.abc import Iterable

from textual.theme import Theme

BARS = "▁▂▃▄▅▆▇█"
"""Eight heights of a bar in one character."""
DARK = Theme(
    name="ramify-dark",
    primary="#7aa2c8",
    secondary="#8f86b8",
    accent="#e8a04c",
    warning="#d9a441",
    error="#d9705f",
    success="#86b580",
    foreground="#d5d9e0",
    background="#12141a",
    surface="#171a21",
    panel="#1f232c",
    dark=True,
    variables={
        "border": "#343a46",
        "border-blurred": "#2a2f39",
        "faint": "#7d8594",
        "guide": "#434a58",
        "input-selection-background": "#7aa2c8 35%",
        "block-cursor-background": "#2b3442",
        "block-cursor-foreground": "#ffffff",
        "block-cursor-text-style": "none",
        "block-cursor-blurred-background": "#20252e",
        "scrollbar": "#343a46",
        "scrollbar-hover": "#4a5262",
        "scrollbar-active": "#7aa2c8",
        "scrollbar-background": "#12141a",
        "scrollbar-corner-color": "#12141a",
    },
)
LIGHT = Theme(
    name="ramify-light",
    primary="#2f648f",
    secondary="#5f5590",
    accent="#b85c00",
    warning="#8f6500",
    error="#b03a2e",
    success="#3c7a3c",
    foreground="#22262d",
    background="#fbfaf7",
    surface="#f4f2ed",
    panel="#e9e6df",
    dark=False,
    variables={
        "border": "#c9c4b8",
        "border-blurred": "#d8d4c9",
        "faint": "#71757d",
        "guide": "#b4b0a5",
        "block-cursor-background": "#dbe5ee",
        "block-cursor-foreground": "#000000",
        "block-cursor-text-style": "none",
        "block-cursor-blurred-background": "#eae7e0",
        "scrollbar": "#c9c4b8",
        "scrollbar-hover": "#aca798",
        "scrollbar-active": "#2f648f",
        "scrollbar-background": "#fbfaf7",
        "scrollbar-corner-color": "#fbfaf7",
    },
)
FALLBACKS = {"faint": "#808080", "guide": "#606060"}
"""Values of the variables that other themes do not define."""
_DARK_SCALE = ((0x8E, 0x7C, 0xC3), (0x5F, 0x8F, 0xC0), (0x58, 0xA8, 0x9C), (0xA9, 0xBF, 0x62), (0xF2, 0xD0, 0x55))
_LIGHT_SCALE = ((0x6A, 0x4F, 0xA0), (0x2F, 0x64, 0x9F), (0x1D, 0x75, 0x6B), (0x55, 0x70, 0x10), (0x8A, 0x62, 0x00))


def score_tint(score: float | None, *, dark: bool = True) -> str:
    """Return the colour of a score in [0, 1] for text: violet through teal to gold, each readable on its background."""
    if score is None:
        return "#7d8594" if dark else "#71757d"
    scale = _DARK_SCALE if dark else _LIGHT_SCALE
    place = min(max(score, 0.0), 1.0) * (len(scale) - 1)
    low = min(int(place), len(scale) - 2)
    share = place - low
    mixed = (round(a + (b - a) * share) for a, b in zip(scale[low], scale[low + 1], strict=True))
    return "#" + "".join(f"{part:02x}" for part in mixed)


def score_bar(score: float | None) -> str:
    """Return a score as one character that shows it without colour."""
    return " " if score is None else BARS[min(7, int(max(score, 0.0) * 8))]


def spark_line(values: Iterable[float], columns: int) -> str:
    """Return the last values as bars, at most `columns` of them, the largest at full height."""
    recent = list(values)[-columns:] if columns > 0 else []
    top = max(recent, default=0.0)
    return "".join(BARS[min(7, int(value / top * 8))] if top > 0 and value > 0 else " " for value in recent)


def share_bar(share: float, columns: int) -> tuple[str, str]:
    """Return a share of [0, 1] as a bar of so many columns: its full and its empty part."""
    full = min(columns, max(0, round(share * columns)))
    if share > 0 and full == 0:
        full = 1
    return "━" * full, "─" * (columns - full)
