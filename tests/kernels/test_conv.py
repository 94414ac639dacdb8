"""The convolution trio: every rung against the formula, and the laws that tie them together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from minigen_kernels import backend_of, reference, use
from minigen_kernels.cpu import LADDERS, conv, conv_choice, conv_lanes, conv_rows, threads
from minigen_kernels.geometry import conv_size

from minigen.testing.strategies import laid_out, sizes
from tests.kernels.ladder import FLOATS, close, rungs_agree, same_bits_elsewhere

X = np.empty(0)


@pytest.fixture(autouse=True)
def garbage(monkeypatch):
    """New arrays are full of NaN, so that a pixel that nobody writes shows."""
    for module in (conv, conv_lanes, conv_rows):
        monkeypatch.setattr(module, "empty", lambda shape, dtype: np.full(shape, np.nan, dtype))


@st.composite
def cases(draw, zero=True, wide=False):
    """Shapes of x, w, y and settings; padding may exceed the kernel, and the stride the image."""
    pair = lambda *of: draw(st.tuples(*[st.sampled_from(of)] * 2))  # noqa: E731
    kernel, stride, dilation = pair(1, 2, 3, 4), pair(1, 2, 3), pair(1, 2)
    padding, image = pair(0, 1, 2, 5), pair(1, 3, 4, 6, 7)
    size = [conv_size(*n) for n in zip(image, kernel, stride, padding, dilation, strict=True)]
    assume(min(size) > 0)
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    few = st.sampled_from([1, 2, 17] if wide else [1, 2, 3])
    out, inside = groups * draw(few), draw(few)
    batch = draw(sizes(zero, 3))
    if zero and draw(st.integers(0, 9)) == 0:
        out, inside = draw(st.sampled_from([(0, inside), (out, 0)]))
    settings = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    x, w = (batch, groups * inside, *image), (out, inside, *kernel)
    return x, w, (batch, out, *size), settings


def left_over(x, w, settings):
    """The output_padding with which conv_transpose2d gives x's size again."""
    names = zip(
        *(x[2:], w[2:], settings["stride"], settings["padding"], settings["dilation"]), strict=True
    )
    return tuple((n + 2 * p - d * (k - 1) - 1) % s for n, k, s, p, d in names)


def arrays_for(draw, dtype, *shapes):
    rng = np.random.default_rng(sum(map(sum, shapes)))
    return [draw(laid_out(rng.standard_normal(shape).astype(dtype))) for shape in shapes]


@given(st.data(), st.sampled_from(FLOATS), cases(), st.booleans())
def test_conv2d_rungs(data, dtype, case, has_bias):
    x, w, _, settings = case
    x, w, bias = arrays_for(data.draw, dtype, x, w, w[:1])
    terms = int(np.prod(w.shape[1:]))
    rungs_agree("conv2d", x, w, bias if has_bias else None, terms=terms, **settings)


@given(st.data(), st.sampled_from(FLOATS), cases(), st.booleans())
def test_conv_transpose2d_rungs(data, dtype, case, has_bias):
    x, w, y, settings = case
    settings["output_padding"] = left_over(x, w, settings)
    y, w, bias = arrays_for(data.draw, dtype, y, w, x[1:2])
    terms = w.shape[0] * w.shape[2] * w.shape[3]
    rungs_agree("conv_transpose2d", y, w, bias if has_bias else None, terms=terms, **settings)


@given(st.data(), st.sampled_from(FLOATS), cases())
def test_conv2d_weight_rungs(data, dtype, case):
    x, w, y, settings = case
    x, y = arrays_for(data.draw, dtype, x, y)
    terms = y.shape[0] * y.shape[2] * y.shape[3]
    rungs_agree("conv2d_weight", x, y, w[2:], terms=terms, **settings)


