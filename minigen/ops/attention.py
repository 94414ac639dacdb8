"""Scaled dot-product attention: out = softmax(q·kᵀ·scale + mask)·v."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from minigen_kernels import backend_of, namespace_of

from ..function import broadcast_to
from ..tensor import Tensor
from .choice import where
from .fused import Fused
from .operands import as_tensor, to
from .random import dropout

if TYPE_CHECKING:
    from minigen_kernels.random import Generator

__all__ = ["attention_weights", "scaled_dot_product_attention"]


class Attention(Fused):
    """out[t] = Σ_s softmax_s(q[t]·k[s]·scale + mask[t,s])·v[s]; q (…,T,d), k (…,S,d), v (…,S,dv)

    The kernels keep the running maximum and sum of each row and never hold the T × S scores; `lse`,
    the logarithm of each row's sum of exponentials, is all that backward needs besides out.
    """

    name = "scaled_dot_product_attention"
    keeps_output = True

    def __init__(self, mask: Any, is_causal: bool, scale: float):
        self.mask, self.is_causal, self.scale = mask, is_causal, scale

    def forward(self, q: Any, k: Any, v: Any) -> Any:
        kernels = backend_of(q)
        out, self.lse = kernels.attention(q, k, v, self.mask, self.is_causal, self.scale)
        return out

    def kernel_backward(self, gy: Any, *arrays: Any) -> tuple[Any, ...]:
        return backend_of(gy).attention_backward(
            gy, *arrays, self._output, self.lse, self.mask, self.is_causal, self.scale
        )

    def formula(self, *inputs: Tensor) -> Tensor:
        q, k, v = inputs
        mask = None if self.mask is None else Tensor(self.mask)
        return attention_weights(q, k, mask, self.is_causal, self.scale) @ v


def attention_weights(
    query: Tensor,
    key: Tensor,
    attn_mask: Tensor | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """softmax_s(q[t]·k[s]·scale + mask[t,s]), (..., T, S): how much of each value goes where.

    The arguments are those of scaled_dot_product_attention, which gives weights @ value without
    ever holding the weights; this is for looking at them. A row that may attend to nothing is 0.
    """
    scale = 1 / math.sqrt(max(query.shape[-1], 1)) if scale is None else scale
    scores = (query * scale) @ key.transpose(-1, -2)
    if attn_mask is not None and attn_mask.dtype.kind == "b":
        scores = where(attn_mask, scores, -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    if is_causal:
        xp = namespace_of(query.data)
        seen = Tensor(xp.tri(scores.shape[-2], scores.shape[-1], dtype=bool))
        scores = where(seen, scores, -math.inf)
    if not scores.size:
        return scores
    highest = scores.data.max(-1, keepdims=True)
    # A constant: softmax does not change when it is subtracted. -inf - -inf would be NaN.
    highest = Tensor(namespace_of(highest).where(highest == -math.inf, 0, highest))
    exps = (scores - highest).exp()
    total = exps.sum(-1, True)
    return exps / where(Tensor(total.data == 0), 1.0, total)


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    rng: Generator | None = None,
) -> Tensor:
    """out[t] = Σ_s softmax_s(q[t]·k[s]·scale + mask[t,s])·v[s]

    query      (..., T, d), key (..., S, d), value (..., S, dv); leading axes are broadcast.
    attn_mask  broadcastable to (..., T, S): bool, True where t may attend to s; or floating, added
               to the scores. A row that may attend to nothing gives zeros.
    dropout_p  drops attention weights with this probability, drawn from rng: 0 when evaluating.
    is_causal  t attends to s ≤ t (also if T ≠ S: the first row sees one key); not with attn_mask.
    scale      1/√d unless given.
    enable_gqa  axis -3 counts heads, and each head of key and value serves several of the query.
    """
    attn_mask = None if attn_mask is None else as_tensor(attn_mask)
    if enable_gqa:
        key, value = (_shared_heads(query, x) for x in (key, value))
    batch = _checked_batch(query, key, value, attn_mask, is_causal)
    if not 0 <= dropout_p <= 1:
        raise ValueError(f"scaled_dot_product_attention: dropout_p={dropout_p} is not in 0 ... 1")
    d = query.shape[-1]
    scale = 1 / math.sqrt(max(d, 1)) if scale is None else scale
    q, k, v = (
        x if x.shape[:-2] == batch else broadcast_to(x, (*batch, *x.shape[-2:]))
        for x in (query, key, value)
    )
    mask = attn_mask
    if mask is not None:
        mask = mask if mask.device == query.device else to(mask, query.device)
        mask = _mask_rows(mask, batch, query.shape[-2], key.shape[-2], query.dtype)
    if dropout_p or (mask is not None and mask.requires_grad):
        weights = attention_weights(q, k, mask, is_causal, scale)
        return (dropout(weights, dropout_p, True, rng=rng) if dropout_p else weights) @ v
    return Attention(None if mask is None else mask.data, is_causal, scale)(q, k, v)


def _checked_batch(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, is_causal: bool
) -> tuple[int, ...]:
    """The leading axes of the output, once the shapes are known to fit."""
    op, shapes = "scaled_dot_product_attention", f"query {q.shape}, key {k.shape}, value {v.shape}"
    if min(q.ndim, k.ndim, v.ndim) < 2:
        raise ValueError(f"{op}: {shapes} must have 2 axes or more, (..., T, d)")
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(
            f"{op}: the last axes of query and key must be equally long, "
            f"{q.shape[-1]} and {k.shape[-1]} are not ({shapes})"
        )
    if k.shape[-2] != v.shape[-2]:
        raise ValueError(
            f"{op}: there must be as many values as keys (axis -2), "
            f"{v.shape[-2]} and {k.shape[-2]} are not equal ({shapes})"
        )
    if is_causal and mask is not None:
        raise ValueError(
            f"{op}: give attn_mask or is_causal=True, not both; the causal mask can be put into "
            "attn_mask: mask & tri(T, S, dtype=bool)"
        )
    for name, x in (("query", q), ("key", k), ("value", v)):
        if x.dtype.kind != "f":
            raise TypeError(f"{op}: the {name} is {x.dtype}; convert it, e.g. .to('float32')")
    lead = q.shape[:-2]
    if lead == k.shape[:-2] == v.shape[:-2]:
        return lead
    try:
        return np.broadcast_shapes(lead, k.shape[:-2], v.shape[:-2])
    except ValueError:
        raise ValueError(f"{op}: the leading axes of {shapes} do not broadcast") from None


def _shared_heads(query: Tensor, x: Tensor) -> Tensor:
    """x (..., H/n, S, d) with each head n times, next to itself, for a query of H heads."""
    op = "scaled_dot_product_attention"
    if min(query.ndim, x.ndim) < 3 or not x.shape[-3] or query.shape[-3] % x.shape[-3]:
        raise ValueError(
            f"{op}: enable_gqa=True needs heads on axis -3, as many in the query {query.shape} as "
            f"in key and value {x.shape}, or a multiple of that"
        )
    *lead, heads, s, d = x.shape
    n = query.shape[-3] // heads
    wide = broadcast_to(x.reshape((*lead, heads, 1, s, d)), (*lead, heads, n, s, d))
    return wide.reshape((*lead, heads * n, s, d))


def _mask_rows(mask: Tensor, batch: tuple[int, ...], t: int, s: int, dtype: np.dtype) -> Tensor:
    """The mask as (1, ..., T, S) if it is the same for every batch entry, else (*batch, T, S)."""
    if mask.dtype.kind not in "bf":
        raise TypeError(
            f"scaled_dot_product_attention: attn_mask is {mask.dtype}, but must be bool "
            "(True where attention is allowed) or floating (added to the scores)"
        )
    if mask.dtype.kind == "f" and mask.dtype != dtype:
        raise TypeError(
            f"scaled_dot_product_attention: attn_mask is {mask.dtype} and the query {dtype}; "
            f"convert one of them, e.g. attn_mask.to('{dtype}')"
        )
    lead = mask.shape[:-2]
    try:
        fits = np.broadcast_shapes(mask.shape, (*batch, t, s)) == (*batch, t, s)
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"scaled_dot_product_attention: attn_mask {mask.shape} does not broadcast to the "
            f"scores {(*batch, t, s)}, (..., T, S)"
        )
    if math.prod(lead) == 1:
        each = broadcast_to(mask.reshape(mask.shape[-2:]), (t, s))
        return each.reshape((1,) * len(batch) + (t, s))
    return broadcast_to(mask, (*batch, t, s))
