"""Arrays of float32 rounded to bfloat16, for the kernels that copy 16 bytes at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import empty
from .launch import MOST_BLOCKS, launch, tiles

THREADS, WARPS, SQUARE = 256, 8, 32  # of round.cu
CHUNK = 8  # numbers of 16 bytes


def padded(depth: int) -> int:
    """The width of a row of so many numbers: the next multiple of 8."""
    return tiles(depth, CHUNK) * CHUNK


def rounded(x: Any) -> Any:
    """A packed array (batch, rows, depth) in bfloat16, with zeros up to padded(depth)."""
    batch, rows, depth = x.shape
    width = padded(depth)
    y = empty((batch, rows, width), np.uint16, like=x)
    if y.size:
        grid = tiles(batch * rows, WARPS)
        launch("round.cu", "round_n", grid, THREADS, x, y, batch * rows, depth, width)
    return y


def turned(x: Any) -> Any:
    """A packed array (batch, depth, rows) as (batch, rows, padded(depth)) in bfloat16."""
    batch, depth, rows = x.shape
    width = padded(depth)
    y = empty((batch, rows, width), np.uint16, like=x)
    for start in range(0, batch if y.size else 0, MOST_BLOCKS):
        part = slice(start, start + MOST_BLOCKS)
        grid = tiles(rows, SQUARE), tiles(width, SQUARE), len(x[part])
        launch("round.cu", "round_t", grid, THREADS, x[part], y[part], rows, depth, width)
    return y
