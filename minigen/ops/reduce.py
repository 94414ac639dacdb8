"""Reductions: sums, means, extremes and their like, over some axes or over all.

Axes are given as torch has them (dim, keepdim) or as NumPy has them (axis, keepdims).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from minigen_kernels import namespace_of

from ..function import Function, repeated, summed
from ..tensor import Tensor
from .axes import Axes, axes_of, axis_of, either_names
from .choice import maximum, minimum, perhaps, where
from .elementwise import exp, sqrt
from .indexing import gather
from .operands import floating, to
from .shape import cat

__all__ = [
    "amax", "amin", "argmax", "argmin", "cumsum", "logsumexp", "max", "mean", "min", "norm",
    "prod", "std", "sum", "var",
]  # fmt: skip


class Extreme(NamedTuple):
    """The result of max(x, dim) and min(x, dim)."""

    values: Tensor
    indices: Tensor


# ---- sums


def _kept(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple([1 if i in axes else n for i, n in enumerate(shape)])


def _count(x: Tensor, axes: tuple[int, ...]) -> int:
    return math.prod(x.shape[i] for i in axes)


class Sum(Function):
    """y = Σ x over the axes"""

    keeps_inputs = False

    def __init__(self, axes: tuple[int, ...], keepdim: bool):
        self.axes, self.keepdim = axes, keepdim

    def forward(self, x: Any) -> Any:
        return summed(x, self.axes, self.keepdim)

    def backward(self, gy: Tensor) -> Tensor:
        return Spread(self.axes, self.keepdim, self.shapes[0])(gy)


class Spread(Function):
    """y = x repeated along the axes that a sum took away: the adjoint of Sum"""

    keeps_inputs = False

    def __init__(self, axes: tuple[int, ...], keepdim: bool, shape: tuple[int, ...]):
        self.axes, self.keepdim, self.shape = axes, keepdim, shape

    def forward(self, x: Any) -> Any:
        if x.size != 1:  # a single number fits everywhere
            x = x.reshape(_kept(self.shape, self.axes))
        return repeated(x, self.shape)

    def backward(self, gy: Tensor) -> Tensor:
        return Sum(self.axes, self.keepdim)(gy)


class Mean(Sum):
    """y = Σ x / n over the n elements of the axes"""

    def forward(self, x: Any) -> Any:
        self.count = math.prod(x.shape[i] for i in self.axes)
        return super().forward(x) / x.dtype.type(self.count)

    def backward(self, gy: Tensor) -> Tensor:
        return super().backward(gy / self.count)


def _counted(x: Tensor) -> Tensor:
    """Integers and bools as int64, whatever their width and sign; the rest as it is."""
    data = getattr(x.data, "dtype", None)
    return to(x, np.int64) if data is not None and data.kind in "iub" else x


@either_names
def sum(input: Tensor, dim: Axes = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Σ x over the axes; 0 over none. Integers and bools give int64."""
    x = _counted(input) if dtype is None else to(input, dtype)
    return Sum(axes_of("sum", dim, x.ndim), keepdim)(x)


