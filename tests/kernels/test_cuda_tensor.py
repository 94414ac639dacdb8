"""The tensor-core kernels in the emulator: what is rounded, how, and what holds them together."""

from __future__ import annotations

import contextlib
import inspect
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from minigen_kernels import ACTIVATED, PRODUCTS, backend_of, cuda, emulator, reference, use
from minigen_kernels.activations import ACTIVATIONS
from minigen_kernels.cuda import (
    LADDERS,
    OTHER_TENSOR_CORES,
    TENSOR_CORES,
    activation,
    conv,
    conv_weight,
    gemm,
    rounding,
)
from minigen_kernels.cuda.activation import NOTHING

from minigen import Tensor
from minigen import functional as F
from tests.kernels.cuda_ladder import SEEDS, fill_new_arrays_with_garbage
from tests.kernels.ladder import close
from tests.kernels.needs import GXX
from tests.kernels.tensor_cores import BITS, SOURCES, bound, broken_copy, products_agree, rounded
from tests.kernels.test_conv import arrays_for, cases, left_over
from tests.kernels.test_gemm import in_type, products

pytestmark = [pytest.mark.emulator, GXX]
KINDS = st.sampled_from(sorted(BITS))
SWIZZLE = "((word / 4) ^ (row / (32 / WORDS) % (WORDS / 4)))"
PRODUCT = Path(__file__).parent / "emulated" / "product.cu"
BF16_ARRAYS = SOURCES / "gemm_bf16.cu"
LAYOUTS = ["nn", "nt", "tn", "tt"]
WITH_ACTIVATED = {*PRODUCTS, *(f"{name}_activated" for name in ACTIVATED)}


@pytest.fixture(autouse=True)
def garbage(monkeypatch):
    fill_new_arrays_with_garbage(monkeypatch, gemm, conv, conv_weight, activation, rounding)


@given(SEEDS, KINDS, products(st.sampled_from([13, 17, 31, 33])))
def test_gemm(seed, precision, product):
    a, b, options = in_type(np.float32, *product)
    terms = a.shape[-2 if options["transpose_a"] else -1]
    products_agree("gemm", precision, seed, a, b, terms=terms, **options)


def stored(a, b, layout):
    """a and b as they lie in memory in this layout, and the flips that undo it."""
    flip_a, flip_b = (letter == "t" for letter in layout)
    a, b = (np.ascontiguousarray(x.T) if f else x for x, f in ((a, flip_a), (b, flip_b)))
    return a, b, flip_a, flip_b


def normal(*shapes):
    rng = np.random.default_rng(sum(map(sum, shapes)))
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize("precision", BITS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(65, 33, 129), (64, 16, 64), (1, 97, 67)])
def test_gemm_of_several_tiles(shape, layout, precision):
    """The error is within what rounding explains, and is more than float32 makes."""
    m, k, n = shape
    a, b, bias = normal((m, k), (k, n), (n,))
    arguments = stored(a, b, layout)
    with cuda.emulation(check=True, seed=m):
        c = TENSOR_CORES[precision]["gemm"](*arguments, bias)
    exact = a.astype(np.float64) @ b + bias
    products_of_sizes = np.abs(a).astype(np.float64) @ np.abs(b)
    error = np.abs(c - exact)
    assert (error <= bound(precision, k) * products_of_sizes + 2.0**-24 * np.abs(exact)).all()
    with cuda.emulation(seed=m):
        plain = gemm.gemm_2_registers(*arguments, bias)
    assert np.linalg.norm(error) > 100 * np.linalg.norm(plain - exact)
    # Random factors are off by 0.2 to 0.6 of 2^-p of themselves, as the square root of the mean
    # square, and a sum of products by the square root of 2 of that.
    scale = 2.0 ** -BITS[precision] * np.linalg.norm(exact - bias)
    assert 0.25 * scale < np.linalg.norm(error) < 0.9 * scale


@pytest.mark.parametrize("precision", BITS)
def test_factors_that_need_no_rounding_give_the_exact_product(precision):
    rng = np.random.default_rng(1)
    most = 2 ** BITS[precision] - 1
    a, b = (rng.integers(-most, most + 1, s).astype(np.float32) for s in ((67, 3), (3, 70)))
    with cuda.emulation(check=True):
        c = TENSOR_CORES[precision]["gemm"](a, b)
    exact = a.astype(np.float64) @ b
    assert np.abs(exact).max() < 2**24
    np.testing.assert_array_equal(c, exact)


@pytest.mark.parametrize(
    "precision, wide, kept",
    [("bf16", 257, 256), ("bf16", 259, 260), ("tf32", 2049, 2050), ("tf32", 2051, 2052)],
)
def test_ties(precision, wide, kept):
    """A number one bit too wide lies in the middle: to the even one, or away from zero."""
    x = np.full((1, 1), wide, np.float32)
    with cuda.emulation(check=True):
        for sign in (1, -1):
            c = TENSOR_CORES[precision]["gemm"](sign * x, np.ones((1, 1), np.float32))
            assert c[0, 0] == sign * kept == rounded(sign * x, precision)[0, 0]


@pytest.mark.parametrize("precision", BITS)
def test_infinity_and_nan_stay_in_their_row_and_column(precision):
    a, b = np.ones((30, 40), np.float32), np.ones((40, 70), np.float32)
    a[7, 3], b[5, 50] = np.nan, np.inf
    with cuda.emulation(check=True):
        c = TENSOR_CORES[precision]["gemm"](a, b)
    assert np.isnan(c[7]).all() and np.isposinf(np.delete(c[:, 50], 7)).all()
    assert np.isfinite(np.delete(np.delete(c, 7, 0), 50, 1)).all()


