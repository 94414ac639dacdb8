"""Randomness: dropout, and tensors of random numbers. The generator is always given, as `rng`."""

from __future__ import annotations

from typing import Any

import numpy as np
from minigen_kernels import backend_of, beside, namespace_of, on_gpu, setting
from minigen_kernels.random import Generator, is_generator

from ..function import Function
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
    drawn = _following("dropout", rng, x)
    if isinstance(drawn, Generator) and _has_kernel(x.data):
        return Dropout(p, drawn.seed, *drawn.place(-(-x.size // 4)))(x)
    kept = namespace_of(x.data).asarray(beside(drawn.uniform(x.shape, np.float32), x.data) >= p)
    return x * Tensor(kept * x.dtype.type(1 / (1 - p)))


class Dropout(Function):
    """y[i] = x[i] / (1 - p), or x[i] · 0 where uniform number i from that place on is below p.

    One kernel, for arrays that have it: no mask is kept, the backward pass draws the numbers again.
    """

    keeps_inputs = False

    def __init__(self, p: float, *place: Any):
        self.p, self.place = p, place  # the key, the first counter, and see Generator.place

    def forward(self, x: Any) -> Any:
        return backend_of(x).dropout(x, self.p, *self.place)

    def backward(self, gy: Tensor) -> Tensor:
        return Dropout(self.p, *self.place)(gy)


def _has_kernel(x: Any) -> bool:
    """Whether dropout is a kernel for this array; on the CPU it is not, and nothing is imported."""
    on_cpu = not on_gpu(x) and setting().backend == "cpu"
    return not on_cpu and hasattr(backend_of(x), "dropout")


def _following(op: str, rng: Any, x: Tensor) -> Any:
    """The generator, where it is one of ours drawing where x is."""
    drawn = _ours(op, rng)
    there = isinstance(drawn, Generator) and on_gpu(x.data)
    return drawn.following(x.data) if there else drawn


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
    drawn = _following("rand_like", rng, input)
    return rand(input.shape, rng=drawn, dtype=input.dtype).to(input.device)


def randn_like(input: Tensor, *, rng: Generator) -> Tensor:
    """As the input in shape and dtype, standard normal."""
    drawn = _following("randn_like", rng, input)
    return randn(input.shape, rng=drawn, dtype=input.dtype).to(input.device)
