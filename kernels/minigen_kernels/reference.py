"""Rung 0 of every kernel: the formula, in plain Python loops. This is the specification.

Sums run in float64 whatever the arrays are, and the result is rounded once at the end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from . import geometry
from .activations import slope_of

Array = np.ndarray
Index = tuple[int, ...]


def gemm(
    a: Array,
    b: Array,
    transpose_a: bool = False,
    transpose_b: bool = False,
    bias: Array | None = None,
) -> Array:
    """c[…,i,j] = bias[j] + Σ_k a[…,i,k] · b[…,k,j]

    a (…, M, K), b (…, K, N), either batch may be missing; bias (N,) or none.
    """
    batch, m, depth, n = geometry.gemm_shape(a.shape, b.shape, transpose_a, transpose_b)
    a = np.broadcast_to(np.swapaxes(a, -1, -2) if transpose_a else a, (*batch, m, depth))
    b = np.broadcast_to(np.swapaxes(b, -1, -2) if transpose_b else b, (*batch, depth, n))
    c = np.zeros((*batch, m, n)) + (0 if bias is None else bias)
    for *s, i, j in np.ndindex(c.shape):
        for k in range(depth):
            c[(*s, i, j)] += float(a[(*s, i, k)]) * float(b[(*s, k, j)])
    return c.astype(a.dtype)


def _conv_terms(
    x_shape: Index, w_shape: Index, y_shape: Index, stride: Any, padding: Any, dilation: Any
) -> Iterator[tuple[Index, Index, Index]]:
    """The terms of T(x, w, y) = Σ x[ix]·w[iw]·y[iy] = ⟨y, conv2d(x, w)⟩, as index triples.

    x[n, c + C/g·group(o), i·s+p·d-P, j·s+q·d-P] meets w[o, c, p, q] and y[n, o, i, j].
    """
    height, width = x_shape[2:]
    rows_per_group = w_shape[0] * w_shape[1] // max(x_shape[1], 1)  # O / groups
    for n, o, i, j in np.ndindex(y_shape):
        for c, p, q in np.ndindex(w_shape[1:]):
            h = i * stride[0] + p * dilation[0] - padding[0]
            v = j * stride[1] + q * dilation[1] - padding[1]
            if 0 <= h < height and 0 <= v < width:
                channel = o // rows_per_group * w_shape[1] + c
                yield (n, channel, h, v), (o, c, p, q), (n, o, i, j)


def conv2d(x, w, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1) -> Array:
    """y = ∂T/∂y: y[n,o,i,j] = b[o] + Σ_{c,p,q} x[n,c, i·s+p·d-P, j·s+q·d-P] · w[o,c,p,q]"""
    shape = geometry.conv2d_output(x.shape, w.shape, stride, padding, dilation, groups)
    y = np.zeros(shape)
    for ix, iw, iy in _conv_terms(x.shape, w.shape, shape, stride, padding, dilation):
        y[iy] += float(x[ix]) * float(w[iw])
    if bias is not None:
        y += bias[:, None, None]
    return y.astype(x.dtype)


def conv_transpose2d(
    y, w, bias=None, stride=(1, 1), padding=(0, 0), output_padding=(0, 0), dilation=(1, 1), groups=1
) -> Array:
    """x = ∂T/∂x: x[n,c, i·s+p·d-P, j·s+q·d-P] = b[c] + Σ_{o,i,j,p,q} y[n,o,i,j] · w[o,c,p,q]"""
    shape = geometry.conv_transpose2d_output(
        y.shape, w.shape, stride, padding, output_padding, dilation, groups
    )
    x = np.zeros(shape)
    for ix, iw, iy in _conv_terms(shape, w.shape, y.shape, stride, padding, dilation):
        x[ix] += float(y[iy]) * float(w[iw])
    if bias is not None:
        x += bias[:, None, None]
    return x.astype(y.dtype)


def conv2d_weight(
    x, gy, kernel_size, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1
) -> Array:
    """gw = ∂T/∂w: gw[o,c,p,q] = Σ_{n,i,j} x[n,c, i·s+p·d-P, j·s+q·d-P] · gy[n,o,i,j]"""
    shape = geometry.conv2d_weight_shape(
        x.shape, gy.shape, kernel_size, stride, padding, dilation, groups
    )
    gw = np.zeros(shape)
    for ix, iw, iy in _conv_terms(x.shape, shape, gy.shape, stride, padding, dilation):
        gw[iw] += float(x[ix]) * float(gy[iy])
    return gw.astype(x.dtype)


def activated(x, activation, slope=0.0):
    """max(x, 0); x where x > 0, slope · x elsewhere; tanh x; 1 / (1 + exp(-x)); gelu's two forms"""
    slope = slope_of(activation, slope)
    if activation in ("relu", "leaky_relu"):
        return leaky_relu(x, slope)
    if activation in ("gelu", "gelu_tanh"):
        return gelu(x, "tanh" if activation == "gelu_tanh" else "none")
    wide = x.astype(np.float64)
    return (np.tanh(wide) if activation == "tanh" else 1 / (1 + np.exp(-wide))).astype(x.dtype)


