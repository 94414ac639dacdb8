"""c[…,i,j] = bias[j] + Σ_k a[…,i,k] · b[…,k,j] on the GPU: which kernel, how many blocks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import empty, geometry
from ..emulator.tensor_map import TensorMap
from .activation import NOTHING, Finish
from .device import is_hopper
from .launch import MOST_BLOCKS, Kernel, float64_by, launch, packed, suffix, tiles
from .rounding import rounded, turned

MATRIX = np.dtype([("batch", "i8"), ("row", "i4"), ("column", "i4")])
TILE = Kernel("gemm.cu", "gemm_1_tile", 16, 256)
REGISTERS = Kernel("gemm.cu", "gemm_2_registers", 64, 256)
TENSOR = Kernel("gemm_tensor.cu", "gemm_3_tensor", 64, 128)
PIPELINE = Kernel("gemm_bf16.cu", "gemm_4_pipeline", 64, 128)
STAGES_BYTES = 3 * 2 * 64 * 64 * 2  # of shared memory, of pipeline.cuh: three tiles of each operand
BOXES = Kernel("gemm_wgmma.cu", "gemm_5_wgmma", 128, 288)
BOX_OF_A, BOX_OF_B = (128, 64), (256, 64)  # rows of the tile of a block, and the depth of a step
BOXES_BYTES = 4 * 2 * 64 * (128 + 256) + 4 * 2 * 8  # of shared memory: four stages, their mbarriers
# A number is loaded once for each tile of 64 in the other direction: 4 bytes, or 2 if it is rounded
# beforehand, which moves 6 once. That is less from 4 tiles on; twice as many pay for the launches.
LEAST_ROUNDED = 512
# Rung 4's tiles of 64 can be fetched from an H100's L2 for 262 TFLOP/s. A block of rung 5 has one
# of its 132 multiprocessors, whose tensor cores make 7.5: say 5, and 50 blocks are as fast.
LEAST_TILES = 50


def gemm_1_tile(a, b, transpose_a=False, transpose_b=False, bias=None):
    """c = bias + a·b; a block makes 16 × 16 elements, a thread one of them."""
    return _gemm(TILE, suffix("gemm", a, b), a, b, transpose_a, transpose_b, bias)


def gemm_2_registers(a, b, transpose_a=False, transpose_b=False, bias=None):
    """c = bias + a·b; a block makes 64 × 64 elements, a thread 16 of them, in registers."""
    return _gemm(REGISTERS, suffix("gemm", a, b), a, b, transpose_a, transpose_b, bias)


@float64_by(gemm_2_registers)
def gemm_3_tf32(a, b, transpose_a=False, transpose_b=False, bias=None):
    """c = bias + a·b by tensor cores: factors rounded to TF32, sums in float32."""
    suffix("gemm", a, b)
    return _gemm(TENSOR, "tf32", a, b, transpose_a, transpose_b, bias)


@float64_by(gemm_2_registers)
def gemm_3_tf32x3(a, b, transpose_a=False, transpose_b=False, bias=None):
    """c = bias + a·b by tensor cores, nearly in float32: a factor is two numbers of TF32, the
    product three of theirs."""
    suffix("gemm", a, b)
    return _gemm(TENSOR, "tf32x3", a, b, transpose_a, transpose_b, bias)


@float64_by(gemm_2_registers)
def gemm_3_bf16(a, b, transpose_a=False, transpose_b=False, bias=None):
    """c = bias + a·b by tensor cores: factors rounded to bfloat16, sums in float32."""
    suffix("gemm", a, b)
    return _gemm(TENSOR, "bf16", a, b, transpose_a, transpose_b, bias)


@float64_by(gemm_2_registers)
def gemm_4_bf16(a, b, transpose_a=False, transpose_b=False, bias=None):
    """The same; a large product's factors are rounded once, beforehand, and then copied into shared
    memory three steps ahead, without passing through registers."""
    suffix("gemm", a, b)
    return _gemm_in_bf16(a, b, transpose_a, transpose_b, bias)


@float64_by(gemm_2_registers)
def gemm_5_bf16(a, b, transpose_a=False, transpose_b=False, bias=None):
    """The same; on a GPU of compute capability 9.0 a large product by wgmma, whose operands the
    copy engine fetches: one warp asks for them, eight multiply."""
    suffix("gemm", a, b)
    return _gemm_by_boxes(a, b, transpose_a, transpose_b, bias)


def gemm_activated_1_tile(
    a, b, transpose_a=False, transpose_b=False, bias=None, activation="relu", slope=0.0, keep=False
):
    """c = f(a·b + bias): f is applied to each sum while it is in a register."""
    how = transpose_a, transpose_b, bias, Finish(activation, slope, keep)
    return _gemm(TILE, suffix("gemm_activated", a, b), a, b, *how)


def gemm_activated_2_registers(
    a, b, transpose_a=False, transpose_b=False, bias=None, activation="relu", slope=0.0, keep=False
):
    """c = f(a·b + bias): f is applied to the sums while they are in registers."""
    how = transpose_a, transpose_b, bias, Finish(activation, slope, keep)
    return _gemm(REGISTERS, suffix("gemm_activated", a, b), a, b, *how)


def _activated_gemm(precision: str) -> Any:
    """gemm by tensor cores with an activation at its end, in this precision."""

    @float64_by(gemm_activated_2_registers)
    def kernel(
        a, b, transpose_a=False, transpose_b=False, bias=None, activation="relu", slope=0.0,
        keep=False,
    ):  # fmt: skip
        suffix("gemm_activated", a, b)
        how = transpose_a, transpose_b, bias, Finish(activation, slope, keep)
        return _gemm(TENSOR, precision, a, b, *how)

    kernel.__name__ = f"gemm_activated_3_{precision}"
    return kernel


gemm_activated_3_tf32 = _activated_gemm("tf32")
gemm_activated_3_tf32x3 = _activated_gemm("tf32x3")
gemm_activated_3_bf16 = _activated_gemm("bf16")


@float64_by(gemm_activated_2_registers)
def gemm_activated_4_bf16(
    a, b, transpose_a=False, transpose_b=False, bias=None, activation="relu", slope=0.0, keep=False
):
    """c = f(a·b + bias) by gemm_4_bf16's kernels."""
    suffix("gemm_activated", a, b)
    finish = Finish(activation, slope, keep)
    return _gemm_in_bf16(a, b, transpose_a, transpose_b, bias, finish)


