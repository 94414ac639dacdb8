"""plot(): curves and points over two axes, as a Drawing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .canvas import Drawing

__all__ = ["plot"]

CYCLE = ("blue", "orange", "green", "pink", "yellow", "sky")
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 34, 46  # margins, points


def plot(
    curves: Mapping[str, Any] | None = None,
    points: Mapping[str, Any] | None = None,
    *,
    title: str = "",
    x: str = "",
    y: str = "",
    log: bool = False,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    equal: bool = False,
    size: tuple[int, int] = (560, 340),
) -> Drawing:
    """Curves and clouds of points, each {label: (xs, ys)} or {label: ys}, with a legend.

    x, y   labels of the axes; log draws log10 of the values, which must be positive.
    equal  one unit is as long upwards as to the right.
    """
    lines = {k: _pair(v, log) for k, v in (curves or {}).items()}
    clouds = {k: _pair(v, log) for k, v in (points or {}).items()}
    everything = [*lines.values(), *clouds.values()]
    x_range = x_range or _range(np.concatenate([p[0] for p in everything]), 0.02)
    y_range = y_range or _range(np.concatenate([p[1] for p in everything]), 0.06)
    width, height = size[0] - LEFT - RIGHT, size[1] - TOP - BOTTOM
    if equal:
        unit = min(width / (x_range[1] - x_range[0]), height / (y_range[1] - y_range[0]))
        width = unit * (x_range[1] - x_range[0])
        height = unit * (y_range[1] - y_range[0])
    sheet = Drawing(width + LEFT + RIGHT, height + TOP + BOTTOM, title)

    def place(u: Any, v: Any) -> list[tuple[float, float]]:
        a = LEFT + (np.asarray(u) - x_range[0]) / (x_range[1] - x_range[0]) * width
        b = TOP + (y_range[1] - np.asarray(v)) / (y_range[1] - y_range[0]) * height
        return [(float(p), float(q)) for p, q in zip(a, np.clip(b, TOP, TOP + height), strict=True)]

    for tick in _ticks(*x_range):
        (at,) = place([tick], [y_range[0]])
        sheet.line([(at[0], TOP), (at[0], TOP + height)], "faint", 0.8)
        sheet.text((at[0], TOP + height + 13), f"{tick:g}", "soft", 11)
    for tick in _ticks(*y_range, whole=log):
        (at,) = place([x_range[0]], [tick])
        sheet.line([(LEFT, at[1]), (LEFT + width, at[1])], "faint", 0.8)
        label = f"1e{tick:g}" if log else f"{tick:g}"
        sheet.text((LEFT - 7, at[1]), label, "soft", 11, "end")
    colours = dict(zip([*lines, *clouds], CYCLE * 3, strict=False))
    for label, (u, v) in clouds.items():
        for at in place(u, v):
            sheet.dot(at, colours[label], 1.8)
    for label, (u, v) in lines.items():
        sheet.line(place(u, v), colours[label], 1.8)
    _legend(sheet, [k for k in colours if k], colours, width)
    sheet.text((LEFT, 13), title, "ink", 13, "start", bold=True)
    sheet.text((LEFT + width / 2, TOP + height + 33), x, "ink", 12)
    sheet.text((4, 27 if title else 13), y, "soft", 11, "start")
    return sheet


def _legend(sheet: Drawing, labels: list[str], colours: Mapping[str, str], width: float) -> None:
    at = LEFT + width
    for label in reversed(labels):
        long = 6.2 * len(label)  # of the widest fonts that pages meet
        sheet.text((at - long, TOP - 8), label, colours[label], 11, "start")
        sheet.dot((at - long - 8, TOP - 8), colours[label], 3)
        at -= long + 22


def _pair(value: Any, log: bool) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(value, tuple):
        u, v = np.asarray(value[0], float), np.asarray(value[1], float)
    else:
        v = np.asarray(value, float)
        u = np.arange(len(v), dtype=float)
    return u, np.log10(v) if log else v


def _range(values: np.ndarray, margin: float) -> tuple[float, float]:
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    spread = (high - low) or abs(high) or 1.0
    return low - margin * spread, high + margin * spread


def _ticks(low: float, high: float, whole: bool = False) -> list[float]:
    """Four to eight round numbers between low and high."""
    step = 10.0 ** math.floor(math.log10((high - low) / 4))
    for factor in (1, 2, 5, 10):
        if (high - low) / (step * factor) <= 7:
            step *= factor
            break
    if whole:
        step = max(1.0, round(step))
    first = math.ceil(low / step)
    return [round(k * step, 12) for k in range(first, math.floor(high / step) + 1)]
