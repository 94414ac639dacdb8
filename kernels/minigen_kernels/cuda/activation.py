"""What the end of a kernel does to each number before it is stored: Finish of activation.cuh."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from .. import empty
from ..activations import slope_of

KINDS = {"none": 0, "relu": 1, "leaky_relu": 1, "tanh": 2, "sigmoid": 3, "gelu": 4, "gelu_tanh": 5}


class Finish(NamedTuple):
    """An activation; keep: what it is given is stored too; moments: of that, for a batch norm."""

    activation: str = "none"
    slope: float = 0.0
    keep: bool = False
    moments: bool = False

    def before(self, like: Any) -> Any:
        """An array for what the activation is given, like the result, or None."""
        return empty(like.shape, like.dtype, like=like) if self.keep else None

    def found(self, like: Any, parts: int) -> Any:
        """An array for the moments of the channels of a product's result, or None: moments.cuh."""
        shape = 2 * like.shape[1] + 1, parts
        return empty(shape, like.dtype, like=like) if self.moments else None

    def results(self, y: Any, *asked: Any) -> Any:
        """y, and what was asked for beside it."""
        there = [array for array in asked if array is not None]
        return (y, *there) if there else y

    def struct(self, like: Any) -> np.ndarray:
        """struct Finish of activation.cuh."""
        return _struct(like.dtype.char, self.activation, float(self.slope))


NOTHING = Finish()


@functools.lru_cache(maxsize=64)
def _struct(number: str, activation: str, slope: float) -> np.ndarray:
    """One for all launches."""
    slope = 0.0 if activation == "none" else slope_of(activation, slope)
    layout = np.dtype([("kind", "i4"), ("slope", number)], align=True)
    made = np.array([(KINDS[activation], slope)], layout)
    made.flags.writeable = False
    return made
