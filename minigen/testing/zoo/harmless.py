"""Rewrites that change nothing: the properties that kill the bugs must let these live."""

from __future__ import annotations

from ..bugs import Bug
from . import gradients, laws

BUGS = [
    Bug(
        "sum-in-the-other-order",
        "minigen/tensor.py",
        "cotangents[parent] = gx if before is None else before + gx",
        "cotangents[parent] = gx if before is None else gx + before",
        ("tests/minigen/test_graph.py",),
        harmless=True,
    ),
    Bug(
        "quotient-rule-written-out",
        "minigen/ops/elementwise.py",
        "return gx, -gx * (x / y) if self.needs(1) else None",
        "return gx, -gz * x / (y * y) if self.needs(1) else None",
        (gradients("div"),),
        harmless=True,
    ),
    Bug(
        "tanh-by-a-product",
        "minigen/ops/elementwise.py",
        "return gy * (1.0 - square(self.output))",
        "return gy - gy * self.output * self.output",
        (gradients("tanh"),),
        harmless=True,
    ),
    Bug(
        "kl-multiplied-out",
        "minigen/ops/loss.py",
        "losses = 0.5 * (logvar.exp() + distance * distance - 1 - logvar)",
        "losses = -0.5 * (1 + logvar - distance * distance - logvar.exp())",
        (laws("kl"),),
        harmless=True,
    ),
    Bug(
        "average-as-a-weighted-sum",
        "minigen/optim.py",
        "average += own * (p.data - average)",
        "average[...] = (1 - own) * average + own * p.data",
        ("tests/minigen/test_optim.py -k closed_form",),
        harmless=True,
    ),
]
