"""Algebraic laws: what must hold between operations, whatever computes them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigen import Generator, Tensor, grad, no_grad
from minigen import functional as F
from minigen.data import batches, permutation
from minigen.errors import CheckpointError
from minigen.function import broadcast_to, sum_to
from minigen.testing import strategies as some
from minigen.training import checkpoint


def value(f, *arrays):
    with no_grad():
        return f(*[Tensor(a) for a in arrays]).numpy()


def close(a, b, scale=1.0):
    size = max(np.abs(a).max(initial=0.0), np.abs(b).max(initial=0.0), scale)
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-11 * size)


def inner(a, b):
    return float(np.vdot(a, b))


# ---- convolutions: three slopes of one trilinear form


@given(some.convolutions(), some.rngs())
def test_conv_trio_is_adjoint(g, rng):
    """⟨y, conv(x, w)⟩ = ⟨conv_transpose(y, w), x⟩ = ⟨conv2d_weight(x, y), w⟩"""
    options = {k: g[k] for k in ("stride", "padding", "dilation", "groups")}
    x, w = rng.standard_normal(g["x_shape"]), rng.standard_normal(g["w_shape"])
    out = value(lambda x, w: F.conv2d(x, w, **options), x, w)
    y = rng.standard_normal(out.shape)
    form = inner(y, out)
    # Where the stride does not divide, the last rows and columns of x are of no use.
    extra = [
        n - ((m - 1) * s - 2 * p + d * (k - 1) + 1)
        for n, m, s, p, d, k in zip(
            x.shape[2:], out.shape[2:], g["stride"], g["padding"], g["dilation"], w.shape[2:],
            strict=True,
        )
    ]
    back = value(lambda y, w: F.conv_transpose2d(y, w, output_padding=extra, **options), y, w)
    size = float(np.abs(y).sum() * max(np.abs(x).max(initial=0), 1) * 30)
    assert abs(inner(back, x) - form) <= 1e-12 * size
    gw = value(lambda x, y: F.conv2d_weight(x, y, w.shape[2:], **options), x, y)
    assert abs(inner(gw, w) - form) <= 1e-12 * size


@given(some.convolutions(), some.rngs(), st.floats(-2, 2))
def test_conv_is_linear_in_each_argument(g, rng, a):
    options = {k: g[k] for k in ("stride", "padding", "dilation", "groups")}
    x, x2 = rng.standard_normal((2, *g["x_shape"]))
    w, w2 = rng.standard_normal((2, *g["w_shape"]))

    def conv(x, w):
        return value(lambda x, w: F.conv2d(x, w, **options), x, w)

    close(conv(a * x + x2, w), a * conv(x, w) + conv(x2, w), 10)
    close(conv(x, a * w + w2), a * conv(x, w) + conv(x, w2), 10)


@given(some.rngs(), st.integers(0, 2), st.integers(0, 2))
def test_conv_commutes_with_a_shift(rng, down, right):
    """An image moved within a frame of zeros gives a map that has moved along."""
    x, w = np.zeros((1, 2, 9, 9)), rng.standard_normal((3, 2, 3, 3))
    x[:, :, 2:5, 2:5] = rng.standard_normal((1, 2, 3, 3))
    moved = np.roll(x, (down, right), (2, 3))
    y, z = (value(lambda x, w: F.conv2d(x, w, padding=1), v, w) for v in (x, moved))
    close(z, np.roll(y, (down, right), (2, 3)))


# ---- softmax, norms, attention


@given(some.shapes(1, 3, zero=False), some.rngs(), st.floats(-50, 50))
def test_softmax_rows_sum_to_one_and_ignore_a_shift(shape, rng, shift):
    x = 3 * rng.standard_normal(shape)
    y = value(lambda x: F.softmax(x, -1), x)
    close(y.sum(-1), np.ones(shape[:-1]))
    close(value(lambda x: F.softmax(x, -1), x + shift), y)
    close(np.exp(value(lambda x: F.log_softmax(x, -1), x)), y)
    close(value(lambda x: F.logsumexp(x, -1), x + shift),
          value(lambda x: F.logsumexp(x, -1), x) + shift, 50)


@given(some.sizes(False), st.integers(2, 7), some.rngs(), st.floats(0.5, 20), st.floats(-5, 5))
def test_norms_ignore_scale_and_shift(n, d, rng, scale, shift):
    x = some.distinct(rng, (n, d))
    norms = {
        "layer": lambda x: F.layer_norm(x, d, eps=0.0),
        "group": lambda x: F.group_norm(x, 1, eps=0.0),
        "batch": lambda x: F.batch_norm(x.transpose(0, 1), None, None, training=True, eps=0.0),
        "instance": lambda x: F.instance_norm(x.unsqueeze(1), eps=0.0),
    }
    for norm in norms.values():
        y = value(norm, x)
        np.testing.assert_allclose(value(norm, scale * x + shift), y, atol=1e-9)
        rows = y.T if y.shape == (d, n) and n != d else y.reshape(-1, d)
        if norm is not norms["batch"]:
            np.testing.assert_allclose(rows.mean(-1), 0, atol=1e-12)
            np.testing.assert_allclose((rows**2).mean(-1), 1, atol=1e-9)


@given(some.attentions(), some.rngs())
def test_attention_is_its_weights_times_the_values(a, rng):
    q, k, v = (rng.standard_normal(a[f"{n}_shape"]) for n in "qkv")
    options = dict(a["options"])
    mask = options.pop("attn_mask", None)
    mask = None if mask is None else Tensor(mask)
    p = value(lambda q, k: F.attention_weights(q, k, mask, **options), q, k)
    close(p.sum(-1), np.ones(p.shape[:-1]))
    y = value(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, mask, **options), q, k, v)
    close(y, p @ v)


@given(some.attentions(), some.rngs())
def test_attention_does_not_care_for_the_order_of_the_keys(a, rng):
    q, k, v = (rng.standard_normal(a[f"{n}_shape"]) for n in "qkv")
    order = rng.permutation(k.shape[-2])
    y = value(F.scaled_dot_product_attention, q, k, v)
    close(value(F.scaled_dot_product_attention, q, k[..., order, :], v[..., order, :]), y)


@given(some.sizes(False), some.rngs())
def test_causal_attention_ignores_what_comes_later(t, rng):
    q, k, v = rng.standard_normal((3, t, 4))
    at = int(rng.integers(t))

    def attend(q, k, v):
        return value(lambda *a: F.scaled_dot_product_attention(*a, is_causal=True), q, k, v)

    y = attend(q, k, v)
    k[at + 1 :] += 1.0
    v[at + 1 :] -= 2.0
    np.testing.assert_array_equal(attend(q, k, v)[: at + 1], y[: at + 1])


# ---- fused operations equal their formulas, values and gradients


@given(some.shapes(1, 2, zero=False), st.integers(2, 7), some.rngs())
def test_layer_norm_equals_its_formula(lead, d, rng):
    arrays = some.distinct(rng, (*lead, d)), rng.standard_normal(d), rng.standard_normal(d)

    def formula(x, w, b):
        centred = x - x.mean(-1, True)
        return centred * ((centred * centred).mean(-1, True) + 1e-5) ** -0.5 * w + b

    same_with_gradients(lambda x, w, b: F.layer_norm(x, d, w, b), formula, arrays, rng)


@given(st.integers(1, 7), st.integers(1, 7), some.rngs())
def test_cross_entropy_equals_its_formula(n, classes, rng):
    x, target = rng.standard_normal((n, classes)), rng.integers(0, classes, n)
    picks = np.eye(classes)[target]
    same_with_gradients(
        lambda x: F.cross_entropy(x, Tensor(target)),
        lambda x: -(F.log_softmax(x, 1) * Tensor(picks)).sum() / n, (x,), rng,
    )


@given(some.attentions(), some.rngs())
def test_attention_equals_its_formula(a, rng):
    arrays = [rng.standard_normal(a[f"{n}_shape"]) for n in "qkv"]
    options = dict(a["options"])
    mask = options.pop("attn_mask", None)
    mask = None if mask is None else Tensor(mask)
    same_with_gradients(
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, mask, **options),
        lambda q, k, v: F.attention_weights(q, k, mask, **options) @ v, arrays, rng,
    )


def same_with_gradients(f, formula, arrays, rng):
    """Values agree, and gradients with and without create_graph."""
    c, results = None, []
    for function, graph in ((f, False), (f, True), (formula, False)):
        xs = [Tensor(a, requires_grad=True) for a in arrays]
        y = function(*xs)
        c = rng.standard_normal(y.shape) if c is None else c
        results.append([y, *grad(y, xs, Tensor(c), create_graph=graph)])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-8, atol=1e-9)


# ---- shapes and layouts


@given(some.broadcastable(), some.rngs())
def test_sum_to_and_broadcast_to_are_adjoint(shapes, rng):
    shape, full = shapes[0], np.broadcast_shapes(*shapes)
    x, y = rng.standard_normal(shape), rng.standard_normal(full)
    wide = value(lambda x: broadcast_to(x, full), x)
    narrow = value(lambda y: sum_to(y, shape), y)
    assert abs(inner(wide, y) - inner(x, narrow)) <= 1e-12 * (1 + np.abs(y).sum() * 4)
    np.testing.assert_array_equal(wide, np.broadcast_to(x, full))


LAYOUT_FREE = {
    "conv2d": (lambda x, w: F.conv2d(x, w, padding=1), (2, 3, 5, 4), (4, 3, 3, 2)),
    "conv_transpose2d": (
        lambda x, w: F.conv_transpose2d(x, w, stride=2), (2, 3, 3, 4), (3, 2, 3, 2),
    ),
    "matmul": (F.matmul, (2, 3, 5), (2, 5, 4)),
    "linear": (F.linear, (3, 2, 5), (4, 5)),
    "attention": (lambda q, k: F.scaled_dot_product_attention(q, k, k), (2, 3, 5), (2, 4, 5)),
    "layer_norm": (lambda x, w: F.layer_norm(x, 5, w), (2, 3, 5), (5,)),
    "group_norm": (lambda x, w: F.group_norm(x, 2, w), (2, 4, 5), (4,)),
    "batch_norm": (lambda x, w: F.batch_norm(x, None, None, w, None, True), (3, 4, 5), (4,)),
    "gelu": (lambda x, y: F.gelu(x * y), (3, 4), (4,)),
    "softmax": (lambda x, y: F.softmax(x + y, 1), (3, 4), (3, 4)),
    "cross_entropy": (lambda x, y: F.cross_entropy(x, F.softmax(y, 1)), (3, 4), (3, 4)),
    "max_pool2d": (lambda x, y: F.max_pool2d(x, 2) * y, (2, 2, 4, 4), (2, 2)),
}


@pytest.mark.parametrize("name", LAYOUT_FREE)
@given(data=st.data())
def test_strides_change_nothing(name, data):
    f, *shapes = LAYOUT_FREE[name]
    rng = data.draw(some.rngs())
    plain = [rng.standard_normal(s) for s in shapes]
    placed = [data.draw(some.laid_out(a)) for a in plain]
    results = []
    for arrays in (plain, placed):
        xs = [Tensor(a, requires_grad=True) for a in arrays]
        y = f(*xs)
        results.append([y, *grad(y, xs, Tensor(np.cos(np.arange(y.size)).reshape(y.shape)))])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12, atol=1e-12)


# ---- losses and randomness


@given(some.shapes(1, 2, zero=False), some.rngs())
def test_kl_is_a_divergence(shape, rng):
    mu, logvar, mu2, logvar2 = rng.standard_normal((4, *shape))

    def kl(*arrays):
        return value(lambda *a: F.gaussian_kl(*a, reduction="none"), *arrays)

    assert (kl(mu, logvar) >= 0).all() and (kl(mu, logvar, mu2, logvar2) >= 0).all()
    close(kl(0 * mu, 0 * mu), np.zeros(shape))
    close(kl(mu, logvar, mu, logvar), np.zeros(shape))
    close(kl(mu, logvar), kl(mu, logvar, 0 * mu, 0 * mu))


def test_kl_is_the_mean_of_the_log_ratio():
    """KL(q ‖ p) = E_q[log q - log p], by Monte Carlo; log σ² is the log of the variance."""
    rng = np.random.default_rng(3)
    mu, logvar, mu2, logvar2 = 0.4, -0.7, -0.3, 0.5
    z = mu + np.exp(logvar / 2) * rng.standard_normal(400_000)

    def log_density(z, mu, logvar):
        return -0.5 * (logvar + (z - mu) ** 2 / np.exp(logvar))

    exact = value(lambda *a: F.gaussian_kl(*a, reduction="sum"),
                  *(np.full((1,), v) for v in (mu, logvar, mu2, logvar2)))
    ratio = log_density(z, mu, logvar) - log_density(z, mu2, logvar2)
    assert abs(ratio.mean() - exact) < 6 * ratio.std() / 400_000**0.5


@given(st.integers(1, 6), st.integers(2, 5), some.rngs())
def test_losses_agree_with_each_other(n, classes, rng):
    x, target = rng.standard_normal((n, classes)), rng.integers(0, classes, n)
    close(value(lambda x: F.cross_entropy(x, Tensor(target)), x),
          value(lambda x: F.nll_loss(F.log_softmax(x, 1), Tensor(target)), x))
    soft = np.eye(classes)[target]
    close(value(lambda x: F.cross_entropy(x, Tensor(soft)), x),
          value(lambda x: F.cross_entropy(x, Tensor(target)), x))
    two = np.stack([np.zeros(n), x[:, 0]], 1)
    close(value(lambda x: F.cross_entropy(x, Tensor(target % 2)), two),
          value(lambda x: F.binary_cross_entropy_with_logits(x, Tensor(target % 2 * 1.0)), x[:, 0]))


ONE_EACH = {
    "mse": lambda x, y, how: F.mse_loss(x, y, reduction=how),
    "l1": lambda x, y, how: F.l1_loss(x, y, reduction=how),
    "bce": lambda x, y, how: F.binary_cross_entropy_with_logits(x, y, reduction=how),
    "kl": lambda x, y, how: F.gaussian_kl(x, y, reduction=how),
}


@pytest.mark.parametrize("name", ONE_EACH)
@given(some.shapes(1, 3, zero=False), some.rngs())
def test_reductions_are_those_of_the_single_losses(name, shape, rng):
    x, y = rng.standard_normal((2, *shape))
    each, mean, total = (
        value(lambda x, y, how=how: ONE_EACH[name](x, y, how), x, y)
        for how in ("none", "mean", "sum")
    )
    assert each.shape == shape
    close(mean, each.mean())
    close(total, each.sum())


def test_losses_are_finite_at_large_logits():
    for logit in (-60.0, 60.0, -1e4, 1e4):
        x = Tensor(np.array([logit]), requires_grad=True)
        for loss in (F.softplus(x).sum(), F.logsigmoid(x).sum(),
                     F.binary_cross_entropy_with_logits(x, Tensor(np.array([1.0])))):
            assert np.isfinite(loss.item()) and np.isfinite(grad(loss, x)[0].numpy()).all()


@given(st.sampled_from([0.1, 0.5, 0.8]), st.integers(0, 5))
def test_dropout_keeps_the_mean_and_its_share(p, seed):
    y = value(lambda x: F.dropout(x, p, True, rng=Generator(seed)), np.ones(40_000))
    assert abs((y == 0).mean() - p) < 0.02
    close(np.unique(y), np.array([0, 1 / (1 - p)]))
    close(value(lambda x: F.dropout(x, p, False), np.ones(5)), np.ones(5))


# ---- what is put away comes back, or is refused


def epoch_of(stream):
    epoch, parts = stream.epoch, []
    while stream.epoch == epoch:
        parts.append(next(stream))
    return np.concatenate(parts)


@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 2**64 - 1))
def test_every_epoch_has_an_order_of_its_own(n, batch, seed):
    """A function of seed and epoch, and of nothing that was drawn before."""
    stream = batches(n, batch, seed=seed, drop_last=False)
    for epoch in range(3):
        np.testing.assert_array_equal(epoch_of(stream), permutation(n, seed, epoch))


@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize("shuffle", [True, False])
def test_batches_stopped_anywhere_go_on_alike(drop_last, shuffle):
    def stream():
        return batches(10, 3, seed=5, drop_last=drop_last, shuffle=shuffle)

    for before in range(9):  # more than two epochs
        unbroken, resumed = stream(), stream()
        for _ in range(before):
            next(unbroken)
        resumed.load_state_dict(unbroken.state_dict())
        for _ in range(5):
            np.testing.assert_array_equal(next(resumed), next(unbroken))


def test_a_changed_value_in_a_checkpoint_is_seen(tmp_path):
    """Whichever byte of the values it is, and however little is changed."""
    x = np.arange(5.0)
    data = checkpoint.encode(checkpoint.Checkpoint("net", 1, {}, {"x": x}))
    path, start = tmp_path / "x.safetensors", data.index(x.tobytes())
    path.write_bytes(data)
    np.testing.assert_array_equal(checkpoint.load(path).state["x"], x)
    for at in range(start, start + x.nbytes):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(CheckpointError, match="do not match"):
            checkpoint.load(path)
