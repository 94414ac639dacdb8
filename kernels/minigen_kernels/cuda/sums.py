"""Sums over the rows of a matrix on the GPU: which kernel of sums.cu, and how many blocks."""

from __future__ import annotations

import numpy as np

from .. import empty
from .launch import launch, packed, suffix, tiles
from .rows import THREADS, WARP

SOURCE = "sums.cu"
ROWS_PER_PART = 64  # rows that one block adds up, at least: 2, or it would have no end
MOST_PARTS = 64  # into which the rows are cut


def column_sums_1_parts(x):
    """y[j] = Σ_i x[i,j]: parts of the rows, and then the sums of the parts, which are rows again.

    Several short rows count as one long row, so that a warp reads 32 numbers side by side.
    """
    kernel = f"column_sums_1_parts_{suffix('column_sums', x)}"
    rows, width = x.shape
    if not x.size:
        y = empty(width, x.dtype, like=x)
        y[...] = 0
        return y
    joined = max(1, min(WARP // width, rows // WARP))
    each = max(ROWS_PER_PART, tiles(tiles(rows, joined), MOST_PARTS))
    line, parts = joined * width, tiles(rows, joined * each)
    sums = empty((parts * joined, width), x.dtype, like=x)
    grid = tiles(line, WARP), parts
    launch(SOURCE, kernel, grid, THREADS, packed(x), sums, np.int64(x.size), line, np.int64(each))
    return sums[0] if len(sums) == 1 else column_sums_1_parts(sums)
