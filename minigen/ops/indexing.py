"""Picking elements out of tensors and adding them back: each is the other's derivative."""

from __future__ import annotations

from typing import Any

import numpy as np
from minigen_kernels import namespace_of

from ..function import Function
from ..tensor import Tensor
from .axes import axis_of
from .operands import operands, to

__all__ = ["gather", "getitem", "one_hot", "scatter_add"]

# ---- x[index]


class GetItem(Function):
    """y = x[index], by NumPy's rules"""

    keeps_inputs = False

    def __init__(self, index: Any, basic: bool):
        self.index, self.is_view = index, basic

    def forward(self, x: Any) -> Any:
        return x[self.index]

    def backward(self, gy: Tensor) -> Tensor:
        return PutItem(self.index, self.is_view, self.shapes[0])(gy)


class PutItem(Function):
    """x = 0, then x[index] += y"""

    keeps_inputs = False

    def __init__(self, index: Any, basic: bool, shape: tuple[int, ...]):
        self.index, self.basic, self.shape = index, basic, shape

    def forward(self, y: Any) -> Any:
        xp = namespace_of(y)
        x = xp.zeros(self.shape, y.dtype)
        if self.basic:
            x[self.index] = y
        elif isinstance(self.index, xp.ndarray) and self.index.dtype.kind in "iu":
            add_rows(x, self.index, y)
        else:
            xp.add.at(x, self.index, y)
        return x

    def backward(self, gx: Tensor) -> Tensor:
        return GetItem(self.index, self.basic)(gx)


def add_rows(x: Any, index: Any, y: Any) -> None:
    """x[index[r]] += y[r] for rows r; rows that meet are added in order of r."""
    xp = namespace_of(x)
    index = index.reshape(-1)
    rows = y.reshape(len(index), *x.shape[1:])
    if not rows.size:
        return
    order = xp.argsort(index % max(len(x), 1), kind="stable")
    index = (index % max(len(x), 1))[order]
    starts = xp.flatnonzero(xp.concatenate([index[:1] == index[:1], index[1:] != index[:-1]]))
    if xp is np:
        x[index[starts]] = np.add.reduceat(rows[order], starts, axis=0)
    else:
        xp.add.at(x, index, rows[order])


def _plain(part: Any) -> Any:
    """One part of an index as NumPy takes it."""
    if isinstance(part, Tensor):
        part = part.data
        return part.item() if part.ndim == 0 and part.dtype.kind in "iu" else part
    return np.asarray(part) if isinstance(part, list) else part


def _is_basic(part: Any) -> bool:
    if part is None or part is Ellipsis or isinstance(part, slice):
        return True
    return not isinstance(part, (bool, np.bool_)) and isinstance(part, (int, np.integer))


def getitem(input: Tensor, index: Any) -> Tensor:
    """x[index]: whole numbers, slices, None, ..., integer arrays and bool masks, as in NumPy."""
    if isinstance(index, tuple):
        parts = tuple([_plain(p) for p in index])
        basic = all([_is_basic(p) for p in parts])
        index = parts
    else:
        index = _plain(index)
        basic = _is_basic(index)
    if not basic:
        for p in index if isinstance(index, tuple) else (index,):
            if hasattr(p, "dtype") and p.dtype.kind == "f":
                raise IndexError(
                    f"x[index]: an index is whole numbers or bools, not {p.dtype}; "
                    "convert it first, e.g. index.to('int64')"
                )
    try:
        return GetItem(index, basic)(input)
    except IndexError as error:
        raise IndexError(f"x[index] with x of shape {input.shape}: {error}") from None


# ---- one index per element, along one axis


class Gather(Function):
    """y[i,j,k] = x[i,index[i,j,k],k], for axis 1 of three; likewise for others"""

    keeps_inputs = False

    def __init__(self, axis: int, index: Any):
        self.axis, self.index = axis, index

    def forward(self, x: Any) -> Any:
        if not x.ndim:
            return x[()][self.index * 0] if self.index.ndim else x.copy()
        return x[_grid(self.axis, self.index)]

    def backward(self, gy: Tensor) -> Tensor:
        return ScatterAdd(self.axis, self.index, self.shapes[0])(gy)


