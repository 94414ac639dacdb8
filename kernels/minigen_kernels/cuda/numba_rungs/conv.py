"""conv2d in numba.cuda: a thread to each pixel, then as one product of tiles in shared memory."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ... import geometry, namespace_of
from ..launch import packed, tiles
from .numba_cuda import cuda, launch

TILE = 16  # elements along each side of a tile, and threads along each side of a block


def conv2d_1_naive(x, w, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    """y[n,o,i,j] = b[o] + Σ_{c,p,q} x[n,c, i·s+p·d-P, j·s+q·d-P] · w[o,c,p,q], a thread each."""
    shape = geometry.conv2d_output(x.shape, w.shape, stride, padding, dilation, groups)
    y = _start(x, shape, bias)
    if y.size and w.size:
        settings = (*stride, *padding, *dilation, groups)
        threads = TILE * TILE
        launch(_naive, tiles(y.size, threads), threads, packed(x), packed(w), y, settings)
    return y


def conv2d_2_tiled(x, w, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    """The same as a product of w, O × (c,p,q), with the patches of x, (c,p,q) × (n,i,j).

    No array of patches exists: their elements are computed where a tile is loaded.
    """
    shape = geometry.conv2d_output(x.shape, w.shape, stride, padding, dilation, groups)
    y = _start(x, shape, bias)
    if y.size and w.size:
        pixels = shape[0] * shape[2] * shape[3]
        grid = tiles(pixels, TILE), tiles(shape[1] // groups, TILE), groups
        settings = (*stride, *padding, *dilation, groups)
        kernel = _tiled(np.dtype(x.dtype).name, TILE)
        launch(kernel, grid, (TILE, TILE), packed(x), packed(w), y, settings)
    return y


def _start(x: Any, shape: tuple[int, ...], bias: Any) -> Any:
    """What the sums begin with: the bias, or zeros."""
    y = namespace_of(x).zeros(shape, x.dtype)
    if bias is not None:
        y += bias[:, None, None]
    return y


@cuda.jit(device=True)
def _pixel(x, n, c, row, column):
    """x[n, c, row, column], and 0 outside the image."""
    if 0 <= row < x.shape[2] and 0 <= column < x.shape[3]:
        return x[n, c, row, column]
    return x.dtype.type(0)


@cuda.jit
def _naive(x, w, y, settings):
    sh, sw, ph, pw, dh, dw, groups = settings
    index = cuda.grid(1)
    if index < y.size:
        rows, columns = y.shape[2], y.shape[3]
        j, i = index % columns, index // columns % rows
        o, n = index // (columns * rows) % y.shape[1], index // (columns * rows * y.shape[1])
        first = o // (y.shape[1] // groups) * w.shape[1]  # channel of x that its group begins with
        total = y[n, o, i, j]
        for c in range(w.shape[1]):
            for p in range(w.shape[2]):
                for q in range(w.shape[3]):
                    row, column = i * sh + p * dh - ph, j * sw + q * dw - pw
                    total += _pixel(x, n, first + c, row, column) * w[o, c, p, q]
        y[n, o, i, j] = total


@functools.cache
def _tiled(dtype: str, tile: int) -> Any:
    """The kernel for this type and side: both are constants of the shared arrays."""
    number = np.dtype(dtype)

    @cuda.jit
    def kernel(x, w, y, settings):
        of_w = cuda.shared.array((tile, tile), number)
        of_x = cuda.shared.array((tile, tile), number)
        sh, sw, ph, pw, dh, dw, groups = settings
        pixel, o, group = cuda.grid(3)
        across, down = cuda.threadIdx.x, cuda.threadIdx.y
        rows, columns, filters = y.shape[2], y.shape[3], y.shape[1] // groups
        kh, kw, channels = w.shape[2], w.shape[3], w.shape[1]
        depth = channels * kh * kw
        j, i, n = pixel % columns, pixel // columns % rows, pixel // (columns * rows)
        is_inside = n < y.shape[0] and o < filters
        total = x.dtype.type(0)
        for start in range(0, depth, tile):
            of_w[down, across] = 0
            of_x[down, across] = 0
            k = start + across  # c, p, q counted through, for the tile of w
            if o < filters and k < depth:
                tap = k % (kh * kw)
                of_w[down, across] = w[group * filters + o, k // (kh * kw), tap // kw, tap % kw]
            k = start + down  # and for the tile of patches
            if n < y.shape[0] and k < depth:
                tap = k % (kh * kw)
                row, column = i * sh + tap // kw * dh - ph, j * sw + tap % kw * dw - pw
                c = group * channels + k // (kh * kw)
                of_x[down, across] = _pixel(x, n, c, row, column)
            cuda.syncthreads()
            for k in range(tile):
                total += of_w[down, k] * of_x[k, across]
            cuda.syncthreads()
        if is_inside:
            y[n, group * filters + o, i, j] += total

    return kernel
