"""Rung 0 of every kernel: the formula, in plain Python loops. This is the specification.

Sums run in float64 whatever the arrays are, and the result is rounded once at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from . import geometry

Array = np.ndarray
Index = tuple[int, ...]


def gemm(a: Array, b: Array, transpose_a: bool = False, transpose_b: bool = False) -> Array:
    """c[…,i,j] = Σ_k a[…,i,k] · b[…,k,j]; a (…, M, K), b (…, K, N), either batch may be missing."""
    batch, m, depth, n = geometry.gemm_shape(a.shape, b.shape, transpose_a, transpose_b)
    a = np.broadcast_to(np.swapaxes(a, -1, -2) if transpose_a else a, (*batch, m, depth))
    b = np.broadcast_to(np.swapaxes(b, -1, -2) if transpose_b else b, (*batch, depth, n))
    c = np.zeros((*batch, m, n))
    for *s, i, j in np.ndindex(c.shape):
        for k in range(depth):
            c[(*s, i, j)] += float(a[(*s, i, k)]) * float(b[(*s, k, j)])
    return c.astype(a.dtype)


def _conv_terms(
    x_shape: Index, w_shape: Index, y_shape: Index, stride: Any, padding: Any, dilation: Any
) -> Iterator[tuple[Index, Index, Index]]:
    """The terms of T(x, w, y) = Σ x[ix]·w[iw]·y[iy] = ⟨y, conv2d(x, w)⟩, as index triples.

    x[n, c + C/g·group(o), i·s+p·d-P, j·s+q·d-P] meets w[o, c, p, q] and y[n, o, i, j].
    """
    height, width = x_shape[2:]
    rows_per_group = w_shape[0] * w_shape[1] // max(x_shape[1], 1)  # O / groups
    for n, o, i, j in np.ndindex(y_shape):
        for c, p, q in np.ndindex(w_shape[1:]):
            h = i * stride[0] + p * dilation[0] - padding[0]
            v = j * stride[1] + q * dilation[1] - padding[1]
            if 0 <= h < height and 0 <= v < width:
                channel = o // rows_per_group * w_shape[1] + c
                yield (n, channel, h, v), (o, c, p, q), (n, o, i, j)


def conv2d(
    x, w, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1
) -> Array:
    """y = ∂T/∂y: y[n,o,i,j] = b[o] + Σ_{c,p,q} x[n,c, i·s+p·d-P, j·s+q·d-P] · w[o,c,p,q]"""
    shape = geometry.conv2d_output(x.shape, w.shape, stride, padding, dilation, groups)
    y = np.zeros(shape)
    for ix, iw, iy in _conv_terms(x.shape, w.shape, shape, stride, padding, dilation):
        y[iy] += float(x[ix]) * float(w[iw])
    if bias is not None:
        y += bias[:, None, None]
    return y.astype(x.dtype)


def conv_transpose2d(
    y, w, bias=None, stride=(1, 1), padding=(0, 0), output_padding=(0, 0), dilation=(1, 1), groups=1
) -> Array:
    """x = ∂T/∂x: x[n,c, i·s+p·d-P, j·s+q·d-P] = b[c] + Σ_{o,i,j,p,q} y[n,o,i,j] · w[o,c,p,q]"""
    shape = geometry.conv_transpose2d_output(
        y.shape, w.shape, stride, padding, output_padding, dilation, groups
    )
    x = np.zeros(shape)
    for ix, iw, iy in _conv_terms(shape, w.shape, y.shape, stride, padding, dilation):
        x[ix] += float(y[iy]) * float(w[iw])
    if bias is not None:
        x += bias[:, None, None]
    return x.astype(y.dtype)


def conv2d_weight(
    x, gy, kernel_size, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1
) -> Array:
    """gw = ∂T/∂w: gw[o,c,p,q] = Σ_{n,i,j} x[n,c, i·s+p·d-P, j·s+q·d-P] · gy[n,o,i,j]"""
    shape = geometry.conv2d_weight_shape(
        x.shape, gy.shape, kernel_size, stride, padding, dilation, groups
    )
    gw = np.zeros(shape)
    for ix, iw, iy in _conv_terms(x.shape, shape, gy.shape, stride, padding, dilation):
        gw[iw] += float(x[ix]) * float(gy[iy])
    return gw.astype(x.dtype)
