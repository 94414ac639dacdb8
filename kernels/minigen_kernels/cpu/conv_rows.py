"""Rung 4 of the convolution: the pixels of a row lie across the vector lanes.

    y[o, i, j + l] = Σ_k A[o, k] · x[base(i) + tap(k) + j + l]        k = (c, p, q), 16 pixels l

One image at a time gets a border of zeros, and is small enough to stay in the second-level cache.
Then a tap of 16 pixels is one vector as it lies: nothing is gathered or turned, and y is written
where it belongs. A stride of s apart, the columns j, j + s, … are brought side by side when the
border is made. A stride of one makes conv_transpose2d the same sum with its taps counted backwards.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from .. import empty, geometry
from .contract import steps
from .conv_lanes import pack_weights
from .conv_plans import cuts_of
from .jit import jit
from .jobs import call_helpers
from .lanes import AHEAD
from .row_tiles import dot_shape, dot_tile, pixel_tile
from .share import share
from .simd import Width, next_task, vector_width
from .threads import get_threads

Array = np.ndarray
Pair = tuple[int, int]
DEPTH_BLOCK = 384  # taps of all rows of a tile, which stay in the first-level cache
TASKS = 4  # for each thread, at least
PIXELS = 1024  # of a weight gradient's rows of gy at a time, which stay in the first-level cache

# What the entries of Plan.sizes are.
IMAGES, CHANNELS, HEIGHT, WIDE, PLANE, LINE, S0, S1, LOW0, LOW1 = range(10)
GROUPS, ROWS, DEPTH, OUT_HEIGHT, OUT_WIDE, NUMBERS, REACH, PARTS = range(10, 18)


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """Where everything lies; kept, because training asks for the same sizes again and again."""

    taps: Array  # offset of each tap in the planes, and of a few behind the last that are none
    weight: Array  # offset of each tap's weight from its row's
    row: Array  # where the weights of each row of a group begin
    cuts: Array  # where the tiles that cover the rows begin, and which of heights() each has
    pack: Array  # what pack_weights() asks for
    sizes: Array


def conv2d_4_rows(
    x, w, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1
) -> Array:
    """y[n,o,i,j] = b[o] + Σ_{c,p,q} x[n,c, i·s+p·d-P, j·s+q·d-P] · w[o,c,p,q]"""
    shape = geometry.conv2d_output(x.shape, w.shape, stride, padding, dilation, groups)
    y = empty(shape, x.dtype)
    if y.size == 0 or x.size == 0 or w.size == 0:
        y[...] = 0 if bias is None else bias[:, None, None]
        return y
    width, settings = vector_width(), (tuple(stride), tuple(padding), tuple(dilation))
    plan = _forward(x.shape, w.shape, shape, *settings, width, x.itemsize, get_threads())
    return _multiply(x, w, bias, y, plan, width)


def conv2d_weight_4_rows(
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
    width, settings = vector_width(), (tuple(stride), tuple(padding), tuple(dilation))
    p = _forward(x.shape, shape, gy.shape, *settings, width, x.itemsize, get_threads())
    planes = np.zeros((len(x), int(p.sizes[NUMBERS])), x.dtype)
    share(_spread_all, x.size, np.ascontiguousarray(x).reshape(-1), planes, p.sizes)
    rows, kinds = dot_shape(len(width))
    sums = empty((get_threads(), rows * p.weight.size * len(width) * 8 // x.itemsize), x.dtype)
    images = planes.reshape(-1), np.ascontiguousarray(gy).reshape(-1), gw.reshape(-1), sums
    tables = p.taps, np.array((rows, *kinds)), p.sizes
    share(_sum_over_pixels, gy.size * p.weight.size, width, *images, *tables)
    return gw


def conv_transpose2d_of_rows(y, w, bias, shape, padding, dilation) -> Array:
    """x[n,c, i+p·d-P, j+q·d-P] = b[c] + Σ_{o,i,j,p,q} y[n,o,i,j] · w[o,c,p,q], no size 0.

    `shape` is that of x; no P may be larger than (kernel size - 1)·d.
    """
    x, width = empty(shape, y.dtype), vector_width()
    settings = tuple(padding), tuple(dilation)
    plan = _backward(y.shape, w.shape, shape, *settings, width, y.itemsize, get_threads())
    return _multiply(y, w, bias, x, plan, width)


def _multiply(x: Array, w: Array, bias: Array | None, y: Array, p: Plan, width: Width) -> Array:
    packed, flat = empty(w.size, x.dtype), np.ascontiguousarray(w).reshape(-1)
    first = np.array([0, p.weight.size])
    share(pack_weights, w.size, flat, packed, p.row, p.weight, first, p.cuts, p.pack)
    start = np.zeros(y.shape[1], x.dtype) if bias is None else np.ascontiguousarray(bias)
    # A vector at the end of the last row reads a few numbers beyond it.
    planes = empty((get_threads(), int(p.sizes[NUMBERS]) + len(width) * 8), x.dtype)
    images = np.ascontiguousarray(x).reshape(-1), planes, packed, y.reshape(-1), start
    share(_sum_over_taps, y.size * p.weight.size, width, *images, p.taps, p.cuts, p.sizes)
    return y


@functools.lru_cache(maxsize=64)
def _forward(
    x_shape, w_shape, y_shape, stride, padding, dilation, width, itemsize, threads
) -> Plan:
    rows, depth = w_shape[0] * w_shape[1] // x_shape[1], w_shape[1] * w_shape[2] * w_shape[3]
    taps = [steps(w_shape[2 + a], dilation[a]) for a in (0, 1)]
    lines = steps(depth), steps(rows, depth), rows * depth
    images = x_shape, y_shape, w_shape[1]
    return _plan(*images, taps, padding, stride, lines, width, itemsize, threads)


@functools.lru_cache(maxsize=64)
def _backward(y_shape, w_shape, x_shape, padding, dilation, width, itemsize, threads) -> Plan:
    """The tap p of a pixel h is y[h + P - p·d]."""
    channels, kernel = y_shape[1] * w_shape[1] // x_shape[1], w_shape[2] * w_shape[3]
    taps = [steps(w_shape[2 + a], dilation[a])[::-1] for a in (0, 1)]
    low = tuple(int(taps[a][0]) - padding[a] for a in (0, 1))
    step = w_shape[1] * kernel
    lines = (
        (steps(channels, step)[:, None] + steps(kernel)).reshape(-1),
        steps(w_shape[1], kernel),
        channels * step,
    )
    images = y_shape, x_shape, channels
    return _plan(*images, taps, low, (1, 1), lines, width, itemsize, threads)


def _plan(x_shape, y_shape, channels, taps, low, stride, lines, width, itemsize, threads) -> Plan:
    """The planes of x begin `low` pixels before it; lines: see Plan.weight and Plan.row."""
    weight, row, group_step = lines
    n, size, image = x_shape[0], x_shape[2:], y_shape[2:]
    reach = [(image[a] - 1) * stride[a] + int(taps[a].max()) + 1 for a in (0, 1)]
    plane = [max(low[a] + size[a], reach[a]) for a in (0, 1)]
    line = -(-plane[1] // stride[1])
    phases = stride[1]
    c, p, q = np.meshgrid(np.arange(channels), *taps, indexing="ij")
    offset = ((c * phases + q % phases) * plane[0] + p) * line + q // phases
    offset = np.append(offset.reshape(-1), [0] * AHEAD)
    lanes = len(width) * 8 // itemsize
    pairs = image[0] * -(-image[1] // lanes) // 2  # of vectors, so that tiles are filled
    parts = max(1, min(image[0], pairs, -(-TASKS * threads // n)))
    sizes = (
        *(n, x_shape[1], *size, plane[0], line, *stride, *low),
        *(x_shape[1] // channels, row.size, weight.size, *image),
        *(x_shape[1] * phases * plane[0] * line, int(taps[0].max()) + 1, parts),
    )
    pack = np.array([x_shape[1] // channels, row.size, weight.size, 0, 0, 0, group_step])
    return Plan(offset, weight, row, cuts_of(row.size, width), pack, np.array(sizes, np.int64))


# ---- compiled


@jit(nogil=True)
def _sum_over_taps(counters, width, x, planes, packed, y, bias, taps, cuts, sizes):
    """A task: some lines of one image. Each thread has planes of its own, with a border of 0."""
    call_helpers(counters)
    mine = planes[next_task(counters, 1)]
    mine[:] = 0
    parts, out_height = sizes[PARTS], sizes[OUT_HEIGHT]
    task = next_task(counters, 0)
    while task < sizes[IMAGES] * parts:
        n, part = task // parts, task % parts
        from_, to = part * out_height // parts, (part + 1) * out_height // parts
        _spread(x, mine, n, from_ * sizes[S0], (to - 1) * sizes[S0] + sizes[REACH], sizes)
        for k in range(0, sizes[DEPTH], DEPTH_BLOCK):
            for g in range(sizes[GROUPS]):
                _lines(width, mine, packed, y, bias, taps, cuts, n, from_, to, g, k, sizes)
        task = next_task(counters, 0)


@jit
def _spread(x, planes, n, from_, to, sizes):
    """The lines from_ to `to` of image n in its planes, column j in the phase j mod s."""
    height, wide, line, low = sizes[HEIGHT], sizes[WIDE], sizes[LINE], sizes[LOW1]
    step = sizes[S1]
    first, last = max(from_ - sizes[LOW0], 0), min(to - sizes[LOW0], height)
    for c in range(sizes[CHANNELS]):
        for i in range(first, last):
            source = x[((n * sizes[CHANNELS] + c) * height + i) * wide :][:wide]
            for phase in range(step):
                j0 = (phase - low) % step
                at = ((c * step + phase) * sizes[PLANE] + i + sizes[LOW0]) * line
                target = planes[at + (j0 + low) // step : at + line]
                for j in range((wide - j0 + step - 1) // step):
                    target[j] = source[j0 + j * step]


@jit
def _lines(width, planes, packed, y, bias, taps, cuts, n, from_, to, g, k, sizes):
    """DEPTH_BLOCK taps, from k on, of all pixels of some lines and all rows of a group."""
    lanes = len(width) * 8 // y.itemsize
    rows, depth, wide, line = sizes[ROWS], sizes[DEPTH], sizes[OUT_WIDE], sizes[LINE]
    pixels, count = sizes[OUT_HEIGHT] * wide, min(DEPTH_BLOCK, depth - k)
    vectors, step = (wide + lanes - 1) // lanes, sizes[S0] * line
    in_group = sizes[NUMBERS] // sizes[GROUPS]
    for t in range(len(cuts)):
        i, which = cuts[t, 0], cuts[t, 1]
        height = (cuts[t + 1, 0] if t + 1 < len(cuts) else rows) - i
        a = g * rows * depth + i * depth + k * height
        o = g * rows + i
        c = (n * sizes[GROUPS] * rows + o) * pixels
        for v in range(from_ * vectors, to * vectors, 2):
            h, j = v // vectors, v % vectors * lanes
            b, at, left = h * step + j, h * wide + j, min(lanes, wide - j)
            b_next, c_next, left_next = 0, 0, 0
            if v + 1 < to * vectors:
                h, j = (v + 1) // vectors, (v + 1) % vectors * lanes
                b_next, c_next = h * step + j - b, h * wide + j - at
                left_next = min(lanes, wide - j)
            pixel_tile(
                which, width, count, packed, a, planes, g * in_group + b, b_next, taps, k,
                y, c + at, c_next, pixels, left, left_next, bias, o, k == 0,
            )  # fmt: skip


@jit(nogil=True)
def _spread_all(counters, x, planes, sizes):
    """A task: one image."""
    call_helpers(counters)
    n = next_task(counters, 0)
    while n < sizes[IMAGES]:
        _spread(x, planes[n], n, 0, sizes[PLANE], sizes)
        n = next_task(counters, 0)


@jit(nogil=True)
def _sum_over_pixels(counters, width, planes, gy, gw, sums, taps, shape, sizes):
    """A task: some rows of a group. The lanes are summed in the end, in a part of this thread's."""
    call_helpers(counters)
    mine = sums[next_task(counters, 1)]
    lanes, rows, depth = len(width) * 8 // gw.itemsize, sizes[ROWS], sizes[DEPTH]
    pixels, blocks = sizes[OUT_HEIGHT] * sizes[OUT_WIDE], (rows + shape[0] - 1) // shape[0]
    together = max(1, PIXELS // pixels)
    in_group, of_gy = sizes[NUMBERS] // sizes[GROUPS], sizes[GROUPS] * rows * pixels
    task = next_task(counters, 0)
    while task < sizes[GROUPS] * blocks:
        g, r = task // blocks, task % blocks * shape[0]
        full = r + shape[0] <= rows
        count = shape[0] if full else 1
        for o in range(g * rows + r, g * rows + min(rows, r + shape[0]), count):
            mine[:] = 0
            for n in range(0, sizes[IMAGES], together):
                t, which = 0, 0
                while t < depth:
                    if t + shape[1 + which] > depth:
                        which += 1
                        continue
                    dot_tile(
                        which, full, width, min(together, sizes[IMAGES] - n), sizes[OUT_HEIGHT],
                        sizes[OUT_WIDE], gy, n * of_gy + o * pixels, of_gy, pixels,
                        planes, n * sizes[NUMBERS] + g * in_group, sizes[NUMBERS],
                        sizes[S0] * sizes[LINE], taps, t, mine, t * count * lanes,
                    )  # fmt: skip
                    t += shape[1 + which]
            for t in range(depth):
                for i in range(count):
                    total = gw.dtype.type(0)
                    for j in range(lanes):
                        total += mine[(t * count + i) * lanes + j]
                    gw[(o + i) * depth + t] = total
        task = next_task(counters, 0)
