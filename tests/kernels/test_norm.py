"""Layer norm and batch norm: every rung against the formula, slopes, laws, and hard data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from minigen_kernels import backend_of, reference, use

from minigen.testing.strategies import laid_out, sizes
from tests.kernels.ladder import (
    FLOATS,
    largest,
    rungs_agree,
    same_bits_elsewhere,
    same_bits_for_any_threads,
    slope_agrees,
)

EPS = 1e-5
X = np.empty(0)


def affine(draw, rng, n, dtype):
    """Weight and bias: both, or neither."""
    if draw(st.booleans()):
        return None, None
    return (draw(laid_out(rng.standard_normal(n).astype(dtype))) for _ in range(2))


@given(st.data(), st.sampled_from(FLOATS), sizes(), st.one_of(sizes(), st.just(67)))
def test_layer_norm_rungs(data, dtype, rows, width):
    rng = np.random.default_rng(rows + 10 * width)
    x = data.draw(laid_out(rng.standard_normal((rows, width)).astype(dtype)))
    gy = data.draw(laid_out(rng.standard_normal((rows, width)).astype(dtype)))
    weight, bias = affine(data.draw, rng, width, dtype)
    _, mean, rstd = rungs_agree("layer_norm", x, weight, bias, EPS, terms=width)
    # The slope of a row of one or two values is 0: the rounding of what cancels remains.
    least, terms = largest(gy, weight, rstd), rows + width
    rungs_agree("layer_norm_backward", gy, x, weight, mean, rstd, terms=terms, least=least)


@given(st.data(), st.sampled_from(FLOATS), sizes(), sizes(most=4), st.one_of(sizes(), st.just(35)))
def test_batch_norm_rungs(data, dtype, batch, channels, length):
    rng = np.random.default_rng(batch + 10 * channels + 100 * length)
    shape = (batch, channels, length)
    x = data.draw(laid_out(rng.standard_normal(shape).astype(dtype)))
    gy = data.draw(laid_out(rng.standard_normal(shape).astype(dtype)))
    weight, bias = affine(data.draw, rng, channels, dtype)
    _, mean, var = rungs_agree("batch_norm", x, weight, bias, EPS, terms=batch * length)
    least, terms = largest(gy, weight, 1 / np.sqrt(var + EPS)), batch * length
    arguments = (gy, x, weight, mean, var, EPS)
    rungs_agree("batch_norm_backward", *arguments, terms=terms, least=least)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("bits", [128, 256, 512])
@given(sizes(), st.sampled_from([8, 15, 16, 17, 49, 128, 129, 130, 275]))
def test_batch_norm_of_rows_of_whole_vectors_and_a_rest(dtype, bits, batch, length):
    rng = np.random.default_rng(batch + 100 * length)
    x, gy = rng.standard_normal((2, batch, 3, length)).astype(dtype)
    weight, bias = rng.standard_normal((2, 3)).astype(dtype)
    with use(vector_bits=bits):
        _, mean, var = rungs_agree("batch_norm", x, weight, bias, EPS, terms=9)
        least = largest(gy, weight, 1 / np.sqrt(var + EPS))
        arguments = gy, x, weight, mean, var, EPS
        rungs_agree("batch_norm_backward", *arguments, terms=batch * length, least=least)


@given(st.integers(1, 4), st.integers(2, 9), st.integers(0, 999))
def test_layer_norm_slope(rows, width, seed):
    rng = np.random.default_rng(seed)
    x, gy = rng.standard_normal((2, rows, width))
    weight, bias = rng.standard_normal((2, width))
    _, mean, rstd = reference.layer_norm(x, weight, bias, EPS)
    grads = backend_of(X).layer_norm_backward(gy, x, weight, mean, rstd)
    slope_agrees(
        lambda x, w, b: reference.layer_norm(x, w, b, EPS)[0], (x, weight, bias), gy, grads, seed
    )


@given(st.integers(1, 4), st.integers(1, 3), st.integers(2, 5), st.integers(0, 999))
def test_batch_norm_slope(batch, channels, length, seed):
    rng = np.random.default_rng(seed)
    x, gy = rng.standard_normal((2, batch, channels, length))
    weight, bias = rng.standard_normal((2, channels))
    _, mean, var = reference.batch_norm(x, weight, bias, EPS)
    grads = backend_of(X).batch_norm_backward(gy, x, weight, mean, var, EPS)
    slope_agrees(
        lambda x, w, b: reference.batch_norm(x, w, b, EPS)[0], (x, weight, bias), gy, grads, seed
    )


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("offset", [0, 1e3])
def test_normalised_rows_and_channels_have_mean_0_and_variance_1(dtype, offset):
    x = (np.random.default_rng(3).standard_normal((37, 128)) + offset).astype(dtype)
    y, mean, rstd = backend_of(x).layer_norm(x, None, None, EPS)
    slack = 0.01 if dtype == np.float32 else 2e-5  # eps = 1e-5 itself shows in the variance
    assert np.abs(y.mean(axis=1)).max() < slack and np.abs(y.var(axis=1) - 1).max() < slack
    z, _, _ = backend_of(x).batch_norm(x.reshape(37, 4, 32), None, None, EPS)
    assert np.abs(z.mean(axis=(0, 2))).max() < slack
    assert np.abs(z.var(axis=(0, 2)) - 1).max() < slack


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("offset", [1e3, 1e5])
@pytest.mark.parametrize("unlike", [0, 1, 8])  # images that are far from the rest
def test_variance_far_from_zero_is_right(dtype, offset, unlike):
    x = (np.random.default_rng(4).standard_normal((64, 3, 50)) + offset).astype(dtype)
    x[:unlike] = 0
    _, mean, var = backend_of(x).batch_norm(x, None, None, EPS)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(mean, exact.mean(axis=(0, 2)), rtol=1e-6)
    np.testing.assert_allclose(var, exact.var(axis=(0, 2)), rtol=1e-6)


@given(st.floats(0.125, 8, width=32))
def test_variance_is_right_where_the_first_images_are_unlike_all_others(value):
    """All other images are one: what their squares are rounded by has one sign, and adds up."""
    x = np.full((4096, 1, 8), value, np.float32)
    x[:4] = 0
    _, mean, var = backend_of(x).batch_norm(x, None, None, EPS)
    np.testing.assert_allclose([mean[0], var[0]], [x.mean(dtype=float), x.var(dtype=float)], 1e-6)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("value", [0.1, 1e3 / 3])
def test_a_channel_of_one_value_becomes_its_bias(dtype, value):
    x, bias = np.full((7, 3, 49), value, dtype), np.arange(3).astype(dtype)
    y, mean, var = backend_of(x).batch_norm(x, np.ones_like(bias), bias, EPS)
    np.testing.assert_array_equal(mean, x[0, :, 0])
    np.testing.assert_array_equal(var, 0)
    np.testing.assert_array_equal(y, np.broadcast_to(bias[:, None], y.shape))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [(0, 2, 0), (0, 2, 10), (4, 2, 9)])
def test_a_bad_value_in_a_row_of_vectors_spoils_its_own_channel_only(bad, where):
    x, gy = np.random.default_rng(5).standard_normal((2, 5, 4, 19)).astype(np.float32)
    x[where] = bad
    y, mean, var = rungs_agree("batch_norm", x, None, None, EPS, terms=95)
    assert np.isnan(y[:, 2]).any() and np.isfinite(np.delete(y, 2, axis=1)).all()
    rungs_agree("batch_norm_backward", gy, x, None, mean, var, EPS, terms=95)


@pytest.mark.parametrize("length", [4, 49])
def test_batch_norm_has_the_same_bits_for_any_number_of_threads(length):
    x, gy = np.random.default_rng(6).standard_normal((2, 64, 512, length)).astype(np.float32)
    f = backend_of(x)
    y, mean, var = same_bits_for_any_threads(lambda: f.batch_norm(x, None, None, EPS))
    same_bits_for_any_threads(lambda: f.batch_norm_backward(gy, x, None, mean, var, EPS))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_value_spoils_its_own_row_and_channel_only(bad):
    x = np.random.default_rng(5).standard_normal((5, 4, 6)).astype(np.float32)
    x[1, 2, 3] = bad
    y = rungs_agree("batch_norm", x, None, None, EPS, terms=30)[0]
    assert np.isnan(y[:, 2]).any() and np.isfinite(np.delete(y, 2, axis=1)).all()
    rows = x.reshape(20, 6)
    y = rungs_agree("layer_norm", rows, None, None, EPS, terms=6)[0]
    assert np.isnan(y[6]).any() and np.isfinite(np.delete(y, 6, axis=0)).all()


def test_same_bits_in_another_process():
    same_bits_elsewhere(
        "import numpy as np\n"
        "from minigen_kernels import backend_of\n"
        "x = np.random.default_rng(0).standard_normal((300, 6, 17)).astype(np.float32)\n"
        "f = backend_of(x)\n"
        "y, mean, var = f.batch_norm(x, None, None, 1e-5)\n"
        "rows = x.reshape(-1, 17)\n"
        "z, m, s = f.layer_norm(rows, None, None, 1e-5)\n"
        "result = (y, mean, var, z, m, s, *f.layer_norm_backward(z, rows, None, m, s),"
        " *f.batch_norm_backward(y + x, x, None, mean, var, 1e-5))\n"
    )


@pytest.mark.parametrize("dtype", FLOATS)
@given(st.integers(0, 9999), st.sampled_from([1, 9]))
def test_what_is_normalised_alone_has_no_slope(dtype, seed, n):
    x, gy, weight = np.random.default_rng(seed).standard_normal((3, n)).astype(dtype)
    rows = x[:, None], gy[:, None]
    _, mean, rstd = backend_of(x).layer_norm(rows[0], weight[:1], None, EPS)
    gx, _, _ = backend_of(x).layer_norm_backward(rows[1], rows[0], weight[:1], mean, rstd)
    np.testing.assert_array_equal(gx, 0)
    maps = x[None, :, None], gy[None, :, None]  # one image of one pixel: (1, n, 1)
    _, mean, var = backend_of(x).batch_norm(maps[0], weight, None, EPS)
    gx, _, _ = backend_of(x).batch_norm_backward(maps[1], maps[0], weight, mean, var, EPS)
    np.testing.assert_array_equal(gx, 0)
