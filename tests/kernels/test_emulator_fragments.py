"""Tensor-core instructions lane by lane, against the tables of the PTX ISA written out here.

Source: NVIDIA, Parallel Thread Execution ISA 9.0, with whose text the tables were compared line by
line: 9.7.14.5.8 "Matrix Fragments for mma.m16n8k16 with floating point type" (.f16 and .bf16; A, B,
and C or D), 9.7.14.5.7 "Matrix Fragments for mma.m16n8k8" (.tf32), and 9.7.14.5.15 "Warp-level
matrix load instruction: ldmatrix" (.m8n8, .b16). There, groupID = laneid >> 2 and
threadID_in_group = laneid % 4, and each table gives (row, column) of the element i of a fragment.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from minigen_kernels import emulator

from tests.kernels.needs import GXX

pytestmark = [pytest.mark.emulator, GXX]
SOURCE = Path(__file__).parent / "emulated" / "fragments.cu"
LANES = range(32)


def module():
    return emulator.load(SOURCE, check=True)


# ---------------------------------------------------------------- the tables, as the ISA has them
def a_16x16(lane, i):  # a0 ... a7, 16-bit
    group, thread = lane >> 2, lane % 4
    row = group if 0 <= i < 2 or 4 <= i < 6 else group + 8
    column = thread * 2 + (i & 1) if i < 4 else thread * 2 + (i & 1) + 8
    return row, column


def b_16x8(lane, i):  # b0 ... b3, 16-bit
    group, thread = lane >> 2, lane % 4
    row = thread * 2 + (i & 1) if i < 2 else thread * 2 + (i & 1) + 8
    return row, group


def c_16x8(lane, i):  # c0 ... c3
    group, thread = lane >> 2, lane % 4
    return (group if i < 2 else group + 8), thread * 2 + (i & 1)


def a_16x8(lane, i):  # a0 ... a3, tf32
    group, thread = lane >> 2, lane % 4
    return (group if i in (0, 2) else group + 8), (thread if i in (0, 1) else thread + 4)


def b_8x8(lane, i):  # b0, b1, tf32
    group, thread = lane >> 2, lane % 4
    return (thread if i == 0 else thread + 4), group


def scatter(matrix, table, count):
    """The elements of a matrix as each lane holds them: (32, count)."""
    return np.array([[matrix[table(lane, i)] for i in range(count)] for lane in LANES])


def bf16_bits(x):
    bits = x.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def bf16_values(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


def run_mma(name, a, b, c):
    """D by lanes of one instruction whose registers hold these fragments."""
    d = scatter(c, c_16x8, 4).astype(np.float32)
    getattr(module(), name)[1, 32](a.view(np.uint32), b.view(np.uint32), d)
    return d


@pytest.mark.parametrize("name", ["mma_bf16_lanes", "mma_f16_lanes"])
def test_mma_of_16_bits(name):
    rng = np.random.default_rng(1)
    a, b, c = (rng.standard_normal(s) for s in ((16, 16), (16, 8), (16, 8)))
    if "bf16" in name:
        a, b = bf16_bits(a), bf16_bits(b)
        exact = bf16_values(a).astype(np.float64) @ bf16_values(b)
    else:
        a, b = a.astype(np.float16), b.astype(np.float16)
        exact = a.astype(np.float64) @ b.astype(np.float64)
    d = run_mma(name, scatter(a, a_16x16, 8), scatter(b, b_16x8, 4), c)
    np.testing.assert_allclose(d, scatter(exact + c, c_16x8, 4), rtol=1e-5, atol=1e-5)


def test_mma_of_tf32_ignores_the_low_13_bits():
    rng = np.random.default_rng(2)
    a, b, c = (rng.standard_normal(s).astype(np.float32) for s in ((16, 8), (8, 8), (16, 8)))
    cut_a, cut_b = ((x.view(np.uint32) & 0xFFFFE000).view(np.float32) for x in (a, b))
    exact = cut_a.astype(np.float64) @ cut_b.astype(np.float64) + c
    d = run_mma("mma_tf32_lanes", scatter(a, a_16x8, 4), scatter(b, b_8x8, 2), c)
    np.testing.assert_allclose(d, scatter(exact, c_16x8, 4), rtol=1e-5, atol=1e-5)
    assert np.abs(exact - (a.astype(np.float64) @ b + c)).max() > 1e-4


@pytest.mark.parametrize("trans", ["", "_trans"])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_ldmatrix(count, trans):
    """Thread l of the warp receives row l / 4, elements 2 (l % 4) and the next, of each matrix."""
    matrices = np.arange(64 * count, dtype=np.uint16).reshape(count, 8, 8)
    out = np.zeros((32, count), np.uint32)
    kernel = getattr(module(), f"ldmatrix_x{count}{trans}_lanes")
    kernel[1, 32](matrices, out, 8)
    shown = matrices.swapaxes(1, 2) if trans else matrices
    for lane in LANES:
        for m in range(count):
            low, high = shown[m, lane // 4, 2 * (lane % 4) :][:2]
            assert out[lane, m] == int(low) | int(high) << 16


def test_ldmatrix_counts_its_bank_conflicts():
    """Rows side by side fill 128 bytes: no conflict. 32 bytes apart, pairs of rows share banks."""
    m = emulator.load(SOURCE, count=True)
    extra = {}
    for pad in (8, 16):
        m.reset_counts()
        m.ldmatrix_x4_lanes[1, 32](np.zeros(256, np.uint16), np.zeros(128, np.uint32), pad)
        reads = [s for s in m.counts() if s.space == "shared" and s.operation == "read"]
        assert sum(s.requests for s in reads) == 1 and sum(s.ideal for s in reads) == 4
        extra[pad] = sum(s.extra for s in reads)
    assert extra == {8: 0, 16: 4}


def test_conversions():
    """Against NumPy's float16, and rounding to even written out; 19 bits round away from zero."""
    rng = np.random.default_rng(3)
    x = (rng.standard_normal(64) * 10.0 ** rng.integers(-4, 4, 64)).astype(np.float32)
    x[:6] = [0, -0.0, np.inf, -np.inf, 1 + 2**-8, 1 + 3 * 2**-8]  # the last two are ties
    bf16, f16 = np.zeros(64, np.uint16), np.zeros(64, np.uint16)
    tf32, pairs, back = np.zeros(64, np.uint32), np.zeros(128, np.uint32), np.zeros(128, np.float32)
    module().conversions[1, 64](x, bf16, f16, tf32, pairs, back)
    with np.errstate(over="ignore"):
        half = x.astype(np.float16)
    np.testing.assert_array_equal(bf16, bf16_bits(x))
    np.testing.assert_array_equal(f16, half.view(np.uint16))
    np.testing.assert_array_equal(pairs[::2], bf16.astype(np.uint32) | 0x3F80 << 16)
    np.testing.assert_array_equal(pairs[1::2], 0x3C00 | f16.astype(np.uint32) << 16)
    np.testing.assert_array_equal(back[::2], bf16_values(bf16))
    np.testing.assert_array_equal(back[1::2], half.astype(np.float32))
    finite = np.isfinite(x)
    step = np.exp2(np.floor(np.log2(np.abs(x[finite & (x != 0)]))) - 10)
    rounded = tf32.view(np.float32)[finite & (x != 0)]
    assert not (tf32 & 0x1FFF).any()
    assert (np.abs(rounded - x[finite & (x != 0)]) <= step / 2).all()
    tie = np.zeros(64, np.float32)
    tie[:2] = 1 + 2**-11, -1 - 2**-11
    module().conversions[1, 64](tie, bf16, f16, tf32, pairs, back)
    np.testing.assert_array_equal(tf32.view(np.float32)[:2], [1 + 2**-10, -1 - 2**-10])
