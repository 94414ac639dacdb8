"""Fused: a kernel for the forward pass, one for the backward pass, and what they stand for."""

from __future__ import annotations

from typing import Any

from ..function import Function
from ..tensor import Tensor, grad, is_recording

__all__ = ["Fused"]


class Alias(Function):
    """y = x, as a node of its own: a partial derivative stops here."""

    keeps_inputs = False
    is_view = True

    def forward(self, x: Any) -> Any:
        return x

    def backward(self, gy: Tensor) -> Tensor:
        return gy


class Fused(Function):
    """A Function whose backward is not written with the trio's trick, but given twice.

    formula(*inputs)             the value in Tensors: what the kernels compute, readable, and
                                 differentiable to any order.
    kernel_backward(gy, *arrays) the cotangents of all inputs, as arrays, by the fused kernel.

    The kernel runs when the backward pass is not recorded, the formula when it is.
    """

    def formula(self, *inputs: Tensor) -> Tensor:
        """The same function, composed of differentiable operations."""
        raise TypeError(f"{self.name} defines no formula()")

    def kernel_backward(self, gy: Any, *arrays: Any) -> tuple[Any, ...]:
        """The gradients of the inputs, arrays given and taken; None for those not needed."""
        raise TypeError(f"{self.name} defines no kernel_backward()")

    def backward(self, gy: Tensor) -> tuple[Tensor | None, ...]:
        inputs = self.inputs
        if not is_recording():
            gxs = self.kernel_backward(gy.data, *[x.data for x in inputs])
            return tuple(None if gx is None else Tensor(gx) for gx in gxs)
        # Two inputs may be one tensor, or one be computed from the other: through an alias of
        # each, every cotangent is that of its own place in the formula.
        places = [Alias()(x) for x in inputs]
        wanted = [i for i in range(len(inputs)) if self.needs(i)]
        gxs = grad(self.formula(*places), [places[i] for i in wanted], gy, create_graph=True)
        found = dict(zip(wanted, gxs, strict=True))
        return tuple(found.get(i) for i in range(len(inputs)))