# A call of each kernel, on arrays of a type.
CALLS = {
    "gemm": lambda f, t: f(*t((5, 7), (7, 3))),
    "conv2d": lambda f, t: f(*t((1, 2, 4, 3), (3, 2, 2, 2))),
    "conv_transpose2d": lambda f, t: f(*t((1, 3, 4, 3), (3, 2, 2, 2))),
    "conv2d_weight": lambda f, t: f(*t((1, 2, 4, 3), (1, 3, 3, 2)), (2, 2)),
    "gemm_activated": lambda f, t: f(*t((5, 7), (7, 3))),
    "conv2d_activated": lambda f, t: f(*t((1, 2, 4, 3), (3, 2, 2, 2))),
    "conv_transpose2d_activated": lambda f, t: f(*t((1, 3, 4, 3), (3, 2, 2, 2))),
    "attention": lambda f, t: f(*t((1, 4, 3), (1, 5, 3), (1, 5, 2)))[0],
    "attention_backward": lambda f, t: f(
        *t((1, 4, 2), (1, 4, 3), (1, 5, 3), (1, 5, 2), (1, 4, 2), (1, 4))
    )[0],
}


@pytest.mark.parametrize("precision", BITS)
@pytest.mark.parametrize("name", CALLS)
def test_float64_keeps_its_bits_and_float32_does_not(name, precision):
    def arrays(dtype):
        return lambda *shapes: [x.astype(dtype) for x in normal(*shapes)]

    kernel, last = TENSOR_CORES[precision][name], LADDERS[name][-1]
    for dtype, is_same in ((np.float64, True), (np.float32, False)):
        got, plain = (CALLS[name](f, arrays(dtype)) for f in (kernel, last))
        assert got.dtype == plain.dtype == dtype
        assert np.array_equal(got, plain) == is_same


# ---------------------------------------------------------------- convolutions
@given(st.data(), SEEDS, KINDS, cases(), st.booleans())
def test_conv2d(data, seed, precision, case, has_bias):
    x, w, _, settings = case
    x, w, bias = arrays_for(data.draw, np.float32, x, w, w[:1])
    terms = int(np.prod(w.shape[1:]))
    given_bias = bias if has_bias else None
    products_agree("conv2d", precision, seed, x, w, given_bias, terms=terms, **settings)


@given(st.data(), SEEDS, KINDS, cases(), st.booleans())
def test_conv_transpose2d(data, seed, precision, case, has_bias):
    x, w, y, settings = case
    settings["output_padding"] = left_over(x, w, settings)
    y, w, bias = arrays_for(data.draw, np.float32, y, w, x[1:2])
    terms = w.shape[0] * w.shape[2] * w.shape[3]
    given_bias = bias if has_bias else None
    products_agree("conv_transpose2d", precision, seed, y, w, given_bias, terms=terms, **settings)


@given(st.data(), SEEDS, KINDS, cases(), st.sampled_from([1, 4, 300]))
def test_conv2d_weight(data, seed, precision, case, shortest):
    x, w, y, settings = case
    x, y = arrays_for(data.draw, np.float32, x, y)
    terms = y.shape[0] * y.shape[2] * y.shape[3]
    # many parts, some, or one
    before, conv_weight.SHORTEST_SPLIT = conv_weight.SHORTEST_SPLIT, shortest
    try:
        products_agree("conv2d_weight", precision, seed, x, y, w[2:], terms=terms, **settings)
    finally:
        conv_weight.SHORTEST_SPLIT = before


@pytest.mark.parametrize("precision", BITS)
def test_convolutions_of_several_tiles(precision):
    """More rows, more columns and more terms than a tile and a step have, in all three products."""
    x, w, bias = normal((2, 5, 9, 11), (66, 5, 3, 3), (66,))
    settings = dict(stride=(2, 1), padding=(1, 1))
    products_agree("conv2d", precision, 0, x, w, bias, terms=45, **settings)
    y = normal((2, 66, 5, 11))[0]
    products_agree("conv2d_weight", precision, 1, x, y, (3, 3), terms=110, **settings)
    products_agree("conv_transpose2d", precision, 2, y, w, None, terms=600, **settings)
    y, wide = normal((5, 3, 4, 3), (3, 66, 2, 3))
    settings = dict(stride=(3, 2), padding=(0, 1))
    products_agree("conv_transpose2d", precision, 3, y, wide, None, terms=18, **settings)


# ---------------------------------------------------------------- float32 by three products in TF32
def off(got, exact, sizes):
    """The largest error as a part of the same sum of the sizes of its terms."""
    return float((np.abs(got - exact) / sizes).max())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_three_products_in_tf32_are_nearly_those_of_float32(layout):
    """Off by 3 · 2^-22 of each product at most, and no more than four times float32's own error."""
    m, k, n = 65, 33, 70
    a, b = normal((m, k), (k, n))
    exact, sizes = (x.astype(np.float64) @ y for x, y in ((a, b), (np.abs(a), np.abs(b))))
    with cuda.emulation(check=True, seed=1):
        split = gemm.gemm_3_tf32x3(*stored(a, b, layout))
        plain = gemm.gemm_2_registers(*stored(a, b, layout))
        once = gemm.gemm_3_tf32(*stored(a, b, layout))
    assert off(split, exact, sizes) <= 3 * 2.0**-22 + (k + 8) * 2.0**-23
    assert np.linalg.norm(split - exact) <= 4 * np.linalg.norm(plain - exact)
    assert np.linalg.norm(split - exact) < 1e-2 * np.linalg.norm(once - exact)


