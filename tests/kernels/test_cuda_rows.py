"""Norms, losses, activations, Adam and Philox in CUDA: against the formulas, by the emulator."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from minigen_kernels import backend_of, cuda, emulator, random, reference, use
from minigen_kernels.cuda import LADDERS, deposit, elementwise, loss, norm, optimizer, sums
from minigen_kernels.cuda import random as cuda_random

from minigen import Tensor, grad
from minigen import functional as F
from minigen.gradcheck import check_grad
from minigen.testing.strategies import laid_out, shapes, sizes
from tests.kernels.cuda_ladder import SEEDS, fill_new_arrays_with_garbage, rungs_agree
from tests.kernels.ladder import FLOATS, close, largest, slope_agrees
from tests.kernels.needs import GXX
from tests.kernels.test_elementwise import logits_and_targets
from tests.kernels.test_norm import affine

pytestmark = [pytest.mark.emulator, GXX]
EPS = 1e-5
SOURCES = Path(cuda.__file__).parent
# Of a row: sizes that 16-byte loads take whole (multiples of 4 or of 2) and that they do not.
WIDTHS = st.one_of(sizes(), st.sampled_from([8, 64, 67, 130]))
OF_A_BLOCK = 1028, 1031  # longer than what a warp takes


@pytest.fixture(autouse=True)
def garbage(monkeypatch):
    fill_new_arrays_with_garbage(
        monkeypatch, norm, loss, elementwise, sums, deposit, cuda_random
    )


def normal(dtype, *shape):
    return np.random.default_rng(shape).standard_normal(shape).astype(dtype)


# ---------------------------------------------------------------- norms
@given(st.data(), SEEDS, st.sampled_from(FLOATS), sizes(), WIDTHS)
def test_layer_norm(data, seed, dtype, rows, width):
    rng = np.random.default_rng(rows + 10 * width)
    x, gy = (
        data.draw(laid_out(rng.standard_normal((rows, width)).astype(dtype))) for _ in range(2)
    )
    weight, bias = affine(data.draw, rng, width, dtype)
    _, mean, rstd = rungs_agree("layer_norm", seed, x, weight, bias, EPS, terms=width)
    least, terms = largest(gy, weight, rstd), rows + width
    arguments = gy, x, weight, mean, rstd
    rungs_agree("layer_norm_backward", seed, *arguments, terms=terms, least=least)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("width", OF_A_BLOCK)
def test_layer_norm_of_rows_longer_than_a_warp_takes(dtype, width):
    x, gy, weight = normal(dtype, 2, width), normal(dtype, 2, width)[::-1], normal(dtype, width)
    _, mean, rstd = rungs_agree("layer_norm", 1, x, weight, weight, EPS, terms=width)
    rungs_agree("layer_norm_backward", 2, gy, x, weight, mean, rstd, terms=width)


def test_layer_norm_of_many_rows_sums_its_slopes_in_parts():
    rows = 2 * norm.ROWS_PER_PART + 7
    x, gy = normal(np.float32, rows, 5), normal(np.float32, rows, 5)[::-1]
    _, mean, rstd = reference.layer_norm(x, None, None, EPS)
    rungs_agree("layer_norm_backward", 3, gy, x, None, mean, rstd, terms=rows)


@given(st.data(), SEEDS, st.sampled_from(FLOATS), sizes(), sizes(most=4), WIDTHS,
       st.sampled_from([4, 64, 2048]))  # fmt: skip
def test_batch_norm(data, seed, dtype, batch, channels, length, shortest):
    rng = np.random.default_rng(batch + 10 * channels + 100 * length)
    shape = batch, channels, length
    x, gy = (data.draw(laid_out(rng.standard_normal(shape).astype(dtype))) for _ in range(2))
    weight, bias = affine(data.draw, rng, channels, dtype)
    before, norm.SHORTEST_PART = norm.SHORTEST_PART, shortest  # many parts, some, or one
    terms = batch * length
    try:
        _, mean, var = rungs_agree("batch_norm", seed, x, weight, bias, EPS, terms=terms)
        least = largest(gy, weight, 1 / np.sqrt(var + EPS))
        arguments = gy, x, weight, mean, var, EPS
        rungs_agree("batch_norm_backward", seed, *arguments, terms=terms, least=least)
    finally:
        norm.SHORTEST_PART = before


@pytest.mark.parametrize("dtype", FLOATS)
def test_variance_far_from_zero_is_right(dtype):
    x = (np.random.default_rng(4).standard_normal((16, 3, 200)) + 1e3).astype(dtype)
    exact = x.astype(np.float64)
    with cuda.emulation(seed=1):
        _, mean, var = norm.batch_norm_1_channels(x, None, None, EPS)
        _, _, rstd = norm.layer_norm_1_rows(x.reshape(48, 200), None, None, EPS)
    np.testing.assert_allclose(mean, exact.mean(axis=(0, 2)), rtol=1e-6)
    np.testing.assert_allclose(var, exact.var(axis=(0, 2)), rtol=3e-6)
    np.testing.assert_allclose(rstd, 1 / np.sqrt(exact.var(axis=2).ravel() + EPS), rtol=3e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_value_spoils_its_own_row_and_channel_only(bad):
    x = normal(np.float32, 5, 4, 6)
    x[1, 2, 3] = bad
    y = rungs_agree("batch_norm", 0, x, None, None, EPS, terms=30)[0]
    assert np.isnan(y[:, 2]).any() and np.isfinite(np.delete(y, 2, axis=1)).all()
    y = rungs_agree("layer_norm", 0, x.reshape(20, 6), None, None, EPS, terms=6)[0]
    assert np.isnan(y[6]).any() and np.isfinite(np.delete(y, 6, axis=0)).all()


@pytest.mark.parametrize("dtype", FLOATS)
@given(st.integers(0, 9999), st.sampled_from([1, 9]))
def test_what_is_normalised_alone_has_no_slope(dtype, seed, n):
    x, gy, weight = np.random.default_rng(seed).standard_normal((3, n)).astype(dtype)
    _, mean, rstd = norm.layer_norm_1_rows(x[:, None], weight[:1], None, EPS)
    arguments = gy[:, None], x[:, None], weight[:1], mean, rstd
    np.testing.assert_array_equal(norm.layer_norm_backward_1_rows(*arguments)[0], 0)
    maps = x[None, :, None], gy[None, :, None]  # one image of one pixel: (1, n, 1)
    _, mean, var = norm.batch_norm_1_channels(maps[0], weight, None, EPS)
    arguments = maps[1], maps[0], weight, mean, var, EPS
    np.testing.assert_array_equal(norm.batch_norm_backward_1_channels(*arguments)[0], 0)


# ---------------------------------------------------------------- softmax and cross-entropy
@given(st.data(), SEEDS, st.sampled_from(FLOATS), sizes(), WIDTHS, st.sampled_from([1.0, 30.0]))
def test_softmax(data, seed, dtype, rows, classes, scale):
    rng = np.random.default_rng(rows + 10 * classes)
    x, gy = (
        data.draw(laid_out((scale * rng.standard_normal((rows, classes))).astype(dtype)))
        for _ in range(2)
    )
    terms = classes + int(scale)  # sums are rescaled by powers, whose error grows with the scale
    y = rungs_agree("softmax", seed, x, terms=terms)
    rungs_agree("softmax_backward", seed, gy, y, terms=classes, least=largest(gy, y))


@given(st.data(), SEEDS, st.sampled_from(FLOATS), sizes(), WIDTHS, st.sampled_from([1.0, 30.0]))
def test_cross_entropy(data, seed, dtype, rows, classes, scale):
    rng = np.random.default_rng(rows + 10 * classes)
    logits = data.draw(laid_out((scale * rng.standard_normal((rows, classes))).astype(dtype)))
    g = data.draw(laid_out(rng.standard_normal(rows).astype(dtype)))
    target = rng.integers(-1, classes, rows) if classes else np.full(rows, -100)
    _, lse = rungs_agree("cross_entropy", seed, logits, target, terms=classes + int(scale))
    terms = classes + 4 * int(scale)  # exp turns the rounding of lse into a relative error
    rungs_agree("cross_entropy_backward", seed, g, logits, target, lse, terms=terms)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("classes", OF_A_BLOCK)
def test_rows_longer_than_a_warp_takes(dtype, classes):
    x, gy, target = normal(dtype, 2, classes), normal(dtype, 2, classes)[::-1], np.array([7, 1027])
    y = rungs_agree("softmax", 1, x, terms=classes)
    rungs_agree("softmax_backward", 2, gy, y, terms=classes)
    _, lse = rungs_agree("cross_entropy", 3, x, target, terms=classes)
    rungs_agree("cross_entropy_backward", 4, gy[:, 0], x, target, lse, terms=classes)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("classes", [4, 70])
def test_extreme_logits(dtype, classes):
    """In a short row, whose lanes have one value or none, and in one where most have several."""
    starts = [
        [1e4, -1e4, 0], [-1e30, -1e30, -1e30], [0, -np.inf, 1], [1, np.inf, 0], [0, np.nan, 1],
        [-np.inf, -np.inf, -np.inf], [np.nan, -np.inf, -np.inf],
    ]  # fmt: skip
    logits = np.array([np.resize(row, classes) for row in starts], dtype)
    rungs_agree("softmax", 0, logits, terms=classes)
    target = np.array([1, 0, 0, 0, 0, 0, -1])
    value, _ = rungs_agree("cross_entropy", 0, logits, target, terms=classes)
    assert math.isclose(value[0], 2e4, rel_tol=1e-3)


def test_a_confident_row_keeps_the_digits_of_its_loss():
    logits = np.array([[1000.0, 985.0]], np.float32)
    value, _ = loss.cross_entropy_1_rows(logits, np.array([0]))
    np.testing.assert_allclose(value, np.log1p(np.exp(-15.0)), rtol=1e-6)


def test_ignored_rows_cost_nothing_and_move_nothing():
    logits = np.array([[1, 2, 3], [np.nan] * 3], np.float32)
    value, lse = rungs_agree("cross_entropy", 0, logits, np.array([2, -100]), terms=3)
    assert value[1] == 0
    ones = np.ones(2, np.float32)
    g = rungs_agree("cross_entropy_backward", 0, ones, logits, np.array([2, -100]), lse, terms=3)
    assert (g[1] == 0).all() and (g[0] != 0).all()


@given(st.integers(1, 4), st.integers(1, 9), st.integers(0, 999))
def test_slope_of_softmax(rows, classes, seed):
    x, gy = np.random.default_rng(seed).standard_normal((2, rows, classes))
    with cuda.emulation(check=True, seed=seed):
        gx = loss.softmax_backward_1_rows(gy, loss.softmax_1_rows(x))
    slope_agrees(reference.softmax, (x,), gy, (gx,), seed)


# ---------------------------------------------------------------- GELU
FORMS = ("none", "tanh")
RECTIFIED = (0.0, 0.2, -1.5)  # slopes
CORNERS = (0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan)


@given(st.data(), SEEDS, st.sampled_from(FLOATS), shapes(0, 3), st.sampled_from(FORMS))
def test_gelu(data, seed, dtype, shape, approximate):
    rng = np.random.default_rng(math.prod(shape))
    x = data.draw(laid_out(np.asarray(3 * rng.standard_normal(shape), dtype)))
    gy = data.draw(laid_out(np.asarray(rng.standard_normal(shape), dtype)))
    rungs_agree("gelu", seed, x, approximate, terms=8)  # the CPU's erfcf
    rungs_agree("gelu_backward", seed, gy, x, approximate, terms=8)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("approximate", FORMS)
def test_gelu_of_several_blocks_and_with_bad_values(dtype, approximate):
    x = np.resize(np.array([0, -0.0, 60, -60, 1e4, -1e4, np.inf, np.nan], dtype), 4099)
    with cuda.emulation(check=True, seed=2), np.errstate(all="ignore"):
        y = elementwise.gelu_1_vector(x, approximate)
        np.testing.assert_array_equal(y, np.resize(reference.gelu(x[:8], approximate), x.shape))
        slopes = elementwise.gelu_backward_1_vector(np.ones_like(x), x, approximate)
        expected = reference.gelu_backward(np.ones_like(x[:6]), x[:6], approximate)
    for start in (0, 4088):
        np.testing.assert_allclose(slopes[start : start + 6], expected, rtol=1e-6)


def test_gelu_rejects_an_unknown_form():
    with pytest.raises(ValueError, match="choose 'none' or 'tanh'"):
        elementwise.gelu_1_vector(np.zeros(1), "fast")


# ---------------------------------------------------------------- leaky ReLU
@given(st.data(), SEEDS, st.sampled_from(FLOATS), shapes(0, 3), st.sampled_from(RECTIFIED))
def test_leaky_relu(data, seed, dtype, shape, slope):
    rng = np.random.default_rng(math.prod(shape))
    x, gy = (data.draw(laid_out(np.asarray(rng.standard_normal(shape), dtype))) for _ in range(2))
    rungs_agree("leaky_relu", seed, x, slope)
    rungs_agree("leaky_relu_backward", seed, gy, x, slope)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("slope", RECTIFIED)
def test_leaky_relu_of_several_blocks_and_in_every_corner(dtype, slope):
    x = np.resize(np.array(CORNERS, dtype), 4099)
    gy = np.resize(np.repeat(np.array(CORNERS, dtype), len(CORNERS)), 4099)
    with np.errstate(invalid="ignore"):
        expected = reference.leaky_relu_backward(gy, x, slope)
    with cuda.emulation(check=True, seed=2):
        np.testing.assert_array_equal(
            elementwise.leaky_relu_1_vector(x, slope), reference.leaky_relu(x, slope)
        )
        gx = elementwise.leaky_relu_backward_1_vector(gy, x, slope)
    np.testing.assert_array_equal(gx, expected)


# ---------------------------------------------------------------- binary cross-entropy of logits
@given(st.data(), SEEDS, st.sampled_from(FLOATS), shapes(0, 3), st.sampled_from([1.0, 30.0]))
def test_bce(data, seed, dtype, shape, scale):
    rng = np.random.default_rng(math.prod(shape))
    x, target = map(data.draw, map(laid_out, logits_and_targets(rng, shape, dtype, scale)))
    gy = data.draw(laid_out(np.asarray(rng.standard_normal(shape), dtype)))
    rungs_agree("bce_with_logits", seed, x, target)
    rungs_agree("bce_with_logits_backward", seed, gy, x, target, least=largest(gy))


@pytest.mark.parametrize("dtype", FLOATS)
def test_bce_of_several_blocks_and_in_every_corner(dtype):
    logits = np.array([*CORNERS, 1e4, -1e4, 88, -88, 710, -710], dtype)
    corners = [a.ravel() for a in np.meshgrid(logits, np.array([0, 1, 0.5, np.nan], dtype))]
    x, target = (np.resize(a, 4099) for a in corners)
    rungs_agree("bce_with_logits", 1, x, target)
    one = np.broadcast_to(dtype(1), x.shape)
    rungs_agree("bce_with_logits_backward", 2, one, x, target)


# ---------------------------------------------------------------- sums over rows
@given(st.data(), SEEDS, st.sampled_from(FLOATS), st.one_of(sizes(), st.sampled_from([64, 150])),
       st.one_of(sizes(), st.sampled_from([32, 67])), st.sampled_from([2, 8, 64]))  # fmt: skip
def test_column_sums(data, seed, dtype, rows, width, least):
    rng = np.random.default_rng(rows + 10 * width)
    x = data.draw(laid_out(rng.standard_normal((rows, width)).astype(dtype)))
    before, sums.ROWS_PER_PART = sums.ROWS_PER_PART, least  # many parts, some, or one
    try:
        rungs_agree("column_sums", seed, x, terms=rows, least=largest(x))
    finally:
        sums.ROWS_PER_PART = before


def test_column_sums_of_short_rows_go_through_several_launches(monkeypatch):
    launched, launch = [], sums.launch
    monkeypatch.setattr(sums, "launch", lambda *given: launched.append(given) or launch(*given))
    x = np.arange(3 * 4099, dtype=np.float64).reshape(4099, 3)
    with cuda.emulation(check=True, seed=3):
        np.testing.assert_array_equal(sums.column_sums_1_parts(x), x.sum(axis=0))
    assert len(launched) == 3


# ---------------------------------------------------------------- rows by an index
@given(SEEDS, st.sampled_from(FLOATS), sizes(most=3), st.one_of(sizes(), st.just(67)),
       st.one_of(sizes(), st.just(33)), st.sampled_from([1, 3, 11]))  # fmt: skip
def test_deposit(seed, dtype, blocks, rows, width, size):
    rng = np.random.default_rng(rows + 10 * width)
    y = rng.standard_normal((blocks, rows, width)).astype(dtype)
    index = rng.integers(0, size, rows)
    rungs_agree("deposit", seed, y, index, size, terms=rows)


def test_deposits_have_the_bits_of_a_sum_in_the_order_of_the_index():
    y, index = normal(np.float32, 1, 100, 3), np.arange(100) % 3
    expected = np.zeros((1, 4, 3), np.float32)
    for r, v in enumerate(index):
        expected[:, v] += y[:, r]
    for seed in range(3):
        with cuda.emulation(seed=seed):
            np.testing.assert_array_equal(deposit.deposit_1_ballots(y, index, 4), expected)


# ---------------------------------------------------------------- Adam
RULE = dict(lr=0.1, beta1=0.9, beta2=0.99, eps=1e-6, weight_decay=0.1)


def quadruple(rng, shape, dtype):
    p, g, m, v = rng.standard_normal((4, *shape)).astype(dtype)
    return p, g, m, v * v


@given(st.data(), SEEDS, st.sampled_from(FLOATS), st.lists(shapes(0, 2), max_size=5),
       st.booleans(), st.integers(1, 9))  # fmt: skip
def test_adam(data, seed, dtype, of_shapes, decoupled, step):
    rng = np.random.default_rng(len(of_shapes))
    fours = [quadruple(rng, shape, dtype) for shape in of_shapes]
    lists = [[four[i] for four in fours] for i in range(4)]
    lists = [[data.draw(laid_out(np.asarray(a))) for a in arrays] for arrays in lists]
    expected = [[a.copy() for a in arrays] for arrays in lists]
    reference.adam(*expected, **RULE, decoupled=decoupled, step=step)
    before = [a.copy() for a in lists[1]]
    with cuda.emulation(check=True, seed=seed):
        answer = optimizer.adam_1_fused(*lists, **RULE, decoupled=decoupled, step=step)
        assert answer is None
    for got, right in zip(lists, expected, strict=True):
        for a, b in zip(got, right, strict=True):
            close(a, b, 4, "adam_1_fused")
    for a, b in zip(lists[1], before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_adam_of_more_tensors_and_more_elements_than_one_launch_or_block_takes(monkeypatch):
    launches = []
    launch = optimizer.launch
    monkeypatch.setattr(
        optimizer, "launch", lambda *given, **named: launches.append(given[2]) or launch(*given)
    )
    rng = np.random.default_rng(5)
    counts = [3, 4, 1] * 11 + [optimizer.CHUNK + 5]  # 34 tensors of float32
    fours = [quadruple(rng, (n,), np.float32) for n in counts]
    fours.insert(3, quadruple(rng, (6,), np.float64))
    lists = [list(arrays) for arrays in zip(*fours, strict=True)]
    expected = [[a.copy() for a in arrays] for arrays in lists]
    backend_of(lists[0][0]).adam(*expected, **RULE, decoupled=True, step=3)
    with cuda.emulation(check=True, seed=6):
        optimizer.adam_1_fused(*lists, **RULE, decoupled=True, step=3)
    assert launches == [32, 1 + 2, 1]
    for got, right in zip(lists, expected, strict=True):
        for a, b in zip(got, right, strict=True):
            close(a, b, 4, "adam_1_fused")


# ---------------------------------------------------------------- Philox
@given(
    SEEDS,
    st.integers(0, 2**64 - 1),
    st.one_of(st.integers(0, 2**128 - 2**20), st.integers(2**64 - 5, 2**64)),
    st.integers(0, 70),
)
def test_philox(seed, key, counter, n):
    with cuda.emulation(check=True, seed=seed):
        words = cuda_random.philox_1_blocks(key, counter, n)
    assert words.dtype == np.uint32
    np.testing.assert_array_equal(words, random.philox_words(key, counter, n))
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(words, reference.philox(key, counter, n))


@pytest.mark.parametrize("dtype", FLOATS)
def test_numbers_are_those_of_a_generator(dtype):
    """The same bits; but a logarithm or a cosine of normal numbers may differ in its last one."""
    tolerance = 4 * np.finfo(dtype).eps
    for n in (0, 1, 7, 1030):
        rng, where = random.Generator(5, stream=2**63), 2**63 << 64
        with cuda.emulation(check=True, seed=n):
            uniform = cuda_random.uniform_1_blocks(5, where, n, dtype)
            np.testing.assert_array_equal(uniform, rng.uniform(n, dtype))
            normals = cuda_random.normal_1_blocks(5, where + rng.counter, n, dtype)
        assert uniform.dtype == normals.dtype == dtype
        np.testing.assert_allclose(normals, rng.normal(n, dtype), rtol=tolerance, atol=tolerance)


@given(SEEDS, st.sampled_from(["uniform", "normal"]), st.sampled_from(FLOATS),
       st.integers(0, 2**64 - 1), st.integers(2**64 - 5, 2**64), st.integers(0, 20),
       st.sampled_from([None, 0, 3, 2**40]))  # fmt: skip
def test_numbers_of_a_counter_that_has_moved(seed, name, dtype, key, counter, n, by):
    moved = None if by is None else np.array([by])
    rungs_agree(name, seed, key, counter, n, dtype, moved=moved)
    if by is not None:
        with cuda.emulation(check=True, seed=seed):
            words = cuda_random.words(key, counter, n, moved=moved)
        np.testing.assert_array_equal(words, random.philox_words(key, counter + by, n))


@given(SEEDS, st.sampled_from(FLOATS), shapes(0, 3), st.sampled_from([0.1, 0.5, 0.9]))
def test_dropout(seed, dtype, shape, p):
    x = np.random.default_rng(seed).standard_normal(shape).astype(dtype)
    rungs_agree("dropout", seed, x, p, 7, 2**64 - 1)
    rungs_agree("dropout", seed, x, p, 7, 2**64 - 1, moved=np.array([2]))


def test_dropout_drops_what_it_drops_on_the_cpu_in_both_passes():
    x = Tensor(normal(np.float64, 9, 31), requires_grad=True)
    expected = F.dropout(x, 0.3, rng=random.Generator(6))
    (slope,) = grad(expected.sum(), [x])
    y = cuda_random.dropout_1_fused(x.data, 0.3, 6, 0)
    np.testing.assert_array_equal(y, expected.data)
    ones = np.ones_like(x.data)
    np.testing.assert_array_equal(cuda_random.dropout_1_fused(ones, 0.3, 6, 0), slope.data)
    assert 0.1 < (slope.data == 0).mean() < 0.5


def test_large_draws_of_a_generator_have_the_same_bits_as_on_the_cpu():
    n = random.COMPILED_FROM + 3
    with use(backend="emulator"):
        words = random.Generator(3, stream=2**63).words(n)
    np.testing.assert_array_equal(words, random.Generator(3, stream=2**63).words(n))


# ---------------------------------------------------------------- through minigen's functions
TARGET, WORDS = np.array([0, 3, 4, -1]), np.array([[2, 0, 2], [5, 2, 0]])
GRADIENTS = {
    "layer_norm": (lambda x, w, b: F.layer_norm(x, 5, w, b), [(3, 5), (5,), (5,)]),
    "batch_norm": (
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
        [(3, 2, 2, 2), (2,), (2,)],
    ),
    "cross_entropy": (
        lambda x: F.cross_entropy(x, Tensor(TARGET), ignore_index=-1, reduction="sum"),
        [(4, 5)],
    ),
    "embedding": (lambda w: F.embedding(WORDS, w), [(6, 5)]),
    "gelu": (F.gelu, [(3, 7)]),
    "gelu by tanh": (lambda x: F.gelu(x, "tanh"), [(3, 7)]),
    "relu": (F.relu, [(3, 7)]),
    "bce_with_logits": (
        lambda x, t: F.binary_cross_entropy_with_logits(x, t, reduction="sum"), [(3, 7), (3, 7)],
    ),
    "sum": (lambda x: F.sum(x * x, (0, 1)), [(2, 3, 4)]),
    "leaky_relu": (lambda x: F.leaky_relu(x, 0.2), [(3, 7)]),
}  # fmt: skip


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_of_order_2_through_the_cuda_kernels(name):
    f, of_shapes = GRADIENTS[name]
    rng = np.random.default_rng(0)
    with use(backend="emulator"), cuda.emulation(check=True, seed=1):
        check_grad(f, *(rng.standard_normal(s) for s in of_shapes), order=2, rng=rng)


@pytest.mark.parametrize("name", ["layer_norm_backward", "batch_norm_backward", "column_sums"])
def test_sums_have_the_same_bits_under_every_seed(name, monkeypatch):
    monkeypatch.setattr(norm, "ROWS_PER_PART", 8)
    monkeypatch.setattr(norm, "SHORTEST_PART", 8)
    monkeypatch.setattr(sums, "ROWS_PER_PART", 8)
    x, gy = normal(np.float32, 37, 3, 4), normal(np.float32, 37, 3, 4)[::-1]
    if name == "column_sums":
        arguments = (x.reshape(37, 12),)
    elif name == "layer_norm_backward":
        x, gy = x.reshape(37, 12), gy.reshape(37, 12)
        arguments = gy, x, None, *reference.layer_norm(x, None, None, EPS)[1:]
    else:
        arguments = gy, x, None, *reference.batch_norm(x, None, None, EPS)[1:], EPS
    results = []
    for seed in range(4):
        with cuda.emulation(seed=seed):
            results.append(LADDERS[name][-1](*arguments))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


# ---------------------------------------------------------------- what cannot be left out
@pytest.mark.parametrize(
    "file, right, wrong, kinds",
    [
        ("team.cuh", "    __syncthreads();\n    value = of_warp[0];", "    value = of_warp[0];",
         {"race", "uninitialised"}),
        ("team.cuh", "    __syncthreads();  // all have read", "    // all have read", {"race"}),
        ("loss.cu", "if (row >= rows) return;\n  x +=", "x +=", {"out-of-bounds"}),
    ],
)  # fmt: skip
def test_what_holds_a_team_together_cannot_be_left_out(tmp_path, file, right, wrong, kinds):
    """Either barrier of a sum over a block, or the bound of the rows: softmax without it."""
    for name in ("team.cuh", "loss.cu"):
        text = (SOURCES / name).read_text()
        if name == file:
            assert right in text
            text = text.replace(right, wrong)
        (tmp_path / name).write_text(text)
    short = file == "loss.cu"
    x = normal(np.float32, 3, 5) if short else normal(np.float32, 1, 1028)
    y, kernel = np.zeros_like(x), f"softmax_1_rows_{'warp' if short else 'block'}_f32"
    for seed in range(5):
        module = emulator.load(tmp_path / "loss.cu", check=True, seed=seed)
        with pytest.raises(emulator.KernelError) as caught:
            getattr(module, kernel)[1, 256](x, y, *x.shape)
        assert caught.value.kind in kinds, caught.value


# ---------------------------------------------------------------- 16 bytes at a time, side by side
def writes(kernel, *arguments):
    """(requests of whole warps, sectors of 32 bytes, sectors beyond the ideal) of global memory.

    Writes only: of a struct that is read, g++ loads the parts one by one where it uses them.
    """
    module = emulator.load(SOURCES / "elementwise.cu", count=True)
    module.reset_counts()
    getattr(module, kernel)[1, 256](*arguments)
    sites = [s for s in module.counts() if (s.space, s.operation) == ("global", "write")]
    found = ("requests", "transactions", "extra")
    return tuple(sum(getattr(site, what) for site in sites) for what in found)


def test_memory_is_written_16_bytes_a_lane_without_a_wasted_sector():
    x, y, size = normal(np.float32, 4096), np.zeros(4096, np.float32), np.int64(4096)
    sectors, whole = x.nbytes // 32, x.nbytes // 512  # requests of 16 bytes from each of 32 lanes
    assert writes("gelu_1_vector_tanh_f32", x, y, size) == (whole, sectors, 0)
    # From an address that is no multiple of 16: single numbers, so four times as many requests.
    padded = np.zeros(4097, np.float32)
    arguments = padded[:-1], padded[1:], y, size
    counted = writes("gelu_backward_1_vector_tanh_f32", *arguments)
    assert counted == (4 * whole, sectors, 0)
