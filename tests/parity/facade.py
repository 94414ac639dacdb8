"""One table of cases, two libraries: the cases' `F` and `Tensor` become doors to both.

A case calls F.conv2d(x, w, ...) with torch's names and argument order, so the same call, given
torch's tensors, is torch's own. `Doors` looks at the arguments and opens the right door.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

import minigen
from minigen.testing import cases_elementwise, cases_loss, cases_nn, cases_shape

TABLES = (cases_elementwise, cases_loss, cases_nn, cases_shape)


def to_torch(value: Any) -> Any:
    """The same values as a torch tensor; what is no array or Tensor stays as it is."""
    if isinstance(value, minigen.Tensor):
        value = value.numpy()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(np.array(value))
    if isinstance(value, (tuple, list)):
        return type(value)(to_torch(v) for v in value)
    return value


def conv2d_weight(x: Any, gy: Any, kernel_size: Any, **options: Any) -> Any:
    """torch has no differentiable function of this name: the gradient of conv2d is one."""
    shape = (gy.shape[1], x.shape[1] // options.get("groups", 1), *kernel_size)
    w = torch.zeros(shape, dtype=x.dtype, requires_grad=True)
    y = torch.nn.functional.conv2d(x, w, None, **options)
    return torch.autograd.grad(y, w, gy, create_graph=True)[0]


def attention_weights(q: Any, k: Any, mask: Any = None, is_causal: bool = False, scale: Any = None):
    """softmax(q·kᵀ·scale + mask), by applying attention to the identity."""
    eye = torch.eye(k.shape[-2], dtype=q.dtype).expand(*k.shape[:-1], k.shape[-2])
    attention = torch.nn.functional.scaled_dot_product_attention
    return attention(q, k, eye, mask, is_causal=is_causal, scale=scale)


def gaussian_kl(mu: Any, logvar: Any, mu2: Any = None, logvar2: Any = None, *, reduction: str):
    """The divergence of torch.distributions."""
    normal = torch.distributions.Normal
    mu, logvar = torch.broadcast_tensors(mu, logvar)
    zero = torch.zeros_like(mu)
    q = normal(mu, (0.5 * logvar).exp())
    p = normal(
        zero if mu2 is None else mu2.expand_as(mu),
        (0.5 * (zero if logvar2 is None else logvar2.expand_as(mu))).exp(),
    )
    kl = torch.distributions.kl_divergence(q, p)
    if reduction == "batchmean":
        return kl.sum() / max(kl.shape[0], 1)
    return {"none": kl, "sum": kl.sum(), "mean": kl.mean()}[reduction]


def norm(x: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False) -> Any:
    """torch.norm, of all elements where a tuple of axes is meant as vectors."""
    return torch.linalg.vector_norm(x, 2 if p == "fro" else p, dim, keepdim)


def instance_norm(x: Any, mean: Any, var: Any, w: Any = None, b: Any = None, **options: Any) -> Any:
    """torch.nn.functional.instance_norm: the CPU takes a weight only together with a bias."""
    if w is not None and b is None:
        b = torch.zeros_like(w)
    return torch.nn.functional.instance_norm(x, mean, var, w, b, **options)


def logsumexp(x: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """torch.logsumexp, which wants the axes named."""
    axes = tuple(range(x.ndim)) or 0
    return torch.logsumexp(x, axes if dim is None else dim, keepdim)


def embedding(i: Any, w: Any, *options: Any, **named: Any) -> Any:
    """torch's, whose second derivative fails when no row is asked for."""
    return torch.nn.functional.embedding(i, w, *options, **named) if i.numel() else w[i]


def with_activation(name: str) -> Callable[..., Any]:
    """torch's function of this name; what we ask for by activation= torch computes afterwards, and
    by moments= not at all, for it changes no value."""
    product = getattr(torch.nn.functional, name)

    def call(*arguments: Any, activation: str | None = None, **options: Any) -> Any:
        options.pop("moments", None)
        y = product(*arguments, **options)
        if activation == "gelu_tanh":
            return torch.nn.functional.gelu(y, approximate="tanh")
        return y if activation is None else getattr(torch.nn.functional, activation)(y)

    return call


OWN = {
    **{name: with_activation(name)
       for name in ("conv2d", "conv_transpose2d", "linear", "batch_norm")},
    "embedding": embedding,
    "logsumexp": logsumexp,
    "squeeze": lambda x, dim=None: x.squeeze() if dim is None else x.squeeze(dim),
    "attention_weights": attention_weights,
    "conv2d_weight": conv2d_weight,
    "gaussian_kl": gaussian_kl,
    "instance_norm": instance_norm,
    "norm": norm,
    "repeat": lambda x, *sizes: x.repeat(*sizes),
    "expand": lambda x, *sizes: x.expand(*sizes),
    "permute": lambda x, *dims: x.permute(*dims),
}


def torch_function(name: str) -> Callable[..., Any]:
    """torch's function of this name, wherever torch keeps it."""
    if name in OWN:
        return OWN[name]
    places = (torch.nn.functional, torch)
    # softmax and relu are in both; the functional ones have the documented arguments.
    return next(getattr(place, name) for place in places if hasattr(place, name))


class Doors:
    """Stands where `functional as F` stands in the tables of cases."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            flat = [*arguments, *options.values()]
            flat += [a for group in flat if isinstance(group, (tuple, list)) for a in group]
            if any(isinstance(a, torch.Tensor) for a in flat):
                options = {k: to_torch(v) for k, v in options.items()}
                return torch_function(name)(*to_torch(arguments), **options)
            return getattr(minigen.functional, name)(*arguments, **options)

        return call


@contextlib.contextmanager
def doors() -> Iterator[None]:
    """Inside this block the tables of cases call either library, by their arguments."""
    with contextlib.ExitStack() as stack:
        # The one implementation of torch's attention on a CPU that has second derivatives.
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        for table in TABLES:
            before = table.F
            table.F = Doors()
            stack.callback(setattr, table, "F", before)
        yield
