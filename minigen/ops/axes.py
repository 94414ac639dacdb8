"""How axes are named: from either end, one or several, in torch's words or in NumPy's."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

__all__ = ["Axes", "axes_of", "axis_of", "either_names"]

Axes = int | Sequence[int] | None
Result = TypeVar("Result")
ALL = tuple(tuple(range(ndim)) for ndim in range(8))


def axis_of(op: str, axis: int, ndim: int) -> int:
    """The axis counted from the front; an error that names the range if there is none such."""
    try:
        axis = operator.index(axis)
    except TypeError:
        raise TypeError(f"{op}: an axis is a whole number, not {axis!r}") from None
    if not -ndim <= axis < ndim and not (ndim == 0 and axis in (-1, 0)):
        raise IndexError(
            f"{op}: axis {axis} is out of range for a tensor with {ndim} axes"
            + (f" (from {-ndim} to {ndim - 1})" if ndim else "")
        )
    return axis % ndim if ndim else 0


def axes_of(op: str, axes: Axes, ndim: int) -> tuple[int, ...]:
    """The axes counted from the front and in order; None and () stand for all of them."""
    if axes is None:
        return ALL[ndim] if ndim < len(ALL) else tuple(range(ndim))
    if isinstance(axes, int):
        return (axis_of(op, axes, ndim),) if ndim else ()
    found = sorted(axis_of(op, a, ndim) for a in axes)
    if len(set(found)) != len(found):
        raise ValueError(f"{op}: an axis is given twice in {tuple(axes)}")
    return tuple(found) if found and ndim else tuple(range(ndim))


def either_names(op: Callable[..., Result]) -> Callable[..., Result]:
    """Let op(input, dim=..., keepdim=...) be called as op(input, axis=..., keepdims=...) too."""

    @functools.wraps(op)
    def called(*args: Any, **named: Any) -> Result:
        if named:
            for ours, torchs in (("axis", "dim"), ("keepdims", "keepdim")):
                if ours in named:
                    if torchs in named:
                        raise TypeError(f"{op.__name__}: give {ours} or {torchs}, not both")
                    named[torchs] = named.pop(ours)
        return op(*args, **named)

    return called