@float64_by(gemm_activated_2_registers)
def gemm_activated_5_bf16(
    a, b, transpose_a=False, transpose_b=False, bias=None, activation="relu", slope=0.0, keep=False
):
    """c = f(a·b + bias) by gemm_5_bf16's kernels."""
    suffix("gemm_activated", a, b)
    finish = Finish(activation, slope, keep)
    return _gemm_by_boxes(a, b, transpose_a, transpose_b, bias, finish)


def _gemm_by_boxes(
    a: Any, b: Any, transpose_a: bool, transpose_b: bool, bias: Any, finish: Finish = NOTHING
) -> Any:
    batch, m, depth, n = geometry.gemm_shape(a.shape, b.shape, transpose_a, transpose_b)
    blocks = tiles(m, BOX_OF_A[0]) * tiles(n, BOX_OF_B[0]) * math.prod(batch)
    if not is_hopper(a) or not depth or blocks < LEAST_TILES:
        return _gemm_in_bf16(a, b, transpose_a, transpose_b, bias, finish)
    return _gemm_rounded(_launch_boxes, a, b, transpose_a, transpose_b, bias, finish)


def _gemm_in_bf16(
    a: Any, b: Any, transpose_a: bool, transpose_b: bool, bias: Any, finish: Finish = NOTHING
) -> Any:
    _, m, _, n = geometry.gemm_shape(a.shape, b.shape, transpose_a, transpose_b)
    if min(m, n) < LEAST_ROUNDED:
        return _gemm(TENSOR, "bf16", a, b, transpose_a, transpose_b, bias, finish)
    return _gemm_rounded(_launch_pipeline, a, b, transpose_a, transpose_b, bias, finish)


def _gemm_rounded(
    start_kernel: Any, a: Any, b: Any, transpose_a: bool, transpose_b: bool, bias: Any,
    finish: Finish,
) -> Any:  # fmt: skip
    """The product of factors that are rounded beforehand, by _launch_pipeline or _launch_boxes."""
    batch, m, _, n = geometry.gemm_shape(a.shape, b.shape, transpose_a, transpose_b)
    c = empty((*batch, m, n), a.dtype, like=a)
    before, f = finish.before(c), finish.struct(c)
    if not c.size:
        return (c, before) if finish.keep else c
    a, b = _rounded(a, transpose_a), _rounded(b, not transpose_b)
    bias = None if bias is None else packed(bias.astype(c.dtype, copy=False))
    all_c, kept = _flat(c), None if before is None else _flat(before)
    for start in range(0, len(all_c), MOST_BLOCKS):
        rows = slice(start, start + MOST_BLOCKS)
        one_a, one_b, one_c = (x if len(x) == 1 else x[rows] for x in (a, b, all_c))
        start_kernel(one_a, one_b, bias, one_c, None if kept is None else kept[rows], f)
    return (c, before) if finish.keep else c


