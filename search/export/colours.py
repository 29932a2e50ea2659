"""Colours that people with any colour vision can tell apart.

Scores use cividis (Nuñez, Anderton and Renslow, "Optimizing colormaps with consideration for color vision deficiency",
PLOS ONE 13(7), 2018): dark blue to yellow, its lightness growing evenly. The mark of the winning path is the vermilion
of Okabe and Ito's palette, which lies off that scale.
"""

from __future__ import annotations

WINNER = "#d55e00"
UNSCORED = "#ffffff"
_CIVIDIS = (
    (0, 34, 78),
    (26, 56, 111),
    (67, 78, 108),
    (97, 101, 111),
    (125, 124, 120),
    (155, 148, 118),
    (188, 174, 108),
    (222, 201, 88),
    (254, 232, 56),
)


def score_colour(score: float | None) -> str:
    """Return the colour of a score in [0, 1] as `#rrggbb`; white without a score."""
    if score is None:
        return UNSCORED
    place = score * (len(_CIVIDIS) - 1)
    low = min(int(place), len(_CIVIDIS) - 2)
    share = place - low
    mixed = (round(a + (b - a) * share) for a, b in zip(_CIVIDIS[low], _CIVIDIS[low + 1], strict=True))
    return "#" + "".join(f"{part:02x}" for part in mixed)


def ink_on(colour: str) -> str:
    """Return black or white, whichever has more contrast on a colour (relative luminance as in WCAG 2.1)."""
    red, green, blue = (_linear(int(colour[place : place + 2], 16) / 255) for place in (1, 3, 5))
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    # Contrast is (lighter + 0.05) / (darker + 0.05), so black wins above the geometric mean of 0.05 and 1.05.
    return "#000000" if (luminance + 0.05) ** 2 > 0.05 * 1.05 else "#ffffff"


def _linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
