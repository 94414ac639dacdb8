"""GELU and the polynomials under it, leaky ReLU: rungs against the formula, slopes, laws, ulps."""

from __future__ import annotations

import math

import minigen_kernels
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from minigen_kernels import backend_of, reference
from minigen_kernels.cpu import functions
from minigen_kernels.cpu.share import BLOCK

from minigen.testing.strategies import laid_out, shapes
from tests.kernels.ladder import (
    FLOATS,
    rungs_agree,
    same_bits_elsewhere,
    same_bits_for_any_threads,
    slope_agrees,
)

FORMS = ("none", "tanh")
SLOPES = (0.0, 0.01, 0.2, 1.0, 1.5, -0.5)
CORNERS = (0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan)


@given(st.data(), st.sampled_from(FLOATS), shapes(0, 3), st.sampled_from(FORMS))
def test_gelu_rungs(data, dtype, shape, approximate):
    rng = np.random.default_rng(math.prod(shape))
    x = data.draw(laid_out(np.asarray(3 * rng.standard_normal(shape), dtype)))
    gy = data.draw(laid_out(np.asarray(rng.standard_normal(shape), dtype)))
    rungs_agree("gelu", x, approximate)
    rungs_agree("gelu_backward", gy, x, approximate)


@given(st.integers(1, 33), st.sampled_from(FORMS), st.integers(0, 999))
def test_gelu_slope(n, approximate, seed):
    x, gy = 2 * np.random.default_rng(seed).standard_normal((2, n))
    gx = backend_of(x).gelu_backward(gy, x, approximate)
    slope_agrees(lambda x: reference.gelu(x, approximate), (x,), gy, (gx,), seed)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("approximate", FORMS)
def test_gelu_at_the_ends_and_with_bad_values(dtype, approximate):
    x = np.array([0, -0.0, 60, -60, 1e4, -1e4, np.inf, np.nan], dtype)
    y = rungs_agree("gelu", x, approximate)
    assert y[0] == 0 and y[2] == 60 and y[3] == 0 and np.isnan(y[-1])
    rungs_agree("gelu_backward", np.ones_like(x)[:6], x[:6], approximate)


@pytest.mark.parametrize("dtype", FLOATS)
def test_gelu_of_x_less_gelu_of_minus_x_is_x(dtype):
    x = np.linspace(-6, 6, 203).astype(dtype)
    y = backend_of(x).gelu(x) - backend_of(x).gelu(-x)
    np.testing.assert_allclose(y, x, rtol=8 * np.finfo(dtype).eps, atol=np.finfo(dtype).eps)


@given(st.data(), st.sampled_from([*FLOATS, np.int64]), st.integers(1, 99), st.integers(1, 2000))
def test_add_has_numpy_s_bits(data, dtype, rows, width):
    """Large and small, row by row, strided, and of two types: whatever a sum may be of."""
    rng = np.random.default_rng(rows * width)
    x = data.draw(laid_out((9 * rng.standard_normal((rows, width))).astype(dtype)))
    shape = data.draw(st.sampled_from([(rows, width), (width,), (rows, 1), (1, width), ()]))
    y = np.asarray(9 * rng.standard_normal(shape)).astype(data.draw(st.sampled_from([dtype, "f8"])))
    for a, b in ((x, y), (y, x)):
        z = minigen_kernels.add(a, b)
        np.testing.assert_array_equal(z, a + b)
        assert z.dtype == (a + b).dtype


