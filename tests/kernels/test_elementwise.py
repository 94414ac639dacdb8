"""GELU, leaky ReLU, binary cross-entropy and the polynomials under them: rungs against the formula,
slopes, laws, ulps."""

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
    largest,
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


# ---- binary cross-entropy of logits
def logits_and_targets(rng, shape, dtype, scale=3.0):
    """Logits, and targets of which many are 0 or 1, as those of a GAN or of binary images."""
    targets = np.where(rng.uniform(size=shape) < 0.5, rng.integers(0, 2, shape), rng.random(shape))
    return tuple(np.asarray(a, dtype) for a in (scale * rng.standard_normal(shape), targets))


@given(st.data(), st.sampled_from(FLOATS), shapes(0, 3), st.sampled_from([1.0, 30.0]))
def test_bce_rungs(data, dtype, shape, scale):
    rng = np.random.default_rng(math.prod(shape))
    x, target = map(data.draw, map(laid_out, logits_and_targets(rng, shape, dtype, scale)))
    gy = data.draw(laid_out(np.asarray(rng.standard_normal(shape), dtype)))
    rungs_agree("bce_with_logits", x, target)
    # σ(x) minus the target: where both are nearly equal, the rounding of gy stays
    rungs_agree("bce_with_logits_backward", gy, x, target, least=largest(gy))


@given(st.integers(1, 33), st.integers(0, 999))
def test_bce_slope(n, seed):
    rng = np.random.default_rng(seed)
    (x, target), gy = logits_and_targets(rng, n, float), rng.standard_normal(n)
    gx = backend_of(x).bce_with_logits_backward(gy, x, target)
    slope_agrees(lambda x: reference.bce_with_logits(x, target), (x,), gy, (gx,), seed)


@given(st.sampled_from(FLOATS), st.integers(1, 99), st.integers(0, 999))
def test_bce_does_not_mind_which_side_is_called_1(dtype, n, seed):
    """Logit and target turned round: the same bits, and the slope turned round."""
    rng = np.random.default_rng(seed)
    x, gy = (9 * rng.standard_normal((2, n))).astype(dtype)
    target = (rng.integers(0, 9, n) / 8).astype(dtype)  # 1 - target is exact
    f = backend_of(x)
    np.testing.assert_array_equal(f.bce_with_logits(-x, 1 - target), f.bce_with_logits(x, target))
    gx, turned = (f.bce_with_logits_backward(gy, *a) for a in ((x, target), (-x, 1 - target)))
    np.testing.assert_array_equal(turned, -gx)


@pytest.mark.parametrize("dtype", FLOATS)
def test_bce_in_every_corner(dtype):
    logits = np.array([*CORNERS, 1e4, -1e4, 88, -88, 710, -710, 3e38, -3e38], dtype)
    x, target = (a.ravel() for a in np.meshgrid(logits, np.array([0, 1, 0.5, np.nan], dtype)))
    y = rungs_agree("bce_with_logits", x, target)
    gx = rungs_agree("bce_with_logits_backward", np.ones_like(x), x, target)
    unknown = np.isnan(x) | np.isnan(target)
    np.testing.assert_array_equal(np.isnan(y), unknown)
    np.testing.assert_array_equal(np.isnan(gx), unknown)
    sure = ~unknown & (np.abs(x) >= 1e4)
    right = np.where((target == 0.5)[sure], x.dtype.type(0.5), (target != (x > 0))[sure])
    with np.errstate(invalid="ignore", over="ignore"):
        expected = np.where(right == 0, 0, right * np.abs(x[sure]))
    np.testing.assert_array_equal(y[sure], expected)
    np.testing.assert_array_equal(gx[sure], np.where(x[sure] > 0, right, -right))


@pytest.mark.parametrize("dtype", FLOATS)
def test_bce_of_a_confident_logit_keeps_its_digits(dtype):
    x = np.linspace(5, 80, 151).astype(dtype)
    exact = np.exp(-x.astype(np.float64))
    f, one, rtol = backend_of(x), np.ones_like(x), 8 * np.finfo(dtype).eps
    for logit, target, sign in ((x, one, -1), (-x, 0 * one, 1)):
        np.testing.assert_allclose(f.bce_with_logits(logit, target), np.log1p(exact), rtol=rtol)
        gx = f.bce_with_logits_backward(one, logit, target)
        np.testing.assert_allclose(gx, sign * exact / (1 + exact), rtol=rtol)


@given(st.sampled_from(FLOATS), shapes(0, 3), st.integers(0, 999))
def test_bce_slope_of_a_cotangent_that_is_one_number_has_the_bits_of_the_whole_one(
    dtype, shape, seed
):
    x, target = logits_and_targets(np.random.default_rng(seed), shape, dtype)
    whole, f = np.full(shape, 0.3, dtype), backend_of(x)
    gx = f.bce_with_logits_backward(np.broadcast_to(dtype(0.3), shape), x, target)
    np.testing.assert_array_equal(gx, f.bce_with_logits_backward(whole, x, target))


def test_bce_of_many_blocks_has_the_same_bits_for_any_number_of_threads():
    rng = np.random.default_rng(6)
    x, target = logits_and_targets(rng, 5 * BLOCK + 3, np.float32)
    f, one = backend_of(x), np.broadcast_to(np.float32(1), x.shape)
    y, gx, of_x = same_bits_for_any_threads(
        lambda: (
            f.bce_with_logits(x, target),
            f.bce_with_logits_backward(one, x, target),
            f.bce_with_logits_backward(x, x, target),
        )
    )
    exact = x.astype(np.float64)
    np.testing.assert_allclose(y, np.logaddexp(0, exact) - exact * target, rtol=2e-6, atol=1e-6)
    np.testing.assert_allclose(gx, 1 / (1 + np.exp(-exact)) - target, rtol=2e-6, atol=1e-6)
    np.testing.assert_array_equal(of_x, x * gx)


@given(st.floats(0, 1, width=32), st.floats(0, 1))
def test_log1p_is_within_two_units_of_the_last_place(e32, e64):
    for log1p, e in ((functions.log1p32, np.float32(e32)), (functions.log1p64, np.float64(e64))):
        exact = math.log1p(e)
        assert abs(float(log1p(e)) - exact) <= 2 * np.spacing(e.dtype.type(exact))
        assert math.isnan(log1p(e.dtype.type(math.nan)))


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
        " f.leaky_relu_backward(x, x, 0.2), f.bce_with_logits(x, abs(x)),"
        " f.bce_with_logits_backward(x, x, abs(x)))\n"
    )
