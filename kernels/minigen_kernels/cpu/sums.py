"""y[j] = Σ_i x[i,j], the gradient of what was added to every row, such as a bias.

rung 0  reference.column_sums    the formula
rung 1  column_sums_1_parts      parts of the rows, four rows at a time; sums in float64
"""

from __future__ import annotations

import numpy as np

from .jit import jit
from .jobs import call_helpers
from .share import SMALL, share
from .simd import next_task

Array = np.ndarray
COLUMNS = 1024  # of a task: their sums stay in the first-level cache
NARROW = 128  # numbers below which a row is joined with the next, for loops that are long enough
MOST_PARTS = 16  # of the rows; it does not follow the number of threads, so that the bits do not


def column_sums_1_parts(x: Array) -> Array:
    """y[j] = Σ_i x[i,j]; x (M, N), y (N,).

    Several short rows count as one long row, whose sums are then those of several rows.
    """
    rows, width = x.shape
    if not x.size:
        return np.zeros(width, x.dtype)
    line = width * max(1, min(rows, NARROW // width))
    parts = max(1, min(MOST_PARTS, x.size // line * min(line, COLUMNS) // SMALL))
    sums = np.zeros((parts, line))
    share(_column_sums, x.size, np.ascontiguousarray(x).reshape(-1), sums)
    sums = sums.reshape(-1, width)
    return (sums.sum(axis=0) if len(sums) > 1 else sums[0]).astype(x.dtype)


@jit(nogil=True)
def _column_sums(tasks, x, sums):
    call_helpers(tasks)
    parts, width = sums.shape
    rows = (x.size + width - 1) // width  # the last may be short
    blocks = (width + COLUMNS - 1) // COLUMNS
    task = next_task(tasks, 0)
    while task < parts * blocks:
        part, first = task // blocks, task % blocks * COLUMNS
        total = sums[part, first : first + COLUMNS]
        n = total.size
        r, end = part * rows // parts, (part + 1) * rows // parts
        while r < end:
            at = r * width + first
            if r + 4 <= end and at + 3 * width + n <= x.size:
                a, b = x[at : at + n], x[at + width : at + width + n]
                at += 2 * width
                c, d = x[at : at + n], x[at + width : at + width + n]
                for j in range(n):
                    lower = np.float64(a[j]) + np.float64(b[j])
                    total[j] += lower + (np.float64(c[j]) + np.float64(d[j]))
                r += 4
            else:
                a = x[at : at + n]
                for j in range(a.size):
                    total[j] += a[j]
                r += 1
        task = next_task(tasks, 0)
