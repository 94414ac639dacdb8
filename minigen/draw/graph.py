"""graph(): a small graph in layers, from what is given (left) to what is computed (right)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from .canvas import Drawing

__all__ = ["graph"]

GAP_X, GAP_Y, LINE, MARGIN = 44, 20, 16, 14  # points


def graph(
    nodes: Mapping[Any, Sequence[str]],
    edges: Sequence[tuple[Hashable, Hashable]],
    *,
    title: str = "",
    marked: Sequence[Hashable] = (),
    labels: Mapping[tuple[Hashable, Hashable], str] | None = None,
) -> Drawing:
    """Boxes with lines of text, joined by arrows; no edge may lead back (ValueError).

    nodes   name → its lines of text, the first in bold.
    edges   (from, to): `to` is drawn further right. Two equal edges are drawn side by side.
    marked  nodes in another colour.
    A node stands one layer after the last node it needs; within a layer nodes are ordered by where
    their neighbours are, which removes most crossings of a small graph.
    """
    layer = _layers(nodes, edges)
    columns = _ordered(nodes, edges, layer)
    sizes = {
        k: (max(7.0 * max(map(len, lines), default=1) + 18, 44), LINE * len(lines) + 10)
        for k, lines in nodes.items()
    }
    heights = [sum(sizes[k][1] for k in col) + GAP_Y * (len(col) - 1) for col in columns]
    total = max(heights)
    places: dict[Hashable, tuple[float, float]] = {}
    x = float(MARGIN)
    for column, height in zip(columns, heights, strict=True):
        y, wide = MARGIN + (total - height) / 2, max(sizes[k][0] for k in column)
        for k in column:
            places[k] = (x + (wide - sizes[k][0]) / 2, y)
            y += sizes[k][1] + GAP_Y
        x += wide + GAP_X
    sheet = Drawing(x - GAP_X + MARGIN, total + 2 * MARGIN + (20 if title else 0), title)
    if title:
        sheet.text((MARGIN, total + 2 * MARGIN + 6), title, "soft", 12, "start")
    seen: dict[tuple[Hashable, Hashable], int] = {}
    for edge in edges:
        a, b = edge
        offset = 9.0 * seen.get(edge, 0)
        seen[edge] = seen.get(edge, 0) + 1
        start = (places[a][0] + sizes[a][0], places[a][1] + sizes[a][1] / 2 + offset)
        fan = sorted((e[0] for e in edges if e[1] == b), key=lambda k: places[k][1])
        share = (fan.index(a) + 1 + offset / 9) / (len(fan) + 1)
        end = (places[b][0], places[b][1] + sizes[b][1] * share)
        sheet.arrow(start, end)
        if labels and edge in labels:
            sheet.text(((start[0] + end[0]) / 2, (start[1] + end[1]) / 2 - 7), labels[edge],
                       "orange", 10)
    for k, lines in nodes.items():
        at, size = places[k], sizes[k]
        sheet.box(at, size, "glow" if k in marked else "wash", "orange" if k in marked else "soft")
        for i, line in enumerate(lines):
            middle = (at[0] + size[0] / 2, at[1] + 5 + LINE * (i + 0.5))
            sheet.text(middle, line, "ink" if i == 0 else "soft", 12 if i == 0 else 11,
                       bold=i == 0)
    return sheet


def _layers(
    nodes: Mapping[Any, Sequence[str]], edges: Sequence[tuple[Hashable, Hashable]]
) -> dict[Hashable, int]:
    layer = dict.fromkeys(nodes, 0)
    for _ in range(len(nodes) + 1):
        moved = False
        for a, b in edges:
            if layer[b] <= layer[a]:
                layer[b], moved = layer[a] + 1, True
        if not moved:
            break
    else:
        raise ValueError("graph: an edge leads back, so there is no order to draw the nodes in")
    # What is given stands just before its first use.
    users: dict[Hashable, list[int]] = {}
    for a, b in edges:
        users.setdefault(a, []).append(layer[b])
    sources = set(nodes) - {b for _, b in edges}
    return {k: min(users[k]) - 1 if k in sources and k in users else n for k, n in layer.items()}


def _ordered(
    nodes: Mapping[Any, Sequence[str]],
    edges: Sequence[tuple[Hashable, Hashable]],
    layer: Mapping[Hashable, int],
) -> list[list[Hashable]]:
    columns: list[list[Hashable]] = [[] for _ in range(max(layer.values(), default=0) + 1)]
    for k in nodes:
        columns[layer[k]].append(k)
    columns = [column for column in columns if column]
    near: dict[Hashable, list[Hashable]] = {k: [] for k in nodes}
    for a, b in edges:
        near[a].append(b)
        near[b].append(a)
    for _ in range(6):
        rank = {k: (i + 0.5) / len(col) for col in columns for i, k in enumerate(col)}
        for column in columns:
            wanted = {k: sum(rank[n] for n in near[k]) / len(near[k]) if near[k] else rank[k]
                      for k in column}
            column.sort(key=lambda k: wanted[k])
            rank |= {k: (i + 0.5) / len(column) for i, k in enumerate(column)}
    return columns
