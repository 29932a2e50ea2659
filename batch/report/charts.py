"""Small figures as SVG text, for a page that needs no network and no plotting library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape

WIDTH, HEIGHT = 460, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 26, 44
COLOURS = ("#2563eb", "#c2410c", "#15803d", "#7c3aed", "#b45309", "#0e7490")


@dataclass(frozen=True, slots=True)
class Point:
    """A point with its 95 % interval on the vertical axis; `label` is shown on hovering."""

    x: float
    y: float
    low: float
    high: float
    label: str = ""


def bars(points: Sequence[Point], names: Sequence[str], x_title: str, top: float | None = None) -> str:
    """Return a bar for each name with its interval; on the vertical axis shares, or amounts up to `top`."""
    if top is not None:
        points = [replace(p, y=p.y / top, low=p.low / top, high=p.high / top) for p in points]
    slot = (WIDTH - _LEFT - _RIGHT) / max(1, len(names))
    marks = [
        f'<rect x="{_LEFT + slot * (n + 0.2):.1f}" y="{_y(p.y):.1f}" width="{slot * 0.6:.1f}" '
        f'height="{_y(0) - _y(p.y):.1f}" fill="{COLOURS[0]}" opacity="0.75"><title>{escape(p.label)}</title></rect>'
        f"{_whisker(_LEFT + slot * (n + 0.5), p, '#111')}"
        for n, p in enumerate(points)
    ]
    ticks = [_text(_LEFT + slot * (n + 0.5), HEIGHT - _BOTTOM + 14, name) for n, name in enumerate(names)]
    return _frame("".join(marks + ticks), x_title, top)


def lines(series: Sequence[tuple[str, Sequence[Point]]], x_title: str) -> str:
    """Return one line of points for each name; a logarithmic horizontal axis, shares on the vertical one."""
    from math import floor, log10

    values = [point.x for _, points in series for point in points if point.x > 0]
    if not values:
        return ""
    low, high = log10(min(values)), log10(max(values))
    low, high = (low - 0.5, high + 0.5) if high - low < 0.1 else (low - 0.05, high + 0.05)

    def place(value: float) -> float:
        return _LEFT + (log10(value) - low) / (high - low) * (WIDTH - _LEFT - _RIGHT)

    body, legend = "", ""
    for number, (name, points) in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        shown = [point for point in points if point.x > 0]
        path = " ".join(f"{place(point.x):.1f},{_y(point.y):.1f}" for point in shown)
        body += f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        for point in shown:
            x = place(point.x)
            body += _whisker(x, point, colour)
            title = escape(f"{name} {point.label}".strip())
            body += (
                f'<circle cx="{x:.1f}" cy="{_y(point.y):.1f}" r="3.5" fill="{colour}"><title>{title}</title></circle>'
            )
        legend += f'<tspan fill="{colour}" dx="{14 if number else 0}">{escape(name)}</tspan>'
    # Above the field, where it can hide no point.
    body += f'<text x="{_LEFT}" y="{_TOP - 12}">{legend}</text>'
    for power in range(floor(low), floor(high) + 1):
        for step in (1, 2, 5):
            value = step * 10.0**power
            if low <= log10(value) <= high:
                body += _text(place(value), HEIGHT - _BOTTOM + 14, _number(value))
    return _frame(body, x_title)


def _number(value: float) -> str:
    """Return 1, 2 or 5 times a power of ten as people write it."""
    if 1 <= value < 1e6:
        return f"{value:,.0f}"
    return f"{value:.4g}" if 1e-3 <= value < 1 else f"{value:.0e}".replace("e+0", "e").replace("e+", "e")


def _frame(body: str, x_title: str, top: float | None = None) -> str:
    grid = "".join(
        f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{_y(share):.1f}" y2="{_y(share):.1f}" stroke="#ddd"/>'
        f'<text x="{_LEFT - 6}" y="{_y(share) + 4:.1f}" text-anchor="end">{_tick(share, top)}</text>'
        for share in (0.0, 0.25, 0.5, 0.75, 1.0)
    )
    title = _text((WIDTH + _LEFT) / 2, HEIGHT - 8, x_title)
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(x_title)}">{grid}{body}{title}</svg>'


def _tick(share: float, top: float | None) -> str:
    return f"{share:.0%}" if top is None else f"{share * top:,.0f}"


def _whisker(x: float, point: Point, colour: str) -> str:
    return f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_y(point.low):.1f}" y2="{_y(point.high):.1f}" stroke="{colour}"/>'


def _text(x: float, y: float, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{escape(text)}</text>'


def _y(share: float) -> float:
    return _TOP + (1 - share) * (HEIGHT - _TOP - _BOTTOM)
