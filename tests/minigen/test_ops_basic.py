"""Operations by their definitions in NumPy, their slopes at kinks and ties, and their errors."""

import minigen_kernels
import numpy as np
import pytest

import minigen
from minigen import Tensor, grad
from minigen import functional as F

RNG = np.random.default_rng(7)


def variable(*shape):
    return Tensor(RNG.standard_normal(shape), requires_grad=True)


def slope(f, *values):
    """The derivative of f's sum at these numbers."""
    x = Tensor(np.array(values, np.float64), requires_grad=True)
    return grad(f(x).sum(), x)[0].numpy().tolist()


# ---- kinks, ties and the ends of the scale


@pytest.mark.parametrize(
    ("f", "at", "expected"),
    [
        (F.abs, (-1.0, 0.0, 1.0), [-1, 0, 1]),
        (F.relu, (-1.0, 0.0, 1.0), [0, 0, 1]),
        (lambda x: F.leaky_relu(x, 0.2), (-1.0, 0.0, 1.0), [0.2, 0.2, 1]),
        (lambda x: F.leaky_relu(x, 1.5), (-1.0, 0.0, 1.0), [1.5, 1.5, 1]),
        (F.elu, (0.0, 1.0), [1, 1]),
        (lambda x: F.clamp(x, -1, 1), (-2.0, -1.0, 0.0, 1.0, 2.0), [0, 1, 1, 1, 0]),
        (lambda x: F.maximum(x, 0.0), (-1.0, 0.0, 1.0), [0, 0.5, 1]),
        (lambda x: F.minimum(0.0, x), (-1.0, 0.0, 1.0), [1, 0.5, 0]),
        (lambda x: x.amax(), (1.0, 3.0, 3.0), [0, 0.5, 0.5]),
        (lambda x: x.min(), (1.0, 1.0, 3.0), [0.5, 0.5, 0]),
        (lambda x: x.max(0).values, (1.0, 3.0, 3.0), [0, 1, 0]),
        (lambda x: x.min(axis=0).values, (1.0, 1.0, 3.0), [1, 0, 0]),
        (lambda x: x.norm(), (0.0, 0.0), [0, 0]),
        (lambda x: x.std(), (2.0, 2.0), [0, 0]),
        (lambda x: x**0, (0.0, 2.0), [0, 0]),
        (lambda x: x**2, (0.0, 2.0), [0, 4]),
        (lambda x: 0.0**x, (1.0, 2.0), [0, 0]),
        (F.sign, (-3.0, 0.0), [0, 0]),
        (F.prod, (0.0, 2.0, 3.0), [6, 0, 0]),
        (F.prod, (0.0, 0.0, 3.0), [0, 0, 0]),
        (F.softplus, (-1000.0, 0.0, 1000.0), [0, 0.5, 1]),
        (F.sigmoid, (-1000.0, 0.0, 1000.0), [0, 0.25, 0]),
        (F.silu, (-1000.0, 0.0, 1000.0), [0, 0.5, 1]),
        # What is cut off has slope 0, also below a root whose slope at 0 is infinite.
        (lambda x: F.sqrt(F.relu(x)), (-1.0, 0.0, 4.0), [0, 0, 0.25]),
        (lambda x: F.sqrt(F.maximum(x, 0.0)), (-1.0, 4.0), [0, 0.25]),
        (lambda x: F.sqrt(-F.minimum(x, 0.0)), (1.0, -4.0), [0, -0.25]),
        (lambda x: F.sqrt(F.clamp(x, min=0.0)), (-1.0, 4.0), [0, 0.25]),
        (lambda x: F.sqrt(F.sign(x) - 1), (1.0,), [0]),
        (lambda x: F.sqrt(x**0 - 1), (1.0,), [0]),
        (lambda x: x.norm(3), (0.0, 0.0), [0, 0]),
    ],
)
def test_slopes_at_kinks_ties_and_extremes(f, at, expected):
    assert slope(f, *at) == expected


def test_functions_that_must_not_overflow_do_not():
    x = Tensor(np.array([-1e4, -50.0, 0.0, 50.0, 1e4]))
    np.testing.assert_allclose(F.softplus(x).numpy(), [0, np.exp(-50.0), np.log(2), 50, 1e4])
    np.testing.assert_allclose(F.logsigmoid(x).numpy()[:2], [-1e4, -50])
    assert F.log_softmax(x, 0).numpy()[-1] == 0 and F.softmax(x, 0).numpy()[0] == 0
    assert F.logsumexp(x, 0).item() == 1e4