@either_names
def mean(input: Tensor, dim: Axes = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Σ x / n over the axes; NaN over none."""
    x = input if dtype is None else to(input, dtype)
    if x.dtype.kind != "f":
        raise TypeError(f"mean: the tensor is {x.dtype}; convert it first, e.g. x.to('float32')")
    return Mean(axes_of("mean", dim, x.ndim), keepdim)(x)


@either_names
def var(
    input: Tensor,
    dim: Any = None,
    unbiased: bool = True,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """Σ (x - mean)² / (n - correction) over the axes; var(x, False) is var(x, unbiased=False).

    correction  1 (unbiased, the default) divides by n - 1, 0 by n.
    """
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if correction is None:
        correction = 1 if unbiased else 0
    if input.dtype.kind != "f":
        raise TypeError(f"var: the tensor is {input.dtype}; convert it first, x.to('float32')")
    axes = axes_of("var", dim, input.ndim)
    centred = input - mean(input, axes, True) if axes else input - input
    n = _count(input, axes)
    divisor = n - correction if n > correction else 0.0
    return sum(centred * centred, axes, keepdim) / divisor if axes else centred / divisor


@either_names
def std(
    input: Tensor,
    dim: Any = None,
    unbiased: bool = True,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """√var, with slope 0 where the variance is 0."""
    v = var(input, dim, unbiased, keepdim, correction=correction)
    return root(v)


def root(x: Tensor) -> Tensor:
    """√x with slope 0, instead of ∞, at 0."""
    flat = x.data == 0
    return where(flat, 0.0, sqrt(where(flat, 1.0, x))) if perhaps(flat) else sqrt(x)


@either_names
def prod(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Π x over one axis, or over all; 1 over none. Integers and bools give int64."""
    input = input if input.dtype.kind == "f" else to(input, np.int64)
    if dim is None:
        y = _prod_first(input.reshape(-1))
        return y.reshape((1,) * input.ndim) if keepdim else y
    axis = axis_of("prod", dim, input.ndim)
    if not input.ndim:
        return input * 1
    y = _prod_first(input.transpose(0, axis) if axis else input)
    y = y.reshape((1, *y.shape))
    y = y.transpose(0, axis) if axis else y
    return y if keepdim else y.reshape(y.shape[:axis] + y.shape[axis + 1 :])


def _prod_first(x: Tensor) -> Tensor:
    """Π over axis 0, half by half: a product of pairs has the right slope also at zeros."""
    if not len(x):
        return sum(x, 0) + 1
    while len(x) > 1:
        half = len(x) // 2
        pairs = x[:half] * x[half : 2 * half]
        x = pairs if len(x) == 2 * half else cat([pairs, x[2 * half :]])
    return x[0]


class CumSum(Function):
    """y[i] = Σ_{j ≤ i} x[j] along an axis, or Σ_{j ≥ i} if from the end"""

    keeps_inputs = False

    def __init__(self, axis: int, from_end: bool = False):
        self.axis, self.from_end = axis, from_end

    def forward(self, x: Any) -> Any:
        xp = namespace_of(x)
        if not x.ndim:
            return x.copy()
        if not self.from_end:
            return xp.cumsum(x, axis=self.axis)
        return xp.flip(xp.cumsum(xp.flip(x, self.axis), axis=self.axis), self.axis)

    def backward(self, gy: Tensor) -> Tensor:
        return CumSum(self.axis, not self.from_end)(gy)


@either_names
def cumsum(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """y[i] = Σ_{j ≤ i} x[j] along an axis. Integers and bools give int64."""
    x = _counted(input) if dtype is None else to(input, dtype)
    return CumSum(axis_of("cumsum", dim, x.ndim))(x)


# ---- extremes


class AMax(Function):
    """y = max x over the axes; elements that tie share the slope evenly"""

    keeps_output = True

    def __init__(self, axes: tuple[int, ...], keepdim: bool):
        self.axes, self.keepdim = axes, keepdim

    def forward(self, x: Any) -> Any:
        self.kept = _kept(x.shape, self.axes)
        return x.max(axis=self.axes, keepdims=self.keepdim) if self.axes else x.copy()

    def backward(self, gy: Tensor) -> Tensor:
        x = self.inputs[0].data
        best = self._output.reshape(self.kept)
        won = (x == best) | ((x != x) & (best != best))  # where NaN is the result, NaNs gave it
        share = won / won.sum(axis=self.axes, keepdims=True).astype(x.dtype)
        return gy.reshape(self.kept) * Tensor(share.astype(x.dtype, copy=False))


class AMin(AMax):
    """y = min x over the axes; elements that tie share the slope evenly"""

    def forward(self, x: Any) -> Any:
        self.kept = _kept(x.shape, self.axes)
        return x.min(axis=self.axes, keepdims=self.keepdim) if self.axes else x.copy()


def _some(op: str, x: Tensor, axes: tuple[int, ...]) -> tuple[int, ...]:
    if not _count(x, axes):
        raise ValueError(
            f"{op}: no element to choose from over the axes {axes} of a tensor of shape {x.shape}"
        )
    return axes


@either_names
def amax(input: Tensor, dim: Axes = (), keepdim: bool = False) -> Tensor:
    """max x over the axes; elements that tie share the slope evenly."""
    return AMax(_some("amax", input, axes_of("amax", dim, input.ndim)), keepdim)(input)


@either_names
def amin(input: Tensor, dim: Axes = (), keepdim: bool = False) -> Tensor:
    """min x over the axes; elements that tie share the slope evenly."""
    return AMin(_some("amin", input, axes_of("amin", dim, input.ndim)), keepdim)(input)


@either_names
def max(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """max(x): the largest element. max(x, dim): (values, indices) of an axis. max(x, y): maximum.

    A tie over all elements shares the slope evenly; along an axis the index's element has it.
    """
    if other is not None or isinstance(dim, Tensor):
        return maximum(input, dim if other is None else other)
    if dim is None:
        return amax(input, None, keepdim)
    return _along("max", input, dim, keepdim)


@either_names
def min(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """min(x): the least element. min(x, dim): (values, indices) of an axis. min(x, y): minimum.

    A tie over all elements shares the slope evenly; along an axis the index's element has it.
    """
    if other is not None or isinstance(dim, Tensor):
        return minimum(input, dim if other is None else other)
    if dim is None:
        return amin(input, None, keepdim)
    return _along("min", input, dim, keepdim)


def _along(op: str, x: Tensor, dim: int, keepdim: bool) -> Extreme:
    axis = axis_of(op, dim, x.ndim)
    indices = (argmax if op == "max" else argmin)(x, axis, True)
    values = gather(x, axis, indices)
    if not keepdim and x.ndim:
        shape = x.shape[:axis] + x.shape[axis + 1 :]
        return Extreme(values.reshape(shape), indices.reshape(shape))
    return Extreme(values, indices)


@either_names
def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Where the largest element is along an axis (the first, if several are), or in x.flatten()."""
    return _where_extreme("argmax", input, dim, keepdim)


@either_names
def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Where the least element is along an axis (the first, if several are), or in x.flatten()."""
    return _where_extreme("argmin", input, dim, keepdim)


def _where_extreme(op: str, x: Tensor, dim: int | None, keepdim: bool) -> Tensor:
    axis = None if dim is None else axis_of(op, dim, x.ndim)
    axis = axis if x.ndim else None
    _some(op, x, axes_of(op, axis, x.ndim))
    index = getattr(namespace_of(x.data), op)(x.data, axis=axis)
    if keepdim:
        index = index.reshape(_kept(x.shape, axes_of(op, axis, x.ndim)))
    return Tensor(index)


class LogSumExp(Function):
    """y = ln Σ exp x over the axes, exact for large x"""

    keeps_output = True

    def __init__(self, axes: tuple[int, ...], keepdim: bool):
        self.axes, self.keepdim = axes, keepdim

    def forward(self, x: Any) -> Any:
        xp = namespace_of(x)
        self.kept = _kept(x.shape, self.axes)
        if not x.size:
            return xp.full(x.sum(axis=self.axes, keepdims=self.keepdim).shape, -np.inf, x.dtype)
        top = x.max(axis=self.axes, keepdims=True)
        top = xp.where(xp.isfinite(top), top, x.dtype.type(0))
        y = xp.log(xp.exp(x - top).sum(axis=self.axes, keepdims=True)) + top
        return y if self.keepdim else y.squeeze(self.axes)

    def backward(self, gy: Tensor) -> Tensor:
        return gy.reshape(self.kept) * exp(self.inputs[0] - self.output.reshape(self.kept))


@either_names
def logsumexp(input: Tensor, dim: Axes = None, keepdim: bool = False) -> Tensor:
    """ln Σ exp x over the axes; -inf over none."""
    return LogSumExp(axes_of("logsumexp", dim, input.ndim), keepdim)(floating(input))


@either_names
def norm(input: Tensor, p: float | str = "fro", dim: Axes = None, keepdim: bool = False) -> Tensor:
    """(Σ |x|ᵖ)^(1/p) over the axes; p = "fro" or 2 is the length, with slope 0 at 0."""
    if p in ("fro", 2):
        return root(sum(input * input, dim, keepdim))
    size = abs(input)
    if p in (math.inf, -math.inf):
        return (amax if p > 0 else amin)(size, dim, keepdim)  # type: ignore[operator]
    if p == 1:
        return sum(size, dim, keepdim)
    if isinstance(p, str) or p <= 0:
        raise ValueError(f"norm: p={p!r} must be 'fro', a positive number, or ±inf")
    total = sum(size**p, dim, keepdim)
    flat = total.data == 0  # where the root's slope is infinite, that of the norm is 0
    if not perhaps(flat):
        return total ** (1 / p)
    return where(flat, 0.0, where(flat, 1.0, total) ** (1 / p))
