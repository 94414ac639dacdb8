"""Attention and the layers of a transformer, with torch's names and layouts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from minigen_kernels import namespace_of

from .. import functional as F
from ..tensor import Tensor
from . import init
from .linear import Dropout, Linear
from .module import Module, Parameter
from .norm import LayerNorm

if TYPE_CHECKING:
    from minigen_kernels.random import Generator

__all__ = ["MultiheadAttention", "TransformerDecoderLayer", "TransformerEncoderLayer"]


class MultiheadAttention(Module):
    """out = concat_h(softmax(q_h·k_hᵀ / √d + mask)·v_h)·W_oᵀ + b_o, with q = x·W_qᵀ + b_q etc.

    embed_dim is cut into num_heads heads of width d. Inputs are (T, N, E), with batch_first=True
    (N, T, E), or (T, E). in_proj_weight holds W_q, W_k and W_v, one above the other.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        *,
        batch_first: bool = False,  # by name: torch has others before it
        rng: Generator | None = None,
        dtype: Any = np.float32,
    ):
        if num_heads < 1 or embed_dim % num_heads:
            raise ValueError(
                f"MultiheadAttention: num_heads={num_heads} must divide embed_dim={embed_dim}"
            )
        self.embed_dim, self.num_heads, self.dropout = embed_dim, num_heads, dropout
        self.batch_first = batch_first
        self.rng = init.needed(rng, "MultiheadAttention")
        self.in_proj_weight = Parameter(np.empty((3 * embed_dim, embed_dim), dtype))
        self.in_proj_bias = Parameter(np.zeros(3 * embed_dim, dtype)) if bias else None
        init.xavier_uniform_(self.in_proj_weight, rng=rng)
        self.out_proj = Linear(embed_dim, embed_dim, bias, rng=rng, dtype=dtype)
        if self.out_proj.bias is not None:
            init.zeros_(self.out_proj.bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """(out, weights); weights is None with need_weights=False, which runs the fused kernel.

        key_padding_mask  (N, S) or (S,): True, or -inf, where a key is padding.
        attn_mask         (T, S) or (N·heads, T, S): True where t may NOT attend to s, or added to
                          the scores. (scaled_dot_product_attention has True for may: as torch.)
        is_causal         t attends to s ≤ t; may be combined with the masks.
        The weights are (N, T, S), the mean over the heads; average_attn_weights=False gives
        (N, heads, T, S).
        """
        self._check(query, key, value)
        batched = query.ndim == 3
        q, k, v = (self._heads(x, batched) for x in self._projected(query, key, value))
        mask = self._mask(key_padding_mask, attn_mask, q, k)
        if mask is not None and is_causal:
            mask, is_causal = F.where(_causal(q, k), mask, -math.inf), False
        p = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            weights = F.dropout(F.attention_weights(q, k, mask, is_causal), p, p > 0, rng=self.rng)
            out = weights @ v
            weights = weights.mean(1) if average_attn_weights else weights
            weights = weights if batched else weights.reshape(weights.shape[1:])
        else:
            out = F.scaled_dot_product_attention(q, k, v, mask, p, is_causal, rng=self.rng)
        return self.out_proj(self._joined(out, query.shape)), weights

    def _check(self, query: Tensor, key: Tensor, value: Tensor) -> None:
        for name, x in (("query", query), ("key", key), ("value", value)):
            if x.ndim not in (2, 3) or x.ndim != query.ndim or x.shape[-1] != self.embed_dim:
                layout = "(N, T, E)" if self.batch_first else "(T, N, E)"
                raise ValueError(
                    f"MultiheadAttention: the {name} is {x.shape}, but must be {layout} or (T, E) "
                    f"like the query, with E = embed_dim = {self.embed_dim}"
                )
        if key.shape != value.shape:
            raise ValueError(
                f"MultiheadAttention: key {key.shape} and value {value.shape} must be as large: "
                "there is one value for each key"
            )
        batch = 0 if self.batch_first else 1
        if query.ndim == 3 and query.shape[batch] != key.shape[batch]:
            raise ValueError(
                f"MultiheadAttention: axis {batch}, the batch, is {query.shape[batch]} in the "
                f"query {query.shape} and {key.shape[batch]} in the key {key.shape}; give as many"
            )

    def _projected(self, query: Tensor, key: Tensor, value: Tensor) -> list[Tensor]:
        w, b, e = self.in_proj_weight, self.in_proj_bias, self.embed_dim
        if query is key and key is value:
            return list(F.split(F.linear(query, w, b), e, -1))
        parts = (slice(0, e), slice(e, 2 * e), slice(2 * e, 3 * e))
        inputs = (query, key, value)
        return [
            F.linear(x, w[part], None if b is None else b[part])
            for x, part in zip(inputs, parts, strict=True)
        ]

    def _heads(self, x: Tensor, batched: bool) -> Tensor:
        if not batched:
            x = x.reshape((1, *x.shape))
        elif not self.batch_first:
            x = x.transpose(0, 1)
        n, t, e = x.shape
        x = x.reshape((n, t, self.num_heads, e // self.num_heads))
        return x.transpose(1, 2)  # (N, heads, T, d)

    def _joined(self, out: Tensor, shape: tuple[int, ...]) -> Tensor:
        n, _, t, _ = out.shape
        out = out.transpose(1, 2).reshape((n, t, self.embed_dim))
        if len(shape) == 3 and not self.batch_first:
            out = out.transpose(0, 1)
        return out.reshape(shape)

    def _mask(
        self, padding: Tensor | None, mask: Tensor | None, q: Tensor, k: Tensor
    ) -> Tensor | None:
        """Both masks as one, added to the scores (N, heads, T, S)."""
        (n, heads, t, _), s = q.shape, k.shape[2]
        terms = []
        if padding is not None:
            if padding.shape not in ((n, s), (s,)):
                raise ValueError(
                    f"MultiheadAttention: key_padding_mask {padding.shape} must be {(n, s)}, (N, S)"
                )
            terms.append(_additive(padding, q.dtype).reshape((-1, 1, 1, s)))
        if mask is not None:
            if mask.shape not in ((t, s), (n * heads, t, s)):
                raise ValueError(
                    f"MultiheadAttention: attn_mask {mask.shape} must be {(t, s)}, (T, S), or "
                    f"{(n * heads, t, s)}, (N·heads, T, S)"
                )
            shape = (1, 1, t, s) if mask.ndim == 2 else (n, heads, t, s)
            terms.append(_additive(mask, q.dtype).reshape(shape))
        return sum(terms[1:], terms[0]) if terms else None


def _additive(mask: Tensor, dtype: np.dtype) -> Tensor:
    """A mask that is True where attention is forbidden, as what is added to the scores."""
    if mask.dtype.kind != "b":
        return mask
    xp = namespace_of(mask.data)
    return F.where(mask, Tensor(xp.full((), -math.inf, dtype)), Tensor(xp.zeros((), dtype)))


def _causal(q: Tensor, k: Tensor) -> Tensor:
    return Tensor(namespace_of(q.data).tri(q.shape[2], k.shape[2], dtype=bool))


Activation = str | Callable[[Tensor], Tensor]


def _checked(activation: Activation) -> Activation:
    if not callable(activation) and activation not in ("relu", "gelu"):
        raise ValueError(f"activation={activation!r} must be 'relu', 'gelu' or a function")
    return activation


class _TransformerLayer(Module):
    """What the two layers share: the feed-forward block and its options."""

    def _set_options(self, activation: Activation, norm_first: bool) -> None:
        self.norm_first = norm_first
        self.activation = _checked(activation)

    def _set_feedforward(
        self, d_model: int, width: int, dropout: float, bias: bool, rng: Generator, dtype: Any
    ) -> None:
        fused = None if callable(self.activation) else self.activation  # one kernel on a GPU
        self.linear1 = Linear(d_model, width, bias, activation=fused, rng=rng, dtype=dtype)
        self.dropout = Dropout(dropout, rng=rng)
        self.linear2 = Linear(width, d_model, bias, rng=rng, dtype=dtype)

    def _feedforward(self, x: Tensor) -> Tensor:
        h = self.linear1(x)
        return self.linear2(self.dropout(self.activation(h) if callable(self.activation) else h))

    def _residual(
        self, x: Tensor, norm: Module, dropout: Module, block: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """norm_first: x + block(norm(x)); otherwise norm(x + block(x))."""
        if self.norm_first:
            return x + dropout(block(norm(x)))
        return norm(x + dropout(block(x)))


class TransformerEncoderLayer(_TransformerLayer):
    """x ← norm1(x + attention(x)), x ← norm2(x + linear2(activation(linear1(x))))

    norm_first=True puts each norm before its block instead (x + block(norm(x))), which trains
    without warm-up. Source: Vaswani et al. 2017, and Xiong et al. 2020 for norm_first.
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        *,
        rng: Generator | None = None,
        dtype: Any = np.float32,
    ):
        rng = init.needed(rng, "TransformerEncoderLayer")
        self._set_options(activation, norm_first)
        self.self_attn = MultiheadAttention(
            d_model, nhead, dropout, bias, batch_first=batch_first, rng=rng, dtype=dtype
        )
        self._set_feedforward(d_model, dim_feedforward, dropout, bias, rng, dtype)
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.dropout1 = Dropout(dropout, rng=rng)
        self.dropout2 = Dropout(dropout, rng=rng)

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """The masks are MultiheadAttention's."""

        def attention(x: Tensor) -> Tensor:
            return self.self_attn(
                x, x, x, src_key_padding_mask, False, src_mask, is_causal=is_causal
            )[0]

        x = self._residual(src, self.norm1, self.dropout1, attention)
        return self._residual(x, self.norm2, self.dropout2, self._feedforward)


class TransformerDecoderLayer(_TransformerLayer):
    """An encoder layer with, in the middle, attention from the target to the encoder's memory

    x ← norm1(x + self-attention(x)), x ← norm2(x + attention(x, memory, memory)),
    x ← norm3(x + linear2(activation(linear1(x)))); norm_first as in TransformerEncoderLayer.
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        *,
        rng: Generator | None = None,
        dtype: Any = np.float32,
    ):
        rng = init.needed(rng, "TransformerDecoderLayer")
        self._set_options(activation, norm_first)
        options: dict[str, Any] = {"batch_first": batch_first, "rng": rng, "dtype": dtype}
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, **options)
        self.multihead_attn = MultiheadAttention(d_model, nhead, dropout, bias, **options)
        self._set_feedforward(d_model, dim_feedforward, dropout, bias, rng, dtype)
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.norm3 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.dropout1 = Dropout(dropout, rng=rng)
        self.dropout2 = Dropout(dropout, rng=rng)
        self.dropout3 = Dropout(dropout, rng=rng)

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """The masks are MultiheadAttention's."""

        def own(x: Tensor) -> Tensor:
            return self.self_attn(
                x, x, x, tgt_key_padding_mask, False, tgt_mask, is_causal=tgt_is_causal
            )[0]

        def other(x: Tensor) -> Tensor:
            return self.multihead_attn(
                x,
                memory,
                memory,
                memory_key_padding_mask,
                False,
                memory_mask,
                is_causal=memory_is_causal,
            )[0]

        x = self._residual(tgt, self.norm1, self.dropout1, own)
        x = self._residual(x, self.norm2, self.dropout2, other)
        return self._residual(x, self.norm3, self.dropout3, self._feedforward)