def test_a_single_product_in_three_parts():
    """Nothing is summed here: 22 bits of each factor, all of it where a factor has no more."""
    a, b = normal((67, 1), (1, 65))
    exact = a.astype(np.float64) @ b
    with cuda.emulation(check=True, seed=2):
        error = np.abs(gemm.gemm_3_tf32x3(a, b) - exact)
        whole = np.round(a * 2**9), np.round(b * 2**9)
        np.testing.assert_array_equal(gemm.gemm_3_tf32x3(*whole), whole[0] @ whole[1])
        infinite = gemm.gemm_3_tf32x3(np.array([[np.inf, 1]], np.float32), np.ones((2, 1), "f4"))
    assert (error <= (3 * 2.0**-22 + 2.0**-23) * np.abs(exact)).all() and error.max() > 0
    assert np.isnan(infinite).all()  # it has no parts, so it is not passed over in silence


def test_convolutions_in_three_parts():
    x, w, bias = normal((2, 5, 7, 6), (9, 5, 3, 3), (9,))
    settings = dict(stride=(2, 1), padding=(1, 1))
    y = normal((2, 9, 4, 6))[0]
    for name, arguments in (("conv2d", (x, w, bias)), ("conv_transpose2d", (y, w, None)),
                            ("conv2d_weight", (x, y, (3, 3)))):  # fmt: skip
        wide = [v.astype(np.float64) if isinstance(v, np.ndarray) else v for v in arguments]
        exact = getattr(backend_of(x), name)(*wide, **settings)
        with cuda.emulation(check=True, seed=3):
            split = TENSOR_CORES["tf32x3"][name](*arguments, **settings)
            once = TENSOR_CORES["tf32"][name](*arguments, **settings)
        assert split.dtype == np.float32
        apart = np.linalg.norm(split - exact)
        assert apart < 1e-6 * np.linalg.norm(exact) < 1e-2 * np.linalg.norm(once - exact)


def test_what_three_products_stand_for():
    """Attention has none of them, and is computed in float32; float64 is never split."""
    assert WITH_ACTIVATED - set(TENSOR_CORES["tf32x3"]) == {"attention", "attention_backward"}
    x = np.eye(3, dtype=np.float32)
    with use(backend="emulator", precision="tf32x3"):
        assert backend_of(x).gemm is gemm.gemm_3_tf32x3
        assert backend_of(x).attention is LADDERS["attention"][-1]
    for name in TENSOR_CORES["tf32x3"]:
        kernel, plain = TENSOR_CORES["tf32x3"][name], LADDERS[name][-1]
        given = CALLS[name](kernel, lambda *shapes: [v.astype(float) for v in normal(*shapes)])
        same = CALLS[name](plain, lambda *shapes: [v.astype(float) for v in normal(*shapes)])
        np.testing.assert_array_equal(given, same)


# ---------------------------------------------------------------- an activation at the end
@pytest.mark.parametrize("precision", [*BITS, "tf32x3"])
@pytest.mark.parametrize("name", ACTIVATED)
def test_an_activation_at_the_end_is_given_what_the_product_gives(name, precision):
    """The product's own bits go into it, are kept where they are asked for, and come out as f."""
    arrays = normal((2, 5, 9, 11), (5, 66, 3, 3) if name == "conv_transpose2d" else (66, 5, 3, 3))
    if name == "gemm":
        arrays = normal((2, 65, 33), (33, 70))
    plain = TENSOR_CORES[precision][name]
    kernel = TENSOR_CORES[precision][f"{name}_activated"]
    bias = normal((70 if name == "gemm" else 66,))[0]
    with cuda.emulation(check=True, seed=4):
        expected = plain(*arrays, bias=bias)
    for seed, f in enumerate(ACTIVATIONS):
        how = {"bias": bias, "activation": f, "slope": 0.25}
        with cuda.emulation(check=True, seed=seed):
            y, before = kernel(*arrays, **how, keep=True)
            np.testing.assert_array_equal(kernel(*arrays, **how), y)
        np.testing.assert_array_equal(before, expected)
        close(y, reference.activated(expected, f, 0.25), 1, f"{name} {f}")


# ---------------------------------------------------------------- use(precision=...)
@pytest.mark.parametrize("precision", BITS)
def test_use_puts_them_in_the_place_of_every_rung(precision):
    x = np.eye(3, dtype=np.float32)
    for rung in (None, 1, 2):
        with use(backend="emulator", rung=rung, precision=precision):
            for name, kernel in TENSOR_CORES[precision].items():
                others = OTHER_TENSOR_CORES.get(precision, {}).get(name, {})
                assert getattr(backend_of(x), name) is others.get(rung, kernel)
            with use(precision="float32"):
                assert backend_of(x).gemm is LADDERS["gemm"][-1 if rung is None else rung]
            with use(gemm=np.matmul):
                assert backend_of(x).gemm is np.matmul
    with use(backend="emulator"):
        assert backend_of(x).gemm is LADDERS["gemm"][-1]


