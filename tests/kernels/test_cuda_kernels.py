"""Every CUDA kernel against the formula, run by the emulator in check mode, and through minigen."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from minigen_kernels import ACTIVATED, activated, backend_of, cpu, cuda, reference, use
from minigen_kernels.activations import ACTIVATIONS
from minigen_kernels.cuda import (
    LADDERS,
    activation,
    attention,
    conv,
    conv_weight,
    elementwise,
    gemm,
    launch,
)

from minigen import Tensor
from minigen import functional as F
from minigen.gradcheck import check_grad
from tests.kernels.cuda_ladder import SEEDS, fill_new_arrays_with_garbage, rungs_agree
from tests.kernels.ladder import FLOATS, close, largest
from tests.kernels.needs import GXX
from tests.kernels.test_attention import draw_case
from tests.kernels.test_conv import arrays_for, cases, left_over
from tests.kernels.test_gemm import in_type, products

pytestmark = [pytest.mark.emulator, GXX]


@pytest.fixture(autouse=True)
def garbage(monkeypatch):
    fill_new_arrays_with_garbage(monkeypatch, gemm, conv, conv_weight, activation, attention)


@given(SEEDS, st.sampled_from(FLOATS), products(st.sampled_from([13, 17])))
def test_gemm(seed, dtype, product):
    a, b, flips = product
    terms = a.shape[-2 if flips["transpose_a"] else -1]
    rungs_agree("gemm", seed, a.astype(dtype), b.astype(dtype), terms=terms, **flips)


@pytest.mark.parametrize("flips", [(False, False), (False, True), (True, False), (True, True)])
@pytest.mark.parametrize("shape", [(65, 33, 129), (64, 16, 64), (1, 97, 67)])
def test_gemm_of_several_tiles(shape, flips):
    m, k, n = shape
    rng = np.random.default_rng(m)
    a, b = (rng.standard_normal(s).astype(np.float32) for s in ((m, k), (k, n)))
    pairs = zip((a, b), flips, strict=True)
    stored = [np.ascontiguousarray(x.T) if flip else x for x, flip in pairs]
    for rung in LADDERS["gemm"][1:]:
        with cuda.emulation(check=True, seed=m):
            close(rung(*stored, *flips), a @ b, k, rung.__name__)


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_a_product_of_no_terms_is_the_bias(batch):
    a, b, bias = np.zeros((*batch, 3, 0)), np.zeros((*batch, 0, 2)), np.array([1.0, 2.0])
    for rung in LADDERS["gemm"][1:]:
        np.testing.assert_array_equal(rung(a, b), np.zeros((*batch, 3, 2)))
        np.testing.assert_array_equal(rung(a, b, bias=bias) - bias, np.zeros((*batch, 3, 2)))


@given(st.data(), SEEDS, st.sampled_from(FLOATS), cases(), st.booleans())
def test_conv2d(data, seed, dtype, case, has_bias):
    x, w, _, settings = case
    x, w, bias = arrays_for(data.draw, dtype, x, w, w[:1])
    terms = int(np.prod(w.shape[1:]))
    rungs_agree("conv2d", seed, x, w, bias if has_bias else None, terms=terms, **settings)


@given(st.data(), SEEDS, st.sampled_from(FLOATS), cases(), st.booleans())
def test_conv_transpose2d(data, seed, dtype, case, has_bias):
    x, w, y, settings = case
    settings["output_padding"] = left_over(x, w, settings)
    y, w, bias = arrays_for(data.draw, dtype, y, w, x[1:2])
    terms = w.shape[0] * w.shape[2] * w.shape[3]
    rungs_agree("conv_transpose2d", seed, y, w, bias if has_bias else None, terms=terms, **settings)


@given(st.data(), SEEDS, st.sampled_from(FLOATS), cases(), st.sampled_from([1, 4, 300]))
def test_conv2d_weight(data, seed, dtype, case, shortest):
    x, w, y, settings = case
    x, y = arrays_for(data.draw, dtype, x, y)
    terms = y.shape[0] * y.shape[2] * y.shape[3]
    # many parts, some, or one
    before, conv_weight.SHORTEST_SPLIT = conv_weight.SHORTEST_SPLIT, shortest
    try:
        rungs_agree("conv2d_weight", seed, x, y, w[2:], terms=terms, **settings)
    finally:
        conv_weight.SHORTEST_SPLIT = before


ENDS = st.fixed_dictionaries(
    {"activation": st.sampled_from(ACTIVATIONS), "slope": st.just(0.25), "keep": st.booleans()}
)


@given(SEEDS, st.sampled_from(FLOATS), products(st.sampled_from([13, 17])), ENDS)
def test_gemm_with_an_activation(seed, dtype, product, end):
    a, b, options = in_type(dtype, *product)
    terms = a.shape[-2 if options["transpose_a"] else -1]
    least = largest(a, b) * terms  # a sum that cancels is what the activation is given
    rungs_agree("gemm_activated", seed, a, b, terms=terms, least=least, **options, **end)


@given(st.data(), SEEDS, st.sampled_from(FLOATS), cases(), ENDS)
def test_conv2d_with_an_activation(data, seed, dtype, case, end):
    x, w, _, settings = case
    x, w, bias = arrays_for(data.draw, dtype, x, w, w[:1])
    terms = int(np.prod(w.shape[1:]))
    options = {"terms": terms, "least": largest(x, w) * terms, **settings, **end}
    rungs_agree("conv2d_activated", seed, x, w, bias, **options)


@given(st.data(), SEEDS, st.sampled_from(FLOATS), cases(), ENDS)
def test_conv_transpose2d_with_an_activation(data, seed, dtype, case, end):
    x, w, y, settings = case
    settings["output_padding"] = left_over(x, w, settings)
    y, w, bias = arrays_for(data.draw, dtype, y, w, x[1:2])
    terms = w.shape[0] * w.shape[2] * w.shape[3]
    options = {"terms": terms, "least": largest(y, w) * terms, **settings, **end}
    rungs_agree("conv_transpose2d_activated", seed, y, w, bias, **options)


def test_an_activation_of_numbers_that_are_none():
    """NaN stays; ReLU makes 0 of -inf, and tanh and sigmoid end where they end."""
    x = np.array([[np.nan, np.inf, -np.inf, 0.0]])
    for rung in LADDERS["gemm_activated"][1:]:
        for f in ACTIVATIONS[:4]:
            with cuda.emulation(check=True), np.errstate(all="ignore"):
                y = rung(np.ones((1, 1)), np.zeros((1, 4)), bias=x[0], activation=f, slope=0.5)
                expected = reference.activated(x, f, 0.5)
            np.testing.assert_array_equal(y, expected, err_msg=f)


def test_an_activation_that_there_is_not():
    x = np.ones((1, 1))
    with pytest.raises(ValueError, match="activation='swish': choose one of relu, leaky_relu"):
        gemm.gemm_activated_2_registers(x, x, activation="swish")
    with pytest.raises(ValueError, match="slope -1.0: it must be 0 or more"):
        gemm.gemm_activated_2_registers(x, x, activation="leaky_relu", slope=-1.0)


def test_convolutions_of_several_tiles():
    """More rows and more columns than a tile of 64 has, in all three products."""
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(s).astype(np.float32) for s in ((2, 3, 9, 11), (66, 3, 3, 3)))
    settings = dict(stride=(2, 1), padding=(1, 1))
    y = rungs_agree("conv2d", 0, x, w, None, terms=27, **settings)
    rungs_agree("conv2d_weight", 1, x, y, (3, 3), terms=110, least=largest(x, y), **settings)
    rungs_agree("conv_transpose2d", 2, y, w, None, terms=600, least=largest(y, w), **settings)
    wide = rng.standard_normal((3, 66, 2, 3)).astype(np.float32)
    y = rng.standard_normal((5, 3, 4, 3)).astype(np.float32)
    rungs_agree("conv_transpose2d", 3, y, wide, None, terms=18, stride=(3, 2), padding=(0, 1))


@pytest.mark.parametrize("dtype", FLOATS)
def test_few_channels_in_more_pixels_filters_and_terms_than_a_block_takes_at_a_time(dtype):
    rng = np.random.default_rng(0)
    for shape, filters, kernel in [((1, 1, 19, 19), 17, 3), ((1, 3, 6, 5), 2, 5)]:
        x = rng.standard_normal(shape).astype(dtype)
        w = rng.standard_normal((filters, shape[1], kernel, kernel)).astype(dtype)
        bias = rng.standard_normal(filters).astype(dtype)
        rungs_agree("conv2d", 4, x, w, bias, terms=75, padding=(1, 1))


def test_weight_gradients_have_the_same_bits_under_every_seed():
    rng = np.random.default_rng(0)
    x, gy = (rng.standard_normal((4, 2, 9, 9)).astype(np.float32) for _ in range(2))
    assert conv_weight.split_count(1, gy.size // 2) == 2
    results = []
    for seed in range(4):
        with cuda.emulation(seed=seed):
            results.append(conv_weight.conv2d_weight_1_split(x, gy, (3, 3), padding=(1, 1)))
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


@given(st.data(), SEEDS, st.sampled_from(FLOATS))
def test_attention_and_its_backward(data, seed, dtype):
    (q, k, v, mask), options, rng = draw_case(data, dtype)
    terms = q.shape[2] + k.shape[1]
    out, lse = rungs_agree("attention", seed, q, k, v, mask, **options, terms=terms)
    gout = rng.standard_normal(out.shape).astype(dtype)
    terms += q.shape[1] + v.shape[2]
    least = largest(gout, v) * max(largest(q), largest(k))  # a query that sees one key: 0 - 0
    rungs_agree(
        "attention_backward", seed, gout, q, k, v, out, lse, mask, **options, terms=terms,
        least=least,
    )


def test_attention_wider_than_its_tiles():
    rng = np.random.default_rng(0)
    shapes = (1, 35, 70), (1, 37, 70), (1, 37, 66)
    q, k, v = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    rungs_agree("attention", 5, q, k, v, None, is_causal=True, terms=110)


GRADIENTS = {
    "linear": (F.linear, [(3, 5), (4, 5), (4,)]),
    "matmul": (lambda a, b: a @ b, [(2, 3, 5), (2, 5, 4)]),
    "conv2d": (
        lambda x, w, b: F.conv2d(x, w, b, stride=(2, 1), padding=1, groups=2),
        [(2, 4, 5, 4), (4, 2, 3, 2), (4,)],
    ),
    "conv_transpose2d": (
        lambda x, w, b: F.conv_transpose2d(x, w, b, stride=2, padding=1, output_padding=1),
        [(2, 3, 3, 2), (3, 2, 3, 3), (2,)],
    ),
    "attention": (
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        [(2, 3, 4), (2, 3, 4), (2, 3, 5)],
    ),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_of_order_2_through_the_cuda_kernels(name):
    f, shapes = GRADIENTS[name]
    rng = np.random.default_rng(0)
    with use(backend="emulator"), cuda.emulation(check=True, seed=1):
        check_grad(f, *(rng.standard_normal(s) for s in shapes), order=2, rng=rng)


# ReLU has a kink, which random sums do not meet.
ENDINGS = ["relu", ("leaky_relu", 0.2), "tanh", "sigmoid", "gelu", "gelu_tanh"]


@pytest.mark.parametrize("name", ["linear", "conv2d", "conv_transpose2d"])
@pytest.mark.parametrize("ending", ENDINGS, ids=str)
def test_gradients_of_order_2_with_an_activation_at_the_end(name, ending):
    shapes = GRADIENTS[name][1]
    options: dict[str, Any] = {"activation": ending}
    if name != "linear":
        options |= {"stride": 2, "padding": 1, "groups": 2 if name == "conv2d" else 1}
    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal(s) for s in shapes]
    with use(backend="emulator"), cuda.emulation(check=True, seed=1):
        check_grad(lambda *a: getattr(F, name)(*a, **options), *arrays, order=2, rng=rng)
        fused = getattr(F, name)(*map(Tensor, arrays), **options)
    with use(backend="emulator", gelu=LADDERS["gelu"][-1]):  # a kernel of one's own: nothing fused
        assert all(activated(backend_of(arrays[0]), product) is None for product in ACTIVATED)
        composed = getattr(F, name)(*map(Tensor, arrays), **options)
    np.testing.assert_allclose(fused.numpy(), composed.numpy(), rtol=1e-13, atol=1e-14)


def test_an_activation_at_the_end_is_one_launch(monkeypatch):
    seen: list[str] = []
    plain = launch.launch

    def noted(source, kernel, *arguments, **options):
        seen.append(kernel)
        plain(source, kernel, *arguments, **options)

    for module in (conv, gemm, elementwise):
        monkeypatch.setattr(module, "launch", noted)
    x, w = (Tensor(np.ones(s, np.float32)) for s in ((1, 5, 4, 4), (2, 5, 3, 3)))
    with use(backend="emulator"):
        F.conv2d(x, w, activation="gelu")
        F.linear(x, Tensor(np.ones((3, 4), np.float32)), activation="tanh")
    assert seen == ["conv2d_1_implicit_f32", "gemm_2_registers_nt_f32"]


def test_every_rung_has_the_signature_of_rung_0():
    for name, (formula, *rungs) in LADDERS.items():
        for rung in rungs:
            assert inspect.signature(rung).parameters.keys() == inspect.signature(
                formula
            ).parameters.keys(), name
            assert rung.__name__.startswith(f"{name}_"), rung


def test_the_backend_runs_the_rung_that_was_asked_for():
    x = np.eye(3, dtype=np.float32)
    for rung in range(3):
        with use(backend="emulator", rung=rung):
            assert backend_of(x).gemm is LADDERS["gemm"][rung]
    with use(backend="emulator"):
        assert backend_of(x).gemm is LADDERS["gemm"][-1]
    with use(backend="emulator", gemm=np.matmul):
        assert backend_of(x).gemm is np.matmul


def test_every_kernel_has_a_cuda_rung():
    assert LADDERS.keys() >= cpu.LADDERS.keys()
    assert all(len(ladder) > 1 for ladder in LADDERS.values())
    with use(backend="emulator"), pytest.raises(NotImplementedError, match="'conv3d' has no CUDA"):
        _ = backend_of(np.ones(1)).conv3d


def test_other_types_are_refused():
    with pytest.raises(TypeError, match="gemm: the CUDA kernels take float32 or float64"):
        gemm.gemm_1_tile(np.ones((2, 2), np.float16), np.ones((2, 2), np.float16))
    with pytest.raises(TypeError, match="all arrays of one type, not float32 and float64"):
        gemm.gemm_1_tile(np.ones((2, 2), np.float32), np.ones((2, 2)))
