"""The last rung of the convolution trio: one product, patches, lanes or rows, as suits a shape.

Where the kernel is as large as the image, there is one pixel and all is a product of two matrices;
where it is one pixel large and steps by one, each image is a matrix that the weights multiply.

Lanes waste what a batch leaves of its last vector, and multiply zeros where a kernel reaches far
beyond a small image; rows waste what a line of pixels leaves of its last vector; patches must
gather their matrix, which is dear unless many rows use it. The costs are counted in vectors of
multiply-adds; the weights of the other moves were fitted to timings on one CPU with AVX-512. The
choice depends on shapes and vector width alone, so results do too.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from .. import geometry
from .conv import conv2d_2_patches, conv2d_weight_2_patches, conv_transpose2d_2_patches
from .conv_lanes import conv2d_3_lanes, conv2d_weight_3_lanes, conv_transpose2d_3_lanes
from .conv_rows import conv2d_4_rows, conv2d_weight_4_rows, conv_transpose2d_of_rows
from .gemm import gemm_3_vectors
from .jit import jit
from .jobs import call_helpers
from .share import BLOCK, share
from .simd import next_task, tile_shape, vector_width

Array = np.ndarray
# A vector gathered, copied, added elsewhere, transposed, copied into a border
GATHER, COPY, ADD, TURN, SPREAD = 50, 16, 16, 24, 24
ALONE = 0.6  # what a vector costs more if its tile is one vector wide
DOT = 1.2  # a vector of multiply-adds of which both factors are vectors


def conv2d_5_chosen(
    x, w, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1
) -> Array:
    """y[n,o,i,j] = b[o] + Σ_{c,p,q} x[n,c, i·s+p·d-P, j·s+q·d-P] · w[o,c,p,q]"""
    shape = geometry.conv2d_output(x.shape, w.shape, stride, padding, dilation, groups)
    if _one_pixel(x.shape, w.shape, padding, groups):
        return gemm_3_vectors(_flat(x), _flat(w), transpose_b=True, bias=bias).reshape(shape)
    if _pointwise(w.shape, stride, padding, groups):
        y = gemm_3_vectors(_flat(w), _images(x)).reshape(shape)
        return y if bias is None else _add_bias(y, bias)
    tile = tile_shape(vector_width(), x.dtype)
    costs = _forward_costs(x.shape, w.shape, shape, groups, stride[1], tile)
    kernel = (conv2d_2_patches, conv2d_3_lanes, conv2d_4_rows)[costs.index(min(costs))]
    return kernel(x, w, bias, stride, padding, dilation, groups)


def conv_transpose2d_4_chosen(
    y, w, bias=None, stride=(1, 1), padding=(0, 0), output_padding=(0, 0), dilation=(1, 1), groups=1
) -> Array:
    """x[n,c, i·s+p·d-P, j·s+q·d-P] = b[c] + Σ_{o,i,j,p,q} y[n,o,i,j] · w[o,c,p,q]"""
    shape = geometry.conv_transpose2d_output(
        y.shape, w.shape, stride, padding, output_padding, dilation, groups
    )
    if y.shape[2:] == (1, 1) and _one_pixel(shape, w.shape, padding, groups):
        each = None if bias is None else np.repeat(bias, math.prod(shape[2:]))
        return gemm_3_vectors(_flat(y), _flat(w), bias=each).reshape(shape)
    if _pointwise(w.shape, stride, padding, groups) and shape[2:] == y.shape[2:]:
        x = gemm_3_vectors(_flat(w), _images(y), transpose_a=True).reshape(shape)
        return x if bias is None else _add_bias(x, bias)
    tile = tile_shape(vector_width(), y.dtype)
    costs = _transposed_costs(y.shape, w.shape, shape, groups, math.prod(stride), tile)
    within = all(p <= d * (k - 1) for p, d, k in zip(padding, dilation, w.shape[2:], strict=True))
    plain = (*stride, *output_padding) == (1, 1, 0, 0) and within and y.size * w.size > 0
    if plain and costs[2] == min(costs):
        return conv_transpose2d_of_rows(y, w, bias, shape, padding, dilation)
    kernel = conv_transpose2d_2_patches if costs[0] < costs[1] else conv_transpose2d_3_lanes
    return kernel(y, w, bias, stride, padding, output_padding, dilation, groups)


def conv2d_weight_5_chosen(
    x, gy, kernel_size, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1
) -> Array:
    """gw[o,c,p,q] = Σ_{n,i,j} x[n,c, i·s+p·d-P, j·s+q·d-P] · gy[n,o,i,j]"""
    shape = geometry.conv2d_weight_shape(
        x.shape, gy.shape, kernel_size, stride, padding, dilation, groups
    )
    if _one_pixel(x.shape, shape, padding, groups):
        return gemm_3_vectors(_flat(gy), _flat(x), transpose_a=True).reshape(shape)
    if _pointwise(shape, stride, padding, groups):
        each = gemm_3_vectors(_images(gy), _images(x), transpose_b=True)
        return each.sum(0).reshape(shape)
    width, rows = vector_width(), shape[0] // groups
    lanes = tile_shape(width, x.dtype)[1] // 2
    # The output channels lie across the lanes there, and half of a vector must be of use.
    kernel = conv2d_weight_2_patches
    if 2 * rows >= lanes and len(x) >= lanes:
        kernel = conv2d_weight_3_lanes
    # Without registers for masks, a part of a vector is read number by number.
    if len(width) > 2 and _weight_by_rows(x.shape, shape, gy.shape, stride[1], lanes):
        kernel = conv2d_weight_4_rows
    return kernel(x, gy, kernel_size, stride, padding, dilation, groups)


def _one_pixel(x_shape, w_shape, padding, groups) -> bool:
    """Whether the kernel covers the whole image, so that conv2d's result is one pixel."""
    return x_shape[2:] == w_shape[2:] and tuple(padding) == (0, 0) and groups == 1