@pytest.mark.parametrize("precision", BITS)
def test_they_have_the_signature_and_the_name_of_their_ladder(precision):
    for name, kernel in TENSOR_CORES[precision].items():
        parameters = inspect.signature(LADDERS[name][0]).parameters.keys()
        assert inspect.signature(kernel).parameters.keys() == parameters
        assert kernel.__name__.startswith(f"{name}_") and kernel.__name__.endswith(precision)


def test_every_product_has_one_and_each_is_compared_with_the_formula():
    here = Path(__file__)
    text = here.read_text() + here.with_name("test_cuda_tensor_attention.py").read_text()
    for precision in BITS:
        assert set(TENSOR_CORES[precision]) == WITH_ACTIVATED == set(CALLS)
    for name in PRODUCTS:
        assert f'products_agree("{name}"' in text or f'[precision]["{name}"](' in text
    assert TENSOR_CORES["float32"] == {}


# ---------------------------------------------------------------- what holds them together
def run_gemm(source=SOURCES / "gemm_tensor.cu", layout="nn", precision="bf16", size=72, **how):
    """(module, C, C of the rounded factors in float64) of one product, size × size."""
    a, b = normal((size, size), (size, size))
    left, right, flip_a, flip_b = stored(a, b, layout)
    c = np.full((size, size), np.nan, np.float32)
    at, bt = (gemm._matrix(x[None], f) for x, f in ((left, flip_a), (right, flip_b)))
    module = emulator.load(source, **how)
    if module.count:
        module.reset_counts()
    kernel = getattr(module, f"gemm_3_tensor_{layout}_{precision}")
    grid, end = (-(-size // 64), -(-size // 64)), (None, NOTHING.struct(c))
    kernel[grid, 128](left, right, None, c, size, size, size, at, bt, *end)
    return module, c, rounded(a, precision) @ rounded(b, precision)


@pytest.mark.parametrize("precision", BITS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_bank_conflict_and_no_sector_too_many(layout, precision):
    module, _, _ = run_gemm(layout=layout, precision=precision, size=64, count=True)
    shared = [s for s in module.counts() if s.space == "shared"]
    assert {s.operation for s in shared} == {"read", "write"}
    assert [s.extra for s in shared] == [0] * len(shared)
    assert moved(module, "read") == 2 * 64 * 64 * 4 // 32
    assert moved(module, "write") == 64 * 64 * 4 // 32
    assert all(s.extra == 0 for s in module.counts())


def moved(module, operation):
    """How many sectors of global memory were read, or written."""
    sites = [s for s in module.counts() if s.space == "global" and s.operation == operation]
    return sum(s.transactions for s in sites)


def counted_conv(name, precision, x, w, y):
    """The module, after one kernel of 2 × 2 taps and stride 2 with an image each of x and y."""
    g = conv.conv_struct(x.shape, w.shape, y.shape, (2, 2), (0, 0), (1, 1), 1)
    module = emulator.load(SOURCES / "conv_tensor.cu", count=True)
    module.reset_counts()
    end = None, NOTHING.struct(x), None
    if name == "conv2d":
        getattr(module, f"conv2d_3_tensor_{precision}")[1, 128](x, w, None, y, g, *end)
    elif name == "conv2d_weight":
        getattr(module, f"conv2d_weight_2_tensor_{precision}")[1, 128](x, y, w, g, 1)
    else:
        kernel = getattr(module, f"conv_transpose2d_2_tensor_{precision}")
        kernel[(1, 1, 4), 128](y, w, None, x, g, *end)
    return module


@pytest.mark.parametrize("precision", [*BITS, "tf32x3"])
@pytest.mark.parametrize("name", ["conv2d", "conv2d_weight"])
def test_convolutions_have_no_bank_conflict_and_no_sector_too_many(name, precision):
    """One tile, of 64 filters, 64 terms and 64 pixels: 64² numbers each of x, of w and of y."""
    module = counted_conv(name, precision, *normal((1, 16, 16, 16), (64, 16, 2, 2), (1, 64, 8, 8)))
    whole = 64 * 64 * 4 // 32
    assert moved(module, "read") == 2 * whole and moved(module, "write") == whole
    assert all(s.extra == 0 for s in module.counts())


@pytest.mark.parametrize("precision", [*BITS, "tf32x3"])
def test_what_the_phases_of_a_transposed_convolution_cost(precision):
    """Four phases of 64 channels and 64 pixels each, with 32 channels of y and one tap each."""
    arrays = normal((1, 64, 16, 16), (32, 64, 2, 2), (1, 32, 8, 8))
    module = counted_conv("conv_transpose2d", precision, *arrays)
    assert all(s.extra == 0 for s in module.counts() if s.space == "shared")
    # Each phase reads all of y, and of w its own tap: numbers that lie 16 bytes apart, two of them
    # to a sector. It writes every other pixel of a row: another phase writes those between.
    of_y, of_w = 4 * 32 * 64 * 4 // 32, 4 * 32 * 64 // 2
    assert moved(module, "read") == of_y + of_w
    assert moved(module, "write") == 2 * 4 * 64 * 64 * 4 // 32


@pytest.mark.parametrize("precision", BITS)
def test_without_the_swizzle_of_tiles_the_counters_show_it(tmp_path, precision):
    plain = broken_copy(tmp_path, PRODUCT, "tensor.cuh", SWIZZLE, "(word / 4)")
    module, c, exact = run_gemm(plain, precision=precision, size=64, count=True)
    assert np.linalg.norm(c - exact) <= 1e-6 * np.linalg.norm(exact)
    reads = [s for s in module.counts() if s.space == "shared" and s.operation == "read"]
    # Two rows of 64 bytes fill the banks: of eight rows every other one begins in the same bank.
    assert sum(s.extra for s in reads) == 3 * sum(s.ideal for s in reads)


@pytest.mark.parametrize(
    "precision, right, wrong, kinds",
    [
        ("bf16", "__syncthreads();  // the tiles", "//", {"race", "uninitialised"}),
        ("bf16", "stage ^= 1", "stage ^= 0", {"race"}),
        ("tf32", "__syncthreads();  // this step", "//", {"race", "uninitialised", "wait"}),
        ("tf32", "cp_async_wait<STAGES - 2>", "cp_async_wait<STAGES - 1>", {"wait"}),
        ("tf32", "stage == 0 ? STAGES - 1 : stage - 1", "stage", {"race", "wait"}),
        ("tf32", "COUNT = Kind::PER_WORD == 1 ? STAGES : 2", "COUNT = 2", {"race", "wait"}),
        ("bf16", "r < rows ? r : rows - 1", "r", {"out-of-bounds"}),
        ("bf16", "k < end ? k : end - 1", "k", {"out-of-bounds"}),
        (None, "if (m < M && n < N) store", "store", {"out-of-bounds", "race"}),
    ],
)
def test_a_tile_without_its_barrier_its_stage_or_its_bounds_is_caught(
    tmp_path, precision, right, wrong, kinds
):
    broken = broken_copy(tmp_path, PRODUCT, "tensor.cuh", right, wrong)
    for seed, one in itertools.product(range(5), [precision] if precision else BITS):
        with pytest.raises(emulator.KernelError) as caught:
            run_gemm(broken, check=True, seed=seed, precision=one)
        assert caught.value.kind in kinds, caught.value


@pytest.mark.parametrize(
    "precision, right, wrong",
    [
        ("bf16", "pack_bf16(x[0], x[1])", "pack_bf16(x[1], x[0])"),  # harmless: both sides alike
        ("bf16", "return pack_bf16(x[0], x[1]);",
         "return __float_as_uint(x[0]) >> 16 | (__float_as_uint(x[1]) & 0xffff0000u);"),
        ("tf32", "y[i] = float_to_tf32(__uint_as_float(x[i]))", "y[i] = x[i]"),
        ("bf16", "order(word(i) + WORDS * e)", "(ALONG_K ? word(i) * 2 + e : word(i) + WORDS * e)"),
        ("bf16", "r < rows && k < end ?", "r < rows ?"),
        ("tf32", "from.is_there && r < rows && k < end", "from.is_there && r < rows"),
        ("tf32", "4 * (chunk + lane / 16)", "4 * (chunk + lane / 16 % 1)"),
        ("tf32", "lane % 2 ? odd : even", "lane % 2 ? even : odd"),
        ("tf32", "e % 2 * 16 + lane / 8 * 4", "lane / 8 * 4"),
    ],
)  # fmt: skip
def test_wrong_rounding_and_wrong_places_are_seen(tmp_path, precision, right, wrong):
    broken = broken_copy(tmp_path, PRODUCT, "tensor.cuh", right, wrong)
    _, c, exact = run_gemm(broken, precision=precision)
    right_value = np.linalg.norm(c - exact) <= 1e-6 * np.linalg.norm(exact)
    assert right_value == (wrong == "pack_bf16(x[1], x[0])")


# ---------------------------------------------------------------- arrays of bfloat16
def gemm_bf16(m, n, k, source=BF16_ARRAYS, **how):
    """(module, C, C in float64) of one product of random bfloat16 matrices."""
    rng = np.random.default_rng(k)
    a, b = (rounded(rng.standard_normal(s, np.float32), "bf16") for s in ((m, k), (n, k)))
    c = np.full((m, n), np.nan, np.float32)
    module = emulator.load(source, **how)
    grid = -(-n // 64), -(-m // 64)
    stored = [(x.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16) for x in (a, b)]
    end = np.int64(0), np.int64(0), None, NOTHING.struct(c)
    module.gemm_4_pipeline[grid, 128, gemm.STAGES_BYTES](*stored, None, c, m, n, k, *end)
    return module, c, a @ b.T


@pytest.mark.parametrize("shape", [(64, 64, 64), (65, 130, 72), (1, 1, 8), (37, 70, 264)])
def test_gemm_of_bfloat16_arrays(shape):
    for seed in range(2):
        _, c, exact = gemm_bf16(*shape, check=True, seed=seed)
        assert np.linalg.norm(c - exact) <= 1e-6 * np.linalg.norm(exact)


def test_gemm_of_bfloat16_arrays_has_no_bank_conflict():
    """The swizzle: ldmatrix, and the copies into shared memory, at every place in the source."""
    module, _, _ = gemm_bf16(64, 64, 256, count=True)
    shared = [s for s in module.counts() if s.space == "shared"]
    assert {s.operation for s in shared} == {"read", "write"}
    # Four warps, four steps of 64: 4 · 4 reads of A or B in each, four groups of eight rows a read.
    assert sum(s.ideal for s in shared if s.operation == "read") == 4 * 4 * 16 * 4
    assert [s.extra for s in shared] == [0] * len(shared)
    assert moved(module, "read") == 2 * 64 * 256 * 2 // 32
    assert moved(module, "write") == 64 * 64 * 4 // 32
    assert all(s.extra == 0 for s in module.counts())


@pytest.fixture
def every_product_is_large(monkeypatch):
    monkeypatch.setattr(gemm, "LEAST_ROUNDED", 1)


@given(SEEDS, products(st.sampled_from([13, 17, 31, 33])))
def test_gemm_of_factors_that_are_rounded_beforehand(seed, product):
    a, b, options = in_type(np.float32, *product)
    terms = a.shape[-2 if options["transpose_a"] else -1]
    before, gemm.LEAST_ROUNDED = gemm.LEAST_ROUNDED, 1
    try:
        products_agree("gemm", "bf16", seed, a, b, terms=terms, **options)
    finally:
        gemm.LEAST_ROUNDED = before


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.usefixtures("every_product_is_large")
def test_rounded_beforehand_or_on_the_way_is_one_product(layout):
    """Several tiles and steps: what differs is the order of the terms of each sum."""
    m, k, n = 65, 131, 130
    a, b, bias = normal((m, k), (k, n), (n,))
    arguments = stored(a, b, layout)
    with cuda.emulation(check=True, seed=5):
        c = gemm.gemm_4_bf16(*arguments, bias)
        other = gemm.gemm_3_bf16(*arguments, bias)
    exact = rounded(a, "bf16") @ rounded(b, "bf16") + bias
    assert np.linalg.norm(c - exact) <= 1e-6 * np.linalg.norm(exact)
    sizes = np.abs(a).astype(np.float64) @ np.abs(b)
    assert (np.abs(c - other) <= 2 * (k + 8) * 2.0**-23 * sizes).all()


@pytest.mark.usefixtures("every_product_is_large")
def test_an_activation_at_the_end_of_a_product_of_bfloat16_arrays():
    a, b, bias = normal((2, 65, 33), (33, 70), (70,))
    with cuda.emulation(check=True, seed=4):
        expected = gemm.gemm_4_bf16(a, b, bias=bias)
        for f in ACTIVATIONS:
            how = {"bias": bias, "activation": f, "slope": 0.25}
            y, before = gemm.gemm_activated_4_bf16(a, b, **how, keep=True)
            np.testing.assert_array_equal(before, expected)
            close(y, reference.activated(expected, f, 0.25), 1, f)


@pytest.mark.parametrize("n, kernels", [
    (511, ["gemm_3_tensor_nt_bf16"]), (512, ["round_n", "round_n", "gemm_4_pipeline"]),
])  # fmt: skip
def test_a_large_product_of_a_layer_is_rounded_beforehand(monkeypatch, n, kernels):
    """As training in bfloat16 asks for it, by use(precision="bf16"). Nothing is computed here."""
    seen: list[str] = []
    for module in (gemm, rounding):
        monkeypatch.setattr(module, "launch", lambda source, kernel, *a, **o: seen.append(kernel))
    x, w = (Tensor(np.zeros(s, np.float32)) for s in ((512, 8), (n, 8)))
    with use(backend="emulator", precision="bf16"):
        F.linear(x, w)
    assert seen == kernels


@pytest.mark.parametrize("name, grid", [("round_n", 8), ("round_t", (2, 2))])
def test_rounding_beforehand_moves_what_it_must(name, grid):
    """Each number is read once and written once, in whole sectors, and no bank is asked twice."""
    x = normal((64, 64))[0]
    to = np.zeros((64, 64), np.uint16)
    module = emulator.load(SOURCES / "round.cu", count=True)
    module.reset_counts()
    getattr(module, name)[grid, 256](x, to, 64, 64, 64)
    exact = rounded(x if name == "round_n" else x.T, "bf16")
    np.testing.assert_array_equal((to.astype(np.uint32) << 16).view(np.float32), exact)
    assert all(s.extra == 0 for s in module.counts())
    moved = sum(s.transactions for s in module.counts() if s.space == "global")
    assert moved == 64 * 64 * (4 + 2) // 32


@pytest.mark.parametrize(
    "file, right, wrong, kinds",
    [
        ("pipeline.cuh", "cp_async_wait<STAGES - 2>", "cp_async_wait<STAGES - 1>", {"wait"}),
        ("pipeline.cuh", "    __syncthreads();", "", {"race", "wait", "uninitialised"}),
        ("pipeline.cuh", "copy(step + STAGES - 1)", "copy(step + STAGES)",
         {"race", "wait", "uninitialised"}),
        ("gemm_bf16.cu", "row < rows && k < K", "k < K", {"out-of-bounds"}),
    ],
)  # fmt: skip
def test_what_holds_the_three_stages_together_cannot_be_left_out(
    tmp_path, file, right, wrong, kinds
):
    """A wait, a barrier, the stage that is filled, a bound: the kernel without each of them."""
    broken = broken_copy(tmp_path, BF16_ARRAYS, file, right, wrong)
    # Rows that are not there must lie in the guard behind A, not in what lies behind that.
    m, k = (65, 256) if file == "pipeline.cuh" else (97, 8)
    for seed in range(5):
        with pytest.raises(emulator.KernelError) as caught:
            gemm_bf16(m, 64, k, source=broken, check=True, seed=seed)
        assert caught.value.kind in kinds, caught.value


def test_without_the_swizzle_the_counters_show_it(tmp_path):
    plain = broken_copy(tmp_path, BF16_ARRAYS, "tensor.cuh", SWIZZLE, "(word / 4)")
    module, c, exact = gemm_bf16(64, 64, 64, source=plain, count=True)
    assert np.linalg.norm(c - exact) <= 1e-6 * np.linalg.norm(exact)
    reads = [s for s in module.counts() if s.space == "shared" and s.operation == "read"]
    # Eight rows of 128 bytes begin in the same bank: eight turns for each one.
    assert sum(s.extra for s in reads) == 7 * sum(s.ideal for s in reads)


# ---------------------------------------------------------------- convolutions of bfloat16 arrays
@contextlib.contextmanager
def every_convolution_rounded_beforehand():
    before = conv.LEAST_LOADS, conv.LEAST_CHANNELS
    conv.LEAST_LOADS, conv.LEAST_CHANNELS = 0, 1
    try:
        yield
    finally:
        conv.LEAST_LOADS, conv.LEAST_CHANNELS = before


@given(st.data(), SEEDS, cases(), st.booleans())
def test_conv2d_of_factors_that_are_rounded_beforehand(data, seed, case, has_bias):
    x, w, _, settings = case
    x, w, bias = arrays_for(data.draw, np.float32, x, w, w[:1])
    terms = int(np.prod(w.shape[1:]))
    given_bias = bias if has_bias else None
    with every_convolution_rounded_beforehand():
        products_agree("conv2d", "bf16", seed, x, w, given_bias, terms=terms, **settings)


@pytest.mark.parametrize("groups", [1, 2])
def test_conv2d_rounded_beforehand_of_several_tiles_and_steps(groups):
    """130 filters, 110 pixels, 3 · 3 · 24 terms with their zeros; and an activation at the end."""
    x, w, bias = normal((2, 17 * groups, 9, 11), (130, 17, 3, 3), (130,))
    options: dict[str, Any] = {"stride": (2, 1), "padding": (1, 1), "groups": groups}
    with every_convolution_rounded_beforehand():
        products_agree("conv2d", "bf16", 1, x, w, bias, terms=153, **options)
        with cuda.emulation(check=True, seed=2):
            expected = conv.conv2d_4_bf16(x, w, bias, **options)
            for f in ("tanh", "gelu"):
                how = {**options, "activation": f, "slope": 0.25, "keep": True}
                y, before = conv.conv2d_activated_4_bf16(x, w, bias, **how)
                np.testing.assert_array_equal(before, expected)
                close(y, reference.activated(expected, f, 0.25), 1, f)


@pytest.mark.parametrize("channels, filters, kernels", [
    (16, 64, ["round_t", "round_t", "conv2d_4_pipeline"]),
    (15, 64, ["conv2d_3_tensor_bf16"]),  # zeros would be half of what is copied
    (16, 3, ["round_t", "round_t", "conv2d_4_pipeline"]),
])  # fmt: skip
def test_which_convolution_is_rounded_beforehand(monkeypatch, channels, filters, kernels):
    seen: list[str] = []
    for module in (conv, rounding):
        monkeypatch.setattr(module, "launch", lambda source, kernel, *a, **o: seen.append(kernel))
    x, w = np.zeros((1, channels, 4, 4), np.float32), np.zeros((filters, channels, 3, 3), "f4")
    with use(backend="emulator", precision="bf16"):
        F.conv2d(Tensor(x), Tensor(w), padding=1)
        assert seen == kernels
        F.conv2d(Tensor(x), Tensor(w[:, :, :1, :1]))  # a number is loaded once: as it is
    assert seen[len(kernels):] == ["conv2d_3_tensor_bf16"]


@given(st.data(), SEEDS, cases(), st.booleans())
def test_conv_transpose2d_of_factors_that_are_rounded_beforehand(data, seed, case, has_bias):
    x, w, y, settings = case
    settings["output_padding"] = left_over(x, w, settings)
    y, w, bias = arrays_for(data.draw, np.float32, y, w, x[1:2])
    terms = w.shape[0] * w.shape[2] * w.shape[3]
    given_bias = bias if has_bias else None
    options = {"terms": terms, **settings}
    with every_convolution_rounded_beforehand():
        products_agree("conv_transpose2d", "bf16", seed, y, w, given_bias, **options)


@pytest.mark.parametrize("groups", [1, 2])
def test_conv_transpose2d_rounded_beforehand_of_several_tiles_and_steps(groups):
    """66 channels, more than 64 pixels in each phase, 5 · 17 terms; an activation at the end."""
    y, w, bias = normal((2, 17 * groups, 7, 11), (17 * groups, 66, 5, 4), (66 * groups,))
    options: dict[str, Any] = {"stride": (2, 1), "padding": (1, 1), "groups": groups}
    with every_convolution_rounded_beforehand():
        products_agree("conv_transpose2d", "bf16", 1, y, w, bias, terms=340, **options)
        with cuda.emulation(check=True, seed=2):
            expected = conv.conv_transpose2d_3_bf16(y, w, bias, **options)
            for f in ("tanh", "gelu"):
                how = {**options, "activation": f, "slope": 0.25, "keep": True}
                x, before = conv.conv_transpose2d_activated_3_bf16(y, w, bias, **how)
                np.testing.assert_array_equal(before, expected)
                close(x, reference.activated(expected, f, 0.25), 1, f)


@pytest.mark.parametrize("depth, taps, kernels", [
    (16, 4, ["round_t", "round_t", "conv_transpose2d_3_pipeline"]),
    (15, 4, ["conv_transpose2d_2_tensor_bf16"]),
    (16, 2, ["conv_transpose2d_2_tensor_bf16"]),
])  # fmt: skip
def test_which_transposed_convolution_is_rounded_beforehand(monkeypatch, depth, taps, kernels):
    seen: list[str] = []
    for module in (conv, rounding):
        monkeypatch.setattr(module, "launch", lambda source, kernel, *a, **o: seen.append(kernel))
    y, w = (Tensor(x) for x in normal((1, depth, 4, 4), (depth, 8, taps, taps)))
    with use(backend="emulator", precision="bf16"):
        F.conv_transpose2d(y, w, stride=2, padding=0)
    assert seen == kernels


def test_a_transposed_convolution_of_bfloat16_arrays_reads_no_sector_too_many():
    """Four phases of 64 channels and 64 pixels each, with 64 channels of y and one tap each."""
    y, w = (rounded(x, "bf16").astype(np.float32) for x in normal((1, 64, 8, 8), (64, 64, 2, 2)))
    x = np.full((1, 64, 16, 16), np.nan, np.float32)
    g = conv.conv_struct(x.shape, w.shape, y.shape, (2, 2), (0, 0), (1, 1), 1)
    module = emulator.load(SOURCES / "conv_bf16.cu", count=True)
    module.reset_counts()
    sides = y.transpose(0, 2, 3, 1), w.transpose(1, 2, 3, 0)  # channels of y side by side
    words = [(v.view(np.uint32) >> 16).astype(np.uint16) for v in map(np.ascontiguousarray, sides)]
    end = x, g, 64, None, NOTHING.struct(x), None
    module.conv_transpose2d_3_pipeline[(1, 1, 4), 128, gemm.STAGES_BYTES](*words, None, *end)
    exact = np.einsum("nohw,ocpq->nchpwq", y.astype(float), w.astype(float)).reshape(x.shape)
    assert np.linalg.norm(x - exact) <= 1e-6 * np.linalg.norm(exact)
    assert all(s.extra == 0 for s in module.counts() if s.operation == "read")
    assert all(s.extra == 0 for s in module.counts() if s.space == "shared")
    assert moved(module, "read") == 4 * 2 * 64 * 64 * 2 // 32
    assert moved(module, "write") == 2 * 4 * 64 * 64 * 4 // 32  # every other pixel of a row


def conv_bf16(x, w, source=SOURCES / "conv_bf16.cu", padding=1, **how):
    """(module, y, y in float64) of one convolution of channels that lie side by side."""
    x, w = (rounded(v, "bf16").astype(np.float32) for v in (x, w))
    channels, filters = x.shape[1], len(w)
    assert channels % 8 == 0
    exact = reference.conv2d(x.astype(float), w.astype(float), None, padding=(padding, padding))
    y = np.full(exact.shape, np.nan, np.float32)
    g = conv.conv_struct(x.shape, w.shape, y.shape, (1, 1), (padding, padding), (1, 1), 1)
    sides = [(v.view(np.uint32) >> 16).astype(np.uint16).transpose(0, 2, 3, 1) for v in (x, w)]
    module = emulator.load(source, **how)
    if module.count:
        module.reset_counts()
    grid = -(-y[:, 0].size // 64), -(-filters // 64)
    end = None, NOTHING.struct(y), None
    given = *map(np.ascontiguousarray, sides), None, y, g, channels, *end
    module.conv2d_4_pipeline[grid, 128, gemm.STAGES_BYTES](*given)
    return module, y, exact


def test_conv2d_of_bfloat16_arrays_has_no_bank_conflict_and_no_sector_too_many():
    """64 pixels, 64 filters and 3 · 3 taps of 64 channels, which are one step of the product."""
    x, w = normal((1, 64, 10, 10), (64, 64, 3, 3))
    module, y, exact = conv_bf16(x, w, padding=0, count=True)
    assert np.linalg.norm(y - exact) <= 1e-6 * np.linalg.norm(exact)
    assert all(s.extra == 0 for s in module.counts())
    assert moved(module, "read") == 2 * 64 * 9 * 64 * 2 // 32
    assert moved(module, "write") == 64 * 64 * 4 // 32


def test_an_infinite_pixel_reaches_only_the_pixels_around_it():
    """Past the last tap there are zeros on both sides: an infinity times 0 would be NaN."""
    x, w = np.ones((1, 8, 9, 9), np.float32), np.ones((3, 8, 3, 3), np.float32)
    x[0, :, 4, 4] = np.inf
    _, y, _ = conv_bf16(x, w, check=True)
    near = np.zeros((9, 9), bool)
    near[3:6, 3:6] = True
    assert np.isposinf(y[:, :, near]).all() and np.isfinite(y[:, :, ~near]).all()


@pytest.mark.parametrize(
    "right, wrong, kinds",
    [
        ("row >= 0 && row < g.H", "row < g.H", {"out-of-bounds"}),
        ("o < per_group && k < depth", "k < depth", {"out-of-bounds"}),
        ("if (m < per_group && n < g.N)", "if (n < g.N)", {"out-of-bounds"}),
        ("n < g.N ? column % pixels", "true ? column % pixels", {"out-of-bounds"}),
    ],
)
def test_what_keeps_a_convolution_inside_its_arrays(tmp_path, right, wrong, kinds):
    """62 filters of one tap and 49 pixels: what is not there lies in the guards of the arrays."""
    broken = broken_copy(tmp_path, SOURCES / "conv_bf16.cu", "conv_bf16.cu", right, wrong)
    for seed in range(3):
        with pytest.raises(emulator.KernelError) as caught:
            conv_bf16(*normal((1, 8, 5, 5), (62, 8, 1, 1)), source=broken, check=True, seed=seed)
        assert caught.value.kind in kinds, caught.value