@given(st.data(), st.sampled_from(FLOATS), st.sampled_from([1, 1, 2]), st.booleans())
def test_kernels_of_one_pixel_rungs(data, dtype, stride, has_bias):
    n, channels, rows, *image = (data.draw(sizes(True, most)) for most in (3, 7, 7, 5, 5))
    image = [max(side, 1) for side in image]
    settings = dict(stride=(1, stride), padding=(0, 0))
    y = (n, rows, image[0], (image[1] - 1) // stride + 1)
    x, w, y, b, c = arrays_for(
        data.draw, dtype, (n, channels, *image), (rows, channels, 1, 1), y, (rows,), (channels,)
    )
    rungs_agree("conv2d", x, w, b if has_bias else None, terms=channels, **settings)
    rungs_agree("conv2d_weight", x, y, (1, 1), terms=n * image[0] * image[1], **settings)
    spare = left_over(x.shape, w.shape, settings | {"dilation": (1, 1)})
    c = c if has_bias else None
    rungs_agree("conv_transpose2d", y, w, c, terms=rows, output_padding=spare, **settings)


@given(st.data(), cases(wide=True))
def test_the_three_are_derivatives_of_one_form(data, case):
    x, w, y, settings = case
    spare = left_over(x, w, settings)
    x, w, y = arrays_for(data.draw, np.float64, x, w, y)
    kernels = backend_of(X)
    form = np.vdot(y, kernels.conv2d(x, w, **settings))
    by_x = np.vdot(kernels.conv_transpose2d(y, w, output_padding=spare, **settings), x)
    by_w = np.vdot(kernels.conv2d_weight(x, y, w.shape[2:], **settings), w)
    np.testing.assert_allclose([by_x, by_w], form, rtol=1e-11, atol=1e-9)


@pytest.mark.parametrize("bits", [128, 256, 512])
def test_every_vector_width(bits):
    rng = np.random.default_rng(bits)
    x = rng.standard_normal((3, 5, 9, 8)).astype(np.float32)
    w = rng.standard_normal((13, 5, 4, 3)).astype(np.float32)
    settings = dict(stride=(2, 1), padding=(1, 5))
    y = reference.conv2d(x, w, **settings)
    with use(vector_bits=bits):
        close(backend_of(X).conv2d(x, w, **settings), y, 60, f"{bits} bits")
        gx = backend_of(X).conv_transpose2d(y, w, output_padding=(1, 0), **settings)
        gw = backend_of(X).conv2d_weight(x, y, (4, 3), **settings)
    one = np.vdot(y.astype(np.float64), y)
    np.testing.assert_allclose([np.vdot(gx, x), np.vdot(gw, w)], one, rtol=1e-4)


def test_a_larger_layer_agrees_with_the_direct_loops():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 33, 14, 14))
    w = rng.standard_normal((37, 33, 4, 4))
    settings = dict(stride=(2, 2), padding=(1, 1))
    with use(rung=1):
        y = backend_of(X).conv2d(x, w, **settings)
        gx = backend_of(X).conv_transpose2d(y, w, **settings)
        gw = backend_of(X).conv2d_weight(x, y, (4, 4), **settings)
    close(backend_of(X).conv2d(x, w, **settings), y, 528, "conv2d")
    close(backend_of(X).conv_transpose2d(y, w, **settings), gx, 592, "conv_transpose2d")
    close(backend_of(X).conv2d_weight(x, y, (4, 4), **settings), gw, 245, "conv2d_weight")


# images, channels, image, rows, kernel, stride, padding, dilation, groups: batches of less than a
# vector, of several and of a part, tiles of every height, taps beyond one block of
# them, channels for several tasks of a weight gradient
BATCHES = [
    (2, 3, (6, 5), 4, (3, 2), (1, 1), (1, 0), (1, 1), 1),
    (7, 4, (5, 5), 14, (3, 3), (2, 2), (0, 3), (2, 1), 2),
    (16, 1, (8, 9), 1, (4, 4), (2, 3), (1, 1), (1, 1), 1),
    (17, 4, (7, 9), 26, (3, 3), (2, 1), (1, 2), (1, 2), 2),
    (33, 25, (8, 8), 37, (4, 4), (2, 2), (1, 1), (1, 1), 1),
    (40, 20, (8, 8), 40, (2, 1), (3, 2), (1, 0), (1, 1), 4),
    (9, 2, (6, 6), 100, (3, 3), (1, 1), (1, 1), (1, 1), 1),
    (48, 3, (1, 1), 5, (3, 3), (2, 2), (2, 2), (1, 1), 1),
    # as many images for each of one, two or four threads as go through all stages together
    (128, 6, (6, 7), 14, (3, 2), (2, 1), (1, 2), (1, 1), 2),
    # lines of several vectors, of a part of one; several images and a few lines in a task
    (3, 4, (9, 37), 13, (3, 2), (1, 1), (1, 0), (1, 1), 1),
    (2, 6, (8, 40), 26, (3, 3), (1, 1), (1, 2), (1, 2), 2),
    (1, 3, (20, 70), 5, (4, 4), (2, 2), (1, 1), (1, 1), 1),
    (9, 2, (33, 15), 9, (2, 2), (2, 3), (0, 2), (1, 1), 1),
    (2, 110, (4, 17), 3, (2, 2), (1, 1), (1, 1), (1, 1), 1),
]


