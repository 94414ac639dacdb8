"""conv2d_weight on the GPU: which kernel, how many blocks, and in how many parts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .. import empty, geometry
from .conv import LEAST_CHANNELS, LEAST_LOADS, THREADS, conv_struct
from .gemm import STAGES_BYTES
from .launch import Kernel, float64_by, launch, packed, suffix, tiles
from .rounding import padded, turned

PROCESSORS = 132  # of an H100 or H200: twice as many blocks keep them busy
SHORTEST_SPLIT = 256  # terms of a sum below which it is not worth being cut
SPLIT = Kernel("conv.cu", "conv2d_weight_1_split", 64, 256)
TENSOR_SPLIT = Kernel("conv_tensor.cu", "conv2d_weight_2_tensor", 64, 128)
PIPELINE = Kernel("conv_weight_bf16.cu", "conv2d_weight_3_pipeline", 64, 128)


def conv2d_weight_1_split(
    x, gy, kernel_size, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1
) -> Any:
    """gw[o,c,p,q] = Σ_{n,i,j} x[n,c, i·s+p·d-P, j·s+q·d-P] · gy[n,o,i,j]

    The long sum is cut into parts that are added up in one order: the same bits in every run.
    """
    ending = suffix("conv2d_weight", x, gy)
    return _conv2d_weight(SPLIT, ending, x, gy, kernel_size, stride, padding, dilation, groups)


@float64_by(conv2d_weight_1_split)
def conv2d_weight_2_tf32(
    x, gy, kernel_size, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1
) -> Any:
    """gw = conv2d_weight(x, gy) by tensor cores: factors rounded to TF32, sums in float32."""
    suffix("conv2d_weight", x, gy)
    how = kernel_size, stride, padding, dilation, groups
    return _conv2d_weight(TENSOR_SPLIT, "tf32", x, gy, *how)


@float64_by(conv2d_weight_1_split)
def conv2d_weight_2_tf32x3(
    x, gy, kernel_size, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1
) -> Any:
    """gw = conv2d_weight(x, gy) by tensor cores, nearly in float32: see conv2d_3_tf32x3."""
    suffix("conv2d_weight", x, gy)
    how = kernel_size, stride, padding, dilation, groups
    return _conv2d_weight(TENSOR_SPLIT, "tf32x3", x, gy, *how)


@float64_by(conv2d_weight_1_split)
def conv2d_weight_2_bf16(
    x, gy, kernel_size, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1
) -> Any:
    """gw = conv2d_weight(x, gy) by tensor cores: factors rounded to bfloat16, sums in float32."""
    suffix("conv2d_weight", x, gy)
    how = kernel_size, stride, padding, dilation, groups
    return _conv2d_weight(TENSOR_SPLIT, "bf16", x, gy, *how)


@float64_by(conv2d_weight_1_split)
def conv2d_weight_3_bf16(
    x, gy, kernel_size, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1
) -> Any:
    """The same; where it pays, x and gy are rounded once, beforehand, to arrays in which a pixel's
    channels lie side by side, and then copied into shared memory three steps ahead."""
    suffix("conv2d_weight", x, gy)
    how = kernel_size, stride, padding, dilation, groups
    shape = geometry.conv2d_weight_shape(x.shape, gy.shape, *how)
    if not _pays(shape, x, gy, groups):
        return _conv2d_weight(TENSOR_SPLIT, "bf16", x, gy, *how)
    (n, c, *image), (_, o, h, w) = x.shape, gy.shape
    widths = padded(c // groups), padded(o // groups)
    taps = shape[2] * shape[3]
    across = tiles(taps * widths[0], PIPELINE.tile), tiles(o // groups, PIPELINE.tile)
    wide = turned(packed(x).reshape(n * groups, c // groups, image[0] * image[1]))
    slopes = turned(packed(gy).reshape(n * groups, o // groups, h * w))
    g = conv_struct(x.shape, shape, gy.shape, stride, padding, dilation, groups)

    def make(partial: Any, splits: int) -> None:
        grid = *across, groups * splits
        given = wide, slopes, partial, g, splits, *widths
        launch(PIPELINE.source, PIPELINE.name, grid, PIPELINE.threads, *given, shared=STAGES_BYTES)

    return _in_parts(shape, gy, across[0] * across[1] * groups, make)


def _pays(shape: tuple[int, ...], x: Any, gy: Any, groups: int) -> bool:
    """Whether rounding beforehand does: as in conv2d, of both factors together."""
    o, channels, *kernel = shape
    if min(channels, o // groups) < LEAST_CHANNELS:
        return False
    taps, pixels = kernel[0] * kernel[1], gy.size // o
    of_x = x.shape[1] * taps * pixels * tiles(o // groups, PIPELINE.tile)
    of_gy = gy.size * tiles(channels * taps, PIPELINE.tile)
    return of_x + of_gy >= LEAST_LOADS * (x.size + gy.size) > 0


def _conv2d_weight(
    kernel: Kernel, ending: str, x: Any, gy: Any, kernel_size, stride, padding, dilation,
    groups: int,
) -> Any:  # fmt: skip
    shape = geometry.conv2d_weight_shape(
        x.shape, gy.shape, kernel_size, stride, padding, dilation, groups
    )
    if not math.prod(shape):
        return empty(shape, x.dtype, like=x)
    across = tiles(math.prod(shape[1:]), kernel.tile), tiles(shape[0] // groups, kernel.tile)
    g = conv_struct(x.shape, shape, gy.shape, stride, padding, dilation, groups)
    x, slopes = packed(x), packed(gy)

    def make(partial: Any, splits: int) -> None:
        grid = *across, groups * splits
        name = f"{kernel.name}_{ending}"
        launch(kernel.source, name, grid, kernel.threads, x, slopes, partial, g, splits)

    return _in_parts(shape, gy, across[0] * across[1] * groups, make)


def _in_parts(
    shape: tuple[int, ...], gy: Any, blocks: int, make: Callable[[Any, int], None]
) -> Any:
    """gw, by make(partial, splits), which makes so many parts of it; and their sum."""
    gw = empty(shape, gy.dtype, like=gy)
    splits = split_count(blocks, gy.size // gy.shape[1])
    partial = gw if splits == 1 else empty((splits, *shape), gy.dtype, like=gy)
    make(partial, splits)
    if splits > 1:
        add = f"add_splits_{suffix('conv2d_weight', gw)}"
        launch("conv.cu", add, tiles(gw.size, THREADS), THREADS, partial, gw, gw.size, splits)
    return gw


def split_count(blocks: int, depth: int) -> int:
    """Into how many parts a sum of `depth` terms is cut, where `blocks` blocks make the result."""
    return max(1, min(tiles(2 * PROCESSORS, blocks), tiles(depth, SHORTEST_SPLIT)))
