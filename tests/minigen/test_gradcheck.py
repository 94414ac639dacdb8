"""check_grad passes right functions at any scale, and names the mistake in wrong ones."""

import numpy as np
import pytest

from minigen import Function, Tensor, check_grad
from minigen import functional as F
from minigen.function import broadcast_to
from minigen.gradcheck import GradientError, placed

RNG = np.random.default_rng(1)


def values(*shape):
    return RNG.uniform(0.5, 1.5, shape) * RNG.choice([-1, 1], shape)


def kinds(f, *arrays, **options):
    with pytest.raises(GradientError) as caught:
        check_grad(f, *arrays, **options)
    assert str(caught.value).startswith("gradient check, order")
    return caught.value.kinds


class Scaled(Function):
    """y = x · x, with a backward that is wrong in the way `spoil` says."""

    def __init__(self, spoil):
        self.spoil = spoil

    def forward(self, x):
        return x * x

    def backward(self, gy):
        (x,) = self.inputs
        return self.spoil(gy * x * 2.0)


class Flat(Function):
    """y = 0 · x, with a backward that says it is x."""

    def forward(self, x):
        return 0 * x

    def backward(self, gy):
        return gy


def test_a_slope_where_there_is_none_is_described():
    assert kinds(lambda x: Flat()(x), values(3)) == {"unknown"}


def spoiled(spoil):
    return lambda x: Scaled(spoil)(x)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e7])
@pytest.mark.parametrize("factor", [1e-5, 1e6])
def test_right_functions_pass_at_any_scale(scale, factor):
    x, y = scale * values(3, 4), values(4)
    assert check_grad(lambda x, y: x * y * factor + x * x, x, y, order=3) < 1e-7
    assert check_grad(lambda x: F.exp(x * (1 / scale)) * factor, x) < 1e-7
    assert check_grad(lambda x: x / (x * x).sum(), x) < 1e-7


def test_tuples_constants_and_names():
    x, index = values(5, 2), np.array([3, 1, 1])

    def f(x, index):
        return x * x, x[index] * 3.0, index  # an integer result is not differentiated

    assert check_grad(f, x, index) < 1e-7
    assert check_grad(lambda x: x * np.float64(2.0), np.float32(1.5)) < 1e-7
    assert check_grad(lambda x: x * x, np.zeros((0, 3))) == 0.0


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (lambda g: -g, "sign"),
        (lambda g: g * 2.0, "factor"),
        (lambda g: g * 0.5, "factor"),
        (lambda g: g * 5.0, "factor"),
        (lambda g: g * (1 / 5), "factor"),
        (lambda g: g * 5**-0.5, "factor"),
        (lambda g: g * 1.001, "factor"),
        (lambda g: g * 0.0, "zero"),
        (lambda g: g.permute(1, 0, 2, 3), "transposed"),
        (lambda g: F.flip(g, (2, 3)), "flipped"),
        (lambda g: F.roll(g, 1, 2), "shifted"),
        (lambda g: F.roll(F.roll(g, 1, 2), -1, 3), "shifted"),
        (lambda g: g * np.nan, "not finite"),
        (lambda g: Tensor(g.data), "off the tape"),
        (lambda g: g + Tensor((g.data == g.data.max()) * 0.1), "unknown"),
    ],
)
def test_the_mistake_is_named(spoil, kind):
    assert kinds(spoiled(spoil), values(2, 2, 5, 4)) == {kind}


def test_the_factor_is_named_by_its_axis():
    with pytest.raises(GradientError, match=r"n for n = x.shape\[0\] = 7"):
        check_grad(lambda x: Scaled(lambda g: g * 7.0)(x), values(7, 3))
    with pytest.raises(GradientError, match=r"1/√n for n = x.shape\[1\] = 3"):
        check_grad(lambda x: Scaled(lambda g: g * 3**-0.5)(x), values(7, 3))


class Add(Function):
    """y = x + b, whose backward may forget to sum over what was broadcast."""

    keeps_inputs = False

    def __init__(self, undo):
        self.undo = undo

    def forward(self, x, b):
        return x + b

    def backward(self, gy):
        return gy, self.undo(gy)


def test_a_missing_sum_over_a_broadcast_axis_is_named():
    x, b = values(4, 3, 5), values(3, 1)
    assert check_grad(lambda x, b: Add(lambda g: g.sum((0, 2)).reshape(3, 1))(x, b), x, b) < 1e-7
    for undo in (
        lambda g: g[0].sum(1).reshape(3, 1),  # the sum over the batch is missing
        lambda g: g[:, :, -1].sum(0).reshape(3, 1),  # over the last axis
        lambda g: g[0, :, :1],  # over both
        lambda g: g,  # over both, and the engine notices the shape
    ):
        assert kinds(lambda x, b, undo=undo: Add(undo)(x, b), x, b) == {"broadcast"}


class Leaky(Function):
    """y = x³ with a right gradient whose dependence on x, or on gy, is off the tape."""

    def __init__(self, lose):
        self.lose = lose

    def forward(self, x):
        return x * x * x

    def backward(self, gy):
        (x,) = self.inputs
        if self.lose == "x":
            return gy * Tensor(3 * x.data**2)
        if self.lose == "gy":
            return Tensor(gy.data) * x * x * 3.0
        return gy * (x * Tensor(x.data)) * 3.0  # half of the dependence on x


