"""Rows added up by an index: the gradient of a lookup, such as that of an embedding.

rung 0  reference.deposit    the formula
rung 1  deposit_1_sorted     rows of one index side by side, then one sum for each of them
rung 2  deposit_2_straight   one pass over y, each row added where it belongs
"""

from __future__ import annotations

import numpy as np

from .jit import jit
from .jobs import call_helpers
from .share import share
from .simd import next_task

Array = np.ndarray
COLUMNS = 64  # of a task, which owns them: 256 bytes of a row, so that no two write to one line


def deposit_1_sorted(y: Array, index: Array, size: int) -> Array:
    """x[a,v,k] = Σ_{r: index[r]=v} y[a,r,k], for y (A, R, K) and index (R,) in 0 … size - 1."""
    x = np.zeros((y.shape[0], size, y.shape[2]), y.dtype)
    if not y.size:
        return x
    if (index[1:] < index[:-1]).any():
        order = index.argsort(kind="stable")
        index, y = index[order], y.take(order, 1)
    starts = np.flatnonzero(np.concatenate(([True], index[1:] != index[:-1])))
    x[:, index[starts]] = np.add.reduceat(y, starts, 1)
    return x


def deposit_2_straight(y: Array, index: Array, size: int) -> Array:
    """x[a,v,k] = Σ_{r: index[r]=v} y[a,r,k], the terms added in the order of r."""
    y = np.ascontiguousarray(y)
    x = np.zeros((y.shape[0], size, y.shape[2]), y.dtype)
    share(_straight, y.size, y, np.ascontiguousarray(index), x)
    return x


@jit(nogil=True)
def _straight(tasks, y, index, x):
    call_helpers(tasks)
    images, rows, width = y.shape
    blocks = (width + COLUMNS - 1) // COLUMNS
    task = next_task(tasks, 0)
    while task < images * blocks:
        a, first = task // blocks, task % blocks * COLUMNS
        for r in range(rows):
            source = y[a, r, first : first + COLUMNS]
            target = x[a, index[r], first : first + COLUMNS]
            for k in range(source.size):
                target[k] += source[k]
        task = next_task(tasks, 0)
