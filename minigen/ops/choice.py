"""Choices between values: signs, comparisons, where, maximum, minimum, clamp.

What decides (a sign, a comparison) is piecewise constant, so it enters backward as a constant.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from minigen_kernels import beside, namespace_of, on_gpu

from ..function import Function
from ..tensor import Tensor, full_like
from .operands import Operand, Scalar, apply, as_tensor, misfit, operands, plain, to

__all__ = [
    "abs", "clamp", "eq", "ge", "gt", "le", "lt", "maximum", "minimum", "ne", "sign", "where",
]  # fmt: skip

# ---- signs


class Abs(Function):
    """y = |x|, with slope 0 at 0"""

    def forward(self, x: Any) -> Any:
        return abs_of(x)

    def backward(self, gy: Tensor) -> Tensor:
        return gy * sign(self.inputs[0].detach())


abs_of = abs  # Python's own, before the name is taken


def abs(input: Tensor) -> Tensor:
    """|x|; the slope at 0 is 0."""
    return Abs()(input)


class Sign(Function):
    """y = -1, 0 or 1, and 0 for NaN; its slope is 0 everywhere"""

    keeps_inputs = False

    def forward(self, x: Any) -> Any:
        if x.dtype.kind == "b":
            return x.copy()
        return (x > 0).astype(x.dtype) - (x < 0).astype(x.dtype)

    def backward(self, gy: Tensor) -> Tensor:
        return full_like(gy, 0.0)


def sign(input: Tensor) -> Tensor:
    """-1, 0 or 1, by the sign of x."""
    return Sign()(input)


# ---- comparisons: bool tensors, off the tape


def _compare(name: str, x: Any, y: Any) -> Tensor:
    a, b = operands(x, y)
    try:
        return Tensor(getattr(namespace_of(a.data), name)(a.data, b.data))
    except ValueError as error:
        message = misfit(name, a.shape, b.shape)
        raise ValueError(message) from None if message else error


def eq(input: Operand, other: Operand) -> Tensor:
    """x = y, as bools."""
    return _compare("equal", input, other)


def ne(input: Operand, other: Operand) -> Tensor:
    """x ≠ y, as bools."""
    return _compare("not_equal", input, other)


def lt(input: Operand, other: Operand) -> Tensor:
    """x < y, as bools."""
    return _compare("less", input, other)


def le(input: Operand, other: Operand) -> Tensor:
    """x ≤ y, as bools."""
    return _compare("less_equal", input, other)


def gt(input: Operand, other: Operand) -> Tensor:
    """x > y, as bools."""
    return _compare("greater", input, other)


def ge(input: Operand, other: Operand) -> Tensor:
    """x ≥ y, as bools."""
    return _compare("greater_equal", input, other)


def both(x: Operand, y: Operand) -> Tensor:
    """x & y: both are true; of whole numbers, bit by bit."""
    return _compare("bitwise_and", x, y)


def either(x: Operand, y: Operand) -> Tensor:
    """x | y: one or both are true; of whole numbers, bit by bit."""
    return _compare("bitwise_or", x, y)


def negated(x: Tensor) -> Tensor:
    """~x: true where x is false; of whole numbers, bit by bit."""
    return Tensor(~x.data)


# ---- choices


def perhaps(condition: Any) -> bool:
    """False if the condition is known to hold nowhere. A GPU is not asked: it would have to be
    waited for, and what is done where the condition holds is right without it too."""
    return on_gpu(condition) or bool(condition.any())


class Where(Function):
    """z = x where the condition holds, y elsewhere"""

    broadcasts = True
    keeps_inputs = False

    def __init__(self, condition: Any):
        self.condition = condition

    def forward(self, x: Any, y: Any) -> Any:
        return namespace_of(x).where(self.condition, x, y)

    def backward(self, gz: Tensor) -> tuple[Tensor | None, Tensor | None]:
        return (
            where(self.condition, gz, 0.0) if self.needs(0) else None,
            where(self.condition, 0.0, gz) if self.needs(1) else None,
        )


def where(condition: Any, input: Operand, other: Operand) -> Tensor:
    """input where the condition (a bool tensor or array) is true, other elsewhere; broadcast."""
    c = condition.data if isinstance(condition, Tensor) else condition
    c = c if hasattr(c, "dtype") else np.asarray(c)
    if c.dtype.kind != "b":
        raise TypeError(f"where: the condition is {c.dtype}, but must be bool, e.g. x > 0")
    x, y = operands(input, other)
    c = beside(c, x.data)
    try:
        return Where(c)(x, y)
    except ValueError as error:
        message = misfit("where", x.shape, y.shape)
        message = message or misfit("where", c.shape, np.broadcast_shapes(x.shape, y.shape))
        raise ValueError(message) from None if message else error


class Extremum(Function):
    """z = the larger (or smaller) of x and y; at a tie each has half the slope"""

    broadcasts = True

    def backward(self, gz: Tensor) -> tuple[Tensor | None, Tensor | None]:
        # Chosen, not multiplied by 0: what loses has slope 0 also where gz is infinite.
        x, y = (t.data for t in self.inputs)
        tie = x == y
        gz = where(tie, gz * 0.5, gz) if perhaps(tie) else gz
        return (
            where(self.first_loses(x, y), 0.0, gz) if self.needs(0) else None,
            where(self.first_loses(y, x), 0.0, gz) if self.needs(1) else None,
        )

    def first_loses(self, x: Any, y: Any) -> Any:
        """Where the result is y alone."""
        raise TypeError(f"{self.name} defines no first_loses()")


class Maximum(Extremum):
    """z = max(x, y)"""

    def forward(self, x: Any, y: Any) -> Any:
        return namespace_of(x).maximum(x, y)

    def first_loses(self, x: Any, y: Any) -> Any:
        return x < y


class Minimum(Extremum):
    """z = min(x, y)"""

    def forward(self, x: Any, y: Any) -> Any:
        return namespace_of(x).minimum(x, y)

    def first_loses(self, x: Any, y: Any) -> Any:
        return x > y


def maximum(input: Operand, other: Operand) -> Tensor:
    """max(x, y), broadcast; at a tie each has half the slope."""
    return apply(Maximum(), input, other)


def minimum(input: Operand, other: Operand) -> Tensor:
    """min(x, y), broadcast; at a tie each has half the slope."""
    return apply(Minimum(), input, other)


class Clamp(Function):
    """y = min(max(x, low), high), with slope 1 from low to high, both included"""

    def __init__(self, low: Scalar | None, high: Scalar | None):
        self.low, self.high = low, high

    def forward(self, x: Any) -> Any:
        return namespace_of(x).clip(x, self.low, self.high)

    def backward(self, gy: Tensor) -> Tensor:
        x = self.inputs[0].data
        inside = namespace_of(x).ones(x.shape, bool)
        if self.low is not None:
            inside &= x >= self.low
        if self.high is not None:
            inside &= x <= self.high
        return where(inside, gy, 0.0)


def clamp(input: Tensor, min: Operand | None = None, max: Operand | None = None) -> Tensor:
    """min(max(x, min), max), for numbers or broadcast tensors; one bound may be left out.

    The slope is 1 inside and at the bounds; if min > max the result is max.
    """
    if min is None and max is None:
        raise ValueError("clamp: give min, max or both")
    if not isinstance(min, Tensor) and not isinstance(max, Tensor):
        if any(isinstance(bound, float) for bound in (min, max)) and input.dtype.kind != "f":
            input = to(input, np.float32)
        return Clamp(plain(min), plain(max))(input)
    if min is not None:
        low = as_tensor(min, input)
        input = where(lt(input, low), low, input)
    if max is not None:
        high = as_tensor(max, input)
        input = where(gt(input, high), high, input)
    return input