def test_small_slopes_and_losses_keep_their_digits():
    np.testing.assert_allclose(slope(F.elu, -25.0, -40.0), np.exp([-25.0, -40.0]), rtol=1e-14)
    x = Tensor(np.array([-22.0, -30.0]), requires_grad=True)
    zero = Tensor(np.zeros(2))
    loss = F.binary_cross_entropy_with_logits(x, zero, reduction="none")
    np.testing.assert_allclose(loss.numpy(), np.log1p(np.exp(x.numpy())), atol=4e-15)
    (g,) = grad(loss.sum(), x)
    np.testing.assert_allclose(g.numpy(), 1 / (1 + np.exp(-x.numpy())), atol=2e-16)


def test_infinities_are_values_not_warnings():
    zero = Tensor(np.zeros(1))
    assert np.isneginf(zero.log().numpy()) and np.isposinf((1 / zero).numpy())
    assert np.isnan((zero / zero).numpy()) and np.isnan(F.mean(Tensor(np.zeros(0))).numpy())
    assert np.isposinf(F.exp(Tensor(np.full(1, 1e6))).numpy())
    assert np.isneginf(F.logsumexp(Tensor(np.full((1, 2), -np.inf)), 1).numpy())


# ---- reductions


@pytest.mark.parametrize("name", ["sum", "mean", "amax", "amin", "logsumexp", "var", "std", "norm"])
@pytest.mark.parametrize("axis", [0, -1, (0, 2), (-1, 0), None])
def test_reductions_take_the_words_of_torch_and_of_numpy(name, axis):
    x = variable(2, 3, 4)
    f = getattr(F, name)
    a = f(x, dim=axis, keepdim=True)
    b = f(x, axis=axis, keepdims=True)
    c = getattr(x, name)(axis=axis)
    np.testing.assert_array_equal(a.numpy(), b.numpy())
    np.testing.assert_array_equal(a.numpy().squeeze(), c.numpy().squeeze())
    axes = (0, 1, 2) if axis is None else np.arange(3)[list(np.atleast_1d(axis))]
    assert a.shape == tuple(1 if i in axes else n for i, n in enumerate(x.shape))


def test_reductions_by_their_definition():
    x = variable(3, 4)
    a = x.numpy()
    np.testing.assert_allclose(x.var().numpy(), a.var(ddof=1))
    np.testing.assert_allclose(x.var(0, correction=0).numpy(), a.var(0))
    np.testing.assert_allclose(x.var(unbiased=False).numpy(), a.var())
    np.testing.assert_allclose(x.std(1).numpy(), a.std(1, ddof=1))
    np.testing.assert_allclose(x.norm(3, 1).numpy(), (np.abs(a) ** 3).sum(1) ** (1 / 3))
    np.testing.assert_allclose(x.norm(np.inf, 1).numpy(), np.abs(a).max(1))
    np.testing.assert_allclose(x.prod(1).numpy(), a.prod(1))
    np.testing.assert_allclose(x.cumsum(1).numpy(), a.cumsum(1))
    np.testing.assert_allclose(F.logsumexp(x, 0).numpy(), np.log(np.exp(a).sum(0)))
    values, indices = x.max(1, True)
    np.testing.assert_array_equal(indices.numpy(), a.argmax(1)[:, None])
    np.testing.assert_array_equal(values.numpy(), a.max(1, keepdims=True))
    assert x.argmax().item() == a.argmax() and x.argmin(0).shape == (4,)
    np.testing.assert_array_equal(F.max(x, Tensor(0.0)).numpy(), np.maximum(a, 0))


def test_whole_numbers_are_counted_in_int64():
    i = Tensor(np.array([[True, False], [True, True]]))
    assert i.sum().item() == 3
    for dtype in (bool, np.uint8, np.int16, np.int32):
        whole = i.to(dtype)
        assert whole.sum().dtype == whole.prod().dtype == whole.cumsum(0).dtype == np.int64


def test_sizes_and_axes_are_given_by_position_or_by_name():
    x = variable(2, 3)
    a = x.numpy()
    for ours, numpys in (
        (F.reshape(x, shape=(3, 2)), a.reshape(3, 2)),
        (F.reshape(input=x, shape=-1), a.reshape(-1)),
        (F.permute(x, dims=(1, 0)), a.T),
        (x.flip(dims=[0, 1]), a[::-1, ::-1]),
        (F.flip(x, dims=1), a[:, ::-1]),
        (F.tile(x, dims=(2, 1)), np.tile(a, (2, 1))),
        (F.roll(x, shifts=1, dims=0), np.roll(a, 1, 0)),
        (x.sum(np.int64(1)), a.sum(1)),
    ):
        np.testing.assert_allclose(ours.numpy(), numpys)
    with pytest.raises(TypeError, match="flip: give dims once"):
        F.flip(x, 0, dims=1)


