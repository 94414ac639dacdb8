"""Random graphs against a naive engine: forward mode on dual numbers, with nothing in common.

The naive engine carries, for every value, its derivatives along two directions and their mixed
second derivative: f, f_u, f_v, f_uv as plain arrays (a hyper-dual number). It has no tape and no
backward pass, so diamonds, reuse, broadcasting and detached paths cannot go wrong in the same way.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from minigen import Tensor, grad, no_grad
from minigen import functional as F
from minigen.testing import strategies as some


class Dual(NamedTuple):
    """A value, its slopes along u and v, and the mixed second slope."""

    f: np.ndarray
    u: np.ndarray
    v: np.ndarray
    uv: np.ndarray

    def linear(self, op):
        return Dual(*map(op, self))

    def through(self, f, slope, bend):
        """A function of one variable, given its value and its first two derivatives."""
        return Dual(f, slope * self.u, slope * self.v, slope * self.uv + bend * self.u * self.v)

    def times(self, o, by=np.multiply):
        return Dual(
            by(self.f, o.f),
            by(self.u, o.f) + by(self.f, o.u),
            by(self.v, o.f) + by(self.f, o.v),
            by(self.uv, o.f) + by(self.u, o.v) + by(self.v, o.u) + by(self.f, o.uv),
        )


def constant(a):
    return Dual(a, np.zeros_like(a), np.zeros_like(a), np.zeros_like(a))


def tanh(d):
    t = np.tanh(d.f)
    return d.through(t, 1 - t**2, -2 * t * (1 - t**2))


UNARY = {
    "tanh": (F.tanh, tanh),
    "sin": (F.sin, lambda d: d.through(np.sin(d.f), np.cos(d.f), -np.sin(d.f))),
    "square": (lambda x: x * x, lambda d: d.times(d)),
    "scaled": (lambda x: 3 - 0.5 * x, lambda d: Dual(3 - 0.5 * d.f, *(-0.5 * p for p in d[1:]))),
    "flip": (lambda x: F.flip(x, 0), lambda d: d.linear(lambda a: np.flip(a, 0))),
    "sum": (lambda x: x.sum(0, True), lambda d: d.linear(lambda a: a.sum(0, keepdims=True))),
    "mean": (lambda x: x.mean(), lambda d: d.linear(lambda a: np.asarray(a.mean()))),
    "transposed": (lambda x: x.T, lambda d: d.linear(lambda a: a.T)),
    "flat": (lambda x: x.reshape(-1), lambda d: d.linear(lambda a: a.reshape(-1))),
    "first": (lambda x: x[0], lambda d: d.linear(lambda a: a[0])),
    "rows": (lambda x: x[[0, -1, 0]], lambda d: d.linear(lambda a: a[[0, -1, 0]])),
}
AXES_NEEDED = {"flip", "sum", "first", "rows"}
BINARY = {
    "add": (lambda x, y: x + y, lambda a, b: Dual(*(p + q for p, q in zip(a, b, strict=True)))),
    "sub": (lambda x, y: x - y, lambda a, b: Dual(*(p - q for p, q in zip(a, b, strict=True)))),
    "mul": (lambda x, y: x * y, lambda a, b: a.times(b)),
}


class Graphs(RuleBasedStateMachine):
    """Grows a graph by one operation at a time, and differentiates any of its values."""

    @initialize(rng=some.rngs(), shapes=some.broadcastable(3, zero=False, most=2))
    def leaves(self, rng, shapes):
        self.leaves, self.values = [], []
        for shape in shapes:
            x, u, v = 0.7 * rng.standard_normal((3, *shape))
            leaf = Tensor(np.asarray(x), requires_grad=True)
            self.leaves.append((leaf, np.asarray(u), np.asarray(v)))
            dual = Dual(leaf.data, np.asarray(u), np.asarray(v), np.zeros(shape))
            self.values.append((leaf, dual))

    def pick(self, data):
        return self.values[data.draw(st.integers(0, len(self.values) - 1))]

    def keep(self, tensor, dual):
        if tensor.size and np.abs(dual.f).max() < 1e3 and np.abs(dual.uv).max() < 1e4:
            self.values.append((tensor, dual))

    @rule(data=st.data(), name=st.sampled_from(sorted(UNARY)))
    def apply(self, data, name):
        x, dual = self.pick(data)
        if x.ndim or name not in AXES_NEEDED:
            self.keep(UNARY[name][0](x), UNARY[name][1](dual))

    @rule(data=st.data(), name=st.sampled_from(sorted(BINARY)))
    def combine(self, data, name):
        (x, a), (y, b) = self.pick(data), self.pick(data)
        try:
            np.broadcast_shapes(x.shape, y.shape)
        except ValueError:
            return
        wide = a.f.shape, b.f.shape
        shape = np.broadcast_shapes(*wide)
        a, b = (d.linear(lambda p: np.broadcast_to(p, shape)) for d in (a, b))
        self.keep(BINARY[name][0](x, y), BINARY[name][1](a, b))

    @rule(data=st.data())
    def multiply_matrices(self, data):
        (x, a), (y, b) = self.pick(data), self.pick(data)
        if x.ndim == y.ndim == 2 and x.shape[1] == y.shape[0]:
            self.keep(x @ y, a.times(b, np.matmul))

    @rule(data=st.data())
    def join(self, data):
        (x, a), (y, b) = self.pick(data), self.pick(data)
        if x.ndim and x.ndim == y.ndim and x.shape[1:] == y.shape[1:]:
            parts = zip(a, b, strict=True)
            self.keep(F.cat([x, y], 0), Dual(*(np.concatenate(p) for p in parts)))

    @rule(data=st.data())
    def detach(self, data):
        x, dual = self.pick(data)
        self.values.append((x.detach(), constant(dual.f)))

    @rule(data=st.data())
    def without_tape(self, data):
        x, dual = self.pick(data)
        with no_grad():
            self.values.append((x * 1.0, constant(dual.f)))

    @invariant()
    def values_agree(self):
        for x, dual in self.values[-1:]:
            np.testing.assert_allclose(x.numpy(), dual.f, rtol=1e-9, atol=1e-9)

    @precondition(lambda self: len(self.values) > 3)
    @rule(data=st.data())
    def differentiate(self, data):
        """⟨c, y⟩: its slope along v, and the slope along v of its slope along u."""
        y, dual = self.pick(data)
        c = np.asarray(np.cos(1 + np.arange(y.size))).reshape(y.shape)
        xs = [x for x, _, _ in self.leaves]
        first = grad(y, xs, Tensor(c), create_graph=True)
        along = zip(first, self.leaves, strict=True)
        slope = sum(((g * Tensor(u)).sum() for g, (_, u, _) in along), start=Tensor(0.0))
        second = grad(slope, xs, retain_graph=True)
        plain = grad(y, xs, Tensor(c), retain_graph=True)
        for exact, gradients in ((dual.v, first), (dual.v, plain), (dual.uv, second)):
            found = sum(np.vdot(g.numpy(), v) for g, (_, _, v) in
                        zip(gradients, self.leaves, strict=True))
            size = 1 + sum(np.abs(g.numpy() * v).sum() for g, (_, _, v) in
                           zip(gradients, self.leaves, strict=True))
            assert abs(found - np.vdot(c, exact)) <= 1e-9 * (size + np.abs(c * exact).sum())

    @precondition(lambda self: len(self.values) > 3)
    @rule(data=st.data())
    def ask_for_one(self, data):
        """The gradient of one leaf, or of a value on the way, is that of the whole."""
        y, _ = self.pick(data)
        c = Tensor(np.ones(y.shape))
        xs = [x for x, _, _ in self.leaves]
        k = data.draw(st.integers(0, len(xs) - 1))
        every = grad(y, xs, c, retain_graph=True)
        alone = grad(y, xs[k], c, retain_graph=True)[0]
        np.testing.assert_allclose(alone.numpy(), every[k].numpy(), rtol=1e-12, atol=1e-12)
        if y.requires_grad:
            itself = grad(y, y, c, retain_graph=True)[0]
            np.testing.assert_array_equal(itself.numpy(), c.numpy())


TestGraphs = Graphs.TestCase
TestGraphs.settings = settings(stateful_step_count=30)


def test_a_chain_of_ten_thousand_operations():
    x = Tensor(np.array(1.0), requires_grad=True)
    y = x
    for _ in range(10_000):
        y = y * 1.0001
    (g,) = grad(y, x, create_graph=True)
    np.testing.assert_allclose(g.item(), 1.0001**10_000)


def test_a_tower_of_diamonds_is_walked_once():
    """y ← y + y, 60 times: 2⁶⁰ paths, 60 steps."""
    x = y = Tensor(np.array(1.0), requires_grad=True)
    for _ in range(60):
        y = y + y
    assert grad(y, x)[0].item() == 2.0**60
