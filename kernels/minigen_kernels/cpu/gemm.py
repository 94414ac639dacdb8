"""c = a · b, batched, with every transposition.

  rung 0  reference.gemm     the formula
  rung 1  gemm_1_loops       the same loops, compiled; rows shared out to the cores
"""

from __future__ import annotations

import numba
import numpy as np

from .. import empty, geometry
from .jit import jit

Array = np.ndarray


def _as_batches(
    a: Array, b: Array, transpose_a: bool, transpose_b: bool
) -> tuple[Array, Array, Array]:
    """Views a (B, M, K) and b (B, K, N), with B = 1 where a batch is missing, and a new c."""
    batch, m, k, n = geometry.gemm_shape(a.shape, b.shape, transpose_a, transpose_b)
    if transpose_a:
        a = a.swapaxes(-1, -2)
    if transpose_b:
        b = b.swapaxes(-1, -2)
    c = empty((*batch, m, n), a.dtype)
    return a.reshape(-1, m, k) if a.size else a, b.reshape(-1, k, n) if b.size else b, c


def gemm_1_loops(a: Array, b: Array, transpose_a: bool = False, transpose_b: bool = False) -> Array:
    """c[…,i,j] = Σ_k a[…,i,k] · b[…,k,j], as three compiled loops."""
    a, b, c = _as_batches(a, b, transpose_a, transpose_b)
    if a.size == 0 or b.size == 0:
        c[...] = 0
    else:
        _loops(np.ascontiguousarray(a), np.ascontiguousarray(b), c.reshape(-1, *c.shape[-2:]))
    return c


@jit(parallel=True)
def _loops(a, b, c):
    batches, m, n = c.shape
    depth = a.shape[2]
    for row in numba.prange(batches * m):
        s, i = row // m, row % m
        sa, sb = min(s, a.shape[0] - 1), min(s, b.shape[0] - 1)
        c[s, i, :] = 0
        for k in range(depth):
            for j in range(n):
                c[s, i, j] += a[sa, i, k] * b[sb, k, j]