@pytest.mark.parametrize(
    ("f", "error", "message"),
    [
        (lambda x: x.sum(2), IndexError, "sum: axis 2 is out of range .* 2 axes .*-2 to 1"),
        (lambda x: x.sum((0, 0)), ValueError, "sum: an axis is given twice"),
        (lambda x: x.sum("a"), TypeError, "whole number"),
        (lambda x: x.sum(0, axis=1), TypeError, "argument 'dim'|multiple values"),
        (lambda x: x.sum(dim=0, axis=1), TypeError, "axis or dim, not both"),
        (lambda x: Tensor(np.zeros((0, 2))).amax(0), ValueError, r"amax: no element .*\(0, 2\)"),
        (lambda x: Tensor(np.zeros(0)).argmax(), ValueError, "argmax: no element"),
        (lambda x: Tensor([1, 2]).mean(), TypeError, "mean: the tensor is int64"),
        (lambda x: x.norm("nuc"), ValueError, "norm: p='nuc'"),
        (lambda x: x + Tensor(np.ones(2)), ValueError, r"add: .*\(2, 3\) and \(2,\).* axis -1"),
        (lambda x: F.where(x > 0, x, Tensor(np.ones(2))), ValueError, "where: .* axis -1"),
        (lambda x: F.where(x, x, x), TypeError, "condition is float64"),
        (lambda x: x > Tensor(np.ones(2)), ValueError, "greater: .* axis -1 has size 3"),
        (lambda x: x @ x, ValueError, r"matmul: .*\(2, 3\) and \(2, 3\).* 3, .*axis -2.* 2"),
        (lambda x: x @ Tensor(1.0), ValueError, "matmul: .*multiplied with"),
        (
            lambda x: Tensor(np.ones((2, 2, 3))) @ Tensor(np.ones((3, 3, 2))),
            ValueError,
            r"matmul: the leading axes of shapes \(2, 2, 3\) and \(3, 3, 2\)",
        ),
        (lambda x: F.linear(x, x.T), ValueError, r"linear: .*\(2, 3\).*\(3, 2\).*\(out, in\)"),
        (lambda x: F.linear(x, x, Tensor(np.ones(3))), ValueError, r"bias .*\(3,\).* takes \(2,\)"),
        (lambda x: x.reshape(4), ValueError, r"reshape: 6 elements .*\(4,\), which takes 4"),
        (lambda x: x.reshape(-1, 4), ValueError, r"reshape: .*\(-1, 4\) with one size left open"),
        (lambda x: x.permute(0, 0), ValueError, "permute: .*each of the 2 axes"),
        (lambda x: x.transpose(0, 2), IndexError, "transpose: axis 2"),
        (lambda x: x.expand(4, 3), ValueError, r"broadcast_to: shape \(2, 3\) .*\(4, 3\)"),
        (lambda x: x.expand(3), ValueError, "expand: .*each of the 2 axes"),
        (lambda x: x.repeat(2), ValueError, "repeat: .*x.tile"),
        (lambda x: x.flatten(1, 0), ValueError, "flatten: start_dim 1 lies behind"),
        (lambda x: x.split(0), ValueError, "split: pieces of size 0"),
        (lambda x: x.split([1, 2]), ValueError, "split: .* add up to 2, .* axis 0"),
        (lambda x: x.chunk(0), ValueError, "chunk: 0 pieces"),
        (lambda x: x.roll((1, 2), 0), ValueError, "roll: 2 shifts"),
        (lambda x: x[0].tril(), ValueError, "tril: a matrix"),
        (
            lambda x: F.cat([x, x.T]),
            ValueError,
            r"cat along axis 0: .*\(2, 3\) and \(3, 2\).*axis 1",
        ),
        (lambda x: F.cat([x, x[0]]), ValueError, "cat: tensor 1 .* must have 2 axes"),
        (lambda x: F.cat([]), ValueError, "cat: give at least one"),
        (lambda x: F.cat([Tensor(1.0)]), ValueError, "cat: 0-d .* stack"),
        (lambda x: F.stack([x, x.T]), ValueError, r"stack: .*\(3, 2\).*\(2, 3\)"),
        (lambda x: x[5], IndexError, r"shape \(2, 3\): index 5 is out of bounds"),
        (lambda x: x[Tensor([0, 2])], IndexError, "0 ... 2, but axis 0 .* has 2 places"),
        (lambda x: x[Tensor([0.5])], IndexError, "whole numbers or bools, not float"),
        (lambda x: x[np.array([True])], IndexError, r"shape \(2, 3\): boolean"),
        (lambda x: x.gather(0, Tensor([0])), ValueError, r"gather: .*\(1,\) .*\(2, 3\).* axis 0"),
        (lambda x: x.gather(1, Tensor([[3]])), IndexError, "gather: .* 3 ... 3.* 0 ... 2"),
        (lambda x: x.gather(1, x), TypeError, "gather: the index is float64"),
        (lambda x: x.scatter_add(0, Tensor([[0, 1]]), x[:, :1]), ValueError, "scatter_add: src"),
        (
            lambda x: F.one_hot(Tensor([3]), 3),
            ValueError,
            "one_hot: the classes 3 ... 3 .* 0 ... 2",
        ),
        (lambda x: F.one_hot(x), TypeError, "one_hot: the classes are float64"),
        (lambda x: F.embedding(Tensor([2]), x), IndexError, "embedding: .* 2 ... 2.* 0 ... 1"),
        (lambda x: F.embedding(x, x), TypeError, "embedding: the input is float64"),
        (lambda x: F.pad(x, (1,)), ValueError, "pad: .* two widths per axis"),
        (lambda x: F.pad(x, (-2, -2)), ValueError, "pad: .* cuts more off axis 1"),
        (lambda x: F.pad(x, (3, 0), "reflect"), ValueError, "pad: reflecting 3 .* there are 3"),
        (lambda x: F.pad(x, (4, 0), "circular"), ValueError, "pad: .* wrapped around once"),
        (lambda x: F.pad(x, (1, 0), "mirror"), ValueError, "mode='mirror' must be 'constant'"),
        (lambda x: F.max_pool2d(x, 2), ValueError, r"max_pool2d: the input \(2, 3\) must be"),
        (
            lambda x: F.max_pool2d(x[None], 4),
            ValueError,
            "max_pool2d: .*4 pixels does not fit axis",
        ),
        (lambda x: F.avg_pool2d(x[None], 2, 1, 2), ValueError, "at most half the kernel"),
        (lambda x: F.interpolate(x[None], 2, mode="area"), ValueError, "mode='area' must be"),
        (lambda x: F.interpolate(x[None]), ValueError, "either size or scale_factor"),
        (lambda x: F.interpolate(x[None], (2, 2)), ValueError, "each of the 1 spatial axes"),
        (
            lambda x: F.interpolate(x[None], 2, mode="bilinear"),
            ValueError,
            r"must be \(N, C, H, W\)",
        ),
        (lambda x: F.gelu(x, "fast"), ValueError, "approximate='fast'"),
        (lambda x: F.relu(x, inplace=True), ValueError, "relu: inplace=True is not supported"),
        (lambda x: F.dropout(x), ValueError, r"dropout: .*rng=minigen.Generator"),
        (lambda x: F.dropout(x, 1.5), ValueError, "p=1.5"),
        (lambda x: F.clamp(x), ValueError, "clamp: give min, max or both"),
        (lambda x: F.reshape(x, (-2, 3)), ValueError, r"reshape: \(-2, 3\) holds a size below -1"),
        (lambda x: F.index_select(x, 0, Tensor([[0]])), TypeError, r"int64 of shape \(1, 1\).*row"),
        (lambda x: F.index_select(x, 0, Tensor([0.5])), TypeError, "index_select: .* float64"),
        (lambda x: F.index_select(x, 0, Tensor([2])), IndexError, "index_select: .* has 2 places"),
        (lambda x: Tensor([1, 2]).var(), TypeError, "var: the tensor is int64"),
        (lambda x: F.max_pool2d(x[None], 2.5), ValueError, "kernel_size=2.5 must be a whole num"),
        (
            lambda x: F.avg_pool2d(x[None], (1.5, 2)),
            ValueError,
            r"kernel_size=\(1.5, 2\) must be a whole number of at least 1, or a pair",
        ),
        (lambda x: F.interpolate(x[None], 2, antialias=True), ValueError, "antialias=True is not"),
        (
            lambda x: F.interpolate(x[None], 2, recompute_scale_factor=True),
            ValueError,
            "recompute_scale_factor goes with scale_factor",
        ),
        (
            lambda x: F.interpolate(x[None], scale_factor=-2),
            ValueError,
            r"shape \(1, 2, 3\) cannot be resized to \(-6,\)",
        ),
        (lambda x: F.embedding(Tensor([0]), x, sparse=True), ValueError, "sparse=True is not"),
        (
            lambda x: F.cross_entropy(x, x, ignore_index=1),
            ValueError,
            "ignore_index=1 goes with class indices; the target holds probabilities",
        ),
        (
            lambda x: F.mse_loss(x, x, weight=x[0]),
            ValueError,
            r"mse_loss: the weight \(3,\) must have the input's \(2, 3\)",
        ),
        (
            lambda x: F.scaled_dot_product_attention(
                x.expand(3, 2, 3), x.expand(2, 2, 3), x.expand(2, 2, 3), enable_gqa=True
            ),
            ValueError,
            r"query \(3, 2, 3\) as in key and value \(2, 2, 3\), or a multiple",
        ),
        (
            lambda x: F.dropout(x, rng=np.random.default_rng(0)),
            TypeError,
            r"dropout: rng is a Generator; give rng=minigen.Generator\(seed\)",
        ),
        (lambda x: F.randn(2, rng=3), TypeError, "randn: rng is a int; give"),
        (lambda x: Tensor([1, 2]) ** -1, ValueError, "no integer power -1"),
    ],
)
def test_errors_name_the_operation_the_values_and_the_remedy(f, error, message):
    with pytest.raises(error, match=message):
        f(Tensor(np.ones((2, 3))))


