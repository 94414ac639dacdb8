"""At kinks, ties and the ends of the number line: torch's value and torch's subgradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from facade import doors, to_torch

from minigen import Tensor, grad
from minigen.testing import cases_nn

POINTS = np.array(
    [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, 20.0, -20.0, 22.0, -22.0, 30.0, 100.0, -100.0]
)
TIES = np.array([[1.0, 1.0, 0.0], [2.0, 2.0, 2.0], [0.0, 3.0, 3.0], [-1.0, -1.0, -1.0]])

ONE: dict[str, Callable[[Any, Any], Any]] = {
    "abs": lambda F, x: F.abs(x),
    "sign": lambda F, x: F.sign(x),
    "relu": lambda F, x: F.relu(x),
    "leaky_relu": lambda F, x: F.leaky_relu(x, 0.2),
    "elu": lambda F, x: F.elu(x),
    "silu": lambda F, x: F.silu(x),
    "gelu": lambda F, x: F.gelu(x),
    "gelu-tanh": lambda F, x: F.gelu(x, approximate="tanh"),
    "sigmoid": lambda F, x: F.sigmoid(x),
    "tanh": lambda F, x: F.tanh(x),
    "softplus": lambda F, x: F.softplus(x),
    "logsigmoid": lambda F, x: F.logsigmoid(x),
    "sqrt": lambda F, x: F.sqrt(x * x),
    "square-root-of-nothing": lambda F, x: F.sqrt(x[:1]),
    "log": lambda F, x: F.log(F.abs(x)),
    "pow-2": lambda F, x: F.pow(x, 2),
    "pow-0": lambda F, x: F.pow(x, 0),
    "pow-1": lambda F, x: F.pow(x, 1),
    "pow-3": lambda F, x: F.pow(x, 3),
    "clamp": lambda F, x: F.clamp(x, -1.0, 1.0),
    "clamp-low": lambda F, x: F.clamp(x, 0.5),
    "maximum": lambda F, x: F.maximum(x, x * 1.0),
    "minimum": lambda F, x: F.minimum(x, -x),
    "where": lambda F, x: F.where(x > 0, x, x * x),
    "norm-of-nothing": lambda F, x: F.norm(x[:2]),
    "logsumexp": lambda F, x: F.logsumexp(x, 0),
    "softmax": lambda F, x: F.softmax(x, 0),
    "log_softmax": lambda F, x: F.log_softmax(x, 0),
    "root-of-relu": lambda F, x: F.sqrt(F.relu(x)),
    "root-of-maximum": lambda F, x: F.sqrt(F.maximum(x, x.detach() * 0)),
    "root-of-minimum": lambda F, x: F.sqrt(-F.minimum(x, x.detach() * 0)),
    "root-of-a-constant": lambda F, x: F.sqrt(F.pow(x, 0) - 1),
    "norm-3-of-nothing": lambda F, x: F.norm(x[:2], 3),
    "bce-of-0": lambda F, x: F.binary_cross_entropy_with_logits(
        x, x.detach() * 0, reduction="none"),
    "bce-of-1": lambda F, x: F.binary_cross_entropy_with_logits(
        x, x.detach() * 0 + 1, reduction="none", pos_weight=(x.detach() * 0 + 3)),
}
TIED: dict[str, Callable[[Any, Any], Any]] = {
    "amax": lambda F, x: F.amax(x, 1),
    "amin": lambda F, x: F.amin(x, 1),
    "amax-over-all": lambda F, x: F.amax(x, (0, 1)),
    "max-of-all": lambda F, x: F.max(x),
    "min-of-all": lambda F, x: F.min(x),
    "max-along": lambda F, x: F.max(x, 1)[0],
    "min-along": lambda F, x: F.min(x, 1)[0],
    "max_pool2d": lambda F, x: F.max_pool2d(x.reshape(1, 1, 4, 3), 2, 1),
    "prod": lambda F, x: F.prod(x, 1),
}


@pytest.mark.parametrize("name", [*ONE, *TIED])
def test_edge_is_torchs(name: str) -> None:
    f = {**ONE, **TIED}[name]
    points = POINTS if name in ONE else TIES
    c = np.random.default_rng(0).standard_normal(points.shape)
    with doors():
        F = cases_nn.F
        x, x_torch = Tensor(points, requires_grad=True), to_torch(points).requires_grad_()
        y, y_torch = f(F, x), f(F, x_torch)
        np.testing.assert_allclose(y.numpy(), y_torch.detach().numpy(), rtol=1e-10, atol=1e-12)
        if not y_torch.requires_grad:
            return
        c = c.reshape(-1)[: y.size].reshape(y.shape)
        (g,) = grad(y, [x], Tensor(c), create_graph=True)
        (g_torch,) = torch.autograd.grad(y_torch, x_torch, to_torch(c), create_graph=True)
        np.testing.assert_allclose(g.numpy(), g_torch.detach().numpy(), rtol=1e-10, atol=1e-12)
        if not g_torch.requires_grad:
            assert not g.requires_grad or not grad(g.sum(), [x])[0].numpy().any()
            return
        (gg,) = grad(g, [x], Tensor(points))
        (gg_torch,) = torch.autograd.grad(g_torch, x_torch, to_torch(points), allow_unused=True)
        expected = np.zeros_like(points) if gg_torch is None else gg_torch.numpy(force=True)
        if name == "norm-of-nothing":  # torch's NaN, where the first gradient is 0 by convention
            assert np.isnan(expected[:2]).all()
            expected[:2] = 0
        np.testing.assert_allclose(gg.numpy(), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", ["max", "min", "sign", "relu"])
def test_nan_is_torchs(name: str) -> None:
    points = np.array([np.nan, 1.0, -2.0, np.nan])
    with doors():
        f = getattr(cases_nn.F, name)
        x, x_torch = Tensor(points, requires_grad=True), to_torch(points).requires_grad_()
        y, y_torch = f(x), f(x_torch)
        np.testing.assert_array_equal(y.numpy(), y_torch.detach().numpy())
        (g,) = grad(y.sum(), [x])
        (g_torch,) = torch.autograd.grad(y_torch.sum(), x_torch)
        np.testing.assert_array_equal(g.numpy(), g_torch.numpy())


@pytest.mark.parametrize("dtype, exact", [("f4", np.float64), ("f8", np.longdouble)])
@pytest.mark.parametrize("scale", [1.0, 10.0, 80.0])
def test_bce_is_no_less_accurate_than_torchs(dtype: str, exact: Any, scale: float) -> None:
    """Value and slope against the formula in more digits; targets of 0, 1, and between."""
    rng = np.random.default_rng(0)
    x = (scale * rng.standard_normal(30_000)).astype(dtype)
    t = np.resize(np.array([0, 1, 0.3, 0.9], dtype), x.shape)
    wide, target = x.astype(exact), t.astype(exact)
    tail = np.exp(-np.abs(wide))
    away = np.where(x > 0, 1 - target, target)
    value = away * np.abs(wide) + np.log1p(tail)
    slope = np.where(x > 0, 1, -1) * (away - tail / (1 + tail))
    found = []
    for tensor, library in ((Tensor, cases_nn.F), (to_torch, torch.nn.functional)):
        a = tensor(x).detach()
        a.requires_grad = True
        y = library.binary_cross_entropy_with_logits(a, tensor(t), reduction="none")
        y.sum().backward()
        found.append((y.detach().numpy(), a.grad.numpy()))
    for ours, theirs, right in zip(*found, (value, slope), strict=True):
        assert ours.dtype == theirs.dtype == x.dtype
        for norm in (np.linalg.norm, lambda error: np.abs(error).max()):
            off, off_theirs = (norm((a - right).astype(float)) for a in (ours, theirs))
            assert off <= 2 * off_theirs
    seen = value >= 4 * np.finfo(dtype).tiny  # where torch's small losses have no digits left
    assert (np.abs(found[0][0] - value)[seen] <= 4 * np.finfo(dtype).eps * value[seen]).all()


# What no difference quotient shows: rows shortened in place, gradients divided by a count.
LOOKUPS: dict[str, dict[str, Any]] = {
    "max_norm": {"max_norm": 1.0},
    "max_norm, norm_type": {"max_norm": 0.5, "norm_type": 1.0},
    "scale_grad_by_freq": {"scale_grad_by_freq": True},
    "padding_idx": {"padding_idx": -2, "scale_grad_by_freq": True},
}


@pytest.mark.parametrize("name", LOOKUPS)
def test_lookup_is_torchs(name: str) -> None:
    rng = np.random.default_rng(0)
    w, tokens, c = rng.standard_normal((4, 3)), rng.integers(0, 4, 7), rng.standard_normal((7, 3))
    ours, theirs = Tensor(w.copy(), requires_grad=True), to_torch(w).requires_grad_()
    with doors():
        y = cases_nn.F.embedding(Tensor(tokens), ours, **LOOKUPS[name])
        y_torch = cases_nn.F.embedding(to_torch(tokens), theirs, **LOOKUPS[name])
    np.testing.assert_allclose(y.numpy(), y_torch.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(ours.numpy(), theirs.detach().numpy(), rtol=1e-12)
    (g,) = grad(y, [ours], Tensor(c))
    (g_torch,) = torch.autograd.grad(y_torch, theirs, to_torch(c))
    np.testing.assert_allclose(g.numpy(), g_torch.numpy(), rtol=1e-12, atol=1e-15)
