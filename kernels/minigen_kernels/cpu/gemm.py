"""c = a · b, batched, with every transposition.

rung 0  reference.gemm     the formula
rung 1  gemm_1_loops       the same loops, compiled; rows shared out to the cores
rung 2  gemm_2_blocked     in blocks that stay in the cache
rung 3  gemm_3_vectors     packed panels and a register tile of LLVM vectors: contract.py, simd.py
"""

from __future__ import annotations

import functools

import numpy as np

from .. import empty, geometry
from .contract import Places, Plan, contract, plain, plan, steps
from .jit import jit
from .simd import Width, next_task, vector_width
from .threads import get_threads, on_all_threads

Array = np.ndarray


def gemm_1_loops(a: Array, b: Array, transpose_a: bool = False, transpose_b: bool = False) -> Array:
    """c[…,i,j] = Σ_k a[…,i,k] · b[…,k,j], as three compiled loops."""
    return _in_batches(_loops, a, b, transpose_a, transpose_b)


def gemm_2_blocked(
    a: Array, b: Array, transpose_a: bool = False, transpose_b: bool = False
) -> Array:
    """c[…,i,j] = Σ_k a[…,i,k] · b[…,k,j], block by block: one of b serves many rows of a."""
    return _in_batches(_blocks, a, b, transpose_a, transpose_b)


def gemm_3_vectors(
    a: Array, b: Array, transpose_a: bool = False, transpose_b: bool = False
) -> Array:
    """c[…,i,j] = Σ_k a[…,i,k] · b[…,k,j], from packed panels by a register tile."""
    batch, m, depth, n = geometry.gemm_shape(a.shape, b.shape, transpose_a, transpose_b)
    c = empty((*batch, m, n), a.dtype)
    if c.size == 0 or depth == 0:
        c[...] = 0
        return c
    a, a_turned = _flat(a, transpose_a)
    b, b_turned = _flat(b, transpose_b)
    width, batches = vector_width(), c.size // (m * n)
    shared = a.size == m * depth, b.size == depth * n
    p = _gemm_plan(batches, m, depth, n, a_turned, b_turned, shared, width, c.dtype, get_threads())
    contract(a, b, c.reshape(-1), None, width, p)
    return c


def _flat(x: Array, transpose: bool) -> tuple[Array, bool]:
    """The elements in a row, and whether they lie column by column."""
    if not x.flags.c_contiguous:
        turned = x.swapaxes(-1, -2)
        if turned.flags.c_contiguous:
            return turned.reshape(-1), not transpose
    return np.ascontiguousarray(x).reshape(-1), transpose


@functools.lru_cache(maxsize=64)
def _gemm_plan(
    batches: int,
    m: int,
    depth: int,
    n: int,
    a_turned: bool,
    b_turned: bool,
    shared: tuple[bool, bool],
    width: Width,
    dtype: np.dtype,
    threads: int,
) -> Plan:
    """The places of all elements; cached, because training asks for the same sizes again and again.

    `threads` belongs to the key only: plan() shares the work out for that many.
    """
    a_steps = (1, m) if a_turned else (depth, 1)
    b_steps = (1, depth) if b_turned else (n, 1)
    bases = [
        steps(1 if one else batches, size)
        for one, size in zip(shared, (m * depth, depth * n), strict=True)
    ]
    a = Places(bases[0], steps(m, a_steps[0]), steps(depth, a_steps[1]))
    b = Places(bases[1], plain(steps(depth, b_steps[0])), plain(steps(n, b_steps[1])))
    c = Places(steps(batches, m * n), steps(m, n), steps(n))
    return plan(a, b, c, (1, 1), width, dtype)


def _in_batches(kernel, a: Array, b: Array, transpose_a: bool, transpose_b: bool) -> Array:
    """kernel(counters, a (B, M, K), b (B, K, N), c (B, M, N)), B = 1 where there is no batch."""
    batch, m, depth, n = geometry.gemm_shape(a.shape, b.shape, transpose_a, transpose_b)
    c = empty((*batch, m, n), a.dtype)
    if c.size == 0 or depth == 0:
        c[...] = 0
        return c
    a = np.ascontiguousarray(a.swapaxes(-1, -2) if transpose_a else a)
    b = np.ascontiguousarray(b.swapaxes(-1, -2) if transpose_b else b)
    counters = np.zeros(1, np.int64)
    views = a.reshape(-1, m, depth), b.reshape(-1, depth, n), c.reshape(-1, m, n)
    on_all_threads(kernel, counters, *views)
    return c


@jit(nogil=True)
def _loops(counters, a, b, c):
    batches, m, n = c.shape
    row = next_task(counters, 0)
    while row < batches * m:
        s, i = row // m, row % m
        sa, sb = min(s, a.shape[0] - 1), min(s, b.shape[0] - 1)
        c[s, i, :] = 0
        for k in range(a.shape[2]):
            for j in range(n):
                c[s, i, j] += a[sa, i, k] * b[sb, k, j]
        row = next_task(counters, 0)


@jit(nogil=True)
def _blocks(counters, a, b, c):
    batches, m, n = c.shape
    depth = a.shape[2]
    blocks = (m + 31) // 32
    task = next_task(counters, 0)
    while task < batches * blocks:
        s, i0 = task // blocks, task % blocks * 32
        sa, sb = min(s, a.shape[0] - 1), min(s, b.shape[0] - 1)
        c[s, i0 : i0 + 32, :] = 0
        for j0 in range(0, n, 256):
            for k0 in range(0, depth, 64):
                for i in range(i0, min(i0 + 32, m)):
                    for k in range(k0, min(k0 + 64, depth)):
                        for j in range(j0, min(j0 + 256, n)):
                            c[s, i, j] += a[sa, i, k] * b[sb, k, j]
        task = next_task(counters, 0)