# ---- shapes


def test_indexing_is_numpys_and_its_slope_counts_every_use():
    x = variable(3, 4)
    a = x.numpy()
    mask = a > 0
    for index in (
        1, -1, slice(None, None, 2), (..., 0), None, (slice(None), None, 2), [0, 2],
        ([0, 0], [1, 1]), np.array([[2, 0], [2, -1]]), (slice(1, 3), np.array([0, 0, 3])), mask,
        mask[:, 0], [],
    ):  # fmt: skip
        y = x[index]
        key = np.array([], int) if isinstance(index, list) and not index else index
        np.testing.assert_array_equal(y.numpy(), a[key])
        counts = np.zeros((3, 4))
        np.add.at(counts, key, 1)
        np.testing.assert_array_equal(grad(y.sum(), x)[0].numpy(), counts)
    np.testing.assert_array_equal(x[x > 0].numpy(), a[mask])
    np.testing.assert_array_equal(x[Tensor([2, 0]), Tensor(1)].numpy(), a[[2, 0], 1])


@pytest.mark.parametrize(
    "indices",
    [
        [0, 1, 2],
        [2, 0],
        [0, -3, 1],  # the first row twice
        [(slice(None), slice(0, 2)), (slice(None), slice(2, 5))],
        [(slice(None), slice(0, 3)), (slice(None), slice(2, 5))],  # one column in both
        [(slice(None), slice(None, None, 2)), (slice(None), 1), (slice(None), 3)],
        [(slice(None), 1), 1],  # a column and a row cross
        [0, slice(1, 3), ()],
        [..., None, (Ellipsis, 0)],
        [1, [1, 2], np.array([True, False, True])],  # the last two are no views
    ],
)
def test_the_slopes_of_views_of_one_tensor_add_up(indices):
    """Off the tape the pieces are put together, on the tape added up among zeros: the same sums."""
    x = variable(3, 5)
    weights = [RNG.standard_normal(x.numpy()[i].shape) for i in indices]

    def f():
        return sum((x[i] * Tensor(w)).sum() for i, w in zip(indices, weights, strict=True))

    expected = np.zeros(x.shape)
    for i, w in zip(indices, weights, strict=True):
        np.add.at(expected, i, w)
    for create_graph in (False, True):
        (gx,) = grad(f(), [x], create_graph=create_graph)
        assert type(gx) is Tensor
        np.testing.assert_allclose(gx.numpy(), expected, rtol=1e-14)
    (gx,) = grad(f() + (x * 2).sum(), [x])  # and beside what is not a view
    np.testing.assert_allclose(gx.numpy(), expected + 2, rtol=1e-14)
    x.grad = None
    f().backward()
    np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-14)


