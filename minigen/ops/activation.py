"""Activations, element by element, and softmax."""

from __future__ import annotations

from typing import Any

import numpy as np
from minigen_kernels import backend_of, namespace_of, on_gpu, reference

from ..function import Function
from ..tensor import Tensor, is_recording
from .axes import axis_of, either_names
from .choice import where
from .elementwise import exp, tanh
from .operands import floating, refuse_inplace, to

__all__ = [
    "elu", "gelu", "leaky_relu", "log_softmax", "logsigmoid", "relu", "sigmoid", "silu", "softmax",
    "softplus",
]  # fmt: skip


class LeakyRelu(Function):
    """y = x where x > 0, slope · x elsewhere"""

    name = "leaky_relu"

    def __init__(self, slope: float):
        self.slope = float(slope)  # a NumPy scalar would decide the dtype

    def forward(self, x: Any) -> Any:
        return rectifiers(x).leaky_relu(x, self.slope)

    def backward(self, gy: Tensor) -> Tensor:
        return LeakyReluBackward(self.slope)(gy, self.inputs[0].detach())


class Relu(LeakyRelu):
    """y = max(x, 0), with slope 0 at 0; its output says as well where x > 0, and is kept anyway"""

    keeps_inputs = False
    keeps_output = True

    def __init__(self) -> None:
        super().__init__(0.0)

    def forward(self, x: Any) -> Any:
        return super().forward(x) if x.dtype.kind == "f" else namespace_of(x).maximum(x, 0)

    def backward(self, gy: Tensor) -> Tensor:
        return LeakyReluBackward(self.slope)(gy, self.output.detach())


class LeakyReluBackward(Function):
    """gx = gy where x > 0, slope · gy elsewhere: linear in gy, and its own adjoint"""

    name = "leaky_relu_backward"

    def __init__(self, slope: float):
        self.slope = slope

    def forward(self, gy: Any, x: Any) -> Any:
        return rectifiers(x).leaky_relu_backward(gy, x, self.slope)

    def backward(self, ggx: Tensor) -> tuple[Tensor, None]:
        return LeakyReluBackward(self.slope)(ggx, self.inputs[1]), None


def rectifiers(x: Any) -> Any:
    """The kernels; for a kind of float that has none (float16), their formulas."""
    return backend_of(x) if x.dtype.char in "fd" or on_gpu(x) else reference


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0); the slope at 0 is 0."""
    refuse_inplace("relu", inplace)
    return Relu()(input)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where x > 0, negative_slope · x elsewhere; with negative_slope 0 it is relu."""
    refuse_inplace("leaky_relu", inplace)
    return LeakyRelu(negative_slope)(floating(input))


class Elu(Function):
    """y = x where x > 0, α · (eˣ - 1) elsewhere"""

    def __init__(self, alpha: float):
        self.alpha = float(alpha)

    def forward(self, x: Any) -> Any:
        xp = namespace_of(x)
        return xp.where(x <= 0, self.alpha * xp.expm1(xp.minimum(x, 0)), x)

    def backward(self, gy: Tensor) -> Tensor:
        (x,) = self.inputs
        below = x.data <= 0
        # eˣ itself, not the output + α: for x far below 0 that has no digits left.
        return where(below, gy * (exp(where(x.data < 0, x, 0.0)) * self.alpha), gy)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, alpha · (eˣ - 1) elsewhere."""
    refuse_inplace("elu", inplace)
    return Elu(alpha)(floating(input))


class Sigmoid(Function):
    """y = 1 / (1 + e⁻ˣ)"""

    keeps_inputs = False
    keeps_output = True

    def forward(self, x: Any) -> Any:
        return sigmoid_of(x)

    def backward(self, gy: Tensor) -> Tensor:
        y = self.output
        return gy * (y * (1.0 - y))


def sigmoid_of(x: Any) -> Any:
    """1 / (1 + e⁻ˣ) of an array."""
    xp = namespace_of(x)
    y = xp.asarray(xp.exp(-x))
    y += 1
    return xp.reciprocal(y, out=y)


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + e⁻ˣ)"""
    return Sigmoid()(floating(input))