@pytest.mark.parametrize("lose", ["x", "gy", "half"])
def test_a_backward_off_the_tape_passes_order_1_only(lose):
    x = values(3, 2)
    assert check_grad(lambda x: Leaky(lose)(x), x, order=1) < 1e-7
    with pytest.raises(GradientError, match="order 2") as caught:
        check_grad(lambda x: Leaky(lose)(x), x)
    assert caught.value.kinds <= {"off the tape", "factor"}


def test_a_kink_is_told_from_a_mistake():
    x = values(4)
    at_kink, near_kink = x * [1, 1, 0, 1], x * [1, 1, 1e-5, 1]
    relu = lambda x: F.relu(x)  # noqa: E731
    assert check_grad(relu, x) < 1e-7
    assert kinds(relu, at_kink) == {"kink"}
    assert kinds(relu, near_kink) == {"kink"}


def test_other_ways_to_be_wrong():
    x = values(3, 3)
    rng = np.random.default_rng(0)
    assert kinds(lambda x: x * Tensor(rng.uniform(size=(3, 3))), x) == {"random"}

    def clobber(x):
        y = x * x
        x.data[0, 0] += 1e-12
        return y

    assert kinds(clobber, x.copy()) == {"changed"}
    assert kinds(lambda x: x * np.inf, x) == {"not finite"}


class Cube(Function):
    """x³ · w, whose gradients depend on how they are asked for."""

    def __init__(self, mistake):
        self.mistake = mistake

    def forward(self, x, w):
        return x**3 * w

    def backward(self, gy):
        from minigen.tensor import is_recording

        x, w = self.inputs
        gx, gw = gy * x * x * 3.0 * w, gy * x * x * x
        if self.mistake == "paths" and not is_recording():
            gx = gx * 1.0001
        if self.mistake == "wanted" and not self.needs(0):
            gw = gw * 2.0
        return gx, gw


@pytest.mark.parametrize("mistake", ["paths", "wanted"])
def test_every_way_to_ask_gives_one_gradient(mistake):
    x, w = values(3), values(3)
    assert check_grad(lambda x, w: Cube("")(x, w), x, w) < 1e-7
    assert kinds(lambda x, w: Cube(mistake)(x, w), x, w) == {mistake}


def test_large_inputs_are_cut_down_to_what_still_fails():
    x = values(30, 30)
    with pytest.raises(GradientError, match=r"2 times(?s:.*)less of the inputs(?s:.*)\(3, 3\)"):
        check_grad(spoiled(lambda g: g * 2.0), x)
    last = np.ones(30)
    last[-1] = 0
    with pytest.raises(GradientError, match=r"less of the inputs") as caught:
        check_grad(spoiled(lambda g: g * Tensor(last[-g.shape[-1] :])), x)
    assert "2) backward 0" in str(caught.value)


def test_large_inputs_that_cannot_be_cut_get_a_short_diagnosis():
    x = values(30, 30)
    with pytest.raises(GradientError, match="times 2") as caught:
        check_grad(lambda x: spoiled(lambda g: g * 2.0)(x.reshape(900)), x)
    assert caught.value.kinds == {"large"}


def test_a_function_that_leaves_the_tape_itself_is_told():
    assert kinds(lambda x: x * Tensor(np.exp(x.numpy())), values(3)) == {"off the tape"}


@pytest.mark.parametrize(
    "f, x, words",
    [(lambda x: 3.0, values(2), "f gave a float"), (F.exp, np.arange(3), "no slope to check")],
)
def test_what_cannot_be_checked_is_said(f, x, words):
    with pytest.raises(TypeError, match=words):
        check_grad(f, x)


def test_one_wrong_element_in_a_thousand_is_found():
    spot = np.zeros(1000)
    spot[500] = 1e-2
    with pytest.raises(GradientError):
        check_grad(spoiled(lambda g: g + g * Tensor(spot)), values(1000))


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a.T,
        lambda a: a[::2, 1::2],
        lambda a: a[::-1, ::-3],
        lambda a: a.reshape(2, 3, 8).transpose(2, 0, 1),
        lambda a: np.broadcast_to(a[0], (5, 8)),
        lambda a: a[2:2],
        lambda a: a[:, 3],
    ],
)
def test_inputs_keep_their_layout(view):
    seen = []

    def f(x):
        seen.append(x.data)
        return x * x

    a = view(values(6, 8).astype(np.float32))
    assert check_grad(f, a) < 1e-6
    for x in seen:
        if 0 not in a.strides and a.size:
            assert [s // 8 for s in x.strides] == [s // 4 for s in a.strides]
    np.testing.assert_array_equal(placed(a, a), a)


def test_the_same_check_gives_the_same_error_twice():
    x = values(2, 3)
    f = lambda x: F.exp(x) * broadcast_to(x.sum(), (2, 3))  # noqa: E731
    assert check_grad(f, x) == check_grad(f, x)
    assert check_grad(f, x, rng=np.random.default_rng(5)) < 1e-7
