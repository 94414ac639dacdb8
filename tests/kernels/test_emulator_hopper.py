"""What sm_90a adds, in the emulator: boxes of matrices, their swizzle, mbarriers and wgmma.

The layouts are written out here from CUTLASS (3.9, include/cute/atom/mma_traits_sm90_gmma.hpp and
include/cute/swizzle.hpp), the emulator's from the PTX ISA (9.0, 9.7.15.5.1 "Register Fragments and
Shared Memory Matrix Layouts" and 5.5.7 "Swizzling Modes"). In CUTLASS's words:

    Swizzle<B, M, S>   bits M ... M + B - 1 of an offset are xored with those S above
    an atom along k    of 8 rows: Swizzle<3, 4, 3> of 128 bytes a row, <2, 4, 3> of 64, <1, 4, 3> of
                       32; without a swizzle 16 bytes, ((8, m), (T, 2)):((1T, SBO), (1, LBO))
    CLayout_64xN       ((4, 8, 4), (2, 2, N / 8)):((128, 1, 16), (64, 8, 512)), columns after rows
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from minigen_kernels import emulator

from tests.kernels.cuda_ladder import SEEDS
from tests.kernels.needs import GXX
from tests.kernels.test_emulator_fragments import bf16_bits, bf16_values

pytestmark = [pytest.mark.emulator, GXX]
SOURCE = Path(__file__).parent / "emulated" / "hopper.cu"
MODES = {0: 0, 128: 1, 64: 2, 32: 3}  # bytes of a row → bits 62 and 63 of a descriptor


def swizzle(offset, row_bytes):
    """Swizzle<B, 4, 3> of an offset in bytes."""
    bits = {0: 0, 32: 1, 64: 2, 128: 3}[row_bytes]
    return offset ^ (offset >> 3 & ((1 << bits) - 1) << 4)


def clayout(thread, value):
    """(row, column) of the accumulator `value` of a thread of the warpgroup."""
    t = thread % 4, thread // 4 % 8, thread // 32
    v = value % 2, value // 2 % 2, value // 4
    place = np.dot(t, (128, 1, 16)) + np.dot(v, (64, 8, 512))
    return place % 64, place // 64


def module(**how):
    return emulator.load(SOURCE, check=True, **how)


@given(SEEDS, st.sampled_from([0, 32, 64, 128]), st.integers(1, 40), st.integers(1, 9),
       st.integers(1, 40), st.integers(-45, 45), st.integers(-80, 80),
       st.integers(-1, 2))  # fmt: skip
def test_a_box_with_its_swizzle_and_zeros_outside(
    seed, width, rows, chunks, high, row, column, matrix
):
    """Any place of it, inside a matrix, across its edges or beside it; of two matrices."""
    x = np.random.default_rng(seed).integers(1, 2**16, (2, rows, 8 * chunks)).astype(np.uint16)
    wide = (width or 128) // 2
    out = np.zeros((high, wide), np.uint16)
    map_ = emulator.TensorMap(x, (high, wide), width)
    module(seed=seed).box_as_it_lies[1, 64](map_, out, out.size, column, row, matrix)
    for r in range(high):
        for c in range(wide):
            inside = 0 <= row + r < rows and 0 <= column + c < 8 * chunks and 0 <= matrix < 2
            place = swizzle(2 * (r * wide + c), width) // 2
            assert out.flat[place] == (x[matrix, row + r, column + c] if inside else 0)


@given(SEEDS, st.integers(1, 9))
def test_a_ring_of_boxes(seed, boxes):
    x = np.random.default_rng(seed).integers(-100, 100, (8 * boxes, 64)).astype(np.float32)
    y = np.zeros((8, 64), np.float32)
    map_ = emulator.TensorMap(bf16_bits(x)[None], (8, 64), 0)
    module(seed=seed).sum_of_boxes[1, 64](map_, y, boxes)
    np.testing.assert_array_equal(y, x.reshape(boxes, 8, 64).sum(0))


def test_a_ring_of_boxes_raises_no_alarm_under_fifty_schedules():
    map_ = emulator.TensorMap(bf16_bits(np.ones((1, 40, 64))), (8, 64), 0)
    for seed in range(50):
        y = np.zeros((8, 64), np.float32)
        module(seed=seed).sum_of_boxes[1, 64](map_, y, 5)
        assert (y == 5).all()


def stored(x, row_bytes, k0, leading, stride):
    """(words of shared memory, descriptor without its address) of an operand of 16 numbers a row.

    They are the numbers from k0 on of rows that are `row_bytes` long; NaN fills the rest.
    """
    words = np.full(32 * 1024 // 2, 0x7FFF, np.uint16)
    for r in range(len(x)):
        for k in range(16):
            if row_bytes:
                plain = r // 8 * stride + r % 8 * row_bytes + 2 * (k0 + k)
            else:
                plain = r // 8 * stride + k // 8 * leading + r % 8 * 16 + k % 8 * 2
            words[swizzle(plain, row_bytes) // 2] = x[r, k]
    descriptor = k0 * 2 >> 4 | leading >> 4 << 16 | stride >> 4 << 32 | MODES[row_bytes] << 62
    return words[: (len(x) // 8) * 512], np.uint64(descriptor)


def accumulators(sums):
    """The (rows, columns) that a thread holds, (128, sums)."""
    by_lane = np.array([[clayout(t, v) for v in range(sums)] for t in range(128)])
    return by_lane[..., 0], by_lane[..., 1]


def product(rng, columns):
    """(a, b as bits, a starting value c, the exact product) of one instruction."""
    a, b = (bf16_bits(rng.standard_normal(s)) for s in ((64, 16), (columns, 16)))
    c = rng.standard_normal((64, columns)).astype(np.float32)
    return a, b, c, bf16_values(a).astype(float) @ bf16_values(b).T.astype(float) + c


@pytest.mark.parametrize("sums", [128, 32])
@pytest.mark.parametrize(
    "row_bytes, k0, leading, stride",
    [(128, 0, 16, 1024), (128, 48, 0, 1024), (64, 16, 0, 512), (32, 0, 16, 256), (0, 0, 128, 256),
     (0, 0, 1024, 128)],
)  # fmt: skip
def test_wgmma(row_bytes, k0, leading, stride, sums):
    """Both operands by descriptors of every swizzle, and the accumulators by lanes."""
    a, b, c, exact = product(np.random.default_rng(stride), 2 * sums)
    of_b = (4096 if (leading, stride) == (1024, 128) else leading, stride)
    left, right = stored(a, row_bytes, k0, leading, stride), stored(b, row_bytes, k0, *of_b)
    held = accumulators(sums)
    for seed in range(2):
        got = c[held]
        kernel = getattr(module(seed=seed), f"wgmma_{sums}")
        kernel[1, 128](left[0], left[0].size, left[1], right[0], right[0].size, right[1], got)
        np.testing.assert_allclose(got, exact[held], rtol=1e-5, atol=1e-5)


def stored_turned(x, line_bytes, leading, stride):
    """(words, descriptor without its address) of (columns, 16) numbers, columns side by side.

    CUTLASS: ((T, 2^B, m), (8, k)):((1, T, LBO), (2^B T, SBO)), T = 8; where nothing is swizzled
    ((T, 1, m), (8, k)):((1, T, SBO), (T, LBO)).
    """
    words = np.full(32 * 1024 // 2, 0x7FFF, np.uint16)
    line = line_bytes or 16
    next_columns, next_k = (leading, stride) if line_bytes else (stride, leading)
    for n in range(len(x)):
        for k in range(16):
            plain = 2 * n // line * next_columns + 2 * n % line + k // 8 * next_k + k % 8 * line
            words[swizzle(plain, line_bytes) // 2] = x[n, k]
    descriptor = leading >> 4 << 16 | stride >> 4 << 32 | MODES[line_bytes] << 62
    return words[: 2 * len(x) * 16], np.uint64(descriptor)


@pytest.mark.parametrize("sums", [64, 32])
@pytest.mark.parametrize(
    "line_bytes, leading, stride",
    [(128, 2048, 1024), (64, 1024, 512), (32, 512, 256), (0, 128, 256)],
)
def test_wgmma_of_registers_and_columns_side_by_side(line_bytes, leading, stride, sums):
    """A as mma.sync has it (ALayout_64x16 is CLayout_64x16), B along its columns."""
    a, b, c, exact = product(np.random.default_rng(stride), 2 * sums)
    left = a[accumulators(8)].copy().view(np.uint32)
    right = stored_turned(b, line_bytes, leading, stride)
    held = accumulators(sums)
    for seed in range(2):
        got = c[held]
        kernel = getattr(module(seed=seed), f"wgmma_turned_{sums}")
        kernel[1, 128](left, right[0], right[0].size, right[1], got)
        np.testing.assert_allclose(got, exact[held], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "array, box, swizzle, told",
    [
        (np.zeros((4, 8), np.float32), (4, 8), 0, "elements of 2 bytes"),
        (np.zeros((4, 12), np.uint16), (4, 8), 0, "a multiple of 16 bytes, not 24"),
        (np.zeros((4, 16), np.uint16)[:, :8], (4, 8), 0, "rows lie packed"),
        (np.zeros((4, 8), np.uint16), (257, 8), 0, "a box of 257 × 8"),
        (np.zeros((4, 8), np.uint16), (4, 12), 0, "columns a multiple of 8"),
        (np.zeros((4, 8), np.uint16), (4, 32), 128, "a swizzle of 128 bytes"),
    ],
)
def test_what_no_tensor_map_can_be_made_of(array, box, swizzle, told):
    with pytest.raises(ValueError, match=told):
        emulator.TensorMap(array[None], box, swizzle)


def test_a_tensor_map_for_another_parameter():
    map_ = emulator.TensorMap(np.zeros((1, 4, 8), np.uint16), (4, 8), 0)
    with pytest.raises(TypeError, match="a tensor map given"):
        module().box_as_it_lies[1, 64](map_, np.zeros(64, np.uint16), map_, 0, 0, 0)