@pytest.mark.parametrize("case", BATCHES)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("rung", [2, 3, 4], ids=("patches", "lanes", "rows"))
def test_larger_shapes_agree_with_the_direct_loops(rung, dtype, case):
    n, channels, image, rows, kernel, stride, padding, dilation, groups = case
    rng = np.random.default_rng(n)
    x = rng.standard_normal((n, channels, *image)).astype(dtype)
    w = rng.standard_normal((rows, channels // groups, *kernel)).astype(dtype)
    b, c = (rng.standard_normal(size).astype(dtype) for size in (rows, channels))
    settings = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    spare = left_over(x.shape, w.shape, settings)
    found = []
    for choice in (1, rung):
        with use(rung=choice):
            kernels = backend_of(X)
            y = kernels.conv2d(x, w, b, **settings)
            gx = kernels.conv_transpose2d(y, w, c, output_padding=spare, **settings)
            found.append((y, gx, kernels.conv2d_weight(x, y, kernel, **settings)))
    terms = [w[0].size, rows * w[0, 0].size, y.size // rows]
    for name, a, e, many in zip(("y", "gx", "gw"), found[1], found[0], terms, strict=True):
        close(a, e, max(many, w[0].size), f"{name} of {case}")


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("case", [case for case in BATCHES if case[5] == (1, 1)])
def test_a_transposed_convolution_of_rows(case, dtype):
    n, channels, image, rows, kernel, _, padding, dilation, groups = case
    padding = tuple(min(p, d * (k - 1)) for p, d, k in zip(padding, dilation, kernel, strict=True))
    size = [conv_size(*s) for s in zip(image, kernel, (1, 1), padding, dilation, strict=True)]
    rng = np.random.default_rng(n)
    w = rng.standard_normal((rows, channels // groups, *kernel)).astype(dtype)
    y = rng.standard_normal((n, rows, *size)).astype(dtype)
    b = rng.standard_normal(channels).astype(dtype)
    shape = n, channels, *image
    found = conv_rows.conv_transpose2d_of_rows(y, w, b, shape, padding, dilation)
    settings = dict(padding=padding, dilation=dilation, groups=groups)
    expected = conv.conv_transpose2d_1_direct(y, w, b, **settings)
    close(found, expected, rows * w[0, 0].size, f"{case}")


@pytest.mark.parametrize("n", [48, 64])  # all threads in each stage; or each with its images
def test_same_bits_whatever_the_number_of_threads(n):
    rng = np.random.default_rng(n)
    x = rng.standard_normal((n, 20, 9, 9)).astype(np.float32)
    w = rng.standard_normal((36, 20, 3, 3)).astype(np.float32)
    settings = dict(stride=(2, 2), padding=(1, 1))
    found, before = [], threads.get_threads()
    try:
        for count in {1, before}:
            threads.set_threads(count)
            y = conv_lanes.conv2d_3_lanes(x, w, **settings)
            gx = conv_lanes.conv_transpose2d_3_lanes(y, w, **settings)
            gw = conv_lanes.conv2d_weight_3_lanes(x, y, (3, 3), **settings)
            by_rows = conv_rows.conv2d_4_rows(x, w, **settings)
            gw_by_rows = conv_rows.conv2d_weight_4_rows(x, y, (3, 3), **settings)
            found.append((y, gx, gw, by_rows, gw_by_rows))
    finally:
        threads.set_threads(before)
    for a, b in zip(found[0], found[-1], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "n, image, stride, rows, kinds",
    [
        (1, 14, 2, 64, ["2_patches"] * 3),  # a few images
        (64, 8, 2, 32, ["3_lanes"] * 3),  # a batch
        (64, 32, 1, 64, ["4_rows", "of_rows", "3_lanes"]),  # lines as long as vectors
        (64, 32, 2, 32, ["4_rows", "3_lanes", "4_rows"]),  # and few taps
    ],
)
def test_the_last_rung_takes_what_suits(monkeypatch, n, image, stride, rows, kinds):
    taken = []
    for kind in ("2_patches", "3_lanes", "4_rows", "of_rows"):
        for name in ("conv2d", "conv_transpose2d", "conv2d_weight"):
            kernel = getattr(conv_choice, f"{name}_{kind}", None)
            if kernel is None:
                continue

            def spy(*args, kernel=kernel, kind=kind):
                taken.append(kind)
                return kernel(*args)

            monkeypatch.setattr(conv_choice, f"{name}_{kind}", spy)
    monkeypatch.setattr(conv_choice, "vector_width", lambda: (0,) * 8)
    channels, side = (1, 4) if kinds[-1] == "4_rows" else (32, 3 if stride == 1 else 4)
    x = np.ones((n, channels, image, image), np.float32)
    w = np.ones((rows, channels, side, side), np.float32)
    settings = dict(stride=(stride, stride), padding=(1, 1))
    y = backend_of(X).conv2d(x, w, **settings)
    backend_of(X).conv_transpose2d(y, w, **settings)
    backend_of(X).conv2d_weight(x, y, (side, side), **settings)
    assert taken == kinds


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_kernel_as_large_as_the_image_is_one_product(dtype):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((19, 5, 7, 3)), rng.standard_normal((13, 5, 7, 3))
    x, w, b, c = (a.astype(dtype) for a in (x, w, x[0, :, 0, 0].repeat(3)[:13], w[0, :, 0, 0]))
    y = rungs_agree("conv2d", x, w, b, terms=105)
    assert y.shape == (19, 13, 1, 1)
    rungs_agree("conv_transpose2d", y, w, c, terms=13)
    rungs_agree("conv2d_weight", x, y, (7, 3), terms=19)


def test_nan_reaches_the_pixels_that_see_it_and_no_other():
    x = np.ones((2, 3, 9, 9), np.float32)
    x[1, 2, 4, 4] = np.nan
    w = np.ones((4, 3, 3, 3), np.float32)
    y = backend_of(X).conv2d(x, w, padding=(1, 1))
    seen = np.zeros((2, 4, 9, 9), bool)
    seen[1, :, 3:6, 3:6] = True
    np.testing.assert_array_equal(np.isnan(y), seen)


def test_same_bits_in_another_process():
    same_bits_elsewhere(
        "import numpy as np; from minigen_kernels import backend_of\n"
        "rng = np.random.default_rng(1); k = backend_of(np.empty(0))\n"
        "x = rng.standard_normal((4, 17, 12, 12)).astype(np.float32)\n"
        "w = rng.standard_normal((33, 17, 4, 4)).astype(np.float32)\n"
        "s = dict(stride=(2, 2), padding=(1, 1))\n"
        "y = k.conv2d(x, w, **s)\n"
        "result = (y, k.conv_transpose2d(y, w, **s), k.conv2d_weight(x, y, (4, 4), **s))\n"
    )


@pytest.mark.parametrize("rung", range(6))
def test_errors_say_what_does_not_fit(rung):
    conv2d, transpose, weight = (
        LADDERS[name][min(rung, len(LADDERS[name]) - 1)]
        for name in ("conv2d", "conv_transpose2d", "conv2d_weight")
    )
    x, w = np.ones((1, 2, 3, 3)), np.ones((4, 2, 5, 5))
    with pytest.raises(ValueError, match=r"output would be -1 x -1 pixels: the kernel \(5, 5\)"):
        conv2d(x, w)
    with pytest.raises(ValueError, match="x .* has 2 channels in axis 1, but w .* takes 4"):
        conv2d(x, w, padding=(2, 2), groups=2)
    with pytest.raises(ValueError, match=r"stride \(0, 1\) and dilation \(1, 1\) must be at least"):
        conv2d(x, w, stride=(0, 1))
    with pytest.raises(ValueError, match="groups=3 must be at least 1 and divide the 4 rows"):
        conv2d(x, w, groups=3)
    with pytest.raises(ValueError, match="has 2 channels in axis 1, but the weight .* takes 4"):
        transpose(x, w)
    with pytest.raises(ValueError, match=r"output_padding \(1, 0\) must be at least 0 and smaller"):
        transpose(np.ones((1, 4, 2, 2)), w, output_padding=(1, 0))
    with pytest.raises(ValueError, match="output would be -1 x -1 pixels from an input of"):
        transpose(np.ones((1, 4, 1, 1)), w, padding=(3, 3))
    with pytest.raises(ValueError, match=r"gy \(1, 4, 2, 2\) must have the shape \(1, 4, 1, 1\)"):
        weight(x, np.ones((1, 4, 2, 2)), (3, 3))
