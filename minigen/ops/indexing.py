"""Picking elements out of tensors and adding them back: each is the other's derivative."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from minigen_kernels import backend_of, beside, namespace_of, readable

from ..function import Function
from ..tensor import Tensor, is_recording
from .axes import axis_of
from .choice import where
from .operands import operands, to
from .placed import Placed

__all__ = ["embedding", "gather", "getitem", "index_select", "one_hot", "scatter_add"]

# ---- x[index]


class GetItem(Function):
    """y = x[index], by NumPy's rules"""

    keeps_inputs = False
    axes: tuple[int, ...] | None = None  # those of x in the order in which they lie, if not in C's

    def __init__(self, index: Any, basic: bool):
        self.index, self.is_view = index, basic

    def forward(self, x: Any) -> Any:
        if is_recording() and not x.flags.c_contiguous:
            self.axes = tuple(sorted(range(x.ndim), key=lambda i: -x.strides[i]))
        return x[self.index]

    def backward(self, gy: Tensor) -> Tensor:
        if self.is_view and not is_recording():
            return Placed(self.shapes[0], [(self.index, gy.data)], self.axes)
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
        else:
            xp.add.at(x, self.index, y)
        return x

    def backward(self, gx: Tensor) -> Tensor:
        return GetItem(self.index, self.basic)(gx)


def _plain(part: Any, x: Any) -> Any:
    """One part of an index as x takes it."""
    if isinstance(part, Tensor):
        part = part.data
        if part.ndim == 0 and part.dtype.kind in "iu":
            return part.item()
    elif isinstance(part, list):
        part = np.asarray(part, None if part else np.int64)
    return beside(part, x) if hasattr(part, "strides") else part


def _is_basic(part: Any) -> bool:
    if part is None or part is Ellipsis or isinstance(part, slice):
        return True
    return not isinstance(part, (bool, np.bool_)) and isinstance(part, (int, np.integer))


def _is_number(part: Any) -> bool:
    return isinstance(part, (int, np.integer)) and not isinstance(part, bool)


def _is_mask(part: Any) -> bool:
    return hasattr(part, "dtype") and part.dtype.kind == "b"


def getitem(input: Tensor, index: Any) -> Tensor:
    """x[index]: whole numbers, slices, None, ..., integer arrays and bool masks, as in NumPy."""
    try:
        if not isinstance(index, tuple):
            index = _plain(index, input.data)
            if _is_basic(index):
                return GetItem(index, True)(input)
            if hasattr(index, "dtype") and index.dtype.kind in "iu" and input.ndim:
                rows = Select(0, _in_range("", input, 0, index.reshape(-1)))(input)
                return rows.reshape((*index.shape, *input.shape[1:]))
            return GetItem(_checked_index(index), False)(input)
        parts = tuple([_plain(p, input.data) for p in index])
        if all([_is_basic(p) for p in parts]):
            return GetItem(parts, True)(input)
        if any([_is_number(p) for p in parts]):  # torch picks these first; NumPy takes them for
            whole = [p for p in parts if p is not None]  # arrays, and may move the others' axis
            first = [p if _is_number(p) or p is Ellipsis else slice(None) for p in whole
                     for _ in range(getattr(p, "ndim", 1) if _is_mask(p) else 1)]  # fmt: skip
            return getitem(
                GetItem(tuple(first), True)(input), tuple([p for p in parts if not _is_number(p)])
            )
        return GetItem(tuple([_checked_index(p) for p in parts]), False)(input)
    except IndexError as error:
        raise IndexError(f"x[index] with x of shape {input.shape}: {error}") from None


def _checked_index(part: Any) -> Any:
    if hasattr(part, "dtype") and part.dtype.kind == "f":
        raise IndexError(
            f"an index is whole numbers or bools, not {part.dtype}; convert it, e.g. .to('int64')"
        )
    return part


# ---- whole slices along one axis


class Select(Function):
    """y[i,r,k] = x[i,index[r],k], for axis 1 of three; likewise for others"""

    keeps_inputs = False

    def __init__(self, axis: int, index: Any):
        self.axis, self.index = axis, index

    def forward(self, x: Any) -> Any:
        return namespace_of(x).take(x, self.index, axis=self.axis)

    def backward(self, gy: Tensor) -> Tensor:
        return Deposit(self.axis, self.index, self.shapes[0][self.axis])(gy)


