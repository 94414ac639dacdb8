"""Placed: the pieces of a gradient, put together in one piece of memory once it is asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from minigen_kernels import empty

from ..tensor import Tensor

__all__ = ["Placed"]


class Placed(Tensor):
    """x = 0, then x[index] += y for all pieces (index, y), once the values are asked for.

    What a walk off the tape carries back to a tensor of which views were taken. The sum of two is
    both lists of pieces, so that all are written into one piece of memory; each by itself would be
    written among zeros, and those added up: five times the traffic for the thirds of a tensor.
    The axes lie in memory in the order given, as those of that tensor did.
    """

    __slots__ = ("_array", "_shape", "axes", "pieces")

    def __init__(
        self, shape: tuple[int, ...], pieces: list[tuple[Any, Any]], axes: Sequence[int] | None
    ):
        self._array: Any = None
        self._shape, self.pieces = shape, pieces
        self.axes = range(len(shape)) if axes is None else axes
        self.requires_grad, self.grad, self.creator, self.version = False, None, None, [0]

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def data(self) -> Any:
        if self._array is None:
            first = self.pieces[0][1]
            apart = _apart(self._shape, [index for index, _ in self.pieces])
            self._array = self._in_place() if apart else None
        if self._array is None:
            x = self._turned(empty(self._dims(), first.dtype, first))
            if not apart or sum(y.size for _, y in self.pieces) < x.size:
                x[...] = 0
            for index, y in self.pieces:
                x[index] = y if apart else x[index] + y
            self._array, self.pieces = x, []
        return self._array

    def _dims(self) -> tuple[int, ...]:
        """The sizes of the axes in the order in which they lie."""
        return tuple([self._shape[i] for i in self.axes])

    def _turned(self, x: Any) -> Any:
        """An array of these sizes with its axes in the order of this tensor."""
        return x.transpose([self.axes.index(i) for i in range(x.ndim)])

    def _in_place(self) -> Any:
        """The array that the pieces, apart from each other, are already all of; None: of none.

        As attention's kernel makes the gradients of q, k and v, if these are parts of one array.
        """
        ys = [y for _, y in self.pieces]
        if any([type(y) is not np.ndarray for y in ys]):  # on a GPU
            return None
        whole = ys[0].base
        if type(whole) is not np.ndarray or any([y.base is not whole for y in ys]):
            return None
        if sum([y.size for y in ys]) != math.prod(self._shape):
            return None
        start = min([_address(y) for y in ys]) - _address(whole)
        try:
            x = self._turned(np.ndarray(self._dims(), ys[0].dtype, whole, start))
        except (TypeError, ValueError):  # the memory is shorter than that, or full of gaps
            return None
        for index, y in self.pieces:
            there = x[index]
            if _address(there) != _address(y) or there.strides != y.strides:
                return None
        return x

    def __add__(self, other: Any) -> Tensor:
        if type(other) is Placed and self.pieces and other.pieces:
            return Placed(self._shape, self.pieces + other.pieces, self.axes)
        return Tensor(self.data) + other

    def __radd__(self, other: Any) -> Tensor:
        return other + Tensor(self.data)


def _address(x: Any) -> int:
    return x.__array_interface__["data"][0]


def _apart(shape: tuple[int, ...], indices: list[Any]) -> bool:
    """True if no two of the indices pick the same element; False where that is not plain to see."""
    if len(indices) == 1:
        return True
    parts = [index if isinstance(index, tuple) else (index,) for index in indices]
    axis = len(parts[0]) - 1  # all of the axes before it, and some of its rows
    if axis < 0 or any(len(p) != axis + 1 or p[:axis] != (slice(None),) * axis for p in parts):
        return False
    if not all(isinstance(p[axis], slice | int) for p in parts):
        return False
    places = [range(shape[axis])[p[axis]] for p in parts]
    rows = [i for p in places for i in (p if isinstance(p, range) else (p,))]
    return len(set(rows)) == len(rows)
