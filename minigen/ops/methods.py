"""Tensor's operators and methods: functions of minigen.ops, attached under torch's names."""

from __future__ import annotations

import numbers
from typing import Any

from ..tensor import Tensor
from . import activation, choice, elementwise, indexing, linear, operands, reduce, shape

OPERATORS = {
    "__add__": elementwise.add,
    "__radd__": lambda x, y: elementwise.add(y, x),
    "__sub__": elementwise.sub,
    "__rsub__": lambda x, y: elementwise.sub(y, x),
    "__mul__": elementwise.mul,
    "__rmul__": lambda x, y: elementwise.mul(y, x),
    "__truediv__": elementwise.div,
    "__rtruediv__": lambda x, y: elementwise.div(y, x),
    "__pow__": elementwise.pow,
    "__rpow__": lambda x, y: elementwise.pow(y, x),
    "__matmul__": linear.matmul,
    "__rmatmul__": lambda x, y: linear.matmul(y, x),
    "__neg__": elementwise.neg,
    "__abs__": choice.abs,
    "__getitem__": indexing.getitem,
    "__eq__": lambda x, y: choice.eq(x, y) if _has_values(y) else NotImplemented,
    "__ne__": lambda x, y: choice.ne(x, y) if _has_values(y) else NotImplemented,
    "__lt__": choice.lt,
    "__le__": choice.le,
    "__gt__": choice.gt,
    "__ge__": choice.ge,
    "__and__": choice.both,
    "__rand__": choice.both,
    "__or__": choice.either,
    "__ror__": choice.either,
    "__invert__": choice.negated,
}

METHODS = {
    activation: ("relu", "sigmoid", "softmax", "log_softmax"),
    choice: ("abs", "clamp", "eq", "ge", "gt", "le", "lt", "maximum", "minimum", "ne", "sign"),
    elementwise: (
        "add", "cos", "div", "exp", "expm1", "log", "log1p", "mul", "neg", "pow", "rsqrt", "sin",
        "sqrt", "square", "sub", "tanh",
    ),
    indexing: ("gather", "index_select", "scatter_add"),
    linear: ("matmul",),
    operands: ("to",),
    reduce: (
        "amax", "amin", "argmax", "argmin", "cumsum", "logsumexp", "max", "mean", "min", "norm",
        "prod", "std", "sum", "var",
    ),
    shape: (
        "chunk", "expand", "flatten", "flip", "permute", "repeat", "reshape", "roll", "split",
        "squeeze", "tile", "transpose", "tril", "triu", "unsqueeze",
    ),
}  # fmt: skip


def _has_values(other: Any) -> bool:
    """Whether a tensor can be compared with it, element by element; None, say, is just unequal."""
    return isinstance(other, (Tensor, numbers.Number)) or hasattr(other, "dtype")


def where(input: Tensor, condition: Any, other: Any) -> Tensor:
    """The tensor's own values where the condition holds, the other's elsewhere."""
    return choice.where(condition, input, other)


def attach() -> None:
    """Give Tensor its operators and methods."""
    for name, function in OPERATORS.items():
        setattr(Tensor, name, function)
    for module, names in METHODS.items():
        for name in names:
            setattr(Tensor, name, getattr(module, name))
    named: dict[str, Any] = {
        "T": property(shape.reverse_axes),
        "view": shape.reshape,
        "where": where,
    }
    for name, value in named.items():
        setattr(Tensor, name, value)


attach()