def _finished(x: Array, activation: str, slope: float, keep: bool, moments: bool = False) -> Any:
    y = x if activation == "none" else activated(x, activation, slope)
    asked = [x] * keep + [moments_of(x)] * moments
    return (y, *asked) if asked else y


def moments_of(x):
    """Of x (N, C, ...): each channel's mean, its sum of squares about it, and last the count; a
    kernel may leave them of parts, in as many columns"""
    shape = x.shape[1], x.shape[0] * math.prod(x.shape[2:])
    rows = np.moveaxis(x, 1, 0).reshape(shape).astype(np.float64)
    mean = rows.sum(axis=1, keepdims=True) / max(rows.shape[1], 1)
    squares = ((rows - mean) ** 2).sum(axis=1, keepdims=True)
    return np.vstack([mean, squares, [[rows.shape[1]]]]).astype(x.dtype)


def gemm_activated(
    a, b, transpose_a=False, transpose_b=False, bias=None, activation="relu", slope=0.0, keep=False
):
    """c = f(gemm(a, b) + bias), f an activation; keep: what f is given is returned too"""
    c = gemm(a, b, transpose_a, transpose_b, bias)
    return _finished(c, activation, slope, keep)


def conv2d_activated(
    x, w, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, activation="relu",
    slope=0.0, keep=False, moments=False,
):  # fmt: skip
    """y = f(conv2d(x, w) + bias), f an activation or "none"; what f is given is returned too with
    keep, and its moments with moments"""
    y = conv2d(x, w, bias, stride, padding, dilation, groups)
    return _finished(y, activation, slope, keep, moments)


def conv_transpose2d_activated(
    y, w, bias=None, stride=(1, 1), padding=(0, 0), output_padding=(0, 0), dilation=(1, 1),
    groups=1, activation="relu", slope=0.0, keep=False, moments=False,
):  # fmt: skip
    """x = f(conv_transpose2d(y, w) + bias); keep, moments: as conv2d_activated"""
    x = conv_transpose2d(y, w, bias, stride, padding, output_padding, dilation, groups)
    return _finished(x, activation, slope, keep, moments)


def layer_norm(x, weight, bias, eps):
    """y[r,i] = (x[r,i] - mean[r]) · rstd[r] · weight[i] + bias[i], rstd = 1 / √(var + eps)"""
    y, mean, rstd = (np.empty(shape, x.dtype) for shape in (x.shape, x.shape[:1], x.shape[:1]))
    for r, row in enumerate(x.astype(np.float64)):
        mean[r] = mu = sum(row) / max(len(row), 1)
        rstd[r] = scale = 1 / math.sqrt(sum((v - mu) ** 2 for v in row) / max(len(row), 1) + eps)
        for i, value in enumerate(row):
            w = 1 if weight is None else float(weight[i])
            y[r, i] = (value - mu) * scale * w + (0 if bias is None else float(bias[i]))
    return y, mean, rstd


def layer_norm_backward(gy, x, weight, mean, rstd):
    """gx = rstd (h - avg h - x̂ avg(h x̂)), h = gy · weight, x̂ = (x - mean) rstd; gw = Σ gy x̂"""
    gx, gw, gb = np.empty(x.shape), np.zeros(x.shape[1]), np.zeros(x.shape[1])
    for r, g in enumerate(gy.astype(np.float64)):
        x_hat = (x[r].astype(np.float64) - float(mean[r])) * float(rstd[r])
        h = g if weight is None else g * weight
        terms = h * x_hat
        avg_h, avg_hx = sum(h) / max(len(h), 1), sum(terms) / max(len(h), 1)
        gx[r] = float(rstd[r]) * (h - avg_h - x_hat * avg_hx)
        gw += g * x_hat
        gb += g
    return gx.astype(x.dtype), gw.astype(x.dtype), gb.astype(x.dtype)