def test_index_select_of_and_by_numbers():
    x = variable(3, 2)
    np.testing.assert_array_equal(F.index_select(x, 0, Tensor(1)).numpy(), x.numpy()[1:2])
    assert F.index_select(variable(), 0, Tensor([0])).shape == ()


def test_gather_and_scatter_add_are_adjoint():
    index = Tensor(np.array([[0, 2, 1], [2, 2, 0]]))
    x, y = variable(3, 4), variable(2, 3)
    for axis in (0, 1):
        there = (x.gather(axis, index) * y).sum().item()
        back = (Tensor(np.zeros((3, 4))).scatter_add(axis, index, y) * x).sum().item()
        assert there == pytest.approx(back)


def test_shapes_follow_numpy():
    x = variable(2, 3, 4)
    a = x.numpy()
    for ours, numpys in (
        (x.permute(2, 0, 1), a.transpose(2, 0, 1)),
        (x.transpose(0, -1), a.swapaxes(0, -1)),
        (x.T, a.T),
        (x.flatten(1), a.reshape(2, 12)),
        (x.view(-1, 4), a.reshape(6, 4)),
        (x.unsqueeze(-1).squeeze(), a),
        (x.flip(0, 2), a[::-1, :, ::-1]),
        (x.roll(1), np.roll(a, 1)),
        (x.roll((1, -2), (0, 2)), np.roll(a, (1, -2), (0, 2))),
        (x.tile(2, 1), np.tile(a, (2, 1))),
        (x.repeat(2, 1, 1, 3), np.tile(a, (2, 1, 1, 3))),
        (x[:, :1].expand(-1, 3, -1), np.broadcast_to(a[:, :1], a.shape)),
        (F.cat([x, x], axis=-1), np.concatenate([a, a], -1)),
        (F.stack([x, x], 1), np.stack([a, a], 1)),
        (F.cat(x.split([1, 2], 1), 1), a),
        (F.cat(x.chunk(3, 2), 2), a),
        (x.tril(-1), np.tril(a, -1)),
        (x.triu(1), np.triu(a, 1)),
    ):
        np.testing.assert_array_equal(ours.numpy(), numpys)


