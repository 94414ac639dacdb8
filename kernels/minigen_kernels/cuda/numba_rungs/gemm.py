"""c[…,i,j] = bias[j] + Σ_k a[…,i,k] · b[…,k,j] in numba.cuda, naive and by tiles."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ... import empty, geometry, namespace_of
from ..launch import packed, tiles
from .numba_cuda import cuda, launch

TILE = 16  # elements along each side of a tile, and threads along each side of a block


def gemm_1_naive(a, b, transpose_a=False, transpose_b=False, bias=None):
    """c = bias + a·b; a thread to each element reads a row of a and a column of b by itself."""
    return _gemm(_naive, a, b, transpose_a, transpose_b, bias)


def gemm_2_tiled(a, b, transpose_a=False, transpose_b=False, bias=None):
    """c = bias + a·b; a block makes TILE × TILE elements, each number read TILE times less."""
    return _gemm(_tiled(np.dtype(a.dtype).name, TILE), a, b, transpose_a, transpose_b, bias)


def _gemm(kernel: Any, a: Any, b: Any, transpose_a: bool, transpose_b: bool, bias: Any) -> Any:
    batch, m, _, n = geometry.gemm_shape(a.shape, b.shape, transpose_a, transpose_b)
    c, xp = empty((*batch, m, n), a.dtype, like=a), namespace_of(a)
    start = xp.zeros(n, c.dtype) if bias is None else packed(bias.astype(c.dtype, copy=False))
    if not a.size or not b.size:
        c[...] = start
    elif c.size:
        a = packed(xp.swapaxes(a, -1, -2) if transpose_a else a)
        b = packed(xp.swapaxes(b, -1, -2) if transpose_b else b)
        a, b, out = (x.reshape(-1, *x.shape[-2:]) for x in (a, b, c))
        grid = tiles(n, TILE), tiles(m, TILE), len(out)
        launch(kernel, grid, (TILE, TILE), a, b, start, out)
    return c


@cuda.jit
def _naive(a, b, bias, c):
    j, i, s = cuda.grid(3)
    if i < c.shape[1] and j < c.shape[2]:
        of_a = s if a.shape[0] > 1 else 0  # one matrix may serve the whole batch
        of_b = s if b.shape[0] > 1 else 0
        total = c.dtype.type(0)
        for k in range(a.shape[2]):
            total += a[of_a, i, k] * b[of_b, k, j]
        c[s, i, j] = bias[j] + total


@functools.cache
def _tiled(dtype: str, tile: int) -> Any:
    """The kernel for this type and side: both are constants of the shared arrays."""
    number = np.dtype(dtype)

    @cuda.jit
    def kernel(a, b, bias, c):
        # One declaration a line: the simulator tells shared arrays apart by their line.
        of_a = cuda.shared.array((tile, tile), number)
        of_b = cuda.shared.array((tile, tile), number)
        j, i, s = cuda.grid(3)
        x, y = cuda.threadIdx.x, cuda.threadIdx.y
        batch_a = s if a.shape[0] > 1 else 0
        batch_b = s if b.shape[0] > 1 else 0
        depth = a.shape[2]
        total = c.dtype.type(0)
        for start in range(0, depth, tile):
            # What lies outside becomes 0; all threads of the block come to both barriers.
            inside_a = i < c.shape[1] and start + x < depth
            inside_b = j < c.shape[2] and start + y < depth
            of_a[y, x] = a[batch_a, i, start + x] if inside_a else 0
            of_b[y, x] = b[batch_b, start + y, j] if inside_b else 0
            cuda.syncthreads()
            for k in range(tile):
                total += of_a[y, k] * of_b[k, x]
            cuda.syncthreads()
        if i < c.shape[1] and j < c.shape[2]:
            c[s, i, j] = bias[j] + total

    return kernel