class Deposit(Function):
    """x = 0, then x[i,index[r],k] += y[i,r,k] in order of r, for axis 1 of three"""

    keeps_inputs = False

    def __init__(self, axis: int, index: Any, size: int):
        self.axis, self.index, self.size = axis, index, size

    def forward(self, y: Any) -> Any:
        lead, trail = y.shape[: self.axis], y.shape[self.axis + 1 :]
        blocks = y.reshape((math.prod(lead), y.shape[self.axis], math.prod(trail)))
        x = backend_of(y).deposit(blocks, self.index % self.size, self.size)
        return x.reshape((*lead, self.size, *trail))

    def backward(self, gx: Tensor) -> Tensor:
        return Select(self.axis, self.index)(gx)


def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The slices index[0], index[1], ... along an axis."""
    axis = axis_of("index_select", dim, input.ndim)
    data = index.data if isinstance(index, Tensor) else np.asarray(index)
    if data.dtype.kind not in "iu" or data.ndim > 1:
        raise TypeError(
            f"index_select: the index is {data.dtype} of shape {data.shape}, but must be a row of "
            "whole numbers"
        )
    if not input.ndim:
        return index_select(input.reshape(1), 0, Tensor(data)).reshape(())
    index = _in_range("index_select: ", input, axis, beside(data.reshape(-1), input.data))
    return Select(axis, index)(input)


def _in_range(op: str, x: Tensor, axis: int, index: Any) -> Any:
    """The index, if the axis has such places; counted from the end where it is negative."""
    n = x.shape[axis]
    if index.size and readable(index) and not (-n <= index.min() and index.max() < n):
        raise IndexError(
            f"{op}the index holds {index.min()} ... {index.max()}, but axis {axis} of a tensor of "
            f"shape {x.shape} has {n} places"
        )
    return index


class Lookup(Select):
    """y[r] = w[index[r]], where one row of w gets no gradient, or each one divided by its count"""

    def __init__(self, index: Any, fixed: int | None, counts: Any = None):
        super().__init__(0, index)
        self.fixed, self.counts = fixed, counts

    def backward(self, gy: Tensor) -> Tensor:
        if self.counts is not None:
            gy = gy / Tensor(self.counts[:, None])
        if self.fixed is None:
            return super().backward(gy)
        return super().backward(where((self.index == self.fixed)[:, None], 0.0, gy))


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """y[..., :] = w[input[...], :], the rows of w (V, D) that whole numbers (...) name.

    padding_idx  this row of w gets no gradient (negative: counted from the end).
    max_norm     rows that are looked up and longer than this are shortened to it first, in place;
                 norm_type is the p of (Σ |w|ᵖ)^(1/p).
    scale_grad_by_freq  a row's gradient is divided by how often it is named.
    sparse       is not there: gradients are whole arrays.
    """
    if sparse:
        raise ValueError("embedding: sparse=True is not supported; gradients are whole arrays")
    index = input.data if isinstance(input, Tensor) else np.asarray(input)
    if index.dtype.kind not in "iu":
        raise TypeError(f"embedding: the input is {index.dtype}; convert it, e.g. .to('int64')")
    if weight.ndim != 2:
        raise ValueError(f"embedding: the weight {weight.shape} must have 2 axes, (V, D)")
    n, index = weight.shape[0], beside(index, weight.data)
    # As whole numbers without a sign, those below 0 are the largest: one comparison finds both.
    if index.size and readable(index) and not index.view(f"u{index.itemsize}").max() < n:
        raise IndexError(
            f"embedding: the input holds {index.min()} ... {index.max()}, but a weight of shape "
            f"{weight.shape} has the rows 0 ... {n - 1}"
        )
    if padding_idx is not None and not -n <= padding_idx < n:
        raise ValueError(f"embedding: padding_idx={padding_idx} is not a row of {weight.shape}")
    rows = index.reshape(-1)
    if max_norm is not None:
        _shorten(weight, rows, max_norm, norm_type)
    counts = None
    if scale_grad_by_freq:
        counts = namespace_of(rows).bincount(rows, minlength=n)[rows].astype(weight.dtype)
    fixed = None if padding_idx is None else padding_idx % n
    op = Select(0, rows) if fixed is None and counts is None else Lookup(rows, fixed, counts)
    return op(weight).reshape((*index.shape, weight.shape[1]))


def _shorten(weight: Tensor, rows: Any, max_norm: float, norm_type: float) -> None:
    """Scale those of the rows down, in place, whose norm is larger than max_norm."""
    xp = namespace_of(rows)
    named = xp.unique(rows)
    norms = (abs(weight.data[named]) ** norm_type).sum(1) ** (1 / norm_type)
    long = norms > max_norm
    if long.any():
        weight.data[named[long]] *= (max_norm / (norms[long] + 1e-7)).astype(weight.dtype)[:, None]
        weight.changed()


# ---- one place per element, along one axis


class Gather(Function):
    """y[r] = x[places[r]], elements of x counted through"""

    keeps_inputs = False

    def __init__(self, places: Any):
        self.places = places

    def forward(self, x: Any) -> Any:
        return x.reshape(-1)[self.places]

    def backward(self, gy: Tensor) -> Tensor:
        return ScatterAdd(self.places, self.shapes[0])(gy)


class ScatterAdd(Function):
    """x = 0, then x[places[r]] += y[r], elements of x counted through"""

    name = "scatter_add"
    keeps_inputs = False

    def __init__(self, places: Any, shape: tuple[int, ...]):
        self.places, self.shape = places, shape

    def forward(self, y: Any) -> Any:
        xp = namespace_of(y)
        x = xp.zeros(math.prod(self.shape), y.dtype)
        xp.add.at(x, self.places.reshape(-1), y.reshape(-1))
        return x.reshape(self.shape)

    def backward(self, gx: Tensor) -> Tensor:
        return Gather(self.places)(gx)


def _places(op: str, x: Tensor, dim: int, index: Any) -> Any:
    """Where x[i,index[i,j,k],k] stands when x is counted through, for every i, j, k."""
    axis = axis_of(op, dim, x.ndim)
    data = index.data if isinstance(index, Tensor) else np.asarray(index)
    if data.dtype.kind not in "iu":
        raise TypeError(f"{op}: the index is {data.dtype}; convert it, e.g. .to('int64')")
    shape = x.shape or (1,) * data.ndim
    fits = data.ndim == len(shape) and data.ndim <= max(x.ndim, 1)
    if data.size and not (
        fits and all(i == axis or n <= shape[i] for i, n in enumerate(data.shape))
    ):
        raise ValueError(
            f"{op}: an index of shape {data.shape} does not fit a tensor of shape {x.shape} along "
            f"axis {axis}: as many axes are needed, none but axis {axis} longer than the tensor's"
        )
    size, data = shape[axis] if shape else 1, beside(data, x.data)
    if data.size and readable(data) and not (0 <= data.min() and data.max() < size):
        raise IndexError(
            f"{op}: the index holds {data.min()} ... {data.max()}, but axis {axis} of a tensor of "
            f"shape {x.shape} has the places 0 ... {size - 1}"
        )
    places = namespace_of(data).zeros(data.shape, np.int64)
    for i, n in enumerate(data.shape if data.size else ()):
        step = math.prod(shape[i + 1 :])
        own = namespace_of(data).arange(n).reshape((n, *[1] * (data.ndim - 1 - i)))
        places += (data if i == axis else own) * step
    return places


def gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """y[i,j,k] = x[i,index[i,j,k],k] for dim 1 of three axes, likewise for others; as index."""
    return Gather(_places("gather", input, dim, index))(input)


def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """x, then x[i,index[i,j,k],k] += src[i,j,k] for dim 1 of three axes, likewise for others."""
    places = _places("scatter_add", input, dim, index)
    if src.ndim != places.ndim or any(n > m for n, m in zip(places.shape, src.shape, strict=True)):
        raise ValueError(
            f"scatter_add: src of shape {src.shape} must be at least as large as the index, "
            f"{places.shape}"
        )
    if src.shape != places.shape:
        src = getitem(src, tuple([slice(n) for n in places.shape]))
    x, src = operands(input, src)
    return x + ScatterAdd(places, x.shape)(src)


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """y[..., c] = 1 where tensor[...] = c, otherwise 0 (int64); as many classes as needed if -1."""
    index = tensor.data if isinstance(tensor, Tensor) else np.asarray(tensor)
    if index.dtype.kind not in "iu":
        raise TypeError(f"one_hot: the classes are {index.dtype}; convert them, e.g. .to('int64')")
    if not index.size and num_classes <= 0:
        raise ValueError("one_hot: an empty tensor does not tell num_classes; give it")
    classes = num_classes if num_classes != -1 else int(index.max()) + 1
    if index.size and readable(index) and not (0 <= index.min() and index.max() < classes):
        raise ValueError(
            f"one_hot: the classes {index.min()} ... {index.max()} do not lie in "
            f"0 ... {classes - 1} (num_classes={num_classes})"
        )
    xp = namespace_of(index)
    return to(Tensor(index[..., None] == xp.arange(classes)), np.int64)
