"""pad: zeros, a constant, or the tensor's own elements around it."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from minigen_kernels import namespace_of

from ..function import Function, broadcast_to
from ..tensor import Tensor
from .shape import cat, flip

__all__ = ["pad"]

Widths = tuple[tuple[int, int], ...]


class Pad(Function):
    """y = x with `value` around it; a negative width cuts off instead"""

    keeps_inputs = False

    def __init__(self, widths: Widths, value: float = 0.0):
        self.widths, self.value = widths, value

    def forward(self, x: Any) -> Any:
        shape = tuple(a + n + b for n, (a, b) in zip(x.shape, self.widths, strict=True))
        to, source = [], []
        for n, m, (a, _) in zip(x.shape, shape, self.widths, strict=True):
            start, stop = max(-a, 0), min(n, m - a)
            source.append(slice(start, max(stop, start)))
            to.append(slice(start + a, max(stop, start) + a))
        if shape == tuple(s.stop - s.start for s in source):
            return x[tuple(source)].copy()
        y = namespace_of(x).full(shape, self.value, x.dtype)
        y[tuple(to)] = x[tuple(source)]
        return y

    def backward(self, gy: Tensor) -> Tensor:
        return Pad(tuple((-a, -b) for a, b in self.widths))(gy)


def _reflected(x: Tensor, axis: int, before: int, after: int) -> list[Tensor]:
    n = x.shape[axis]
    if max(before, after) >= n:
        raise ValueError(
            f"pad: reflecting {max(before, after)} elements of axis {axis} of shape {x.shape} "
            f"needs more than that many, there are {n}"
        )
    part = (slice(None),) * axis
    head = flip(x[(*part, slice(1, before + 1))], axis)
    return [head, x, flip(x[(*part, slice(n - 1 - after, n - 1))], axis)]


def _replicated(x: Tensor, axis: int, before: int, after: int) -> list[Tensor]:
    n, part = x.shape[axis], (slice(None),) * axis
    if not n:
        raise ValueError(f"pad: axis {axis} of shape {x.shape} has no edge to repeat")
    shape = (*x.shape[:axis], before, *x.shape[axis + 1 :])
    head = broadcast_to(x[(*part, slice(0, 1))], shape)
    shape = (*x.shape[:axis], after, *x.shape[axis + 1 :])
    return [head, x, broadcast_to(x[(*part, slice(n - 1, n))], shape)]


def _wrapped(x: Tensor, axis: int, before: int, after: int) -> list[Tensor]:
    n, part = x.shape[axis], (slice(None),) * axis
    if max(before, after) > n:
        raise ValueError(
            f"pad: axis {axis} of shape {x.shape} can be wrapped around once, by up to {n} "
            f"elements, not by {max(before, after)}"
        )
    return [x[(*part, slice(n - before, n))], x, x[(*part, slice(0, after))]]


AROUND = {"reflect": _reflected, "replicate": _replicated, "circular": _wrapped}


def pad(
    input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Tensor:
    """x with more around it, or less where a width is negative.

    pad   (before, after) of the last axis, then of the one before it, and so on.
    mode  "constant" (value, 0 unless given), "reflect" (mirrored at the edge's middle),
          "replicate" (the edge repeated) or "circular" (continued from the other end).
    """
    numbers = [operator.index(n) for n in pad]
    if len(numbers) % 2 or len(numbers) > 2 * input.ndim:
        raise ValueError(
            f"pad: {tuple(numbers)} must hold two widths per axis, last axis first, for at most "
            f"the {input.ndim} axes of shape {input.shape}"
        )
    pairs = list(zip(numbers[::2], numbers[1::2], strict=True))[::-1]
    widths = ((0, 0),) * (input.ndim - len(pairs)) + tuple(pairs)
    short = [i for i, (a, b) in enumerate(widths) if input.shape[i] + a + b < 0]
    if short:
        raise ValueError(
            f"pad: {tuple(numbers)} cuts more off axis {short[0]} of shape {input.shape} "
            "than it has"
        )
    if mode == "constant" or not numbers:
        return Pad(widths, 0.0 if value is None else value)(input)
    if mode not in AROUND:
        raise ValueError(f"pad: mode={mode!r} must be 'constant' or one of {sorted(AROUND)}")
    if value is not None:
        raise ValueError(f"pad: mode={mode!r} takes no value")
    cut = Pad(tuple((min(a, 0), min(b, 0)) for a, b in widths)) if min(numbers) < 0 else None
    x = cut(input) if cut and mode == "circular" else input  # what is left is what goes round
    for axis, (before, after) in enumerate(widths):
        if before > 0 or after > 0:
            x = cat(AROUND[mode](x, axis, max(before, 0), max(after, 0)), axis)
    return cut(x) if cut and mode != "circular" else x
