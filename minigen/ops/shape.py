"""Shapes: the same elements in another shape or order, joined, split and padded."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from minigen_kernels import empty, namespace_of, on_gpu

from ..function import Function, broadcast_to
from ..tensor import Tensor
from .axes import axes_of, axis_of, either_names, one_or_many
from .choice import where
from .indexing import gather, getitem, one_hot, scatter_add
from .operands import common_dtype

__all__ = [
    "cat", "chunk", "expand", "flatten", "flip", "gather", "getitem", "one_hot", "permute",
    "repeat", "reshape", "roll", "scatter_add", "split", "squeeze", "stack", "tile", "transpose",
    "tril", "triu", "unsqueeze",
]  # fmt: skip

# ---- the same elements in another shape


class Reshape(Function):
    """y = x in another shape, elements in the same order"""

    keeps_inputs = False
    is_view = True

    def __init__(self, shape: tuple[int, ...]):
        self.shape = shape

    def forward(self, x: Any) -> Any:
        return x.reshape(self.shape)

    def backward(self, gy: Tensor) -> Tensor:
        return Reshape(self.shapes[0])(gy)


def sizes(shape: tuple[Any, ...]) -> tuple[int, ...]:
    """(2, 3) from either x.reshape(2, 3) or x.reshape((2, 3))."""
    if len(shape) == 1 and isinstance(shape[0], (tuple, Sequence)):  # a tuple is known at once
        shape = tuple(shape[0])
    return tuple([operator.index(n) for n in shape])


@one_or_many("shape")
def reshape(input: Tensor, *shape: Any) -> Tensor:
    """The same elements in another shape; one size may be -1, and follows from the others."""
    new = sizes(shape)
    if new == input.shape:
        return input
    if min(new, default=0) < -1:
        raise ValueError(f"reshape: {new} holds a size below -1")
    try:
        return Reshape(new)(input)
    except ValueError:
        raise ValueError(
            f"reshape: {input.size} elements of shape {input.shape} do not fit {new}"
            + (" with one size left open" if -1 in new else f", which takes {math.prod(new)}")
        ) from None


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The axes from start_dim to end_dim made one."""
    if not input.ndim:
        return reshape(input, 1)
    first = axis_of("flatten", start_dim, input.ndim)
    last = axis_of("flatten", end_dim, input.ndim)
    if first > last:
        raise ValueError(f"flatten: start_dim {start_dim} lies behind end_dim {end_dim}")
    s = input.shape
    return reshape(input, (*s[:first], math.prod(s[first : last + 1]), *s[last + 1 :]))


@either_names
def squeeze(input: Tensor, dim: int | Sequence[int] | None = None) -> Tensor:
    """Without the axes of size 1, or without those of them that are named."""
    axes = axes_of("squeeze", dim, input.ndim) if dim != () else ()
    keep = [n for i, n in enumerate(input.shape) if n != 1 or i not in axes]
    return reshape(input, keep)


@either_names
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """With a new axis of size 1 at this place of the result."""
    axis = axis_of("unsqueeze", dim, input.ndim + 1)
    return reshape(input, (*input.shape[:axis], 1, *input.shape[axis:]))


class Permute(Function):
    """y = x with its axes in another order"""

    keeps_inputs = False
    is_view = True

    def __init__(self, axes: tuple[int, ...]):
        self.axes = axes

    def forward(self, x: Any) -> Any:
        return x.transpose(self.axes)

    def backward(self, gy: Tensor) -> Tensor:
        back = sorted(range(len(self.axes)), key=self.axes.__getitem__)
        return Permute(tuple(back))(gy)


