"""GEMM: every rung against the formula, at every width of vector, with nothing left over."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from minigen_kernels import CACHE_LINE, backend_of, empty, reference, use
from minigen_kernels.cpu import LADDERS, contract, gemm, panels, simd, threads

from minigen.testing.strategies import laid_out, sizes
from tests.kernels.ladder import FLOATS, close, rungs_agree, same_bits_elsewhere

X = np.empty(0)


@pytest.fixture(autouse=True)
def garbage(monkeypatch):
    """New arrays are full of NaN, so that an element that nobody writes shows."""
    for module in (gemm, panels):
        monkeypatch.setattr(module, "empty", lambda shape, dtype: np.full(shape, np.nan, dtype))
    panels._mine.__dict__.clear()


@st.composite
def products(draw, side, zero=True):
    """a, b and options of a product in float64: any transposition, batch, layout; with a bias?"""
    m, k, n = (draw(st.one_of(sizes(zero), side)) for _ in range(3))
    batch = draw(st.sampled_from([(), (), (2,), (2, 3), (1,)] + [(0,)] * zero))
    one = draw(st.sampled_from(["both", "both", "a", "b"]))
    flips = {"transpose_a": draw(st.booleans()), "transpose_b": draw(st.booleans())}
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    a_shape = (k, m) if flips["transpose_a"] else (m, k)
    b_shape = (n, k) if flips["transpose_b"] else (k, n)
    a = rng.standard_normal((*(batch if one != "b" else ()), *a_shape))
    b = rng.standard_normal((*(batch if one != "a" else ()), *b_shape))
    bias = rng.standard_normal(n) if draw(st.booleans()) else None
    return draw(laid_out(a)), draw(laid_out(b)), {**flips, "bias": bias}


def in_type(dtype, a, b, options):
    """The operands and the bias in this type."""
    bias = options["bias"]
    return a.astype(dtype), b.astype(dtype), {
        **options, "bias": None if bias is None else bias.astype(dtype)}  # fmt: skip


def expected(a, b, transpose_a=False, transpose_b=False, bias=None):
    """NumPy's product in float64: a second opinion at sizes where rung 0 is too slow."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    a, b = a.swapaxes(-1, -2) if transpose_a else a, b.swapaxes(-1, -2) if transpose_b else b
    return a @ b + (0 if bias is None else bias)


@given(st.sampled_from(FLOATS), products(st.sampled_from([13, 17])))
def test_rungs(dtype, product):
    a, b, options = in_type(dtype, *product)
    rungs_agree("gemm", a, b, terms=a.shape[-2 if options["transpose_a"] else -1], **options)


@given(st.sampled_from(FLOATS), products(st.sampled_from([31, 64, 97, 131, 449]), zero=False))
def test_sizes_of_many_tiles(dtype, product):
    a, b, options = in_type(dtype, *product)
    c = backend_of(X).gemm(a, b, **options)
    terms = a.shape[-2 if options["transpose_a"] else -1]
    close(c, expected(a, b, **options).astype(dtype), terms, "gemm")


@pytest.mark.parametrize("shape", [(31, 64, 257), (33, 65, 255), (65, 3, 256), (97, 129, 5)])
def test_rungs_about_the_sides_of_their_blocks(shape):
    """Every rung, not only the best: blocks of 32 rows, 64 deep, 256 columns wide."""
    m, k, n = shape
    a, b = (np.random.default_rng(m).standard_normal(s) for s in ((m, k), (k, n)))
    for rung in LADDERS["gemm"][1:]:
        close(rung(a, b), expected(a, b), k, rung.__name__)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("m, depth", [(1, 1), (5, 7), (64, 6272), (300, 333)])
def test_a_product_of_one_column(dtype, m, depth):
    """Which no tile computes: of one matrix or several, with one right side or one for each."""
    rng = np.random.default_rng(m)
    a, b = rng.standard_normal((3, m, depth)).astype(dtype), rng.standard_normal((3, depth, 1))
    b, bias = b.astype(dtype), np.array([0.5], dtype)
    for left, right in ((a, b), (a[0], b), (a, b[0]), (a[0], b[0])):
        c = backend_of(X).gemm(left, right, bias=bias)
        close(c, expected(left, right, bias=bias).astype(dtype), depth, "gemm")


@pytest.mark.parametrize("n", [512, 2048, 2090])  # all large enough to be aligned
def test_a_right_side_that_lies_badly_is_packed(n):
    """Rows far apart, rows that begin between two cache lines: the same bits as where they fit."""
    rng = np.random.default_rng(n)
    a = rng.standard_normal((130, 40)).astype(np.float32)
    odd = rng.standard_normal(40 * n + 1).astype(np.float32)[1:].reshape(40, n)
    aligned = empty((40, n), np.float32)
    aligned[...] = odd
    assert aligned.ctypes.data % CACHE_LINE == 0
    c = backend_of(X).gemm(a, odd)
    close(c, expected(a, odd).astype(np.float32), 40, f"{n} columns")
    np.testing.assert_array_equal(c, backend_of(X).gemm(a, aligned))
    np.testing.assert_array_equal(c[:20], backend_of(X).gemm(a[:20], aligned))


