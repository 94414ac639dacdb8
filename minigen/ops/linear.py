"""Matrix products: every one of them is a gemm, and so is each of its derivatives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from minigen_kernels import backend_of, namespace_of

from ..function import Function
from ..tensor import Tensor
from .activated import Activated, Activation, activation_of
from .operands import operands

__all__ = ["linear", "matmul"]


class MatMul(Function):
    """c = a · b over the last two axes, either of them transposed; other axes are broadcast"""

    broadcasts = True

    def __init__(self, transpose_a: bool = False, transpose_b: bool = False):
        self.transpose_a, self.transpose_b = transpose_a, transpose_b

    def forward(self, a: Any, b: Any) -> Any:
        return product(a, b, self.transpose_a, self.transpose_b)

    def backward(self, gc: Tensor) -> tuple[Tensor | None, Tensor | None]:
        a, b = self.inputs
        ta, tb = self.transpose_a, self.transpose_b
        ga = gb = None
        if self.needs(0):
            ga = MatMul(tb, True)(b, gc) if ta else MatMul(False, not tb)(gc, b)
        if self.needs(1):
            gb = MatMul(True, ta)(gc, a) if tb else MatMul(not ta, False)(a, gc)
        return ga, gb


def product(
    a: Any, b: Any, transpose_a: bool = False, transpose_b: bool = False, bias: Any = None
) -> Any:
    """a · b (+ bias) as arrays, by the gemm kernel in float32 and float64."""
    if a.dtype.char not in "fd":
        a = a.swapaxes(-1, -2) if transpose_a else a
        c = namespace_of(a).matmul(a, b.swapaxes(-1, -2) if transpose_b else b)
        return c if bias is None else c + bias
    lead, other = a.shape[:-2], b.shape[:-2]
    if lead != other and lead and other:
        batch = np.broadcast_shapes(lead, other)
        xp = namespace_of(a)
        a = xp.broadcast_to(a, (*batch, *a.shape[-2:]))
        b = xp.broadcast_to(b, (*batch, *b.shape[-2:]))
    return backend_of(a).gemm(a, b, transpose_a, transpose_b, bias)


def matmul(input: Tensor, other: Tensor) -> Tensor:
    """c[..., i, j] = Σ_k a[..., i, k] · b[..., k, j]; other axes are broadcast.

    A 1-D tensor is a row on the left and a column on the right, and that axis is dropped again.
    """
    a, b = operands(input, other)
    if not a.ndim or not b.ndim:
        raise ValueError(
            f"matmul: shapes {a.shape} and {b.shape}: both tensors must have 1 axis or more; "
            "a number is multiplied with *"
        )
    inner = b.shape[-2] if b.ndim > 1 else b.shape[0]
    if a.shape[-1] != inner:
        raise ValueError(
            f"matmul: shapes {a.shape} and {b.shape} do not fit: the last axis of the first, "
            f"{a.shape[-1]}, must be as long as axis {-2 if b.ndim > 1 else 0} of the second, "
            f"{inner}"
        )
    row, column = a.ndim == 1, b.ndim == 1
    a = a.reshape((1, inner)) if row else a
    b = b.reshape((inner, 1)) if column else b
    if b.ndim == 2 and a.ndim > 2:  # one tall product instead of many
        lead = a.shape[:-1]
        c = MatMul()(a.reshape((math.prod(lead), inner)), b).reshape((*lead, b.shape[-1]))
    else:
        try:
            np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        except ValueError:
            raise ValueError(
                f"matmul: the leading axes of shapes {input.shape} and {other.shape} do not "
                "broadcast; counted from the last, sizes must be equal, or one of them 1"
            ) from None
        c = MatMul()(a, b)
    if row or column:
        shape = (*c.shape[:-2], *(() if row else c.shape[-2:-1]), *(() if column else c.shape[-1:]))
        c = c.reshape(shape)
    return c


class Linear(Function):
    """y[...,o] = Σ_i x[...,i] · w[o,i] + b[o]"""

    def forward(self, x: Any, w: Any, b: Any = None) -> Any:
        lead, (outputs, inputs) = x.shape[:-1], w.shape
        rows = x if x.ndim == 2 else x.reshape((math.prod(lead), inputs))
        y = product(rows, w, False, True, b)
        return y if x.ndim == 2 else y.reshape((*lead, outputs))

    def backward(self, gy: Tensor) -> tuple[Tensor | None, ...]:
        x, w, *b = self.inputs
        rows = math.prod(x.shape[:-1])
        gy = gy.reshape((rows, w.shape[0]))
        gx = MatMul()(gy, w).reshape(x.shape) if self.needs(0) else None
        gw = MatMul(True)(gy, x.reshape((rows, w.shape[1]))) if self.needs(1) else None
        return (gx, gw, *[gy.sum(0) if self.needs(2) else None for _ in b])


class LinearActivated(Activated, Linear):
    """y = f(x · wᵀ + b)"""

    name, product = "linear", "gemm"

    def compute(self, kernel: Any, x: Any, w: Any, b: Any = None, **finish: Any) -> Any:
        lead, (outputs, inputs) = x.shape[:-1], w.shape
        made = kernel(x.reshape((math.prod(lead), inputs)), w, False, True, b, **finish)
        if finish["keep"]:
            return tuple(y.reshape((*lead, outputs)) for y in made)
        return made.reshape((*lead, outputs))

    def plain(self) -> Function:
        return Linear()


def linear(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    activation: Activation | None = None,
) -> Tensor:
    """y[..., o] = Σ_i x[..., i] · w[o,i] + b[o]

    input (..., in), weight (out, in) or (in,), bias (out,) or none; the result is (..., out).
    activation: f of f(y), by the same kernel on a GPU; as in conv2d.
    """
    x, w = operands(input, weight)
    of_x, of_w = x.shape, w.shape
    if len(of_w) not in (1, 2) or not of_x or of_x[-1] != of_w[-1]:
        raise ValueError(
            f"linear: the last axis of the input {of_x} must be as long as that of the weight "
            f"{of_w}, which is (out, in)"
        )
    features = of_w[:-1]
    if bias is not None and bias.shape != features:
        raise ValueError(
            f"linear: the bias has shape {bias.shape}, but the weight {of_w} takes {features}"
        )
    w = w if features else w.reshape((1, of_w[0]))
    if activation is None:
        op: Function = Linear()
    else:
        op = LinearActivated().named(activation_of("linear", activation))
    if bias is None:
        y = op(x, w)
    else:
        x, b = operands(x, bias)
        y = op(x, w, b if b.ndim == 1 else b.reshape((1,)))
    return y if features else y.reshape(x.shape[:-1])