def batch_norm(x, weight, bias, eps):
    """y[n,c,l] = (x[n,c,l] - mean[c]) / √(var[c] + eps) · weight[c] + bias[c], over n and l"""
    y, mean, var = (np.empty(shape, x.dtype) for shape in (x.shape, x.shape[1], x.shape[1]))
    for c in range(x.shape[1]):
        values = x[:, c].astype(np.float64)
        mean[c] = mu = sum(values.flat) / max(values.size, 1)
        var[c] = square = sum((v - mu) ** 2 for v in values.flat) / max(values.size, 1)
        scale = (1 if weight is None else float(weight[c])) / math.sqrt(square + eps)
        y[:, c] = (values - mu) * scale + (0 if bias is None else float(bias[c]))
    return y, mean, var


def batch_norm_activated(
    x, weight, bias, eps, activation="relu", slope=0.0, keep=False, moments=None
):
    """y = f(batch_norm(x)), mean and var; moments: what a product left of x says nothing new"""
    y, mean, var = batch_norm(x, weight, bias, eps)
    return _finished(y, activation, slope, keep), mean, var


def batch_norm_backward(gy, x, weight, mean, var, eps):
    """gx = weight · rstd (gy - avg gy - x̂ avg(gy x̂)); gw = Σ_{n,l} gy x̂, gb = Σ_{n,l} gy"""
    gx, gw, gb = np.empty(x.shape), np.empty(x.shape[1]), np.empty(x.shape[1])
    for c in range(x.shape[1]):
        rstd = 1 / math.sqrt(float(var[c]) + eps)
        g = gy[:, c].astype(np.float64)
        x_hat = (x[:, c].astype(np.float64) - float(mean[c])) * rstd
        gw[c], gb[c] = sum((g * x_hat).flat), sum(g.flat)
        scale = rstd * (1 if weight is None else float(weight[c]))
        gx[:, c] = scale * (g - gb[c] / max(g.size, 1) - x_hat * gw[c] / max(g.size, 1))
    return gx.astype(x.dtype), gw.astype(x.dtype), gb.astype(x.dtype)


def softmax(x):
    """y[r,c] = exp(x[r,c] - m[r]) / Σ_k exp(x[r,k] - m[r]), m[r] = max_k x[r,k]"""
    y = np.empty(x.shape, x.dtype)
    for r, row in enumerate(x.astype(np.float64) if x.size else ()):
        powers = np.exp(row - np.max(row))
        y[r] = powers / sum(powers)
    return y


def softmax_backward(gy, y):
    """gx[r,c] = y[r,c] (gy[r,c] - Σ_k gy[r,k] y[r,k])"""
    gx = np.empty(y.shape, y.dtype)
    for r, (g, p) in enumerate(zip(gy.astype(np.float64), y.astype(np.float64), strict=True)):
        gx[r] = p * (g - sum(g * p))
    return gx


def cross_entropy(logits, target):
    """loss[r] = lse[r] - logits[r, target[r]], lse[r] = log Σ_c exp logits[r,c]; target < 0: 0"""
    loss, lse = np.zeros(len(logits), logits.dtype), np.empty(len(logits), logits.dtype)
    for r, row in enumerate(logits.astype(np.float64)):
        top = np.max(row, initial=-np.inf)
        spread = np.log(sum(np.exp(row - top)))
        lse[r] = top + spread
        if target[r] >= 0:  # this order keeps all digits of spread, however large the logits
            loss[r] = (top - row[target[r]]) + spread
    return loss, lse


def cross_entropy_backward(g, logits, target, lse):
    """glogits[r,c] = g[r] (exp(logits[r,c] - lse[r]) - [c = target[r]]), 0 where target[r] < 0"""
    glogits = np.zeros(logits.shape, logits.dtype)
    for r, row in enumerate(logits.astype(np.float64)):
        for c in range(len(row) if target[r] >= 0 else 0):
            glogits[r, c] = float(g[r]) * (np.exp(row[c] - float(lse[r])) - (c == target[r]))
    return glogits


def gelu(x, approximate="none"):
    """y = x Φ(x) = ½ x erfc(-x/√2); tanh: y = ½ x (1 + tanh(√(2/π) (x + 0.044715 x³)))"""
    y = np.empty(x.shape, x.dtype)
    for i, value in np.ndenumerate(x.astype(np.float64)):
        if approximate == "tanh":
            u = math.sqrt(2 / math.pi) * (value + 0.044715 * value**3)
            y[i] = 0.5 * value * (1 + np.tanh(u))
        else:
            y[i] = 0.5 * value * math.erfc(-value / math.sqrt(2))
    return y