@pytest.mark.parametrize("bits", [128, 256, 512])
@pytest.mark.parametrize("m", [24, 27, 28, 47, 48, 53, 64, 100])
def test_a_left_side_that_lies_column_by_column_gives_the_same_bits(m, bits):
    """Some of its panels are packed at once, and none from beyond its last row."""
    rng = np.random.default_rng(m)
    a, b = (rng.standard_normal(s).astype(np.float32) for s in ((m, 390), (390, 40)))
    with use(vector_bits=bits):
        c = backend_of(X).gemm(np.ascontiguousarray(a.T), b, transpose_a=True)
        np.testing.assert_array_equal(c, backend_of(X).gemm(a, b))


@pytest.mark.parametrize("bits", [128, 256, 512])
@pytest.mark.parametrize("shape", [(5, 3, 7), (25, 400, 65)])
def test_every_vector_width(bits, shape):
    m, k, n = shape
    rng = np.random.default_rng(bits)
    a, b = (rng.standard_normal(s).astype(np.float32) for s in ((m, k), (n, k)))
    with use(vector_bits=bits):
        assert 64 * len(simd.vector_width()) == bits
        c = backend_of(X).gemm(a, b, transpose_b=True)
    close(c, expected(a, b, transpose_b=True).astype(np.float32), k, f"{bits} bits")


def test_width_from_the_environment(monkeypatch):
    try:
        monkeypatch.setenv("MINIGEN_VECTOR_BITS", "256")
        simd.usual_bits.cache_clear()
        assert len(simd.vector_width()) == 4
        monkeypatch.setenv("MINIGEN_VECTOR_BITS", "100")
        simd.usual_bits.cache_clear()
        with pytest.raises(ValueError, match="MINIGEN_VECTOR_BITS=100: choose 128, 256 or 512"):
            simd.vector_width()
    finally:
        simd.usual_bits.cache_clear()


def test_nan_and_inf_stay_in_their_row_and_column():
    a, b = np.ones((30, 40), np.float32), np.ones((40, 70), np.float32)
    a[7, 3], b[5, 50] = np.nan, np.inf
    c = backend_of(X).gemm(a, b)
    assert np.isnan(c[7]).all() and np.isposinf(np.delete(c[:, 50], 7)).all()
    assert np.isfinite(np.delete(np.delete(c, 7, 0), 50, 1)).all()


def test_same_bits_whatever_the_number_of_threads():
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((150, 150)).astype(np.float32) for _ in range(2))
    several, before = backend_of(X).gemm(a, b), threads.get_threads()
    threads.set_threads(1)
    try:
        alone = backend_of(X).gemm(a, b)
    finally:
        threads.set_threads(before)
    np.testing.assert_array_equal(several, alone)
    with pytest.raises(ValueError, match=r"set_threads\(0\): this process can use 1 to"):
        threads.set_threads(0)


def test_same_bits_in_another_process():
    same_bits_elsewhere(
        "import numpy as np; from minigen_kernels import backend_of\n"
        "a, b = np.random.default_rng(1).standard_normal((2, 130, 130)).astype(np.float32)\n"
        "result = (backend_of(a).gemm(a, b), backend_of(a).gemm(a, b, transpose_a=True))\n"
    )


@pytest.mark.parametrize("kernel", [reference.gemm, gemm.gemm_1_loops, gemm.gemm_3_vectors])
def test_errors_name_the_shapes(kernel):
    with pytest.raises(ValueError, match=r"gemm: a \(2, 3\) .* has 3 columns, but b \(2, 3\)"):
        kernel(np.ones((2, 3)), np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"batch axes of a \(2, 1, 1\) and b \(3, 1, 1\)"):
        kernel(np.ones((2, 1, 1)), np.ones((3, 1, 1)))
    with pytest.raises(ValueError, match="must have 2 axes or more"):
        kernel(np.ones(3), np.ones((3, 1)))


def test_runs_are_columns_side_by_side():
    line = contract.plain(np.array([4, 5, 6, 7, 9, 10, 11, 12]))
    np.testing.assert_array_equal(contract._runs(line, 4), [1, 1])
    np.testing.assert_array_equal(contract._runs(line, 8), [0])
    line[2, 1] = 1  # another image column: each element has to be looked at
    np.testing.assert_array_equal(contract._runs(line, 4), [0, 1])
