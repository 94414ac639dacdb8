"""Rung 3 of the convolution trio: the batch lies across the vector lanes.

    y[o, p, n] = Σ_k A[o, k] · x[base(p) + tap(k), n]        k = (c, p, q), n = 16 images at a time

The images are turned once from (N, C·H·W) to (C·H·W, N), with a border of zeros; then a tap of a
pixel of 16 images is one vector wherever it lies, and nothing has to be gathered or packed. A
transposed convolution is the same sum, with other taps for each of its s² phases (the pixels
h with equal (h + P) mod s), so no zero between the strides is ever multiplied. The weight gradient
sums over the images of a pixel, with the output channels across the lanes. lanes.py has the tiles.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .. import empty, geometry
from .contract import steps
from .conv_plans import Plan, Source, forward_plan, transposed_plan, weight_plan
from .jit import jit
from .jobs import call_helpers
from .lanes import sum_tile, tap_tile, transpose_block
from .share import inner, share
from .simd import Width, next_task, vector_width
from .threads import get_threads

Array = np.ndarray
DEPTH_BLOCK = 384  # taps of all rows, which come from the second-level cache
PIXEL_BLOCK = 4  # pixels of a task: what is read of A is used by all of them
IMAGES = 2  # vectors of images that go through all stages together: as many as the tile is wide
TAP_BLOCK = 256  # taps of a task that turns the sums of a weight gradient


def conv2d_3_lanes(
    x, w, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1
) -> Array:
    """y[n,o,i,j] = b[o] + Σ_{c,p,q} x[n,c, i·s+p·d-P, j·s+q·d-P] · w[o,c,p,q]"""
    shape = geometry.conv2d_output(x.shape, w.shape, stride, padding, dilation, groups)
    y = empty(shape, x.dtype)
    if y.size == 0 or x.size == 0 or w.size == 0:
        y[...] = 0 if bias is None else bias[:, None, None]
        return y
    width = vector_width()
    settings = tuple(stride), tuple(padding), tuple(dilation)

    def plan_of(n):
        shapes = (n, *x.shape[1:]), w.shape, (n, *shape[1:])
        return forward_plan(*shapes, *settings, width, x.itemsize)

    return _multiply(x, w, bias, y, plan_of, width)


def conv_transpose2d_3_lanes(
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
    settings = tuple(stride), tuple(padding), tuple(dilation)

    def plan_of(n):
        shapes = (n, *y.shape[1:]), w.shape, (n, *shape[1:])
        return transposed_plan(*shapes, *settings, width, y.itemsize)

    return _multiply(y, w, bias, x, plan_of, width)


def conv2d_weight_3_lanes(
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
    settings = tuple(stride), tuple(padding), tuple(dilation)
    plan = weight_plan(x.shape, shape, gy.shape, *settings, width, x.itemsize, get_threads())
    planes, flat = _planes(x, plan.source, width), np.ascontiguousarray(gy).reshape(-1)
    n, groups, rows, padded, depth, pixels = plan.sizes[:6].tolist()
    turned = _finite(pixels * n * groups * padded, x.dtype, padded != rows)
    share(_turn_cotangent, flat.size, width, flat, turned, *plan.lines, plan.sizes)
    sums = np.zeros(groups * depth * padded, x.dtype)
    base, _, _, offset, _ = plan.taps
    tables = base, offset, plan.cuts, plan.sizes
    share(_sum_over_images, gy.size * depth, width, planes, turned, sums, *tables)
    out, lines = gw.reshape(-1), (steps(depth, padded), plan.row)
    share(_turn_sums, out.size, width, sums, out, *lines, plan.sizes)
    return gw


def _multiply(
    x: Array, w: Array, bias: Array | None, y: Array, plan_of: Callable[[int], Plan], width: Width
) -> Array:
    """y = bias + the sum of the taps of plan_of(number of images).

    If there are enough images for all threads, each takes some through all stages, and never waits
    for what is still in another core's cache. Otherwise all threads share each stage.
    """
    flat, threads = np.ascontiguousarray(w).reshape(-1), get_threads()
    together = IMAGES * len(width) * 8 // x.itemsize
    apart = len(x) % (together * threads) == 0
    plan = plan_of(together if apart else len(x))
    base, phase, first, offset, weight = plan.taps
    packed, sizes = empty(w.size, x.dtype), plan.sizes
    share(pack_weights, w.size, flat, packed, plan.row, weight, first, plan.cuts, sizes)
    start = np.zeros(y.shape[1], x.dtype) if bias is None else np.ascontiguousarray(bias)
    tables = base, phase, first, offset, plan.cuts, sizes
    work = y.size * offset.size // (first.size - 1)
    numbers = y.size // len(y) * int(plan.source.sizes[3])
    if apart:
        x, source = np.ascontiguousarray(x).reshape(-1), plan.source
        planes, out = (empty((threads, n), x.dtype) for n in (source.numbers, numbers))
        stage = source.images, source.inside, source.border, source.sizes
        rest = start, *tables, *plan.lines, y.shape[1]
        share(_by_images, work, width, x, planes, packed, out, y.reshape(-1), *stage, *rest)
        return y
    planes, out = _planes(x, plan.source, width), empty(numbers, x.dtype)
    share(_sum_over_taps, work, width, planes, packed, out, start, *tables)
    share(_to_images, y.size, width, out, y.reshape(-1), *plan.lines, y.shape[1])
    return y


def _finite(size: int, dtype: np.dtype, has_gaps: bool) -> Array:
    """New memory; with 0 in its gaps, if it has any.

    They are multiplied as well, though nobody reads the products, and a CPU takes a hundred times
    as long for the subnormal numbers that old memory is full of.
    """
    return np.zeros(size, dtype) if has_gaps else empty(size, dtype)


def _planes(x: Array, source: Source, width: Width) -> Array:
    planes = _finite(source.numbers, x.dtype, len(x) != source.sizes[3])
    flat = np.ascontiguousarray(x).reshape(-1)
    tables = source.images, source.inside, source.border, source.sizes
    share(_to_planes, flat.size, width, flat, planes, *tables)
    return planes


# ---- compiled


@jit(**inner)
def _transpose(width, source, rows, at, target, columns, to):
    """target[columns[j] + to + i] = source[rows[i] + at + j], block by block.

    The last block of an uneven number begins earlier and does some again.
    """
    lanes = len(width) * 8 // source.itemsize
    n, m = rows.size, columns.size
    if n < lanes or m < lanes:
        for i in range(n):
            for j in range(m):
                target[columns[j] + to + i] = source[rows[i] + at + j]
        return
    for i in range(0, n, lanes):
        i0 = min(i, n - lanes)
        for j in range(0, m, lanes):
            j0 = min(j, m - lanes)
            transpose_block(width, source, rows, i0, at + j0, target, columns, j0, to + i0)


@jit(nogil=True)
def _to_planes(counters, width, x, planes, images, inside, border, sizes):
    """A task: one channel of all images."""
    call_helpers(counters)
    c = next_task(counters, 0)
    while c < sizes[0]:
        _plane(width, x, planes, images, inside, border, sizes, c, 0)
        c = next_task(counters, 0)


@jit(**inner)
def _plane(width, x, planes, images, inside, border, sizes, c, first):
    """Channel c of the images from where the first begins in x."""
    at = c * sizes[2]
    for b in range(border.size):
        start = at + border[b]
        planes[start : start + sizes[3]] = 0
    _transpose(width, x, images, first + c * sizes[1], planes, inside, at)


@jit(nogil=True)
def _to_images(counters, width, out, y, pixels, images, channels):
    """A task: one channel of all images."""
    call_helpers(counters)
    o = next_task(counters, 0)
    while o < channels:
        at = o * (out.size // channels)
        _transpose(width, out, pixels, at, y, images, o * pixels.size)
        o = next_task(counters, 0)


@jit(nogil=True)
def pack_weights(counters, w, packed, row, weight, first, cuts, sizes):
    """A task: the weights of one tile of rows, tap after tap, for all phases of one group."""
    call_helpers(counters)
    groups, rows, depth = sizes[0], sizes[1], sizes[2]
    tiles = len(cuts)
    task = next_task(counters, 0)
    while task < groups * tiles:
        g, t = task // tiles, task % tiles
        i0 = cuts[t, 0]
        height = (cuts[t + 1, 0] if t + 1 < tiles else rows) - i0
        for phase in range(first.size - 1):
            k0, k1 = first[phase], first[phase + 1]
            at = (g * depth + k0) * rows + i0 * (k1 - k0)
            for k in range(k1 - k0):  # for each row, a channel's taps are in one line of memory
                base = g * sizes[6] + weight[k0 + k]
                for i in range(height):
                    packed[at + k * height + i] = w[base + row[i0 + i]]
        task = next_task(counters, 0)


@jit(nogil=True)
def _sum_over_taps(
    counters, width, planes, packed, out, bias, base, phase, first, offset, cuts, sizes
):
    """A task: some pixels of one group, all rows and all images."""
    call_helpers(counters)
    tasks, task = _blocks(sizes), next_task(counters, 0)
    while task < tasks:
        _sum_block(width, planes, packed, out, bias, base, phase, first, offset, cuts, sizes, task)
        task = next_task(counters, 0)


@jit(**inner)
def _blocks(sizes):
    """How many blocks of pixels there are, in all groups."""
    return sizes[0] * ((sizes[3] + PIXEL_BLOCK - 1) // PIXEL_BLOCK)


@jit(**inner)
def _sum_block(width, planes, packed, out, bias, base, phase, first, offset, cuts, sizes, block):
    """Some pixels of one group, all rows and all images."""
    rows, depth, pixels, images = sizes[1], sizes[2], sizes[3], sizes[4]
    blocks = (pixels + PIXEL_BLOCK - 1) // PIXEL_BLOCK
    g, from_ = block // blocks, block % blocks * PIXEL_BLOCK
    to, a_group = min(pixels, from_ + PIXEL_BLOCK), g * depth * rows
    for k in range(0, depth, DEPTH_BLOCK):
        for p in range(from_, to):
            k0 = first[phase[p]]
            taps = first[phase[p] + 1] - k0
            if k < taps or k == 0:
                _sum_pixel(
                    width, planes, packed, out, bias, offset, cuts, rows, images,
                    g * sizes[5] + base[p], a_group + k0 * rows, taps, k0, k,
                    g * rows, (g * rows * pixels + p) * images, pixels * images,
                )  # fmt: skip


@jit(nogil=True)
def _by_images(
    counters, width, x, planes, packed, out, y, images, inside, border, source_sizes,
    bias, base, phase, first, offset, cuts, sizes, pixels, places, channels,
):  # fmt: skip
    """A task: some images, through all stages, in a part of planes and out of this thread's own."""
    call_helpers(counters)
    n, of_x, of_y = images.size, source_sizes[0] * source_sizes[1], channels * pixels.size
    mine = next_task(counters, 1)
    planes_, out_ = planes[mine], out[mine]
    task = next_task(counters, 0)
    while task * n * of_y < y.size:
        for c in range(source_sizes[0]):
            _plane(width, x, planes_, images, inside, border, source_sizes, c, task * n * of_x)
        for block in range(_blocks(sizes)):
            _sum_block(
                width, planes_, packed, out_, bias, base, phase, first, offset, cuts, sizes, block
            )
        for o in range(channels):
            at, to = o * (out_.size // channels), task * n * of_y + o * pixels.size
            _transpose(width, out_, pixels, at, y, places, to)
        task = next_task(counters, 0)


@jit(**inner)
def _sum_pixel(
    width, planes, packed, out, bias, offset, cuts, rows, images,
    b_at, a_at, taps, k0, k, bias_at, c_at, c_row,
):  # fmt: skip
    """The taps from k on, at most DEPTH_BLOCK, of one pixel of all images and rows of a group."""
    lanes = len(width) * 8 // out.itemsize
    if taps == 0:
        for i in range(rows):
            out[c_at + i * c_row : c_at + i * c_row + images] = bias[bias_at + i]
        return
    count, n = min(DEPTH_BLOCK, taps - k), 0
    while n < images:
        two = n + 2 * lanes <= images
        for t in range(len(cuts)):
            i, which = cuts[t, 0], cuts[t, 1]
            height = (cuts[t + 1, 0] if t + 1 < len(cuts) else rows) - i
            tap_tile(
                which, two, width, count, packed, a_at + i * taps + k * height, planes, b_at + n,
                offset, k0 + k, out, c_at + i * c_row + n, c_row, bias, bias_at + i, k == 0,
            )  # fmt: skip
        n += 2 * lanes if two else lanes


@jit(nogil=True)
def _turn_cotangent(counters, width, gy, turned, rows, columns, sizes):
    """(N, groups · rows, pixels) → (pixels, N, groups · padded rows). A task: one image."""
    call_helpers(counters)
    n, groups, padded, pixels = sizes[0], sizes[1], sizes[3], sizes[5]
    task = next_task(counters, 0)
    while task < n:
        for g in range(groups):
            at, to = (task * groups + g) * rows.size * pixels, (task * groups + g) * padded
            _transpose(width, gy, rows, at, turned, columns, to)
        task = next_task(counters, 0)


@jit(nogil=True)
def _sum_over_images(counters, width, planes, turned, sums, base, offset, cuts, sizes):
    """A task: some tiles of taps and of output channels, over all pixels."""
    call_helpers(counters)
    images, groups, padded, depth = sizes[0], sizes[1], sizes[3], sizes[4]
    high, across, together = sizes[7], sizes[8], sizes[9]
    lanes = len(width) * 8 // sums.itemsize
    wide = across * 2 * lanes
    columns, blocks = (padded + wide - 1) // wide, (len(cuts) + high - 1) // high
    channels = (planes.size // sizes[6]) // groups
    task = next_task(counters, 0)
    while task < groups * columns * blocks:
        g, from_ = task // (columns * blocks), task // blocks % columns * wide
        at, first = g * channels * sizes[6], task % blocks * high
        for p in range(0, sizes[5], together):
            pixels, row = min(together, sizes[5] - p), (p * images * groups + g) * padded
            for o in range(from_, min(padded, from_ + wide), 2 * lanes):
                for t in range(first, min(len(cuts), first + high)):
                    r, which = cuts[t, 0], cuts[t, 1]
                    sum_tile(
                        which, o + 2 * lanes <= padded, width, pixels, images, planes, at, base, p,
                        offset, r, turned, row + o, groups * padded,
                        sums, (g * depth + r) * padded + o, padded,
                    )  # fmt: skip
        task = next_task(counters, 0)


@jit(nogil=True)
def _turn_sums(counters, width, sums, gw, rows, columns, sizes):
    """(groups, taps, padded rows) → (groups, rows, taps). A task: some taps of one group."""
    call_helpers(counters)
    blocks = (sizes[4] + TAP_BLOCK - 1) // TAP_BLOCK
    task = next_task(counters, 0)
    while task < sizes[1] * blocks:
        g, tap = task // blocks, task % blocks * TAP_BLOCK
        at, to = g * sizes[4] * sizes[3], g * sizes[2] * sizes[4] + tap
        _transpose(width, sums, rows[tap : tap + TAP_BLOCK], at, gw, columns, to)
        task = next_task(counters, 0)
