"""Linear, Embedding, Flatten, Dropout."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import functional as F
from ..tensor import Tensor
from . import init
from .module import Module, Parameter

if TYPE_CHECKING:
    from minigen_kernels.random import Generator

__all__ = ["Dropout", "Embedding", "Flatten", "Identity", "Linear"]


def torch_default_(weight: Parameter, bias: Parameter | None, rng: Generator) -> None:
    """torch's initial values of linear and conv layers: U(-1/√fan_in, 1/√fan_in) for both."""
    init.kaiming_uniform_(weight, a=math.sqrt(5), rng=rng)
    if bias is not None:
        bound = 1 / math.sqrt(max(math.prod(weight.shape[1:]), 1))
        init.uniform_(bias, -bound, bound, rng=rng)


class Linear(Module):
    """y = x·Wᵀ + b, for x (..., in_features); weight (out_features, in_features), bias (out,)

    activation: f of f(y), in one kernel on a GPU; see functional.conv2d.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        activation: str | tuple[str, float] | None = None,
        rng: Generator | None = None,
        dtype: Any = np.float32,
    ):
        rng = init.needed(rng, "Linear")
        self.in_features, self.out_features = in_features, out_features
        self.activation = activation
        self.weight = Parameter(np.empty((out_features, in_features), dtype))
        self.bias = Parameter(np.empty(out_features, dtype)) if bias else None
        torch_default_(self.weight, self.bias, rng)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias, activation=self.activation)

    def extra_repr(self) -> str:
        text = f"in_features={self.in_features}, out_features={self.out_features}, "
        text += f"bias={self.bias is not None}"
        return text if self.activation is None else f"{text}, activation={self.activation!r}"


class Embedding(Module):
    """y = weight[index]: a learned row (embedding_dim,) for each of num_embeddings indices

    The initial values are N(0, 1); the row padding_idx is 0, and stays so: it has no gradient.
    The other options are those of functional.embedding.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        *,
        rng: Generator | None = None,
        dtype: Any = np.float32,
    ):
        rng = init.needed(rng, "Embedding")
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ValueError(
                f"Embedding: padding_idx={padding_idx} is not one of {num_embeddings} rows"
            )
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = padding_idx if padding_idx is None else padding_idx % num_embeddings
        self.max_norm, self.norm_type = max_norm, norm_type
        self.scale_grad_by_freq, self.sparse = scale_grad_by_freq, sparse
        self.weight = Parameter(np.empty((num_embeddings, embedding_dim), dtype))
        init.normal_(self.weight, rng=rng)
        if self.padding_idx is not None:
            self.weight.data[self.padding_idx] = 0

    def forward(self, index: Tensor) -> Tensor:
        how = (self.max_norm, self.norm_type, self.scale_grad_by_freq, self.sparse)
        return F.embedding(index, self.weight, self.padding_idx, *how)

    def extra_repr(self) -> str:
        plain = {"padding_idx": None, "max_norm": None, "norm_type": 2.0}
        plain |= {"scale_grad_by_freq": False, "sparse": False}
        given = [f", {k}={getattr(self, k)}" for k, v in plain.items() if getattr(self, k) != v]
        return f"{self.num_embeddings}, {self.embedding_dim}{''.join(given)}"


class Dropout(Module):
    """In training y = x · mask / (1 - p), mask = 0 with probability p; otherwise y = x."""

    def __init__(self, p: float = 0.5, *, rng: Generator | None = None):
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: p={p} is not in 0 ... 1")
        self.p = p
        self.rng = init.needed(rng, "Dropout")

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.p, self.training, rng=self.rng)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Flatten(Module):
    """The axes start_dim ... end_dim become one."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Tensor) -> Tensor:
        return F.flatten(x, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Identity(Module):
    """y = x"""

    def forward(self, x: Tensor) -> Tensor:
        return x
