"""The convolution trio: three partial derivatives of T(x, w, y) = ⟨y, conv2d(x, w)⟩.

  rung 0  reference          the formula
  rung 1  …_1_direct         the same loops, compiled; each output element has one owner
  rung 2  …_2_patches        a matrix product of patches, by the register tile: contract.py
  rung 3  …_3_lanes          the batch across the vector lanes: conv_lanes.py
  rung 4  …_4_rows           the pixels of a row across the lanes: conv_rows.py
  last    …_chosen           the one of these that suits the shape: conv_choice.py

conv2d and conv2d_weight multiply with the matrix of image patches, which is never stored.
conv_transpose2d multiplies first and then adds the patches up, so that it multiplies no zeros
whatever the stride is.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from .. import empty, geometry
from .contract import Places, Plan, contract, plain, plan, steps
from .jit import jit
from .jobs import call_helpers
from .simd import Width, next_task, vector_width
from .threads import get_threads, on_all_threads

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
        on_all_threads(_conv2d, x, w, y, *stride, *padding, *dilation)
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
        on_all_threads(
            _conv_transpose2d, x, w, y, *stride, *padding, *dilation
        )
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
        on_all_threads(
            _conv2d_weight, x, gw, gy, *stride, *padding, *dilation
        )
    return gw


def conv2d_2_patches(
    x, w, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1
) -> Array:
    """y[n,o,i,j] = b[o] + Σ_{c,p,q} x[n,c, i·s+p·d-P, j·s+q·d-P] · w[o,c,p,q]"""
    shape = geometry.conv2d_output(x.shape, w.shape, stride, padding, dilation, groups)
    y = empty(shape, x.dtype)
    if y.size == 0 or x.size == 0 or w.size == 0:
        y[...] = 0 if bias is None else bias[:, None, None]
        return y
    width = vector_width()
    p = _conv2d_plan(
        *(x.shape, w.shape, shape, tuple(stride), tuple(padding), tuple(dilation)),
        *(bias is not None, width, y.dtype, get_threads()),
    )
    contract(_row(w), _row(x), y.reshape(-1), bias, width, p)
    return y


def conv2d_weight_2_patches(
    x, gy, kernel_size, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1
) -> Array:
    """gw[o,c,p,q] = Σ_{n,i,j} x[n,c, i·s+p·d-P, j·s+q·d-P] · gy[n,o,i,j]"""
    shape = geometry.conv2d_weight_shape(
        x.shape, gy.shape, kernel_size, stride, padding, dilation, groups
    )
    gw = empty(shape, x.dtype)
    if gw.size == 0 or x.size == 0 or gy.size == 0:
        gw[...] = 0
        return gw
    width = vector_width()
    p = _weight_plan(
        *(x.shape, shape, gy.shape, tuple(stride), tuple(padding), tuple(dilation)),
        *(width, gw.dtype, get_threads()),
    )
    contract(_row(gy), _row(x), gw.reshape(-1), None, width, p)
    return gw


def conv_transpose2d_2_patches(
    y, w, bias=None, stride=(1, 1), padding=(0, 0), output_padding=(0, 0), dilation=(1, 1), groups=1
) -> Array:
    """x[n,c, i·s+p·d-P, j·s+q·d-P] = b[c] + Σ_{o,i,j,p,q} y[n,o,i,j] · w[o,c,p,q]"""
    shape = geometry.conv_transpose2d_output(
        y.shape, w.shape, stride, padding, output_padding, dilation, groups
    )
    x = empty(shape, y.dtype)
    if x.size == 0 or y.size == 0 or w.size == 0:
        x[...] = 0 if bias is None else bias[:, None, None]
        return x
    width = vector_width()
    p = _patches_plan(y.shape, w.shape, groups, width, x.dtype, get_threads())
    patches = empty((groups * math.prod(w.shape[1:]), y.size // y.shape[1]), x.dtype)
    contract(_row(w), _row(y), patches.reshape(-1), None, width, p)
    start = np.zeros(shape[1], x.dtype) if bias is None else np.ascontiguousarray(bias)
    sizes = np.array([*w.shape[2:], *y.shape[2:], *stride, *padding, *dilation])
    on_all_threads(_add_patches, x, patches.reshape(-1), start, sizes)
    return x


def _row(x: Array) -> Array:
    return np.ascontiguousarray(x).reshape(-1)


def _sum_of(*lines: Array) -> Array:
    """All sums of one column (3, …) of each, the last running fastest: (3, product of sizes)."""
    total = lines[0]
    for line in lines[1:]:
        total = (total[:, :, None] + line[:, None, :]).reshape(3, -1)
    return total


def _image_axis(size: int, start: int, step: int, offset_step: int, axis: int) -> Array:
    """Offsets and coordinates (3, size) along image axis 1 (h) or 2 (w): start, start + step, …"""
    line = np.zeros((3, size), np.int64)
    line[axis] = start + steps(size, step)
    line[0] = line[axis] * offset_step
    return line


def _patch_places(x_shape, w_shape, y_shape, stride, padding, dilation) -> tuple[Array, Array]:
    """Where x[n, c, i·s+p·d-P, j·s+q·d-P] lies: the parts that (c, p, q) and (n, i, j) decide."""
    _, channels, height, width = x_shape
    taps = _sum_of(
        plain(steps(w_shape[1], height * width)),
        _image_axis(w_shape[2], 0, dilation[0], width, 1),
        _image_axis(w_shape[3], 0, dilation[1], 1, 2),
    )
    pixels = _sum_of(
        plain(steps(x_shape[0], channels * height * width)),
        _image_axis(y_shape[2], -padding[0], stride[0], width, 1),
        _image_axis(y_shape[3], -padding[1], stride[1], 1, 2),
    )
    return taps, pixels


def _pixel_steps(shape) -> Array:
    """Offsets of (n, i, j) in an array (N, C, H, W), at channel 0."""
    pixels = shape[2] * shape[3]
    return (steps(shape[0], shape[1] * pixels)[:, None] + steps(pixels)).reshape(-1)


@functools.lru_cache(maxsize=64)
def _conv2d_plan(
    x_shape, w_shape, y_shape, stride, padding, dilation, bias, width: Width, dtype, threads
) -> Plan:
    """y (O, n·i·j) = w (O, c·p·q) · patches (c·p·q, n·i·j), a batch of groups.

    The places of all elements, cached because training asks for the same sizes again and again.
    `threads` belongs to the key only: plan() shares the work out for that many.
    """
    taps, pixels = _patch_places(x_shape, w_shape, y_shape, stride, padding, dilation)
    groups, image = x_shape[1] // w_shape[1], x_shape[2:]
    rows, depth, area = w_shape[0] // groups, taps.shape[1], y_shape[2] * y_shape[3]
    a = Places(steps(groups, rows * depth), steps(rows, depth), steps(depth))
    b = Places(steps(groups, w_shape[1] * image[0] * image[1]), taps, pixels)
    c = Places(steps(groups, rows * area), steps(rows, area), _pixel_steps(y_shape))
    return plan(a, b, c, image, width, dtype, rows if bias else 0)


@functools.lru_cache(maxsize=64)
def _weight_plan(
    x_shape, w_shape, y_shape, stride, padding, dilation, width: Width, dtype, threads
) -> Plan:
    """gw (O, c·p·q) = gy (O, n·i·j) · patchesᵀ (n·i·j, c·p·q), a batch of groups."""
    taps, pixels = _patch_places(x_shape, w_shape, y_shape, stride, padding, dilation)
    groups, image = x_shape[1] // w_shape[1], x_shape[2:]
    rows, n, area = w_shape[0] // groups, taps.shape[1], y_shape[2] * y_shape[3]
    a = Places(steps(groups, rows * area), steps(rows, area), _pixel_steps(y_shape))
    b = Places(steps(groups, w_shape[1] * image[0] * image[1]), pixels, taps)
    c = Places(steps(groups, rows * n), steps(rows, n), steps(n))
    return plan(a, b, c, image, width, dtype)


@functools.lru_cache(maxsize=64)
def _patches_plan(y_shape, w_shape, groups, width: Width, dtype, threads) -> Plan:
    """patches (c·p·q, n·i·j) = wᵀ (c·p·q, O) · y (O, n·i·j), a batch of groups."""
    rows, depth = math.prod(w_shape[1:]), w_shape[0] // groups
    area, columns = y_shape[2] * y_shape[3], _pixel_steps(y_shape)
    a = Places(steps(groups, depth * rows), steps(rows), steps(depth, rows))
    b = Places(steps(groups, depth * area), plain(steps(depth, area)), plain(columns))
    c = Places(steps(groups, rows * len(columns)), steps(rows, len(columns)), steps(len(columns)))
    return plan(a, b, c, (1, 1), width, dtype)


@jit(nogil=True)
def _add_patches(counters, x, patches, bias, sizes):
    """x[n,c, i·s+p·d-P, j·s+q·d-P] = b[c] + Σ patches[(c,p,q), (n,i,j)]; a task is a plane."""
    call_helpers(counters)
    batch, channels, height, wide = x.shape
    kh, kw, rows, cols = sizes[0], sizes[1], sizes[2], sizes[3]
    task = next_task(counters, 0)
    while task < batch * channels:
        n, c = task // channels, task % channels
        x[n, c] = bias[c]
        for p in range(kh):
            for q in range(kw):
                h, v = p * sizes[8] - sizes[6], q * sizes[9] - sizes[7]
                j0, j1 = _first_inside(v, sizes[5]), _first_outside(v, sizes[5], wide, cols)
                i0, i1 = _first_inside(h, sizes[4]), _first_outside(h, sizes[4], height, rows)
                plane = (((c * kh + p) * kw + q) * batch + n) * rows * cols
                for i in range(i0, i1):
                    line, into = patches[plane + i * cols :], x[n, c, i * sizes[4] + h]
                    for j in range(j0, j1):
                        into[j * sizes[5] + v] += line[j]
        task = next_task(counters, 0)


@jit
def _first_inside(offset, step):
    """The smallest i >= 0 with i·step + offset >= 0."""
    return 0 if offset >= 0 else (-offset + step - 1) // step


@jit
def _first_outside(offset, step, size, count):
    """The smallest i >= 0 with i·step + offset >= size, at most count."""
    return max(0, min(count, (size - offset + step - 1) // step))


@jit(nogil=True)
def _conv2d(counters, x, w, y, s0, s1, p0, p1, d0, d1):
    call_helpers(counters)
    batch, out, rows, cols = y.shape
    in_group = w.shape[1]
    per_group = out * in_group // x.shape[1]
    plane = next_task(counters, 0)
    while plane < batch * out:
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
        plane = next_task(counters, 0)


@jit(nogil=True)
def _conv_transpose2d(counters, x, w, y, s0, s1, p0, p1, d0, d1):
    call_helpers(counters)
    batch, out, rows, cols = y.shape
    in_group = w.shape[1]
    per_group = out * in_group // x.shape[1]
    plane = next_task(counters, 0)
    while plane < batch * x.shape[1]:
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
        plane = next_task(counters, 0)


@jit(nogil=True)
def _conv2d_weight(counters, x, w, y, s0, s1, p0, p1, d0, d1):
    call_helpers(counters)
    batch, out, rows, cols = y.shape
    in_group = w.shape[1]
    per_group = out * in_group // x.shape[1]
    o = next_task(counters, 0)
    while o < out:
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
        o = next_task(counters, 0)
