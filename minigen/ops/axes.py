"""How axes are named: from either end, one or several, in torch's words or in NumPy's."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

__all__ = ["Axes", "axes_of", "axis_of", "either_names", "one_or_many", "pair_of"]

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
    named: Any = axes  # an isinstance() that knows every kind of integer would take longer
    if hasattr(named, "__index__"):
        axis = axis_of(op, named, ndim)  # of a single number it may be 0 or -1
        return (axis,) if ndim else ()
    found = sorted(axis_of(op, a, ndim) for a in named)
    if len(set(found)) != len(found):
        raise ValueError(f"{op}: an axis is given twice in {tuple(named)}")
    return tuple(found) if found and ndim else tuple(range(ndim))


def pair_of(op: str, argument: str, value: Any, least: int = 1) -> tuple[int, int]:
    """(rows, columns) of a number or of one or two numbers."""
    numbers = tuple(value) if isinstance(value, Sequence) else (value,)
    whole = all(hasattr(n, "__index__") for n in numbers)
    if len(numbers) not in (1, 2) or not whole or min(numbers) < least:
        raise ValueError(
            f"{op}: {argument}={value!r} must be a whole number of at least {least}, or a pair"
        )
    return int(numbers[0]), int(numbers[-1])


def one_or_many(name: str) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Let op(input, 2, 3) and op(input, (2, 3)) be called as op(input, name=(2, 3)) too."""

    def decorated(op: Callable[..., Result]) -> Callable[..., Result]:
        @functools.wraps(op)
        def called(*args: Any, **named: Any) -> Result:
            if name in named:
                args = (named.pop("input"), *args) if "input" in named else args
                if len(args) != 1:
                    raise TypeError(f"{op.__name__}: give {name} once, by position or by name")
                args = (*args, named.pop(name))
            return op(*args, **named)

        return called

    return decorated


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
