"""Moments: what a convolution leaves of its channels, and batch norm starts from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from minigen_kernels import cuda, emulator, reference, use
from minigen_kernels.activations import ACTIVATIONS
from minigen_kernels.cuda import LADDERS, TENSOR_CORES, activation, conv, launch, norm, rounding

from minigen import Tensor, grad, nn, no_grad
from minigen import functional as F
from minigen.gradcheck import check_grad
from tests.kernels.cuda_ladder import SEEDS, fill_new_arrays_with_garbage, rungs_agree
from tests.kernels.ladder import FLOATS, close, largest
from tests.kernels.needs import GXX
from tests.kernels.test_conv import arrays_for, cases, left_over

pytestmark = [pytest.mark.emulator, GXX]
EPS = 1e-5
KERNELS = [
    *[kernel for name in ("conv2d", "conv_transpose2d") for kernel in
      (*LADDERS[f"{name}_activated"][1:],
       *(TENSOR_CORES[p][f"{name}_activated"] for p in ("tf32", "tf32x3", "bf16")))],
]  # fmt: skip
OF_IMAGES = [k for k in KERNELS if k.__name__.startswith("conv2d")]
TRANSPOSED = [k for k in KERNELS if k not in OF_IMAGES]


@pytest.fixture(autouse=True)
def garbage(monkeypatch):
    fill_new_arrays_with_garbage(monkeypatch, conv, activation, norm, rounding)


def normal(*shape, dtype=np.float32):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)


def joined(found):
    """The moments of all parts as of one, in float64; parts of no pixels may say anything."""
    channels = len(found) // 2
    means, squares, counts = found[:channels], found[channels:-1], found[-1]
    there = counts > 0
    means, squares, counts = (a[..., there].astype(float) for a in (means, squares, counts))
    mean = (means * counts).sum(1) / max(counts.sum(), 1)
    squares = (squares + counts * (means - mean[:, None]) ** 2).sum(1)
    return np.vstack([mean[:, None], squares[:, None], [[counts.sum()]]])


def check(kernel, seed, arrays, settings):
    """The kernel leaves the moments of what it makes, whatever is done to that afterwards."""
    how = {**settings, "slope": 0.25, "moments": True}
    with cuda.emulation(check=True, seed=seed):
        y, found = kernel(*arrays, activation="none", **how)
        f, before, again = kernel(*arrays, activation="leaky_relu", keep=True, **how)
    np.testing.assert_array_equal(before, y)
    np.testing.assert_array_equal(again, found)
    np.testing.assert_array_equal(f, reference.activated(y, "leaky_relu", 0.25))
    if not y.size:
        return
    right, got = reference.moments_of(y.astype(np.float64)), joined(found)
    channels, size = y.shape[1], largest(y)
    close(got[:channels].astype(y.dtype), right[:channels].astype(y.dtype), 64, "mean", size)
    least = size**2 * got[-1, 0]
    close(got[channels:-1].astype(y.dtype), right[channels:-1].astype(y.dtype), 64, "M2", least)
    assert got[-1, 0] == right[-1, 0] == y.size // channels


@given(st.data(), SEEDS, st.sampled_from(FLOATS), cases(), st.sampled_from(OF_IMAGES),
       st.booleans())  # fmt: skip
def test_moments_of_conv2d(data, seed, dtype, case, kernel, has_bias):
    x, w, _, settings = case
    x, w, bias = arrays_for(data.draw, dtype, x, w, w[:1])
    check(kernel, seed, (x, w, bias if has_bias else None), settings)


@given(st.data(), SEEDS, st.sampled_from(FLOATS), cases(), st.sampled_from(TRANSPOSED),
       st.booleans())  # fmt: skip
def test_moments_of_conv_transpose2d(data, seed, dtype, case, kernel, has_bias):
    x, w, y, settings = case
    settings["output_padding"] = left_over(x, w, settings)
    y, w, bias = arrays_for(data.draw, dtype, y, w, x[1:2])
    check(kernel, seed, (y, w, bias if has_bias else None), settings)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.__name__)
def test_moments_of_several_tiles(kernel):
    """More channels and more pixels than a tile has; the transposed one's phases are unequal, so
    that of the smaller ones whole blocks are empty."""
    if kernel in OF_IMAGES:
        arrays, settings = (normal(2, 18, 9, 11), normal(66, 18, 3, 3)), {"padding": (1, 1)}
    else:
        arrays, settings = (normal(3, 18, 5, 13), normal(18, 66, 1, 3)), {"stride": (1, 3)}
        settings["padding"] = (0, 0)
    check(kernel, 1, (*arrays, normal(66)), settings)


def test_a_phase_without_a_block_of_pixels():
    """65 pixels in the first phase, 64 in the second: the second block has none of its own."""
    y, w = normal(1, 3, 1, 65), normal(3, 2, 1, 1)
    with cuda.emulation(check=True):
        x, found = conv.conv_transpose2d_activated_1_phases(
            y, w, stride=(1, 2), activation="none", moments=True
        )
    assert x.shape == (1, 2, 1, 129) and found[-1].tolist() == [64, 1, 64, 0]


# ---------------------------------------------------------------- batch norm of them
ENDS = st.fixed_dictionaries(
    {"activation": st.sampled_from(["none", *ACTIVATIONS]), "slope": st.just(0.25),
     "keep": st.booleans()}
)  # fmt: skip


@given(SEEDS, st.sampled_from(FLOATS), st.integers(1, 5), st.integers(1, 4), st.integers(1, 40),
       st.integers(1, 7), ENDS, st.booleans())  # fmt: skip
def test_batch_norm_with_an_activation(seed, dtype, batch, channels, length, parts, end, given):
    """With and without the moments of parts of x, some of them empty."""
    x = normal(batch, channels, length, dtype=dtype)
    weight, bias = normal(channels, dtype=dtype), normal(channels + 1, dtype=dtype)[1:]
    found = None
    if given:
        columns = np.moveaxis(x, 1, 0).reshape(channels, -1)
        cuts = np.sort(np.random.default_rng(seed).integers(0, batch * length + 1, parts - 1))
        pieces = np.split(columns, cuts, axis=1)
        found = np.hstack([reference.moments_of(piece[None]) for piece in pieces])
        found[:-1, found[-1] == 0] = np.nan
    y, mean, var = reference.batch_norm_activated(x, weight, bias, EPS, **end)
    with cuda.emulation(check=True, seed=seed):
        got = norm.batch_norm_activated_1_channels(x, weight, bias, EPS, **end, moments=found)
    terms = batch * length
    ys, gots = (v if isinstance(v, tuple) else (v,) for v in (y, got[0]))
    assert len(ys) == len(gots)
    for expected, value in zip(ys, gots, strict=True):
        close(value, expected, terms, "y", float(np.abs(ys[-1]).max()))
    close(got[1], mean, terms, "mean", largest(x))
    close(got[2], var, terms, "var", largest(x) ** 2)


def test_batch_norm_s_rungs_agree():
    arguments = normal(3, 5, 14), normal(5), normal(5), EPS, "tanh"
    rungs_agree("batch_norm_activated", 1, *arguments[:4], terms=42, activation="tanh")


def test_far_from_zero_the_moments_keep_the_variance():
    """A mean of a thousand deviations, which the bias brings: E[x²] - E[x]² would have one digit.

    A part's mean is rounded to 2^-15, and stands some tenths away from the mean of all.
    """
    x, w = normal(4, 8, 12, 12), normal(6, 8, 3, 3) / 8
    for kernel in OF_IMAGES:
        with cuda.emulation(seed=2):
            _, found = kernel(x, w, np.full(6, 1e3, np.float32), activation="none", moments=True)
            y = kernel(x, w, None, activation="none")
            _, mean, var = norm.batch_norm_activated_1_channels(
                y.reshape(4, 6, 100), None, None, EPS, "none", moments=found
            )
        rows = y.astype(float).reshape(4, 6, 100)
        np.testing.assert_allclose(mean - 1e3, rows.mean((0, 2)), atol=2e-4)
        np.testing.assert_allclose(var, rows.var((0, 2)), rtol=3e-5)


# ---------------------------------------------------------------- as users call them
def layers(x, w, gain, step, moments, transposed=False, activation: Any = "tanh", bias=None):
    product = F.conv_transpose2d if transposed else F.conv2d
    y = product(x, w, bias, stride=2, padding=1, moments=moments)
    return F.batch_norm(y, None, None, gain, step, training=True, activation=activation)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("activation", [None, "gelu", "sigmoid", ("leaky_relu", 0.2)], ids=str)
def test_with_moments_the_same_values_and_slopes_of_every_order(transposed, activation):
    shapes = (2, 3, 5, 4), (3, 2, 3, 3) if transposed else (2, 3, 3, 3), (2,), (2,), (2,)
    arrays = [np.random.default_rng(i).standard_normal(s) for i, s in enumerate(shapes)]

    def f(*tensors, moments=True):
        x, w, gain, step, bias = tensors
        return layers(x, w, gain, step, moments, transposed, activation, bias)

    results = []
    with use(backend="emulator"), cuda.emulation(check=True, seed=3):
        check_grad(f, *arrays, order=2)
        for moments in (True, False):
            tensors = [Tensor(a, requires_grad=True) for a in arrays]
            y = f(*tensors, moments=moments)
            results.append([y, *grad((y * y).sum(), tensors)])
    tensors = [Tensor(a, requires_grad=True) for a in arrays]
    y = f(*tensors)  # on the CPU, where no kernel leaves any
    results.append([y, *grad((y * y).sum(), tensors)])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-10, atol=1e-11)


@pytest.fixture
def launched(monkeypatch):
    """The names of the kernels that run, in order."""
    seen: list[str] = []
    plain = launch.launch

    def noted(source, kernel, *arguments, **options):
        seen.append(kernel)
        plain(source, kernel, *arguments, **options)

    for module in (conv, norm):
        monkeypatch.setattr(module, "launch", noted)
    return seen


def test_batch_norm_starts_from_the_moments_and_ends_with_the_activation(launched):
    x, w, gain = Tensor(normal(2, 5, 6, 6)), Tensor(normal(4, 5, 3, 3), True), Tensor(normal(4))
    with use(backend="emulator"):
        layers(x, w, gain, gain, moments=True)
    assert launched == ["conv2d_1_implicit_f32", "batch_norm_1_join_f32", "batch_norm_1_joined_f32"]
    launched.clear()
    with use(backend="emulator"):
        layers(x, w, gain, gain, moments=False)
    assert launched[1:] == ["batch_norm_1_parts_f32", "batch_norm_1_channels_f32"]


def test_moments_of_what_was_changed_or_is_not_recorded_are_not_used(launched):
    x, w = Tensor(normal(2, 5, 6, 6)), Tensor(normal(4, 5, 3, 3), requires_grad=True)
    with use(backend="emulator"):
        y = F.conv2d(x, w, moments=True)
        y.data[...] = 2 * y.data + 1
        y.version[0] += 1
        z = F.batch_norm(y, None, None, training=True)
        with no_grad():
            F.batch_norm(F.conv2d(x, w, moments=True), None, None, training=True)
        F.batch_norm(F.conv2d(x, w, moments=True) * 2.0, None, None, training=True)
    np.testing.assert_allclose(z.numpy().mean((0, 2, 3)), 0, atol=1e-6)
    assert launched.count("batch_norm_1_parts_f32") == 3
    assert "batch_norm_1_join_f32" not in launched


def test_layers_leave_moments_in_training_only(launched):
    from minigen_kernels.random import Generator

    net = nn.Sequential(
        nn.Conv2d(3, 5, 3, 2, 1, bias=False, moments=True, rng=Generator(0)),
        nn.BatchNorm2d(5, activation="relu"),
        nn.ConvTranspose2d(5, 3, 4, 2, 1, moments=True, rng=Generator(1)),
        nn.BatchNorm2d(3, activation="tanh"),
    )
    x = Tensor(normal(2, 3, 8, 8))
    expected = [net(x).numpy(), net.eval()(x).numpy()]
    assert "moments=True" in repr(net) and "activation='relu'" in repr(net)
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None and part.running_var is not None
            part.running_mean.data[...], part.running_var.data[...] = 0, 1
    with use(backend="emulator"):
        y = net.train()(x)
        assert launched.count("batch_norm_1_join_f32") == 2
        z = net.eval()(x)
        assert launched.count("batch_norm_1_join_f32") == 2
    np.testing.assert_allclose(y.numpy(), expected[0], atol=2e-5)
    np.testing.assert_allclose(z.numpy(), expected[1], atol=2e-5)


def test_moments_are_not_of_an_activation():
    x, w = Tensor(normal(1, 2, 3, 3)), Tensor(normal(2, 2, 1, 1))
    for f in (F.conv2d, F.conv_transpose2d):
        with pytest.raises(ValueError, match="moments=True is for a batch_norm of the product"):
            f(x, w, moments=True, activation="relu")
    with pytest.raises(ValueError, match="batch_norm: activation='swish': choose one of relu"):
        F.batch_norm(x, None, None, training=True, activation="swish")


# ---------------------------------------------------------------- what they are for
@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
def test_they_save_two_readings_of_what_is_normalised(monkeypatch, precision):
    """Sectors of global memory, counted: y is read once and not three times; what is written and
    read instead are two numbers for each part of 64 pixels, or of 32."""
    modules: dict[str, Any] = {}

    def counting(source, how):
        if source not in modules:
            modules[source] = emulator.load(launch.FOLDER / source, count=True)
        return modules[source]

    monkeypatch.setattr(launch, "_module", counting)
    x, w = Tensor(normal(4, 16, 16, 16)), Tensor(normal(64, 16, 3, 3), requires_grad=True)
    gain, moved = Tensor(normal(64)), []
    for moments in (False, True):
        for module in modules.values():
            module.reset_counts()
        with use(backend="emulator", precision=precision):
            layers(x, w, gain, gain, moments=moments)
        sites = [s for module in modules.values() for s in module.counts() if s.space == "global"]
        moved.append(sum(s.transactions for s in sites))
    of_y = 4 * 64 * 8 * 8 * 4 // 32
    assert moved[0] - moved[1] > 1.5 * of_y