def gelu_backward(gy, x, approximate="none"):
    """gx = gy (Φ(x) + x exp(-x²/2) / √(2π)); tanh: gy (½ (1 + tanh u) + ½ x (1 - tanh² u) u')"""
    gx = np.empty(x.shape, x.dtype)
    for i, value in np.ndenumerate(x.astype(np.float64)):
        if approximate == "tanh":
            tanh = np.tanh(math.sqrt(2 / math.pi) * (value + 0.044715 * value**3))
            du = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * value**2)
            slope = 0.5 * (1 + tanh) + 0.5 * value * (1 - tanh**2) * du
        else:
            bell = np.exp(-0.5 * value**2) / math.sqrt(2 * math.pi)
            slope = 0.5 * math.erfc(-value / math.sqrt(2)) + value * bell
        gx[i] = float(gy[i]) * slope
    return gx


def leaky_relu(x, slope):
    """y = x where x > 0, slope · x elsewhere. Slope 0 is ReLU: 0 there, even of -∞; NaN stays."""
    slope = x.dtype.type(slope)
    return np.where(x <= 0, slope * x if slope else slope, x)


def leaky_relu_backward(gy, x, slope):
    """gx = gy where x > 0, slope · gy elsewhere. Slope 0: 0 where x <= 0, even of ∞; gy at NaN."""
    slope = x.dtype.type(slope)
    return np.where(x > 0, gy, slope * gy) if slope else np.where(x <= 0, slope, gy)


def bce_with_logits(x, target):
    """y = (1-t) max(x, 0) + t max(-x, 0) + log(1 + exp(-|x|)), t = target, and 0 · ∞ = 0"""
    y = np.empty(x.shape, x.dtype)
    for i, value in np.ndenumerate(x.astype(np.float64)):
        t = float(target[i])
        wrong = 1 - t if value > 0 else t  # the probability on the other side of 0
        y[i] = (wrong * abs(value) if wrong else 0) + np.log1p(np.exp(-abs(value)))
    return y


def bce_with_logits_backward(gy, x, target):
    """gx = gy (σ(x) - t), t = target; gy ((1 - t) - σ(-x)) where x > 0, to keep the digits"""
    gx = np.empty(x.shape, x.dtype)
    for i, value in np.ndenumerate(x.astype(np.float64)):
        t, tail = float(target[i]), np.exp(-abs(value)) / (1 + np.exp(-abs(value)))
        gx[i] = float(gy[i]) * ((1 - t) - tail if value > 0 else tail - t)
    return gx


def column_sums(x):
    """y[j] = Σ_i x[i,j]"""
    y = np.zeros(x.shape[1])
    for row in x:
        y += row
    return y.astype(x.dtype)


def deposit(y, index, size):
    """x[a,v,k] = Σ_{r: index[r]=v} y[a,r,k], for y (A, R, K) and index (R,) in 0 … size - 1"""
    x = np.zeros((y.shape[0], size, y.shape[2]))
    for r, v in enumerate(index):
        x[:, v] += y[:, r]
    return x.astype(y.dtype)


def adam(
    params, grads, exp_avgs, exp_avg_sqs, *, lr, beta1, beta2, eps, weight_decay, decoupled, step
):
    """m ← β1 m + (1-β1) g, v ← β2 v + (1-β2) g², p ← p - lr · m/(1-β1ᵗ) / (√(v/(1-β2ᵗ)) + eps)"""
    for p, g, m, v in zip(params, grads, exp_avgs, exp_avg_sqs, strict=True):
        for i in np.ndindex(p.shape):
            w = float(p[i]) * (1 - lr * weight_decay if decoupled else 1)
            slope = float(g[i]) + (0 if decoupled else weight_decay * w)
            m[i] = beta1 * float(m[i]) + (1 - beta1) * slope
            v[i] = beta2 * float(v[i]) + (1 - beta2) * slope**2
            deviation = math.sqrt(float(v[i]) / (1 - beta2**step))
            p[i] = w - lr * float(m[i]) / (1 - beta1**step) / (deviation + eps)


