"""Seeded bugs in the tape and in basic operations."""

from __future__ import annotations

from ..bugs import Bug
from . import gradients, laws, parity, parity_in

GRAPH = "tests/minigen/test_graph.py"
ELEMENTWISE = "kernels/minigen_kernels/cpu/elementwise.py"
SUMS = "kernels/minigen_kernels/cpu/sums.py"
RECTIFIERS = "tests/kernels/test_elementwise.py -k leaky_relu"

BUGS = [
    Bug(
        "broadcast-not-undone-over-axes-of-one",
        "minigen/function.py",
        "lead + i for i, n in enumerate(self.shape) if n == 1 and x.shape[lead + i] != 1",
        "lead + i for i, n in enumerate(self.shape) if n == 0 and x.shape[lead + i] != 1",
        (gradients("mul"), laws("sum_to_and_broadcast")),
    ),
    Bug(
        "oldest-function-walked-first",
        "minigen/tensor.py",
        "for node in reversed(order):",
        "for node in [y.node, *(n for n in order if n is not y.node)]:",
        (GRAPH,),
    ),
    Bug(
        "second-path-to-a-node-replaces-the-first",
        "minigen/tensor.py",
        "cotangents[parent] = gx if before is None else before + gx",
        "cotangents[parent] = gx",
        (GRAPH,),
    ),
    Bug(
        "negative-side-of-sub-keeps-its-sign",
        "minigen/ops/elementwise.py",
        "return gz, neg(gz) if self.needs(1) else None",
        "return gz, gz if self.needs(1) else None",
        (gradients("sub"),),
    ),
    Bug(
        "product-rule-with-sides-exchanged",
        "minigen/ops/elementwise.py",
        "return gz * y if self.needs(0) else None, gz * x if self.needs(1) else None",
        "return gz * x if self.needs(0) else None, gz * y if self.needs(1) else None",
        (gradients("mul"),),
    ),
    Bug(
        "backward-of-a-product-off-the-tape",
        "minigen/ops/elementwise.py",
        "return gz * y if self.needs(0) else None, gz * x if self.needs(1) else None",
        "return gz * y.detach() if self.needs(0) else None, gz * x if self.needs(1) else None",
        (gradients("mul"),),
    ),
    Bug(
        "cotangent-of-tanh-off-the-tape",
        "minigen/ops/elementwise.py",
        "return gy * (1.0 - square(self.output))",
        "return Tensor(gy.data) * (1.0 - square(self.output))",
        (gradients("tanh"),),
    ),
    Bug(
        "quotient-without-its-square",
        "minigen/ops/elementwise.py",
        "return gx, -gx * (x / y) if self.needs(1) else None",
        "return gx, -gx * x if self.needs(1) else None",
        (gradients("div"),),
    ),
    Bug(
        "power-keeps-its-exponent",
        "minigen/ops/elementwise.py",
        "pow(x, p - 1) * p)",
        "pow(x, p) * p)",
        (gradients("pow (constant exponent)"),),
    ),
    Bug(
        "cosine-from-the-left-hand-side",
        "minigen/ops/elementwise.py",
        "return gy * -sin(self.inputs[0])",
        "return gy * sin(self.inputs[0])",
        (gradients("cos"),),
    ),
    Bug(
        "mean-divided-twice-in-backward",
        "minigen/ops/reduce.py",
        "return super().backward(gy / self.count)",
        "return super().backward(gy / self.count / self.count)",
        (gradients("mean"),),
    ),
    Bug(
        "variance-with-the-wrong-correction",
        "minigen/ops/reduce.py",
        "correction = 1 if unbiased else 0",
        "correction = 0 if unbiased else 1",
        (parity("var"),),
    ),
    Bug(
        "gradient-of-matmul-transposed-wrongly",
        "minigen/ops/linear.py",
        "gb = MatMul(True, ta)(gc, a) if tb else MatMul(not ta, False)(a, gc)",
        "gb = MatMul(True, ta)(gc, a) if tb else MatMul(not ta, False)(a, gc) * 2.0",
        (gradients("matmul"),),
    ),
    Bug(
        "bias-of-linear-takes-the-first-row-for-all",
        "minigen/ops/linear.py",
        "return (gx, gw, *[gy.sum(0)",
        "return (gx, gw, *[gy[0] * gy.shape[0]",
        (gradients("linear"), gradients("vae (mlp)")),
    ),
    Bug(
        "lookup-forgets-the-padding-row",
        "minigen/ops/indexing.py",
        "return super().backward(where((self.index == self.fixed)[:, None], 0.0, gy))",
        "return super().backward(gy)",
        (parity_in("ops", "padding_row"),),
    ),
    Bug(
        "pieces-that-overlap-laid-over-each-other",
        "minigen/ops/placed.py",
        "x[index] = y if apart else x[index] + y",
        "x[index] = y",
        ("tests/minigen/test_ops_basic.py -k views_of_one_tensor",),
    ),
    Bug(
        "memory-between-the-pieces-not-zero",
        "minigen/ops/placed.py",
        "            if not apart or sum(y.size for _, y in self.pieces) < x.size:\n",
        "            if not apart:\n",
        ("tests/minigen/test_ops_basic.py -k views_of_one_tensor",),
    ),
    Bug(
        "blocks-of-columns-that-leave-gaps-in-a-lookups-gradient",
        "kernels/minigen_kernels/cpu/deposit.py",
        "source = y[a, r, first : first + COLUMNS]",
        "source = y[a, r, first : first + COLUMNS - 1]",
        ("tests/kernels/test_deposit.py",),
    ),
    Bug(
        "axes-of-a-gradient-in-the-order-of-memory",
        "minigen/ops/placed.py",
        "x.transpose([self.axes.index(i) for i in range(x.ndim)])",
        "x.transpose(list(self.axes))",
        ("tests/minigen/test_ops_basic.py -k parts_of_a_tensor",),
    ),
    Bug(
        "pieces-of-one-memory-taken-for-a-whole-in-any-order",
        "minigen/ops/placed.py",
        "if _address(there) != _address(y) or there.strides",
        "if there.strides",
        ("tests/minigen/test_ops_basic.py -k lie_in_their_places",),
    ),
    Bug(
        "sum-over-one-axis-taken-for-one-over-the-first",
        "minigen/function.py",
        "while n in axes:",
        "while n < len(axes):",
        (gradients("sum"),),
    ),
    Bug(
        "short-row-at-the-end-of-joined-rows-not-added",
        SUMS,
        "rows = (x.size + width - 1) // width",
        "rows = x.size // width",
        ("tests/kernels/test_sums.py",),
    ),
    Bug(
        "rows-left-over-of-four-stepped-over",
        SUMS,
        "                r += 1\n",
        "                r += 2\n",
        ("tests/kernels/test_sums.py",),
    ),
    Bug(
        "every-block-of-columns-reads-the-first",
        SUMS,
        "at = r * width + first",
        "at = r * width",
        ("tests/kernels/test_sums.py",),
    ),
    Bug(
        "zero-times-infinity-left-of-the-kink",
        ELEMENTWISE,
        "below = zero if slope == zero else slope * a[i]",
        "below = slope * a[i]",
        (RECTIFIERS,),
    ),
    Bug(
        "cotangent-let-through-at-the-kink",
        ELEMENTWISE,
        "b[i] = zero if a[i] <= zero else g[i]",
        "b[i] = zero if a[i] < zero else g[i]",
        (RECTIFIERS,),
    ),
    Bug(
        "block-after-the-first-rectified-by-its-neighbour",
        ELEMENTWISE,
        "b[i] = g[i] if a[i] > zero else slope * g[i]",
        "b[i] = g[i] if x[i] > zero else slope * g[i]",
        (RECTIFIERS,),
    ),
    Bug(
        "rectified-cotangent-off-the-tape",
        "minigen/ops/activation.py",
        "return LeakyReluBackward(self.slope)(gy, self.inputs[0].detach())",
        "return LeakyReluBackward(self.slope)(gy.detach(), self.inputs[0].detach())",
        (gradients("leaky_relu"),),
    ),
    Bug(
        "adjoint-of-a-rectifier-s-slope-forgets-the-other-side",
        "minigen/ops/activation.py",
        "return LeakyReluBackward(self.slope)(ggx, self.inputs[1]), None",
        "return LeakyReluBackward(0.0)(ggx, self.inputs[1]), None",
        (gradients("leaky_relu"),),
    ),
]