@pytest.mark.parametrize(
    ("mode", "numpys"),
    [("constant", "constant"), ("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap")],
)
def test_pad_is_numpys_with_the_last_axis_first(mode, numpys):
    x = variable(2, 3, 4, 5)
    np.testing.assert_array_equal(
        F.pad(x, (1, 2, 3, 0), mode).numpy(),
        np.pad(x.numpy(), ((0, 0), (0, 0), (3, 0), (1, 2)), mode=numpys),
    )
    np.testing.assert_array_equal(F.pad(x, (-1, -2)).numpy(), x.numpy()[..., 1:-2])


def test_pools_by_their_definition():
    x = variable(1, 1, 5, 5)
    a = x.numpy()[0, 0]
    windows = [[a[i : i + 3, j : j + 3] for j in (0, 2)] for i in (0, 2)]
    best = np.array([[w.max() for w in row] for row in windows])
    y, places = F.max_pool2d(x, 3, 2, return_indices=True)
    np.testing.assert_array_equal(y.numpy()[0, 0], best)
    np.testing.assert_array_equal(a.reshape(-1)[places.numpy()[0, 0]], best)
    means = np.array([[w.mean() for w in row] for row in windows])
    np.testing.assert_allclose(F.avg_pool2d(x, 3, 2).numpy()[0, 0], means)
    edge = F.avg_pool2d(x, 3, 2, 1, count_include_pad=False).numpy()[0, 0, 0, 0]
    assert edge == pytest.approx(a[:2, :2].mean())
    assert F.max_pool2d(Tensor(np.full((1, 2, 2), -np.inf)), 2, padding=1).shape == (1, 2, 2)


def test_interpolate_by_its_definition():
    x = Tensor(np.array([[[[0.0, 1.0], [2.0, 3.0]]]]))
    np.testing.assert_array_equal(
        F.interpolate(x, scale_factor=2).numpy()[0, 0], x.numpy()[0, 0].repeat(2, 0).repeat(2, 1)
    )
    np.testing.assert_array_equal(F.interpolate(x, (3, 1)).numpy()[0, 0], [[0], [0], [2]])
    y = F.interpolate(x, scale_factor=2, mode="bilinear").numpy()[0, 0]
    np.testing.assert_allclose(y[0], [0, 0.25, 0.75, 1])
    y = F.interpolate(x, 3, mode="bilinear", align_corners=True).numpy()[0, 0]
    np.testing.assert_allclose(y, [[0, 0.5, 1], [1, 1.5, 2], [2, 2.5, 3]])
    for size in (4, 3):  # whole factors are another path
        y = F.interpolate(Tensor(np.full((1, 1, 2, 2), 7, np.uint8)), size)
        assert y.dtype == np.uint8 and (y.numpy() == 7).all() and y.shape == (1, 1, size, size)


def test_embedding_looks_rows_up_and_leaves_the_padding_row_alone():
    w = variable(4, 2)
    tokens = Tensor(np.array([[3, 1], [1, 0]]))
    y = F.embedding(tokens, w, padding_idx=1)
    np.testing.assert_array_equal(y.numpy(), w.numpy()[tokens.numpy()])
    np.testing.assert_array_equal(grad(y.sum(), w)[0].numpy()[:, 0], [1, 0, 0, 1])
    np.testing.assert_array_equal(
        grad(F.embedding(tokens, w).sum(), w)[0].numpy()[:, 0], [1, 2, 0, 1]
    )


