"""softmax and cross-entropy: every rung against the formula, slopes, laws, and hard rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from minigen_kernels import backend_of, reference

from minigen.testing.strategies import laid_out, sizes
from tests.kernels.ladder import FLOATS, largest, rungs_agree, same_bits_elsewhere, slope_agrees

CLASSES = st.one_of(sizes(), st.just(53))


@given(st.data(), st.sampled_from(FLOATS), sizes(), CLASSES, st.sampled_from([1.0, 30.0]))
def test_softmax_rungs(data, dtype, rows, classes, scale):
    rng = np.random.default_rng(rows + 10 * classes)
    x, gy = (
        data.draw(laid_out((scale * rng.standard_normal((rows, classes))).astype(dtype)))
        for _ in range(2)
    )
    y = rungs_agree("softmax", x, terms=classes)
    # gy minus its mean under y: where both are nearly equal, the rounding of gy stays
    rungs_agree("softmax_backward", gy, y, terms=classes, least=largest(gy, y))


@given(st.data(), st.sampled_from(FLOATS), sizes(), CLASSES, st.sampled_from([1.0, 30.0]))
def test_cross_entropy_rungs(data, dtype, rows, classes, scale):
    rng = np.random.default_rng(rows + 10 * classes)
    logits = data.draw(laid_out((scale * rng.standard_normal((rows, classes))).astype(dtype)))
    g = data.draw(laid_out(rng.standard_normal(rows).astype(dtype)))
    target = rng.integers(-1, classes, rows) if classes else np.full(rows, -100)
    _, lse = rungs_agree("cross_entropy", logits, target, terms=classes + int(scale))
    terms = classes + 4 * int(scale)  # exp turns the rounding of lse into a relative error
    rungs_agree("cross_entropy_backward", g, logits, target, lse, terms=terms)


@given(st.integers(1, 4), st.integers(1, 9), st.integers(0, 999))
def test_slopes(rows, classes, seed):
    rng = np.random.default_rng(seed)
    x, gy = rng.standard_normal((2, rows, classes))
    kernels = backend_of(x)
    gx = kernels.softmax_backward(gy, reference.softmax(x))
    slope_agrees(reference.softmax, (x,), gy, (gx,), seed)
    target = rng.integers(-1, classes, rows)
    lse = reference.cross_entropy(x, target)[1]
    gx = kernels.cross_entropy_backward(gy[:, 0], x, target, lse)
    slope_agrees(lambda x: reference.cross_entropy(x, target)[0], (x,), gy[:, 0], (gx,), seed)


@given(st.sampled_from(FLOATS), st.integers(1, 70), st.integers(-50, 50))
def test_softmax_rows_sum_to_1_and_ignore_a_shift(dtype, classes, shift):
    x = np.round(8 * np.random.default_rng(classes).standard_normal((3, classes))).astype(dtype)
    y = backend_of(x).softmax(x)
    np.testing.assert_allclose(y.sum(axis=1), 1, rtol=64 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(y, backend_of(x).softmax(x + dtype(shift)))
    target = np.zeros(3, np.int64)
    loss, lse = backend_of(x).cross_entropy(x, target)
    moved_loss, moved_lse = backend_of(x).cross_entropy(x + dtype(shift), target)
    tol = 8 * np.finfo(dtype).eps * (abs(shift) + 40)
    np.testing.assert_allclose(moved_loss, loss, rtol=tol, atol=tol)
    np.testing.assert_allclose(moved_lse, lse + dtype(shift), rtol=tol, atol=tol)


def test_ignored_rows_cost_nothing_and_move_nothing():
    logits = np.full((2, 3), np.nan, np.float32)
    logits[0] = 1, 2, 3
    target = np.array([2, -100])
    loss, lse = rungs_agree("cross_entropy", logits, target, terms=3)
    assert loss[1] == 0
    g = rungs_agree(
        "cross_entropy_backward",
        np.ones(2, np.float32),
        logits[:1].repeat(2, 0),
        target,
        lse[:1].repeat(2),
        terms=3,
    )
    assert (g[1] == 0).all() and (g[0] != 0).all()


@pytest.mark.parametrize("dtype", FLOATS)
def test_extreme_logits(dtype):
    logits = np.array(
        [[1e4, -1e4, 0], [-1e30, -1e30, -1e30], [0, -np.inf, 1], [1, np.inf, 0], [0, np.nan, 1],
         [-np.inf, -np.inf, -np.inf]], dtype
    )  # fmt: skip
    rungs_agree("softmax", logits, terms=3)
    loss, _ = rungs_agree("cross_entropy", logits, np.array([1, 0, 0, 0, 0, 0]), terms=3)
    assert loss[0] == dtype(2e4)


def test_a_confident_row_keeps_the_digits_of_its_loss():
    logits = np.array([[1000.0, 985.0]], np.float32)
    loss, _ = backend_of(logits).cross_entropy(logits, np.array([0]))
    np.testing.assert_allclose(loss, np.log1p(np.exp(-15.0)), rtol=1e-6)


def test_same_bits_in_another_process():
    same_bits_elsewhere(
        "import numpy as np\n"
        "from minigen_kernels import backend_of\n"
        "x = np.random.default_rng(0).standard_normal((211, 67)).astype(np.float32)\n"
        "f = backend_of(x)\n"
        "y, t = f.softmax(x), np.arange(211) % 67\n"
        "loss, lse = f.cross_entropy(x, t)\n"
        "result = (y, f.softmax_backward(x, y), loss, lse,"
        " f.cross_entropy_backward(loss, x, t, lse))\n"
    )
