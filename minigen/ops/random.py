"""Randomness: dropout, and tensors of random numbers. The generator is always given, as `rng`."""

from __future__ import annotations

from typing import Any

import numpy as np
from minigen_kernels import beside, namespace_of, on_gpu
from minigen_kernels.random import Generator, is_generator

from ..tensor import Tensor
from .operands import floating, refuse_inplace
from .shape import sizes

__all__ = ["dropout", "rand", "rand_like", "randn", "randn_like"]


def dropout(
    input: Tensor,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    rng: Generator | None = None,
) -> Tensor:
    """Each element 0 with probability p, otherwise divided by 1 - p; the input if not training.

    rng is needed when something is drawn: when training with 0 < p < 1.
    """
    refuse_inplace("dropout", inplace)
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p={p} is not in 0 ... 1")
    if not training or p == 0:
        return input
    x = floating(input)
    if p == 1:
        return x * 0.0
    if rng is None:
        raise ValueError(
            "dropout: give the generator that decides what is dropped, rng=minigen.Generator(seed)"
        )
    drawn = _ours("dropout", rng)
    if on_gpu(x.data) and isinstance(drawn, Generator):
        drawn = drawn.following(x.data)
    kept = namespace_of(x.data).asarray(beside(drawn.uniform(x.shape, np.float32), x.data) >= p)
    return x * Tensor(kept * x.dtype.type(1 / (1 - p)))


def _ours(op: str, rng: Any) -> Any:
    """The generator, if it draws as ours do."""
    if not is_generator(rng):
        raise TypeError(f"{op}: rng is a {type(rng).__name__}; give rng=minigen.Generator(seed)")
    return rng


def rand(*size: Any, rng: Generator, dtype: Any = np.float32) -> Tensor:
    """A tensor of this shape, uniform in [0, 1)."""
    return Tensor(_ours("rand", rng).uniform(sizes(size), dtype))


def randn(*size: Any, rng: Generator, dtype: Any = np.float32) -> Tensor:
    """A tensor of this shape, standard normal."""
    return Tensor(_ours("randn", rng).normal(sizes(size), dtype))


def rand_like(input: Tensor, *, rng: Generator) -> Tensor:
    """As the input in shape and dtype, uniform in [0, 1)."""
    return rand(input.shape, rng=rng, dtype=input.dtype).to(input.device)


def randn_like(input: Tensor, *, rng: Generator) -> Tensor:
    """As the input in shape and dtype, standard normal."""
    return randn(input.shape, rng=rng, dtype=input.dtype).to(input.device)