def test_embedding_shortens_long_rows_and_weighs_by_how_often_they_are_named():
    w = Tensor(np.array([[3.0, 4.0], [0.3, 0.4], [6.0, 8.0]]), requires_grad=True)
    tokens = Tensor(np.array([0, 1, 0]))
    y = F.embedding(tokens, w, max_norm=1.0, scale_grad_by_freq=True)
    np.testing.assert_allclose(y.numpy(), [[0.6, 0.8], [0.3, 0.4], [0.6, 0.8]], rtol=1e-6)
    np.testing.assert_array_equal(w.numpy()[2], [6, 8])  # was not looked up
    np.testing.assert_array_equal(grad(y.sum(), w)[0].numpy(), [[1, 1], [1, 1], [0, 0]])
    loss = (w * w).sum()
    F.embedding(Tensor(np.array([2])), w, max_norm=1.0)
    with pytest.raises(RuntimeError, match="changed in place"):
        grad(loss, w)


def test_one_hot_counts_classes():
    np.testing.assert_array_equal(F.one_hot(Tensor([1, 0])).numpy(), [[0, 1], [1, 0]])
    assert F.one_hot(Tensor([[1]]), 4).shape == (1, 1, 4)
    assert F.one_hot(Tensor([1])).dtype == np.int64


@pytest.mark.parametrize(
    "shapes",
    [
        ((2, 3), (3, 4)),
        ((3,), (3,)),
        ((3,), (3, 2)),
        ((2, 3), (3,)),
        ((5, 1, 2, 3), (4, 3, 2)),
        ((2, 0), (0, 3)),
        ((0, 3), (3, 2)),
    ],
)
def test_matmul_is_numpys(shapes):
    a, b = (variable(*s) for s in shapes)
    np.testing.assert_allclose((a @ b).numpy(), a.numpy() @ b.numpy())


def test_linear_takes_any_number_of_leading_axes():
    w, b = variable(2, 3), variable(2)
    for lead in ((), (4,), (4, 5), (0,)):
        x = variable(*lead, 3)
        np.testing.assert_allclose(F.linear(x, w, b).numpy(), x.numpy() @ w.numpy().T + b.numpy())
    assert F.linear(variable(4, 3), w[0]).shape == (4,)


# ---- randomness


def test_dropout_keeps_the_mean_and_is_repeated_by_its_generator():
    x = Tensor(np.ones(10_000, np.float32), requires_grad=True)
    y = F.dropout(x, 0.25, rng=minigen.Generator(3))
    assert set(np.unique(y.numpy())) == {0, np.float32(1 / 0.75)}
    assert y.numpy().mean() == pytest.approx(1, abs=0.02)
    again = F.dropout(x, 0.25, rng=minigen.Generator(3))
    np.testing.assert_array_equal(y.numpy(), again.numpy())
    np.testing.assert_array_equal(grad(y.sum(), x)[0].numpy(), y.numpy())
    assert F.dropout(x, 0.25, training=False) is x
    assert not F.dropout(x, 1.0).numpy().any()


def test_random_tensors_take_a_shape_and_a_generator():
    rng = minigen.Generator(5)
    assert F.randn(2, 3, rng=rng).shape == F.rand((2, 3), rng=rng).shape == (2, 3)
    x = variable(2, 2)
    assert F.randn_like(x, rng=rng).dtype == F.rand_like(x, rng=rng).dtype == np.float64


def test_the_gradient_of_the_parts_of_a_tensor_lies_as_the_tensor_does():
    """So that permuting it back, as a layer does with q, k and v, copies nothing."""
    base = Tensor(np.arange(120.0).reshape(2, 5, 3, 4), requires_grad=True)
    turned = base.permute((2, 0, 3, 1))
    weights = [np.full((2, 4, 5), k + 1.0) for k in range(3)]
    y = sum((part * Tensor(w)).sum() for part, w in zip(turned, weights, strict=True))
    gt, gb = minigen.grad(y, [turned, base], retain_graph=True)
    assert gt.data.transpose(1, 3, 0, 2).flags.c_contiguous and gb.data.flags.c_contiguous
    np.testing.assert_array_equal(gt.data, np.stack(weights))
    np.testing.assert_array_equal(gb.data, np.stack(weights).transpose(1, 3, 0, 2))
    (some,) = minigen.grad(turned[1:].sum(), [base])
    np.testing.assert_array_equal(some.data[:, :, 0], 0)
    np.testing.assert_array_equal(some.data[:, :, 1:], 1)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 1, 2)])
