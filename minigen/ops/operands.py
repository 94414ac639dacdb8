"""Operands: numbers and tensors brought to one dtype; conversions; what to say if shapes clash."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np
from minigen_kernels import namespace_of, to_device

from ..function import Function, not_a_tensor
from ..tensor import Tensor

__all__ = [
    "apply", "as_tensor", "common_dtype", "floating", "misfit", "operands", "plain",
    "refuse_inplace", "to",
]  # fmt: skip

Scalar = float | int | bool
Operand = Tensor | Scalar


def as_tensor(value: Any, like: Tensor | None = None) -> Tensor:
    """value as a Tensor: a number takes the dtype and the device of `like`."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, (numbers.Number, np.generic)):
        if like is None:
            kind = np.asarray(value).dtype.kind
            return Tensor(np.asarray(value, np.float32 if kind == "f" else None))
        dtype = like.data.dtype
        if dtype.kind != "f":
            dtype = _common(dtype, np.asarray(value).dtype)
        xp = namespace_of(like.data)
        # On a GPU filled there: a number that travels there costs more, and cannot be captured.
        return Tensor(np.asarray(value, dtype) if xp is np else xp.full((), value, dtype))
    if hasattr(value, "dtype"):
        return Tensor(value)
    raise TypeError(
        f"a {type(value).__name__} cannot be combined with a tensor: "
        "give a Tensor, an array or a number"
    )


def _common(a: np.dtype, b: np.dtype) -> np.dtype:
    """The dtype of an integer or bool tensor met by a value of dtype b."""
    if b.kind == "f":
        return np.dtype(np.float32)
    return a if b.kind == "b" or (a.kind != "b" and b.kind in "iu") else np.result_type(a, b)


def operands(x: Any, y: Any) -> tuple[Tensor, Tensor]:
    """x and y as two Tensors of one dtype, by the rule of the engine.

    A number adopts the other's dtype. A 0-d floating tensor adopts that of a floating tensor with
    dimensions; integers and bools adopt a floating dtype. float32 and float64 with dimensions
    are left as they are, for the engine to refuse.
    """
    if not isinstance(x, Tensor):
        x = as_tensor(x, y if isinstance(y, Tensor) else None)
    if not isinstance(y, Tensor):
        y = as_tensor(y, x)
    a, b = x.data.dtype, y.data.dtype
    if a is b or a == b:
        return x, y
    if a.kind == "f" and b.kind == "f":
        if x.ndim and y.ndim:
            return x, y
        wanted = a if x.ndim else b if y.ndim else np.promote_types(a, b)
    elif a.kind == "f" or b.kind == "f":
        wanted = a if a.kind == "f" else b
    else:
        wanted = np.promote_types(a, b)
    return to(x, wanted), to(y, wanted)


def common_dtype(xs: list[Tensor]) -> list[Tensor]:
    """Several operands brought to one dtype, by the same rule."""
    for i in range(1, len(xs)):
        xs[0], xs[i] = operands(xs[0], xs[i])
    return [operands(xs[0], x)[1] for x in xs]


def apply(op: Function, x: Any, y: Any) -> Tensor:
    """op of two operands; if their shapes do not broadcast, an error that says where and why."""
    x, y = operands(x, y)
    try:
        return op(x, y)
    except ValueError as error:
        message = misfit(op.name, x.shape, y.shape)
        raise ValueError(message) from None if message else error


def misfit(op: str, a: tuple[int, ...], b: tuple[int, ...]) -> str:
    """What to say about two shapes that do not broadcast; "" if they do."""
    for k in range(1, min(len(a), len(b)) + 1):
        if a[-k] != b[-k] and 1 not in (a[-k], b[-k]):
            return (
                f"{op}: shapes {a} and {b} do not broadcast: axis {-k} has size {a[-k]} in one "
                f"and {b[-k]} in the other; counted from the last, the sizes of each axis must be "
                "equal, or one of them 1"
            )
    return ""


# ---- conversions


class Cast(Function):
    """y = x in another dtype, on the same device"""

    keeps_inputs = False

    def __init__(self, dtype: Any):
        self.dtype = dtype

    def forward(self, x: Any) -> Any:
        self.before = x.dtype
        return x.astype(self.dtype)

    def backward(self, gy: Tensor) -> Tensor:
        return to(gy, self.before)


class Move(Function):
    """y = x on another device"""

    keeps_inputs = False

    def __init__(self, device: str):
        self.device = device

    def forward(self, x: Any) -> Any:
        self.before = Tensor(x).device
        return to_device(x, self.device)

    def backward(self, gy: Tensor) -> Tensor:
        return to(gy, self.before)


def to(input: Tensor, *where: Any) -> Tensor:
    """input on a device ("cpu", "cuda", "cuda:1") or in a dtype ("float64", np.float32), or both.

    x.to("cuda", "float32"); what is already so is returned as it is. Gradients are carried back.
    """
    x = input
    for target in where:
        if isinstance(target, str) and target.partition(":")[0] in ("cpu", "cuda"):
            if x.device != target and not (target == "cuda" and x.device != "cpu"):
                x = Move(target)(x)
            continue
        try:
            dtype = np.dtype(target)
        except TypeError:
            raise ValueError(
                f"to({target!r}): give a device, 'cpu' or 'cuda:0', or a dtype such as 'float32'"
            ) from None
        if x.dtype == dtype:
            continue
        if dtype.kind == "f" or not x.requires_grad:
            x = Cast(dtype)(x)
        else:  # no gradient passes through a whole number
            x = Tensor(x.data.astype(dtype))
    return x


def floating(x: Tensor) -> Tensor:
    """x, with integers and bools converted to float32."""
    try:
        kind = x.data.dtype.kind
    except AttributeError:
        raise TypeError(f"the input is {not_a_tensor(x)}") from None
    return x if kind == "f" else to(x, np.float32)


def plain(number: Any) -> Any:
    """A NumPy scalar as a Python number, which adopts an array's dtype instead of deciding it."""
    return number.item() if isinstance(number, np.generic) else number


def refuse_inplace(op: str, inplace: bool) -> None:
    """Tensors are not changed in place: what backward needs would be lost."""
    if inplace:
        raise ValueError(f"{op}: inplace=True is not supported; use the result, x = {op}(x)")
