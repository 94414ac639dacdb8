"""The gradient of a lookup on the GPU: which kernel of deposit.cu, and how many blocks."""

from __future__ import annotations

import numpy as np

from .. import empty
from .launch import launch, packed, suffix, tiles

SOURCE, THREADS, WARP = "deposit.cu", 256, 32
DEPOSIT = np.dtype([(name, "i4") for name in ("A", "R", "K", "size")])


def deposit_1_ballots(y, index, size):
    """x[a,v,k] = Σ_{r: index[r]=v} y[a,r,k], for y (A, R, K) and index (R,) in 0 … size - 1.

    A warp owns each row of x and looks for its places in the index by votes: no atomics.
    """
    kernel = f"deposit_1_ballots_{suffix('deposit', y)}"
    (a, rows, k) = y.shape
    x = empty((a, size, k), y.dtype, like=y)
    if x.size:
        grid = tiles(size, THREADS // WARP) * tiles(a * k, WARP)
        g = np.array([(a, rows, k, size)], DEPOSIT)
        index = packed(index.astype(np.int64, copy=False))
        launch(SOURCE, kernel, grid, THREADS, packed(y), index, x, g)
    return x
