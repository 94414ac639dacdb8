"""The convolution trio: three partial derivatives of T(x, w, y) = ⟨y, conv2d(x, w)⟩.

  rung 0  reference          the formula
  rung 1  …_1_direct         the same loops, compiled; each output element has one owner
"""

from __future__ import annotations

import numba
import numpy as np

from .. import empty, geometry
from .jit import jit

Array = np.ndarray


def conv2d_1_direct(
    x, w, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1
) -> Array:
    """y[n,o,i,j] = b[o] + Σ_{c,p,q} x[n,c, i·s+p·d-P, j·s+q·d-P] · w[o,c,p,q]"""
    shape = geometry.conv2d_output(x.shape, w.shape, stride, padding, dilation, groups)
    y = empty(shape, x.dtype)
    y[...] = 0 if bias is None else bias[:, None, None]
    if x.size and w.size:
        x, w = np.ascontiguousarray(x), np.ascontiguousarray(w)
        _conv2d(x, w, y, *stride, *padding, *dilation)
    return y


def conv_transpose2d_1_direct(
    y, w, bias=None, stride=(1, 1), padding=(0, 0), output_padding=(0, 0), dilation=(1, 1), groups=1
) -> Array:
    """x[n,c, i·s+p·d-P, j·s+q·d-P] = b[c] + Σ_{o,i,j,p,q} y[n,o,i,j] · w[o,c,p,q]"""
    shape = geometry.conv_transpose2d_output(
        y.shape, w.shape, stride, padding, output_padding, dilation, groups
    )
    x = empty(shape, y.dtype)
    x[...] = 0 if bias is None else bias[:, None, None]
    if y.size and w.size:
        y, w = np.ascontiguousarray(y), np.ascontiguousarray(w)
        _conv_transpose2d(x, w, y, *stride, *padding, *dilation)
    return x


def conv2d_weight_1_direct(
    x, gy, kernel_size, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1
) -> Array:
    """gw[o,c,p,q] = Σ_{n,i,j} x[n,c, i·s+p·d-P, j·s+q·d-P] · gy[n,o,i,j]"""
    shape = geometry.conv2d_weight_shape(
        x.shape, gy.shape, kernel_size, stride, padding, dilation, groups
    )
    gw = empty(shape, x.dtype)
    gw[...] = 0
    if x.size and gy.size:
        x, gy = np.ascontiguousarray(x), np.ascontiguousarray(gy)
        _conv2d_weight(x, gw, gy, *stride, *padding, *dilation)
    return gw


@jit
def _first_inside(offset, step):
    """The smallest i >= 0 with i·step + offset >= 0."""
    return 0 if offset >= 0 else (-offset + step - 1) // step


@jit
def _first_outside(offset, step, size, count):
    """The smallest i >= 0 with i·step + offset >= size, at most count."""
    return max(0, min(count, (size - offset + step - 1) // step))


@jit(parallel=True)
def _conv2d(x, w, y, s0, s1, p0, p1, d0, d1):
    batch, out, rows, cols = y.shape
    in_group = w.shape[1]
    per_group = out * in_group // x.shape[1]
    for plane in numba.prange(batch * out):
        n, o = plane // out, plane % out
        for c in range(in_group):
            channel = o // per_group * in_group + c
            for p in range(w.shape[2]):
                for q in range(w.shape[3]):
                    h, v = p * d0 - p0, q * d1 - p1
                    j0, j1 = _first_inside(v, s1), _first_outside(v, s1, x.shape[3], cols)
                    for i in range(_first_inside(h, s0), _first_outside(h, s0, x.shape[2], rows)):
                        for j in range(j0, j1):
                            y[n, o, i, j] += x[n, channel, i * s0 + h, j * s1 + v] * w[o, c, p, q]


@jit(parallel=True)
def _conv_transpose2d(x, w, y, s0, s1, p0, p1, d0, d1):
    batch, out, rows, cols = y.shape
    in_group = w.shape[1]
    per_group = out * in_group // x.shape[1]
    for plane in numba.prange(batch * x.shape[1]):
        n, channel = plane // x.shape[1], plane % x.shape[1]
        group, c = channel // in_group, channel % in_group
        for o in range(group * per_group, (group + 1) * per_group):
            for p in range(w.shape[2]):
                for q in range(w.shape[3]):
                    h, v = p * d0 - p0, q * d1 - p1
                    j0, j1 = _first_inside(v, s1), _first_outside(v, s1, x.shape[3], cols)
                    for i in range(_first_inside(h, s0), _first_outside(h, s0, x.shape[2], rows)):
                        for j in range(j0, j1):
                            x[n, channel, i * s0 + h, j * s1 + v] += y[n, o, i, j] * w[o, c, p, q]


@jit(parallel=True)
def _conv2d_weight(x, w, y, s0, s1, p0, p1, d0, d1):
    batch, out, rows, cols = y.shape
    in_group = w.shape[1]
    per_group = out * in_group // x.shape[1]
    for o in numba.prange(out):
        for c in range(in_group):
            channel = o // per_group * in_group + c
            for p in range(w.shape[2]):
                for q in range(w.shape[3]):
                    h, v = p * d0 - p0, q * d1 - p1
                    j0, j1 = _first_inside(v, s1), _first_outside(v, s1, x.shape[3], cols)
                    total = w[o, c, p, q]
                    for n in range(batch):
                        for i in range(
                            _first_inside(h, s0), _first_outside(h, s0, x.shape[2], rows)
                        ):
                            for j in range(j0, j1):
                                total += x[n, channel, i * s0 + h, j * s1 + v] * y[n, o, i, j]
                    w[o, c, p, q] = total
