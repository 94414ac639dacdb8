"""Plots on logarithmic axes, as SVG text: bars, a roofline, lines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 760, 420, 90, 50, 20
COLOURS = ("#3b6fb6", "#c8553d", "#4f8a4c", "#8a5fa8", "#b08a2e")
STYLE = (
    "<style>text{font:12px sans-serif;fill:#333}line,path{stroke:#999;fill:none}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}}</style>"
)


class _Axes:
    """Two logarithmic axes with a line at each power of ten."""

    def __init__(self, xs: Sequence[float], ys: Sequence[float], xlabel: str, ylabel: str):
        self.x0, self.x1 = _decades(xs)
        self.y0, self.y1 = _decades(ys)
        self.parts = []
        for power in range(self.x0, self.x1 + 1):
            at = self.x(10.0**power)
            self.parts.append(_line(at, TOP, at, HEIGHT - BOTTOM))
            self.parts.append(_text(at, HEIGHT - BOTTOM + 16, _number(power), "middle"))
        for power in range(self.y0, self.y1 + 1):
            at = self.y(10.0**power)
            self.parts.append(_line(LEFT, at, WIDTH - 20, at))
            self.parts.append(_text(LEFT - 8, at + 4, _number(power), "end"))
        self.parts.append(_text((LEFT + WIDTH) / 2, HEIGHT - 12, xlabel, "middle"))
        self.parts.append(_text(LEFT, TOP - 6, ylabel, "middle"))

    def x(self, value: float) -> float:
        share = (math.log10(value) - self.x0) / max(self.x1 - self.x0, 1)
        return LEFT + share * (WIDTH - 20 - LEFT)

    def y(self, value: float) -> float:
        share = (math.log10(value) - self.y0) / max(self.y1 - self.y0, 1)
        return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)

    def curve(self, xs: Sequence[float], ys: Sequence[float], colour: str) -> None:
        points = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in zip(xs, ys, strict=True))
        self.parts.append(
            f'<polyline points="{points}" style="fill:none;stroke:{colour};stroke-width:2"/>'
        )


def bars(entries: Sequence[tuple[str, float]], label: str) -> str:
    """A horizontal bar for each (name, seconds), on a logarithmic axis."""
    low, high = _decades([value for _, value in entries])
    height, parts = 20 * len(entries) + BOTTOM, []
    for row, (name, value) in enumerate(entries):
        long = (math.log10(value) - low) / max(high - low, 1) * (WIDTH - 280)
        y = 10 + 20 * row
        parts.append(_text(170, y + 12, name, "end"))
        parts.append(
            f'<rect x="180" y="{y}" width="{max(long, 1):.1f}" height="14" fill="{COLOURS[0]}"/>'
        )
        parts.append(_text(186 + long, y + 12, f"{value:.2g}", "start"))
    parts.append(_text(WIDTH / 2, height - 10, label, "middle"))
    return _svg(parts, height)


def roofline(points: Sequence[tuple[str, float, float]], peak: float, copy: float) -> str:
    """(name, FLOP per byte, GFLOP/s) under the roof min(peak, copy bandwidth · intensity)."""
    xs, ys = [x for _, x, _ in points], [y for _, _, y in points]
    axes = _Axes([*xs, peak / copy / 10], [*ys, peak], "FLOP per byte", "GFLOP/s")
    left, right = 10.0**axes.x0, 10.0**axes.x1
    ridge = min(max(peak / copy, left), right)
    start = max(copy * left, 10.0**axes.y0)
    axes.curve([start / copy, ridge, right], [start, peak, peak], COLOURS[1])
    for name, x, y in points:
        axes.parts.append(
            f'<circle cx="{axes.x(x):.1f}" cy="{axes.y(y):.1f}" r="3.5" fill="{COLOURS[0]}">'
            f"<title>{escape(name)}: {y:.0f} GFLOP/s</title></circle>"
        )
    return _svg(axes.parts, HEIGHT)


def lines(
    series: Sequence[tuple[str, Sequence[float], Sequence[float]]], xlabel: str, ylabel: str
) -> str:
    """A line for each (name, xs, ys)."""
    xs, ys = [x for _, xs, _ in series for x in xs], [y for _, _, ys in series for y in ys]
    axes = _Axes(xs, ys, xlabel, ylabel)
    for i, (name, x, y) in enumerate(series):
        colour = COLOURS[i % len(COLOURS)]
        axes.curve(x, y, colour)
        axes.parts.append(
            f'<rect x="{LEFT + 10}" y="{TOP + 6 + 18 * i}" width="12" height="3" fill="{colour}"/>'
        )
        axes.parts.append(_text(LEFT + 28, TOP + 12 + 18 * i, name, "start"))
    return _svg(axes.parts, HEIGHT)


def _decades(values: Sequence[float]) -> tuple[int, int]:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def _number(power: int) -> str:
    return f"{10.0**power:g}" if -3 <= power <= 4 else f"1e{power}"


def _line(x0: float, y0: float, x1: float, y1: float) -> str:
    return (
        f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" style="stroke-width:0.5"/>'
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(parts: Sequence[str], height: float) -> str:
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{STYLE}' + "\n".join(parts) + "</svg>\n"