@pytest.mark.parametrize("n", [2, 400])  # the memory of large arrays has another owner
def test_pieces_that_lie_in_their_places_are_not_copied(order, n):
    """As attention makes the gradients of q, k and v; in other places they are."""
    base = Tensor(np.zeros((n, 3, 4, 8)), requires_grad=True)
    made = minigen_kernels.empty((n, 3, 4, 8), np.float64)
    made[...] = np.arange(made.size).reshape(made.shape)
    turned = base.permute((1, 2, 0, 3))
    slopes = [made.transpose(1, 2, 0, 3)[i] for i in order]

    class Given(minigen.Function):
        def forward(self, *parts):
            return np.zeros(())

        def backward(self, gy):
            return tuple(Tensor(slope) for slope in slopes)

    (gx,) = minigen.grad(Given()(*turned), [base])
    np.testing.assert_array_equal(gx.data, np.stack([made[:, i] for i in order], 1))
    assert np.shares_memory(gx.data, made) == (order == (0, 1, 2))


def test_equal_is_element_by_element_and_hashing_by_identity():
    t = Tensor(np.arange(3))
    for a, b in ((t == 1, [0, 1, 0]), (1 != t, [1, 0, 1]), (t == Tensor(np.arange(3)), [1, 1, 1])):
        np.testing.assert_array_equal(a.data, np.array(b, bool))
    assert (t == None) is False and (t != "text") is True  # noqa: E711
    assert t in {t: 1} and Tensor(np.arange(3)) not in {t: 1}


def test_numbers_beside_arrays_in_an_index_are_torchs():
    x = np.arange(24.0).reshape(2, 3, 4)
    t = Tensor(x, requires_grad=True)
    picked = t[0, :, [0, 1]]  # NumPy puts the array's axis first: (2, 3)
    np.testing.assert_array_equal(picked.data, x[0][:, [0, 1]])
    np.testing.assert_array_equal(t[[1, 0], ..., -1].data, x[..., -1][[1, 0]])
    mask = x[1] > 15
    np.testing.assert_array_equal(t[1, mask].data, x[1][mask])
    np.testing.assert_array_equal(t[:, None, 0, [0, 1]].data, x[:, 0][:, None, [0, 1]])
    (g,) = grad(picked.sum(), [t])
    assert g.data.sum() == 6 and (g.data[0, :, :2] == 1).all()


def test_a_tensor_is_an_array_to_numpy():
    t = Tensor([1.0, 2.0], requires_grad=True)
    assert np.asarray(t).dtype == np.float64 and np.asarray(t, np.float32).dtype == np.float32
    with pytest.raises(TypeError, match="use minigen.functional.stack"):
        Tensor([t, t])


def test_targets_and_masks_may_be_arrays():
    x = Tensor(np.eye(3))
    index = np.array([0, 1, 2])
    assert F.cross_entropy(x, index).item() == F.cross_entropy(x, Tensor(index)).item()
    assert F.nll_loss(x, index, np.ones(3)).item() == F.nll_loss(x, Tensor(index)).item()
    q, mask = Tensor(np.ones((1, 3, 2))), np.tri(3) > 0
    a, b = (F.scaled_dot_product_attention(q, q, q, m) for m in (mask, Tensor(mask)))
    np.testing.assert_array_equal(a.data, b.data)
    with pytest.raises(TypeError, match="a list cannot"):
        F.cross_entropy(x, [0, 1, 2])


@pytest.mark.parametrize("op", [F.sum, F.mean, F.var, F.amax, F.argmax])
def test_a_number_has_the_axes_0_and_minus_1_only(op):
    assert op(Tensor(2.0), dim=-1).shape == ()
    with pytest.raises(IndexError, match="axis 1 is out of range"):
        op(Tensor(2.0), dim=1)


@pytest.mark.parametrize("loss", [F.mse_loss, F.l1_loss, F.binary_cross_entropy_with_logits])
def test_a_loss_names_itself_where_dtypes_differ(loss):
    with pytest.raises(TypeError, match=f"{loss.__name__}: the input is float32 and the target"):
        loss(Tensor(np.ones(3, np.float32)), Tensor(np.ones(3)))


def test_grad_of_what_is_no_tensor():
    with pytest.raises(TypeError, match="y is a float, not a Tensor"):
        grad(3.0, [Tensor(1.0, requires_grad=True)])
