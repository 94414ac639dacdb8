"""Randomness: dropout, and tensors of random numbers. The generator is always given, as `rng`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from minigen_kernels import namespace_of

from ..tensor import Tensor
from .operands import floating

if TYPE_CHECKING:
    from minigen_kernels.random import Generator

__all__ = ["dropout"]


def dropout(
    input: Tensor, p: float = 0.5, training: bool = True, *, rng: Generator | None = None
) -> Tensor:
    """Each element 0 with probability p, otherwise divided by 1 - p; the input if not training.

    rng is needed when something is drawn: when training with p > 0.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p={p} is not in 0 ... 1")
    if not training or p == 0:
        return input
    if rng is None:
        raise ValueError(
            "dropout: give the generator that decides what is dropped, rng=minigen.Generator(seed)"
        )
    x = floating(input)
    if p == 1:
        return x * 0.0
    xp = namespace_of(x.data)
    kept = xp.asarray(rng.uniform(x.shape, np.float32) >= p)
    return x * Tensor(kept * x.dtype.type(1 / (1 - p)))