def _launch_pipeline(a: Any, b: Any, bias: Any, c: Any, before: Any, f: np.ndarray) -> None:
    count, m, n = c.shape
    grid = tiles(n, PIPELINE.tile), tiles(m, PIPELINE.tile), count
    steps = [np.int64(0 if len(x) == 1 else x[0].size) for x in (a, b)]
    launch(
        PIPELINE.source, PIPELINE.name, grid, PIPELINE.threads, a, b, bias, c, m, n, a.shape[-1],
        *steps, before, f, shared=STAGES_BYTES,
    )  # fmt: skip


def _launch_boxes(a: Any, b: Any, bias: Any, c: Any, before: Any, f: np.ndarray) -> None:
    count, m, n = c.shape
    grid = tiles(n, BOX_OF_B[0]), tiles(m, BOX_OF_A[0]), count
    launch(
        BOXES.source, BOXES.name, grid, BOXES.threads, TensorMap(a, BOX_OF_A),
        TensorMap(b, BOX_OF_B), bias, c, m, n, a.shape[-1], len(a) > 1, len(b) > 1, before, f,
        shared=BOXES_BYTES,
    )  # fmt: skip


def _rounded(x: Any, transpose: bool) -> Any:
    """The matrices, or their transposes, (batch, rows, width) in bfloat16."""
    x, transpose = _stored(x, transpose)
    return (turned if transpose else rounded)(_flat(x))


def _gemm(
    kernel: Kernel, ending: str, a: Any, b: Any, transpose_a: bool, transpose_b: bool, bias: Any,
    finish: Finish = NOTHING,
) -> Any:  # fmt: skip
    batch, m, depth, n = geometry.gemm_shape(a.shape, b.shape, transpose_a, transpose_b)
    c = empty((*batch, m, n), a.dtype, like=a)
    a, flip_a = _stored(a, transpose_a)
    b, flip_b = _stored(b, transpose_b)
    bias = None if bias is None else packed(bias.astype(c.dtype, copy=False))
    # From rung 2 on there is a variant for each way in which the operands may lie.
    layout = "" if kernel is TILE else f"_{'t' if flip_a else 'n'}{'t' if flip_b else 'n'}"
    before, f = finish.before(c), finish.struct(c)
    if not c.size:
        return (c, before) if finish.keep else c
    count = int(np.prod(batch, dtype=int))
    # Not -1: with no terms to add up, a and b are empty, and c is the bias.
    parts = [_flat(x) for x in (a, b, c)]
    kept = None if before is None else _flat(before)
    for start in range(0, count, MOST_BLOCKS):
        rows = slice(start, start + MOST_BLOCKS)
        one_a, one_b, one_c = (x if len(x) == 1 else x[rows] for x in parts)
        grid = tiles(n, kernel.tile), tiles(m, kernel.tile), len(one_c)
        launch(
            kernel.source, f"{kernel.name}{layout}_{ending}", grid, kernel.threads,
            one_a, one_b, bias, one_c, m, n, depth, _matrix(one_a, flip_a), _matrix(one_b, flip_b),
            None if kept is None else kept[rows], f,
        )
    return (c, before) if finish.keep else c


def _flat(x: Any) -> Any:
    """The array with one axis for its batch."""
    return x.reshape(math.prod(x.shape[:-2]), *x.shape[-2:])


def _stored(x: Any, transpose: bool) -> tuple[Any, bool]:
    """The matrices as they lie in memory, and whether they are to be read transposed."""
    if x.ndim == 2 and x.flags.f_contiguous and not x.flags.c_contiguous:
        return x.T, not transpose
    return packed(x), transpose


def _matrix(x: Any, transposed: bool) -> np.ndarray:
    """struct Matrix of gemm.cu for matrices that lie packed."""
    rows, columns = x.shape[-2:]
    strides = (1, columns) if transposed else (columns, 1)
    return np.array([(0 if len(x) == 1 else rows * columns, *strides)], MATRIX)