class ScatterAdd(Function):
    """x = 0, then x[i,index[i,j,k],k] += y[i,j,k], for axis 1 of three; likewise for others"""

    keeps_inputs = False

    def __init__(self, axis: int, index: Any, shape: tuple[int, ...]):
        self.axis, self.index, self.shape = axis, index, shape

    def forward(self, y: Any) -> Any:
        xp = namespace_of(y)
        x = xp.zeros(self.shape, y.dtype)
        if not x.ndim:
            return x + y.sum()
        xp.add.at(x, _grid(self.axis, self.index), y)
        return x

    def backward(self, gx: Tensor) -> Tensor:
        return Gather(self.axis, self.index)(gx)


def _grid(axis: int, index: Any) -> tuple[Any, ...]:
    """The index of every axis: its own position, except along `axis`."""
    xp = namespace_of(index)
    grid = list(xp.ogrid[tuple(slice(n) for n in index.shape)])
    grid[axis] = index
    return tuple(grid)


def _checked(op: str, x: Tensor, dim: int, index: Any) -> tuple[int, Any]:
    axis = axis_of(op, dim, x.ndim)
    data = index.data if isinstance(index, Tensor) else np.asarray(index)
    if data.dtype.kind not in "iu":
        raise TypeError(f"{op}: the index is {data.dtype}; convert it first, e.g. .to('int64')")
    fits = data.ndim == x.ndim or (x.ndim == 0 and data.ndim == 1)
    for i, (n, size) in enumerate(zip(data.shape, x.shape, strict=False)):
        fits = fits and (i == axis or n <= size)
    if not fits and data.size:
        raise ValueError(
            f"{op}: an index of shape {data.shape} does not fit a tensor of shape {x.shape} along "
            f"axis {axis}: as many axes are needed, none but axis {axis} longer than the tensor's"
        )
    size = x.shape[axis] if x.ndim else 1
    if data.size and not (0 <= data.min() and data.max() < size):
        raise IndexError(
            f"{op}: the index holds {data.min()} ... {data.max()}, but axis {axis} of a tensor of "
            f"shape {x.shape} has the places 0 ... {size - 1}"
        )
    return axis, data


def gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """y[i,j,k] = x[i,index[i,j,k],k] for dim 1 of three axes, likewise for others; index's shape."""
    axis, places = _checked("gather", input, dim, index)
    return Gather(axis, places)(input)


def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """x, then x[i,index[i,j,k],k] += src[i,j,k] for dim 1 of three axes, likewise for others."""
    axis, places = _checked("scatter_add", input, dim, index)
    if len(src.shape) != places.ndim or any(
        n > m for n, m in zip(places.shape, src.shape, strict=True)
    ):
        raise ValueError(
            f"scatter_add: src of shape {src.shape} must be at least as large as the index, "
            f"{places.shape}"
        )
    if src.shape != places.shape:
        src = src[tuple(slice(n) for n in places.shape)]
    x, src = operands(input, src)
    return x + ScatterAdd(axis, places, x.shape)(src)


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """y[..., c] = 1 where tensor[...] = c, otherwise 0 (int64); as many classes as needed if -1."""
    index = tensor.data if isinstance(tensor, Tensor) else np.asarray(tensor)
    if index.dtype.kind not in "iu":
        raise TypeError(f"one_hot: the classes are {index.dtype}; convert them, e.g. .to('int64')")
    if not index.size and num_classes <= 0:
        raise ValueError("one_hot: an empty tensor does not tell num_classes; give it")
    classes = num_classes if num_classes != -1 else int(index.max()) + 1
    if index.size and not (0 <= index.min() and index.max() < classes):
        raise ValueError(
            f"one_hot: the classes {index.min()} ... {index.max()} do not lie in 0 ... {classes - 1}"
            f" (num_classes={num_classes})"
        )
    xp = namespace_of(index)
    return to(Tensor(index[..., None] == xp.arange(classes)), np.int64)