def _pointwise(w_shape, stride, padding, groups) -> bool:
    """Whether the kernel is one pixel large, and every pixel gives one of the same place."""
    return (*w_shape[2:], *stride, *padding, groups) == (1, 1, 1, 1, 0, 0, 1)


def _images(x: Array) -> Array:
    """(N, C, H, W) → (N, C, H·W): a matrix for each image."""
    return x.reshape(*x.shape[:2], x.shape[2] * x.shape[3])


def _flat(x: Array) -> Array:
    """(N, …) → (N, all the rest)."""
    return x.reshape(len(x), math.prod(x.shape[1:]))


def _add_bias(y: Array, bias: Array) -> Array:
    """y[n,o,i,j] += b[o], and y."""
    bias = np.ascontiguousarray(bias)
    share(_add_to_planes, y.size, y.reshape(-1), bias, y.shape[2] * y.shape[3])
    return y


@jit(nogil=True)
def _add_to_planes(tasks, y, bias, pixels):
    call_helpers(tasks)
    step = max(1, BLOCK // max(pixels, 1))
    first, planes = next_task(tasks, 0) * step, y.size // max(pixels, 1)
    while first < planes:
        for plane in range(first, min(planes, first + step)):
            here, b = y[plane * pixels : (plane + 1) * pixels], bias[plane % bias.size]
            for i in range(pixels):
                here[i] += b
        first = next_task(tasks, 0) * step


@functools.lru_cache(maxsize=256)
def _forward_costs(x_shape, w_shape, y_shape, groups, step, tile) -> tuple[float, float, float]:
    """What conv2d costs by patches, lanes and rows."""
    n, rows, depth, pixels = x_shape[0], w_shape[0], math.prod(w_shape[1:]), math.prod(y_shape[2:])
    vectors, columns = _vectors(n, tile), _columns(y_shape, tile)
    turned = math.prod(x_shape[1:]) + math.prod(y_shape[1:])
    lanes = vectors * (rows * pixels * depth + TURN * turned)
    # Patches side by side are copied, others gathered.
    move = COPY if step == 1 and y_shape[3] >= tile[1] else GATHER
    patches = columns * depth * (_rows(rows, groups, tile) + groups * move)
    return patches, lanes, _by_rows(x_shape, y_shape, rows * depth, step, tile[1] // 2)


@functools.lru_cache(maxsize=256)
def _transposed_costs(
    y_shape, w_shape, x_shape, groups, phases, tile
) -> tuple[float, float, float]:
    """What conv_transpose2d costs by patches, lanes and, at a stride of 1, rows."""
    n, rows, pixels = y_shape[0], x_shape[1], math.prod(x_shape[2:])
    depth = y_shape[1] // groups * math.prod(w_shape[2:]) / phases  # taps of a phase
    turned = math.prod(y_shape[1:]) + math.prod(x_shape[1:])
    lanes = _vectors(n, tile) * (rows * pixels * depth + TURN * turned)
    products = _rows(rows * math.prod(w_shape[2:]), groups, tile) * y_shape[1] // groups
    moved = COPY * y_shape[1] + ADD * rows * math.prod(w_shape[2:])
    patches = _columns(y_shape, tile) * (products + moved)
    return patches, lanes, _by_rows(y_shape, x_shape, rows * depth, 1, tile[1] // 2)


@functools.lru_cache(maxsize=256)
def _weight_by_rows(x_shape, w_shape, y_shape, step, lanes) -> bool:
    """Whether conv2d_weight by rows is cheaper than by lanes: there are few taps, many pixels."""
    rows, depth = w_shape[0], math.prod(w_shape[1:])
    turned = math.prod(x_shape) + math.prod(y_shape)
    by_lanes = y_shape[0] * math.prod(y_shape[2:]) * depth * -(-rows // lanes)
    by_rows = _by_rows(x_shape, y_shape, DOT * rows * depth, step, lanes)
    return by_rows < by_lanes + TURN * turned / lanes


def _by_rows(x_shape, y_shape, each: float, step: int, lanes: int) -> float:
    """`each` for the vectors that cover the lines of y, and x once into its border."""
    n, _, height, wide = y_shape
    pairs = -(-height * -(-wide // lanes) // 2)
    return n * pairs * 2 * each + SPREAD * step * math.prod(x_shape) / lanes


def _vectors(n: int, tile: tuple[int, int]) -> float:
    """Vectors of lanes that so many images fill or begin; what is left of a pair costs more."""
    vectors = -(-n // (tile[1] // 2))
    return vectors + ALONE * (vectors % 2)


def _columns(shape: tuple[int, ...], tile: tuple[int, int]) -> int:
    """Vectors across the matrix of all pixels of all images."""
    return -(-shape[0] * math.prod(shape[2:]) // tile[1]) * 2


def _rows(rows: int, groups: int, tile: tuple[int, int]) -> int:
    """Rows of the register tiles that cover those of all groups."""
    return groups * -(-rows // groups // tile[0]) * tile[0]
