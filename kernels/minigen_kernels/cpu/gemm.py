"""c = bias + a · b, batched, with every transposition.

rung 0  reference.gemm     the formula
rung 1  gemm_1_loops       the same loops, compiled; rows shared out to the cores
rung 2  gemm_2_blocked     in blocks that stay in the cache
rung 3  gemm_3_vectors     packed panels and a register tile of LLVM vectors: panels.py, lanes.py
"""

from __future__ import annotations

import numpy as np

from .. import empty, geometry
from .jit import jit
from .jobs import call_helpers
from .panels import multiply
from .share import BLOCK, SUM, share
from .simd import next_task, vector_width, widest
from .threads import on_all_threads

Array = np.ndarray


def gemm_1_loops(a, b, transpose_a=False, transpose_b=False, bias=None) -> Array:
    """c[…,i,j] = bias[j] + Σ_k a[…,i,k] · b[…,k,j], as three compiled loops."""
    return _in_batches(_loops, a, b, transpose_a, transpose_b, bias)


def gemm_2_blocked(a, b, transpose_a=False, transpose_b=False, bias=None) -> Array:
    """c[…,i,j] = bias[j] + Σ_k a[…,i,k] · b[…,k,j], block by block: one of b for many rows of a."""
    return _in_batches(_blocks, a, b, transpose_a, transpose_b, bias)


def gemm_3_vectors(a, b, transpose_a=False, transpose_b=False, bias=None) -> Array:
    """c[…,i,j] = bias[j] + Σ_k a[…,i,k] · b[…,k,j], from packed panels by a register tile."""
    batch, m, depth, n = geometry.gemm_shape(a.shape, b.shape, transpose_a, transpose_b)
    c = empty((*batch, m, n), a.dtype)
    if c.size == 0 or depth == 0:
        c[...] = 0 if bias is None else bias
        return c
    a, a_turned = _flat(a, transpose_a)
    b, b_turned = _flat(b, transpose_b)
    a_batch = 0 if a.size == m * depth else m * depth
    b_batch = 0 if b.size == depth * n else depth * n
    if n == 1 and not (a_turned and m > 1):
        start = c.dtype.type(0 if bias is None else bias[0])
        share(_dots, c.size * depth, a, b, a_batch, b_batch, m, depth, start, c.reshape(-1))
        return c
    a_strides = (a_batch, 1, m) if a_turned else (a_batch, depth, 1)
    b_strides = (b_batch, depth, 1) if b_turned else (b_batch, 1, n)
    c_flat = c.reshape(c.size // (m * n), m, n)
    multiply(a, b, c_flat, a_strides, b_strides, depth, bias, vector_width())
    return c


@jit(nogil=True, fastmath=SUM)
def _dots(tasks, a, b, a_batch, b_batch, m, depth, start, c):
    """c[s·m + i] = start + Σ_k a[s; i, k] · b[s; k]: a tile would fill one of its columns."""
    call_helpers(tasks)
    widest()
    step = max(1, BLOCK // depth)
    first = next_task(tasks, 0) * step
    while first < c.size:
        for r in range(first, min(c.size, first + step)):
            x = a[r // m * a_batch + r % m * depth :]
            y = b[r // m * b_batch :]
            total = c.dtype.type(0)
            for k in range(depth):
                total += x[k] * y[k]
            c[r] = start + total
        first = next_task(tasks, 0) * step


def _flat(x: Array, transpose: bool) -> tuple[Array, bool]:
    """The elements in a row, and whether they lie column by column."""
    if not x.flags.c_contiguous:
        turned = x.swapaxes(-1, -2)
        if turned.flags.c_contiguous:
            return turned.reshape(-1), not transpose
    return np.ascontiguousarray(x).reshape(-1), transpose


def _in_batches(kernel, a, b, transpose_a, transpose_b, bias) -> Array:
    """kernel(counters, a (B, M, K), b (B, K, N), c (B, M, N)), B = 1 where there is no batch.

    It adds to what is in c.
    """
    batch, m, depth, n = geometry.gemm_shape(a.shape, b.shape, transpose_a, transpose_b)
    c = empty((*batch, m, n), a.dtype)
    c[...] = 0 if bias is None else bias
    if c.size == 0 or depth == 0:
        return c
    a = np.ascontiguousarray(a.swapaxes(-1, -2) if transpose_a else a)
    b = np.ascontiguousarray(b.swapaxes(-1, -2) if transpose_b else b)
    views = a.reshape(-1, m, depth), b.reshape(-1, depth, n), c.reshape(-1, m, n)
    on_all_threads(kernel, *views)
    return c


@jit(nogil=True)
def _loops(counters, a, b, c):
    call_helpers(counters)
    batches, m, n = c.shape
    row = next_task(counters, 0)
    while row < batches * m:
        s, i = row // m, row % m
        sa, sb = min(s, a.shape[0] - 1), min(s, b.shape[0] - 1)
        for k in range(a.shape[2]):
            for j in range(n):
                c[s, i, j] += a[sa, i, k] * b[sb, k, j]
        row = next_task(counters, 0)


@jit(nogil=True)
def _blocks(counters, a, b, c):
    call_helpers(counters)
    batches, m, n = c.shape
    depth = a.shape[2]
    blocks = (m + 31) // 32
    task = next_task(counters, 0)
    while task < batches * blocks:
        s, i0 = task // blocks, task % blocks * 32
        sa, sb = min(s, a.shape[0] - 1), min(s, b.shape[0] - 1)
        for j0 in range(0, n, 256):
            for k0 in range(0, depth, 64):
                for i in range(i0, min(i0 + 32, m)):
                    for k in range(k0, min(k0 + 64, depth)):
                        for j in range(j0, min(j0 + 256, n)):
                            c[s, i, j] += a[sa, i, k] * b[sb, k, j]
        task = next_task(counters, 0)
