"""Element by element: arithmetic with broadcasting, powers, exponentials, sines."""

from __future__ import annotations

import numbers
from typing import Any

import minigen_kernels
import numpy as np
from minigen_kernels import namespace_of

from ..function import Function
from ..tensor import Tensor, full_like
from .choice import where
from .operands import Operand, Scalar, apply, floating, operands, to

__all__ = [
    "add", "cos", "div", "exp", "expm1", "log", "log1p", "mul", "neg", "pow", "rsqrt", "sin",
    "sqrt", "square", "sub", "tanh", "where",
]  # fmt: skip

# ---- arithmetic


class Add(Function):
    """z = x + y"""

    broadcasts = True
    keeps_inputs = False

    def forward(self, x: Any, y: Any) -> Any:
        return minigen_kernels.add(x, y)

    def backward(self, gz: Tensor) -> tuple[Tensor, Tensor]:
        return gz, gz


class Sub(Function):
    """z = x - y"""

    broadcasts = True
    keeps_inputs = False

    def forward(self, x: Any, y: Any) -> Any:
        return x - y

    def backward(self, gz: Tensor) -> tuple[Tensor, Tensor | None]:
        return gz, neg(gz) if self.needs(1) else None


class Mul(Function):
    """z = x · y"""

    broadcasts = True

    def forward(self, x: Any, y: Any) -> Any:
        return x * y

    def backward(self, gz: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, y = self.inputs
        return gz * y if self.needs(0) else None, gz * x if self.needs(1) else None


class Div(Function):
    """z = x / y"""

    broadcasts = True

    def forward(self, x: Any, y: Any) -> Any:
        return x / y

    def backward(self, gz: Tensor) -> tuple[Tensor, Tensor | None]:
        x, y = self.inputs
        gx = gz / y
        return gx, -gx * (x / y) if self.needs(1) else None


class Neg(Function):
    """y = -x"""

    keeps_inputs = False

    def forward(self, x: Any) -> Any:
        return -x

    def backward(self, gy: Tensor) -> Tensor:
        return neg(gy)


def add(input: Operand, other: Operand) -> Tensor:
    """x + y, broadcast."""
    return apply(Add(), input, other)


def sub(input: Operand, other: Operand) -> Tensor:
    """x - y, broadcast."""
    return apply(Sub(), input, other)


def mul(input: Operand, other: Operand) -> Tensor:
    """x · y, broadcast."""
    return apply(Mul(), input, other)


def div(input: Operand, other: Operand) -> Tensor:
    """x / y, broadcast; integers are divided as float32."""
    x, y = operands(input, other)
    if x.dtype.kind != "f" and y.dtype.kind != "f":
        x, y = to(x, np.float32), to(y, np.float32)
    return apply(Div(), x, y)


def neg(input: Tensor) -> Tensor:
    """-x"""
    return Neg()(input)


# ---- powers


class Power(Function):
    """y = xᵖ for a number p"""

    def __init__(self, exponent: Scalar):
        self.exponent = exponent

    def forward(self, x: Any) -> Any:
        return x * x * x if self.exponent == 3 else x**self.exponent

    def backward(self, gy: Tensor) -> Tensor:
        (x,) = self.inputs
        p = self.exponent
        if p == 0:  # also at x = 0, where the formula below says 0 · ∞
            return full_like(gy, 0.0)
        return gy if p == 1 else gy * (x * 2.0 if p == 2 else pow(x, p - 1) * p)


class Pow(Function):
    """z = xʸ"""

    broadcasts = True
    keeps_output = True

    def forward(self, x: Any, y: Any) -> Any:
        return x**y

    def backward(self, gz: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, y = self.inputs
        gx = gy = None
        if self.needs(0):
            gx = where(Tensor(y.data == 0), 0.0, gz * (y * pow(x, y - 1.0)))
        if self.needs(1):  # 0ʸ is 0 for all y > 0: its slope in y is 0, not 0 · log 0
            flat = Tensor((x.data == 0) & (y.data >= 0))
            gy = where(flat, 0.0, gz * (self.output * log(where(flat, 1.0, x))))
        return gx, gy


def pow(input: Operand, exponent: Operand) -> Tensor:
    """xʸ, broadcast; the slope at x = 0 is that of torch."""
    if not (isinstance(exponent, (numbers.Number, np.generic)) and isinstance(input, Tensor)):
        return apply(Pow(), input, exponent)
    p: Any = exponent.item() if isinstance(exponent, np.generic) else exponent
    x = input if input.dtype.kind == "f" or isinstance(p, int) else to(input, np.float32)
    if x.dtype.kind != "f" and p < 0:
        raise ValueError(
            f"pow: integers have no integer power {p}; convert them first, e.g. x.to('float32')"
        )
    return Power(p)(x)


class Sqrt(Function):
    """y = √x"""

    keeps_inputs = False
    keeps_output = True

    def forward(self, x: Any) -> Any:
        return namespace_of(x).sqrt(x)

    def backward(self, gy: Tensor) -> Tensor:
        return gy / (self.output * 2.0)


class Rsqrt(Function):
    """y = 1 / √x"""

    keeps_inputs = False
    keeps_output = True

    def forward(self, x: Any) -> Any:
        return 1 / namespace_of(x).sqrt(x)

    def backward(self, gy: Tensor) -> Tensor:
        return gy * (pow(self.output, 3) * -0.5)


def sqrt(input: Tensor) -> Tensor:
    """√x"""
    return Sqrt()(floating(input))


def rsqrt(input: Tensor) -> Tensor:
    """1 / √x"""
    return Rsqrt()(floating(input))


def square(input: Tensor) -> Tensor:
    """x²"""
    return Power(2)(input)


# ---- exponentials and circles


class Exp(Function):
    """y = eˣ"""

    keeps_inputs = False
    keeps_output = True

    def forward(self, x: Any) -> Any:
        return namespace_of(x).exp(x)

    def backward(self, gy: Tensor) -> Tensor:
        return gy * self.output


class Expm1(Function):
    """y = eˣ - 1, exact near 0"""

    keeps_inputs = False
    keeps_output = True

    def forward(self, x: Any) -> Any:
        return namespace_of(x).expm1(x)

    def backward(self, gy: Tensor) -> Tensor:
        return gy * (self.output + 1.0)


class Log(Function):
    """y = ln x"""

    def forward(self, x: Any) -> Any:
        return namespace_of(x).log(x)

    def backward(self, gy: Tensor) -> Tensor:
        return gy / self.inputs[0]


class Log1p(Function):
    """y = ln(1 + x), exact near 0"""

    def forward(self, x: Any) -> Any:
        return namespace_of(x).log1p(x)

    def backward(self, gy: Tensor) -> Tensor:
        return gy / (self.inputs[0] + 1.0)


class Sin(Function):
    """y = sin x"""

    def forward(self, x: Any) -> Any:
        return namespace_of(x).sin(x)

    def backward(self, gy: Tensor) -> Tensor:
        return gy * cos(self.inputs[0])


class Cos(Function):
    """y = cos x"""

    def forward(self, x: Any) -> Any:
        return namespace_of(x).cos(x)

    def backward(self, gy: Tensor) -> Tensor:
        return gy * -sin(self.inputs[0])


class Tanh(Function):
    """y = tanh x"""

    keeps_inputs = False
    keeps_output = True

    def forward(self, x: Any) -> Any:
        return namespace_of(x).tanh(x)

    def backward(self, gy: Tensor) -> Tensor:
        return gy * (1.0 - square(self.output))


def exp(input: Tensor) -> Tensor:
    """eˣ"""
    return Exp()(floating(input))


def expm1(input: Tensor) -> Tensor:
    """eˣ - 1, without cancellation near 0."""
    return Expm1()(floating(input))


def log(input: Tensor) -> Tensor:
    """ln x; -inf at 0, NaN below."""
    return Log()(floating(input))


def log1p(input: Tensor) -> Tensor:
    """ln(1 + x), without cancellation near 0."""
    return Log1p()(floating(input))


def sin(input: Tensor) -> Tensor:
    """sin x, x in radians."""
    return Sin()(floating(input))


def cos(input: Tensor) -> Tensor:
    """cos x, x in radians."""
    return Cos()(floating(input))


def tanh(input: Tensor) -> Tensor:
    """tanh x"""
    return Tanh()(floating(input))