class Silu(Function):
    """y = x · σ(x)"""

    def forward(self, x: Any) -> Any:
        return x * sigmoid_of(x)

    def backward(self, gy: Tensor) -> Tensor:
        (x,) = self.inputs
        s = sigmoid(x)
        return gy * (s * (x * (1.0 - s) + 1.0))


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x / (1 + e⁻ˣ)"""
    refuse_inplace("silu", inplace)
    return Silu()(floating(input))


class Softplus(Function):
    """y = ln(1 + exp(β·x)) / β, and x where β·x > threshold"""

    def __init__(self, beta: float, threshold: float):
        self.beta, self.threshold = float(beta), float(threshold)

    def forward(self, x: Any) -> Any:
        xp = namespace_of(x)
        t = x if self.beta == 1 else x * self.beta
        y = xp.asarray(xp.abs(t))  # max(t, 0) + ln(1 + exp(-|t|)), in one piece of memory
        xp.negative(y, out=y)
        xp.exp(y, out=y)
        xp.log1p(y, out=y)
        y += xp.maximum(t, 0)
        if self.beta != 1:
            y /= self.beta
        return y if self.threshold == np.inf else xp.where(t > self.threshold, x, y)

    def backward(self, gy: Tensor) -> Tensor:
        (x,) = self.inputs
        slope = sigmoid(x if self.beta == 1 else x * self.beta)
        if self.threshold == np.inf:
            return gy * slope
        t = x.data * self.beta
        slope = where(t < self.threshold, slope, slope.detach())  # at the end itself it is flat
        return gy * where(t > self.threshold, 1.0, slope)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """ln(1 + exp(beta·x)) / beta; x itself where beta·x > threshold."""
    return Softplus(beta, threshold)(floating(input))


def logsigmoid(input: Tensor) -> Tensor:
    """ln σ(x) = -ln(1 + e⁻ˣ), exact for large |x|."""
    return -Softplus(1.0, np.inf)(-floating(input))


class Softmax(Function):
    """y = exp x / Σ exp x along an axis"""

    keeps_inputs = False
    keeps_output = True

    def __init__(self, axis: int):
        self.axis = axis

    def forward(self, x: Any) -> Any:
        xp = namespace_of(x)
        if not x.size:
            return x.copy()
        y = xp.asarray(x - x.max(axis=self.axis, keepdims=True))
        xp.exp(y, out=y)
        y /= y.sum(axis=self.axis, keepdims=True)
        return y

    def backward(self, gy: Tensor) -> Tensor:
        y = self.output
        return y * (gy - (gy * y).sum(self.axis, True))


class LogSoftmax(Function):
    """y = x - ln Σ exp x along an axis"""

    name = "log_softmax"
    keeps_inputs = False
    keeps_output = True

    def __init__(self, axis: int):
        self.axis = axis

    def forward(self, x: Any) -> Any:
        xp = namespace_of(x)
        if not x.size:
            return x.copy()
        y = xp.asarray(x - x.max(axis=self.axis, keepdims=True))
        y -= xp.log(xp.exp(y).sum(axis=self.axis, keepdims=True))
        return y

    def backward(self, gy: Tensor) -> Tensor:
        return gy - exp(self.output) * gy.sum(self.axis, True)


def _along(op: str, input: Tensor, dim: int, dtype: Any) -> tuple[Tensor, int]:
    x = floating(input) if dtype is None else to(input, dtype)
    return x, axis_of(op, dim, x.ndim)


@either_names
def softmax(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """exp x / Σ exp x along an axis."""
    x, axis = _along("softmax", input, dim, dtype)
    return Softmax(axis)(x) if x.ndim else Softmax(0)(x.reshape(1)).reshape(())


@either_names
def log_softmax(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """x - ln Σ exp x along an axis, exact for large |x|."""
    x, axis = _along("log_softmax", input, dim, dtype)
    return LogSoftmax(axis)(x) if x.ndim else LogSoftmax(0)(x.reshape(1)).reshape(())


class Gelu(Function):
    """y = x · Φ(x), with Φ the normal distribution function or its approximation by tanh"""

    def __init__(self, approximate: str):
        self.approximate = approximate

    def forward(self, x: Any) -> Any:
        return backend_of(x).gelu(x, self.approximate)

    def backward(self, gy: Tensor) -> Tensor:
        (x,) = self.inputs
        if not is_recording():
            return Tensor(backend_of(gy.data).gelu_backward(gy.data, x.data, self.approximate))
        return gelu_backward(gy, x, self.approximate)


def gelu_backward(gy: Tensor, x: Tensor, approximate: str) -> Tensor:
    """gy · gelu'(x), composed of differentiable operations."""
    if approximate == "none":  # Φ(x) = y / x has no value at 0, so Φ is a Function itself
        return gy * (Phi()(x) + x * exp(x * x * -0.5) * PHI_0)
    inner = x * (x * x * TANH_CUBIC + 1.0) * TANH_SCALE
    t = tanh(inner)
    slope = (x * x * (3 * TANH_CUBIC) + 1.0) * TANH_SCALE
    return gy * ((t + 1.0) * 0.5 + x * (1.0 - t * t) * slope * 0.5)


PHI_0 = float(1 / np.sqrt(2 * np.pi))  # the normal density at 0
TANH_SCALE, TANH_CUBIC = float(np.sqrt(2 / np.pi)), 0.044715


class Phi(Function):
    """y = Φ(x), the normal distribution function"""

    def forward(self, x: Any) -> Any:
        xp = namespace_of(x)
        x = xp.asarray(xp.clip(x, -40, 40))  # where Φ is 0 and 1 already, and ∞ · 0 is no concern
        y = backend_of(x).gelu(x, "none")
        return xp.where(x == 0, x.dtype.type(0.5), y / xp.where(x == 0, x.dtype.type(1), x))

    def backward(self, gy: Tensor) -> Tensor:
        (x,) = self.inputs
        return gy * (exp(x * x * -0.5) * PHI_0)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x · Φ(x), with the normal distribution function Φ; or, if approximate="tanh",

    x · (1 + tanh(√(2/π) · (x + 0.044715·x³))) / 2. Source: Hendrycks and Gimpel, arXiv:1606.08415.
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: approximate={approximate!r} must be 'none' or 'tanh'")
    return Gelu(approximate)(floating(input))
