"""Where everything lies in a convolution with the batch across the lanes: tables of offsets.

Images (N, C, H, W) become planes, one for each channel: (H', W', lanes), with a border of zeros. A
pixel of the result has a place where its taps begin, and each tap an offset from there.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools

import numpy as np

from .contract import steps
from .lanes import VECTORS, heights
from .panels import task_shape
from .simd import Width

Array = np.ndarray
IMAGES = 512  # of some pixels together, which a weight gradient's tile sums: 64 KiB of gy
# What costs a weight gradient as much as so many tiles: to bring x and gy from memory.
READ_X, READ_GY = 0.2, 1.8
Pair = tuple[int, int]


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """How images become planes of lanes."""

    images: Array  # offset of each image
    inside: Array  # offset in a plane of each pixel
    border: Array  # offset in a plane of each vector of lanes outside the image
    sizes: Array  # channels, pixels of an image, numbers in a plane, lanes
    numbers: int  # in all planes


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """All offsets of a product; kept, because training asks for the same sizes again and again."""

    source: Source
    # Of each pixel of the result, where its taps begin in a plane, and its phase; of each phase,
    # its first tap; of each tap, its offset from there, and that of its weight from its row's.
    taps: tuple[Array, ...]
    cuts: Array  # where the tiles that cover the rows begin, and which of heights() each has
    row: Array  # where the weights of each row begin
    lines: tuple[Array, Array]  # the rows and columns of the last transposition
    sizes: Array  # what else the compiled code asks for


def cuts_of(rows: int, width: Width) -> Array:
    """Tiles as tall as heights() has them, until all rows are covered: (tiles, 2)."""
    cuts, at = [], 0
    for which, height in enumerate(heights(len(width))):
        while at + height <= rows:
            cuts.append((at, which))
            at += height
    return np.array(cuts, np.int64)


def _source(shape, low: Pair, plane: Pair, lanes: int) -> Source:
    """Images (N, C, H, W) in planes of this size, their first pixel at `low`."""
    n, channels, height, wide = shape
    padded = -(-n // lanes) * lanes
    inside = (steps(height)[:, None] + low[0]) * plane[1] + steps(wide) + low[1]
    outside = np.setdiff1d(steps(plane[0] * plane[1]), inside)
    numbers = plane[0] * plane[1] * padded
    sizes = np.array([channels, height * wide, numbers, padded])
    images = steps(n, channels * height * wide)
    inside, outside = inside.reshape(-1) * padded, outside * padded
    return Source(images, inside, outside, sizes, channels * numbers)


def _forward_taps(x_shape, w_shape, y_shape, stride, padding, dilation, lanes):
    """A pixel (i, j) begins at (i·s, j·s) of a padded plane, its tap (c, p, q) lies (p·d, q·d) on.

    The plane has all of x, also what no tap reaches.
    """
    image = y_shape[2:]
    reach = [(image[a] - 1) * stride[a] + (w_shape[2 + a] - 1) * dilation[a] + 1 for a in (0, 1)]
    plane = tuple(max(padding[a] + x_shape[2 + a], reach[a]) for a in (0, 1))
    source = _source(x_shape, padding, plane, lanes)
    base = steps(image[0], stride[0])[:, None] * plane[1] + steps(image[1], stride[1])
    c, p, q = np.meshgrid(*(np.arange(n) for n in w_shape[1:]), indexing="ij")
    offset = (c * plane[0] + p * dilation[0]) * plane[1] + q * dilation[1]
    padded, depth = int(source.sizes[3]), offset.size
    places = base.reshape(-1) * padded, np.zeros(base.size, np.int64), np.array([0, depth])
    return source, (*places, offset.reshape(-1) * padded, steps(depth))


@functools.lru_cache(maxsize=64)
def forward_plan(x_shape, w_shape, y_shape, stride, padding, dilation, width, itemsize) -> Plan:
    lanes = len(width) * 8 // itemsize
    source, taps = _forward_taps(x_shape, w_shape, y_shape, stride, padding, dilation, lanes)
    depth, groups = taps[3].size, x_shape[1] // w_shape[1]
    row = steps(w_shape[0] // groups, depth)
    return _plan(source, taps, row, groups, y_shape, row.size * depth, width)


@functools.lru_cache(maxsize=64)
def transposed_plan(y_shape, w_shape, x_shape, stride, padding, dilation, width, itemsize) -> Plan:
    """A pixel h is made of y[i] · w[p] with i·s + p·d = h + P: in the phase r = (h + P) mod s of
    the taps with (p·d) mod s = r, and i = (h + P) div s - (p·d) div s."""
    shift = [(w_shape[2 + a] - 1) * dilation[a] // stride[a] for a in (0, 1)]
    places = [np.arange(x_shape[2 + a]) + padding[a] for a in (0, 1)]
    last = [int(places[a][-1]) // stride[a] for a in (0, 1)]
    plane = tuple(shift[a] + max(y_shape[2 + a], last[a] + 1) for a in (0, 1))
    source = _source(y_shape, tuple(shift), plane, len(width) * 8 // itemsize)
    padded = int(source.sizes[3])
    base = places[0][:, None] // stride[0] * plane[1] + places[1] // stride[1]
    phase = places[0][:, None] % stride[0] * stride[1] + places[1] % stride[1]
    offsets, weights, first = [], [], [0]
    groups, (kh, kw) = x_shape[1] // w_shape[1], w_shape[2:]
    for r0, r1 in itertools.product(range(stride[0]), range(stride[1])):
        p = [p for p in range(kh) if p * dilation[0] % stride[0] == r0]
        q = [q for q in range(kw) if q * dilation[1] % stride[1] == r1]
        for o, i, j in itertools.product(range(y_shape[1] // groups), p, q):
            back = (i * dilation[0] // stride[0], j * dilation[1] // stride[1])
            offsets.append((o * plane[0] + shift[0] - back[0]) * plane[1] + shift[1] - back[1])
            weights.append(o * w_shape[1] * kh * kw + i * kw + j)
        first.append(len(offsets))
    taps = (
        base.reshape(-1) * padded, phase.reshape(-1), np.array(first),
        np.array(offsets, np.int64) * padded, np.array(weights, np.int64),
    )  # fmt: skip
    step = w_shape[0] // groups * w_shape[1] * kh * kw
    return _plan(source, taps, steps(w_shape[1], kh * kw), groups, x_shape, step, width)


def _plan(source, taps, row, groups, shape, group_step, width) -> Plan:
    pixels, lanes = len(taps[0]), int(source.sizes[3])
    in_group = int(source.sizes[0]) // groups * int(source.sizes[2])
    sizes = np.array([groups, row.size, taps[3].size, pixels, lanes, in_group, group_step])
    lines = steps(pixels, lanes), steps(shape[0], shape[1] * pixels)
    return Plan(source, taps, cuts_of(row.size, width), row, lines, sizes)


@functools.lru_cache(maxsize=64)
def weight_plan(
    x_shape, w_shape, y_shape, stride, padding, dilation, width, itemsize, threads
) -> Plan:
    lanes = len(width) * 8 // itemsize
    source, taps = _forward_taps(x_shape, w_shape, y_shape, stride, padding, dilation, lanes)
    n, groups, pixels, depth = y_shape[0], x_shape[1] // w_shape[1], len(taps[0]), taps[3].size
    rows = w_shape[0] // groups
    padded = -(-rows // lanes) * lanes
    cuts, columns = cuts_of(depth, width), -(-padded // (VECTORS * lanes))
    block = task_shape(groups, len(cuts), columns, READ_X, READ_GY, threads)
    together = max(1, IMAGES // n)
    sizes = np.array([n, groups, rows, padded, depth, pixels, source.sizes[2], *block, together])
    lines = steps(rows, pixels), steps(pixels, n * groups * padded)
    return Plan(source, taps, cuts, steps(rows, depth), lines, sizes)