def philox(key, counter, n):
    """Philox4x32-10 (random.py): ten rounds away from the four words of each 128-bit counter."""
    words, m = [], 0xFFFFFFFF
    for block in range(counter, counter + -(-n // 4)):
        c = [block >> shift & m for shift in (0, 32, 64, 96)]
        k0, k1 = key & m, key >> 32
        for _ in range(10):
            p0, p1 = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
            c = [p1 >> 32 ^ c[1] ^ k0, p1 & m, p0 >> 32 ^ c[3] ^ k1, p0 & m]
            k0, k1 = k0 + 0x9E3779B9 & m, k1 + 0xBB67AE85 & m
        words += c
    return np.array(words[:n], np.uint32)


def uniform(key, counter, n, dtype, like=None, moved=None):
    """u = word 2⁻³² cut to 24 bits (float32), or u = (word₀ + word₁ 2³²) 2⁻⁶⁴ to 53 (float64)"""
    counter += 0 if moved is None else int(moved[0])
    if np.dtype(dtype) == np.float32:
        return np.array([(int(w) >> 8) * 2.0**-24 for w in philox(key, counter, n)], np.float32)
    words = [int(w) for w in philox(key, counter, 2 * n)]
    pairs = zip(words[::2], words[1::2], strict=True)
    return np.array([(low + (high << 32) >> 11) * 2.0**-53 for low, high in pairs], np.float64)


def normal(key, counter, n, dtype, like=None, moved=None):
    """r cos a, r sin a, …: r = √(-2 log(1 - u)), a = 2π v, u and v of 32 (float32) or 53 bits"""
    counter, count = counter + (0 if moved is None else int(moved[0])), n + n % 2
    if np.dtype(dtype) == np.float32:
        bits = [int(w) * 2.0**-32 for w in philox(key, counter, count)]
    else:
        bits = list(uniform(key, counter, count, np.float64))
    values = []
    for u, v in zip(bits[::2], bits[1::2], strict=True):
        r, a = math.sqrt(-2 * math.log(1 - u)), 2 * math.pi * v
        values += [r * math.cos(a), r * math.sin(a)]
    return np.array(values[:n], dtype)


def dropout(x, p, key, counter, moved=None):
    """y[i] = x[i] / (1 - p) where u[i] >= p, x[i] · 0 elsewhere; u uniform, float32"""
    kept = uniform(key, counter, x.size, np.float32, moved=moved).reshape(x.shape) >= np.float32(p)
    return x * (kept * x.dtype.type(1 / (1 - p)))


def _scores(q, k, mask, is_causal, scale, b, i):
    """s[j] = scale · q[b,i]·k[b,j] + mask, float64; -inf where query i may not look at key j."""
    if scale is None:
        scale = 1 / math.sqrt(max(q.shape[2], 1))
    s = np.empty(k.shape[1])
    for j in range(k.shape[1]):
        s[j] = scale * sum(float(x) * float(y) for x, y in zip(q[b, i], k[b, j], strict=True))
        if mask is not None:
            bias = mask[b if len(mask) > 1 else 0, i, j]
            s[j] = s[j] + float(bias) if mask.dtype != bool else s[j] if bias else -np.inf
        if is_causal and j > i:
            s[j] = -np.inf
    return s


@geometry.flat_batch
def attention(q, k, v, mask=None, is_causal=False, scale=None):
    """out[b,i] = Σ_j exp(s[j] - lse) v[b,j], lse[b,i] = log Σ_j exp s[j]; no key: 0, -inf"""
    out, lse = np.zeros((*q.shape[:2], v.shape[2]), q.dtype), np.empty(q.shape[:2], q.dtype)
    for b, i in np.ndindex(q.shape[:2]):
        s = _scores(q, k, mask, is_causal, scale, b, i)
        top = np.max(s, initial=-np.inf)
        lse[b, i] = exact = top if top == -np.inf else top + np.log(sum(np.exp(s - top)))
        if top != -np.inf:
            out[b, i] = sum(p * v[b, j].astype(np.float64) for j, p in enumerate(np.exp(s - exact)))
    return out, lse


@geometry.flat_batch
def attention_backward(gout, q, k, v, out, lse, mask=None, is_causal=False, scale=None):
    """gv[j] = Σ_i p gout[i], gq[i] = scale Σ_j ds k[j], gk[j] = scale Σ_i ds q[i],

    with p = exp(s[j] - lse[i]) and ds = p (gout[i]·v[j] - gout[i]·out[i]).
    """
    gq, gk, gv = np.zeros(q.shape), np.zeros(k.shape), np.zeros(v.shape)
    size = 1 / math.sqrt(max(q.shape[2], 1)) if scale is None else scale
    wide = [a.astype(np.float64) for a in (gout, q, k, v, out)]
    for b, i in np.ndindex(*(q.shape[:2] if k.shape[1] else (0, 0))):
        s = _scores(q, k, mask, is_causal, scale, b, i)
        g, qi, kb, vb, o = wide[0][b, i], wide[1][b, i], wide[2][b], wide[3][b], wide[4][b, i]
        for j in np.flatnonzero(s != -np.inf):
            p = np.exp(s[j] - float(lse[b, i]))
            ds = size * p * (sum(g * vb[j]) - sum(g * o))
            gv[b, j] += p * g
            gq[b, i] += ds * kb[j]
            gk[b, j] += ds * qi
    return gq.astype(q.dtype), gk.astype(q.dtype), gv.astype(q.dtype)
