"""Rows added up by an index: the gradient of a lookup, such as that of an embedding.

rung 0  reference.deposit    the formula
rung 1  deposit_1_sorted     rows of one index side by side, then one sum for each of them
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray


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