def test_add_of_many_blocks_has_the_same_bits_for_any_number_of_threads():
    x, row = np.random.default_rng(0).standard_normal((2 * BLOCK // 7, 77)), np.arange(77.0)
    z, of_rows = same_bits_for_any_threads(
        lambda: (minigen_kernels.add(x, x), minigen_kernels.add(x, row))
    )
    np.testing.assert_array_equal(z, x + x)
    np.testing.assert_array_equal(of_rows, x + row)


@given(st.floats(1e-300, 1e300))
def test_log_is_within_two_units_of_the_last_place(x):
    ulps = abs(functions.log64(x) - math.log(x)) / np.spacing(abs(math.log(x)))
    assert ulps <= 2 and math.isnan(functions.log64(math.nan))


@given(st.floats(0, 1e-3))
def test_log_near_1_keeps_its_digits(e):
    assert functions.log64(1 + e) == pytest.approx(math.log(1 + e), rel=1e-15, abs=0)


def test_gelu_rejects_an_unknown_form():
    with pytest.raises(ValueError, match="choose 'none' or 'tanh'"):
        backend_of(np.zeros(1)).gelu(np.zeros(1), "fast")


@given(st.data(), st.sampled_from(FLOATS), shapes(0, 3), st.sampled_from(SLOPES))
def test_leaky_relu_rungs(data, dtype, shape, slope):
    rng = np.random.default_rng(math.prod(shape))
    x, gy = (data.draw(laid_out(np.asarray(rng.standard_normal(shape), dtype))) for _ in range(2))
    rungs_agree("leaky_relu", x, slope)
    rungs_agree("leaky_relu_backward", gy, x, slope)


@given(st.sampled_from(FLOATS), st.sampled_from(SLOPES), st.integers(1, 33), st.integers(0, 999))
def test_leaky_relu_is_a_line_on_either_side_and_so_is_its_slope(dtype, slope, n, seed):
    x, gy = np.random.default_rng(seed).standard_normal((2, n)).astype(dtype)
    kernels, factor = backend_of(x), np.where(x > 0, dtype(1), dtype(slope))
    np.testing.assert_array_equal(kernels.leaky_relu(x, slope), x * factor)
    np.testing.assert_array_equal(kernels.leaky_relu_backward(gy, x, slope), gy * factor)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("slope", SLOPES)
def test_leaky_relu_in_every_corner(dtype, slope):
    x, gy = (a.ravel() for a in np.meshgrid(*[np.array(CORNERS, dtype)] * 2))
    y = rungs_agree("leaky_relu", x, slope)
    gx = rungs_agree("leaky_relu_backward", gy, x, slope)
    below = x <= 0
    np.testing.assert_array_equal(y[~below], x[~below])
    np.testing.assert_array_equal(gx[x > 0], gy[x > 0])
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(y[below], slope * x[below] if slope else 0)
        np.testing.assert_array_equal(gx[below], slope * gy[below] if slope else 0)
        unknown = np.isnan(x)  # torch's: ReLU lets a cotangent through, leaky ReLU scales it
        np.testing.assert_array_equal(gx[unknown], (slope or 1) * gy[unknown])


@given(st.sampled_from(FLOATS), st.integers(0, 999))
def test_the_slope_of_relu_shows_in_its_output_too(dtype, seed):
    rng = np.random.default_rng(seed)
    x = rng.choice(np.array(CORNERS, dtype), 40)
    gy, kernels = rng.standard_normal(40).astype(dtype), backend_of(x)
    gx = kernels.leaky_relu_backward(gy, x, 0.0)
    y = kernels.leaky_relu(x, 0.0)
    np.testing.assert_array_equal(kernels.leaky_relu_backward(gy, y, 0.0), gx)


@pytest.mark.parametrize("slope", [0.0, 0.2])
def test_leaky_relu_of_many_blocks_has_the_same_bits_for_any_number_of_threads(slope):
    x, gy = np.random.default_rng(6).standard_normal((2, 5 * BLOCK + 3)).astype(np.float32)
    f = backend_of(x)
    y, gx = same_bits_for_any_threads(
        lambda: (f.leaky_relu(x, slope), f.leaky_relu_backward(gy, x, slope))
    )
    np.testing.assert_array_equal(y, reference.leaky_relu(x, slope))
    np.testing.assert_array_equal(gx, reference.leaky_relu_backward(gy, x, slope))


@given(st.floats(-86.5, 88.5, width=32))
def test_exp32_is_within_two_ulp(x):
    exact = math.exp(x)
    assert abs(float(functions.exp32(np.float32(x))) - exact) <= 2.0 * 2**-23 * exact


@given(st.floats(-707.7, 709.7))
def test_exp64_is_right_to_a_few_digits_of_the_last_bit(x):
    exact = math.exp(x)
    assert abs(functions.exp64(x) - exact) <= 1e-15 * exact


@given(st.floats(-5, 8, width=32), st.floats(-20, 8))
def test_normal_cdf(x32, x64):
    cdf, bell = functions.normal_cdf32(np.float32(x32))
    exact = 0.5 * math.erfc(-x32 / math.sqrt(2))
    assert abs(cdf - exact) <= 3e-6 * exact and abs(bell - math.exp(-0.5 * x32**2)) <= 2e-6
    cdf, bell = functions.normal_cdf64(x64)
    exact = 0.5 * math.erfc(-x64 / math.sqrt(2))
    assert abs(cdf - exact) <= 1e-13 * exact and abs(bell - math.exp(-0.5 * x64**2)) <= 1e-14


@pytest.mark.parametrize("exp, dtype", [(functions.exp32, np.float32), (functions.exp64, float)])
def test_exp_at_its_ends(exp, dtype):
    assert exp(dtype(0)) == 1 and exp(dtype(-np.inf)) == 0 and exp(dtype(-1e4)) == 0
    assert (
        exp(dtype(np.inf)) == np.inf and exp(dtype(1e4)) == np.inf and np.isnan(exp(dtype(np.nan)))
    )


def test_same_bits_in_another_process():
    same_bits_elsewhere(
        "import numpy as np\n"
        "from minigen_kernels import backend_of\n"
        "x = np.random.default_rng(0).standard_normal(10007).astype(np.float32)\n"
        "f = backend_of(x)\n"
        "result = (f.gelu(x), f.gelu_backward(x, x), f.leaky_relu(x, 0.2),"
        " f.leaky_relu_backward(x, x, 0.2))\n"
    )
