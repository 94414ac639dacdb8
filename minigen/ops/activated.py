"""Products with an activation at their end, y = f(product): one kernel on a GPU, two on the CPU.
Batch norm may have one too, and start from the moments that a product leaves of its channels.

f is given by its name, "relu", "tanh", "sigmoid", "gelu" or "gelu_tanh", or as
("leaky_relu", slope). The slope of f follows from y, so that nothing but y is kept; only for gelu
does it not, and there what f was given is kept as well.
"""

from __future__ import annotations

from typing import Any

from minigen_kernels import activated, backend_of, namespace_of
from minigen_kernels.activations import slope_of

from ..function import Function
from ..tensor import Tensor, is_recording
from .activation import (
    LeakyReluBackward,
    gelu,
    gelu_backward,
    leaky_relu,
    rectifiers,
    sigmoid,
    sigmoid_of,
)
from .elementwise import tanh

__all__ = ["Activated", "Activation", "WithMoments", "activate", "activation_of", "moments_of"]

Activation = str | tuple[str, float]
GELU_FORMS = {"gelu": "none", "gelu_tanh": "tanh"}


def activation_of(op: str, activation: Activation) -> tuple[str, float]:
    """(its name, its slope below 0), once it is known that there is such an activation."""
    name, slope = (activation, 0.01) if isinstance(activation, str) else activation
    try:
        return name, slope_of(name, slope)
    except ValueError as error:
        raise ValueError(f"{op}: {error}") from None


class Activated(Function):
    """What a product becomes by an activation: stands before the product's class among the bases.

    product            the name of the product's kernel.
    compute(kernel, …) calls that kernel, or the one with an activation, on the inputs' arrays.
    plain()            the product without an activation, a Function.
    """

    keeps_output = True
    product = ""
    activation, slope = "relu", 0.0
    before: Any = None

    compute: Any  # declared, not defined: the product's class may have it

    def plain(self) -> Function:
        """The product alone."""
        raise TypeError(f"{self.name} defines no plain()")

    def named(self, activation: tuple[str, float]) -> Activated:
        """This, with an activation."""
        self.activation, self.slope = activation
        self.name = f"{self.name}_{self.activation}"
        return self

    def forward(self, *arrays: Any) -> Any:
        keep = is_recording() and self.activation in GELU_FORMS
        kernel = activated(backend_of(arrays[0]), self.product)
        if kernel is None or arrays[0].dtype.char not in "fd":
            x = super().forward(*arrays)
            self.before = x if keep else None
            return _applied(x, self.activation, self.slope)
        finish = {"activation": self.activation, "slope": self.slope, "keep": keep}
        y = self.compute(kernel, *arrays, **finish)
        if keep:
            y, self.before = y
        return y

    def backward(self, gy: Tensor) -> Any:
        return super().backward(self._pulled(gy))

    def _pulled(self, gy: Tensor) -> Tensor:
        """The cotangent of what the activation was given."""
        form = GELU_FORMS.get(self.activation)
        if form is not None:
            if not is_recording():
                return Tensor(backend_of(gy.data).gelu_backward(gy.data, self.before, form))
            return gelu_backward(gy, self.plain()(*self.inputs), form)
        y = self.output
        if self.activation == "tanh":
            return gy * (1.0 - y * y)
        if self.activation == "sigmoid":
            return gy * (y * (1.0 - y))
        return LeakyReluBackward(self.slope)(gy, y.detach())  # y > 0 where what was given is


class WithMoments(Function):
    """A product that leaves the moments of its channels: before the product's class, as Activated.

    They are there where a kernel leaves them, on a GPU, and belong to the value as it was made.
    """

    product = ""
    moments: Any = None

    compute: Any  # as in Activated

    def forward(self, *arrays: Any) -> Any:
        kernel = activated(backend_of(arrays[0]), self.product)
        if kernel is None or arrays[0].dtype.char not in "fd" or not is_recording():
            return super().forward(*arrays)
        y, self.moments = self.compute(kernel, *arrays, activation="none", moments=True)
        return y


def moments_of(x: Tensor) -> Any:
    """What the product that made x has left of it, if x has not been changed since; or None."""
    made_by = x.creator
    return made_by.moments if isinstance(made_by, WithMoments) and x.version == [0] else None


def activate(x: Tensor, activation: tuple[str, float]) -> Tensor:
    """f(x) of a tensor, as an operation of its own."""
    name, slope = activation
    if name in GELU_FORMS:
        return gelu(x, GELU_FORMS[name])
    if name in ("tanh", "sigmoid"):
        return tanh(x) if name == "tanh" else sigmoid(x)
    return leaky_relu(x, slope)


def _applied(x: Any, activation: str, slope: float) -> Any:
    """f(x) of an array, as a pass of its own."""
    if activation == "tanh":
        return namespace_of(x).tanh(x)
    if activation == "sigmoid":
        return sigmoid_of(x)
    if activation in GELU_FORMS:
        return backend_of(x).gelu(x, GELU_FORMS[activation])
    return rectifiers(x).leaky_relu(x, slope)