@one_or_many("dims")
def permute(input: Tensor, *dims: Any) -> Tensor:
    """Axis i of the result is axis dims[i] of the input."""
    axes = tuple(axis_of("permute", a, input.ndim) for a in sizes(dims))
    if sorted(axes) != list(range(input.ndim)):
        raise ValueError(
            f"permute: {sizes(dims)} must name each of the {input.ndim} axes of shape "
            f"{input.shape} once"
        )
    return Permute(axes)(input)


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two axes exchanged."""
    if not input.ndim:
        return input
    axes = list(range(input.ndim))
    i, j = (axis_of("transpose", a, input.ndim) for a in (dim0, dim1))
    axes[i], axes[j] = j, i
    return Permute(tuple(axes))(input)


def reverse_axes(input: Tensor) -> Tensor:
    """All axes in reverse order: the transpose of a matrix."""
    return Permute(tuple(range(input.ndim))[::-1])(input)


# ---- repeated


def expand(input: Tensor, *sizes_: Any) -> Tensor:
    """Axes of size 1, and new axes in front, repeated without a copy; -1 keeps a size."""
    new = sizes(sizes_)
    lead = len(new) - input.ndim
    if lead < 0 or -1 in new[:lead]:
        raise ValueError(
            f"expand: {new} must have a size for each of the {input.ndim} axes of shape "
            f"{input.shape}, and no -1 for new axes in front"
        )
    old = (0,) * lead + input.shape
    return broadcast_to(input, tuple(m if n == -1 else n for n, m in zip(new, old, strict=True)))


@one_or_many("dims")
def tile(input: Tensor, *dims: Any) -> Tensor:
    """The whole tensor laid out dims[i] times along axis i; missing counts in front are 1."""
    counts = sizes(dims)
    n = max(len(counts), input.ndim)
    counts = (1,) * (n - len(counts)) + counts
    shape = (1,) * (n - input.ndim) + input.shape
    if min(counts, default=1) < 0:
        raise ValueError(f"tile: a count of {counts} is negative")
    pairs = [m for pair in zip((1,) * n, shape, strict=True) for m in pair]
    laid = [m for pair in zip(counts, shape, strict=True) for m in pair]
    y = broadcast_to(reshape(input, pairs), tuple(laid))
    return reshape(y, [c * m for c, m in zip(counts, shape, strict=True)])


def repeat(input: Tensor, *repeats: Any) -> Tensor:
    """As tile(), with a count for every axis."""
    counts = sizes(repeats)
    if len(counts) < input.ndim:
        raise ValueError(
            f"repeat: {counts} must have a count for each of the {input.ndim} axes of shape "
            f"{input.shape}; x.tile takes fewer"
        )
    return tile(input, counts)


# ---- another order


class Flip(Function):
    """y = x with some axes reversed"""

    keeps_inputs = False
    is_view = True

    def __init__(self, axes: tuple[int, ...]):
        self.axes = axes

    def forward(self, x: Any) -> Any:
        return namespace_of(x).flip(x, self.axes)

    def backward(self, gy: Tensor) -> Tensor:
        return Flip(self.axes)(gy)


@one_or_many("dims")
def flip(input: Tensor, *dims: Any) -> Tensor:
    """The axes reversed."""
    named = sizes(dims)
    return Flip(axes_of("flip", named, input.ndim))(input) if named and input.ndim else input


class Roll(Function):
    """y[i] = x[(i - shift) mod n] along the axes"""

    keeps_inputs = False

    def __init__(self, shifts: tuple[int, ...], axes: tuple[int, ...]):
        self.shifts, self.axes = shifts, axes

    def forward(self, x: Any) -> Any:
        return namespace_of(x).roll(x, self.shifts, self.axes)

    def backward(self, gy: Tensor) -> Tensor:
        return Roll(tuple(-s for s in self.shifts), self.axes)(gy)


def roll(
    input: Tensor, shifts: int | Sequence[int], dims: int | Sequence[int] | None = None
) -> Tensor:
    """Shifted along the axes, or counted through; what falls off the end comes in at the start."""
    by = (shifts,) if isinstance(shifts, int) else tuple(shifts)
    if dims is None:
        if len(by) != 1:
            raise ValueError(f"roll: without dims, shifts is one number, not {by}")
        return reshape(Roll(by, (0,))(reshape(input, -1)), input.shape)
    along = (dims,) if isinstance(dims, int) else tuple(dims)
    if len(by) != len(along):
        raise ValueError(f"roll: {len(by)} shifts {by} for {len(along)} axes {along}")
    if not input.ndim:
        return input
    return Roll(by, tuple(axis_of("roll", a, input.ndim) for a in along))(input)


def _triangle(op: str, x: Tensor, diagonal: int, upper: bool) -> Tensor:
    if x.ndim < 2:
        raise ValueError(f"{op}: a matrix or more is needed, not shape {x.shape}")
    xp = namespace_of(x.data)
    low = xp.tri(x.shape[-2], x.shape[-1], diagonal - upper, dtype=bool)
    return where(~low if upper else low, x, 0)


def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """The lower triangle of the last two axes, 0 above the diagonal."""
    return _triangle("tril", input, diagonal, False)


def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """The upper triangle of the last two axes, 0 below the diagonal."""
    return _triangle("triu", input, diagonal, True)


# ---- joined and split


class Cat(Function):
    """y = the inputs one behind the other along an axis"""

    keeps_inputs = False

    def __init__(self, axis: int):
        self.axis = axis

    def forward(self, *xs: Any) -> Any:
        shape = list(xs[0].shape)
        shape[self.axis] = sum(x.shape[self.axis] for x in xs)
        out = empty(tuple(shape), xs[0].dtype, xs[0])
        if not on_gpu(out):
            return np.concatenate(xs, axis=self.axis, out=out)
        start = 0  # CuPy's own takes a table of addresses along, which a graph would not keep
        for x in xs:
            stop = start + x.shape[self.axis]
            out[(slice(None),) * self.axis + (slice(start, stop),)] = x
            start = stop
        return out

    def backward(self, gy: Tensor) -> tuple[Tensor | None, ...]:
        gxs, start = [], 0
        for i, shape in enumerate(self.shapes):
            stop = start + shape[self.axis]
            part = (slice(None),) * self.axis + (slice(start, stop),)
            gxs.append(getitem(gy, part) if self.needs(i) else None)
            start = stop
        return tuple(gxs)


@either_names
def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """The tensors one behind the other along an axis; their other sizes are equal."""
    xs = list(tensors)
    if not xs:
        raise ValueError("cat: give at least one tensor")
    if len({x.dtype for x in xs}) > 1:
        xs = common_dtype(xs)
    xs = [x for x in xs if x.shape != (0,)] or xs[:1]  # torch's legacy: an empty list fits all
    if not xs[0].ndim:
        raise ValueError("cat: 0-d tensors have no axis to be joined along; use stack")
    axis = axis_of("cat", dim, xs[0].ndim)
    for i, x in enumerate(xs[1:], 1):
        if x.ndim != xs[0].ndim:
            raise ValueError(
                f"cat: tensor {i} of shape {x.shape} must have {xs[0].ndim} axes, as the first one "
                f"of shape {xs[0].shape} has"
            )
        for a, (n, m) in enumerate(zip(x.shape, xs[0].shape, strict=True)):
            if n != m and a != axis:
                raise ValueError(
                    f"cat along axis {axis}: shapes {xs[0].shape} and {x.shape} (tensors 0 and "
                    f"{i}) differ on axis {a}, {m} and {n}; all axes but {axis} must be equally "
                    "long"
                )
    return Cat(axis)(*xs)


@either_names
def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """The tensors side by side along a new axis; their shapes are equal."""
    xs = list(tensors)
    if not xs:
        raise ValueError("stack: give at least one tensor")
    for i, x in enumerate(xs):
        if x.shape != xs[0].shape:
            raise ValueError(
                f"stack: all shapes must be equal, tensor {i} has {x.shape} and tensor 0 has "
                f"{xs[0].shape}"
            )
    axis = axis_of("stack", dim, xs[0].ndim + 1)
    return cat([unsqueeze(x, axis) for x in xs], axis)


@either_names
def split(
    tensor: Tensor, split_size_or_sections: int | Sequence[int], dim: int = 0
) -> tuple[Tensor, ...]:
    """Pieces of a size along an axis (the last may be shorter), or of the given sizes; views."""
    axis = axis_of("split", dim, tensor.ndim)
    n = tensor.shape[axis] if tensor.ndim else 0
    if not tensor.ndim:
        raise ValueError("split: a 0-d tensor has no axis to be split along")
    if isinstance(split_size_or_sections, Sequence):
        pieces = list(split_size_or_sections)
        if sum(pieces) != n or min(pieces, default=0) < 0:
            raise ValueError(
                f"split: the sizes {pieces} must add up to {n}, the size of axis {axis} of shape "
                f"{tensor.shape}"
            )
    else:
        size = split_size_or_sections
        if size < 0 or (size == 0 and n):
            raise ValueError(f"split: pieces of size {size} do not make up an axis of size {n}")
        pieces = [min(size, n - i) for i in range(0, n, size)] if n else [0]
    starts = [sum(pieces[:i]) for i in range(len(pieces))]
    lead = (slice(None),) * axis
    return tuple(
        getitem(tensor, (*lead, slice(i, i + m))) for i, m in zip(starts, pieces, strict=True)
    )


@either_names
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most this many pieces, of equal size but for the last."""
    if chunks < 1:
        raise ValueError(f"chunk: {chunks} pieces; at least 1 is needed")
    axis = axis_of("chunk", dim, input.ndim)
    n = input.shape[axis] if input.ndim else 0
    return split(input, max(-(-n // chunks), 1), axis) if n else split(input, [0] * chunks, axis)
