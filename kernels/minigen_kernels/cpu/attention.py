"""Attention with an online softmax: out = softmax(scale · q kᵀ + mask) v in memory linear in T.

rung 0  reference.attention     the formula, one query at a time
rung 1  attention_1_tiled       a tile of queries and keys at a time: product, softmax, product

A block of queries lies across the vector lanes: the scores of a key are one row of lanes, so the
maximum, the sum and every product run along the lanes, and keys and values are read as they lie.
Sources: Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018; Rabe and
Staats, "Self-attention does not need O(n²) memory", 2021; Dao et al., "FlashAttention", 2022.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from .. import empty
from .jit import jit
from .jobs import call_helpers
from .lanes import transpose_block
from .share import SUM, inner, share
from .simd import Width, next_task, vector_width
from .strips import online_softmax, softmax_slope
from .tile import multiply, tile_rows

Array = np.ndarray
# The sides of a tile of scores: 16 KiB of float32, half of a first cache. Few queries, because a
# causal tile on the diagonal is computed whole.
QUERIES, KEYS = 32, 128
TASKS = 16  # fewer (batch, heads) than this: a batch element is split, the same way on any machine


def attention_1_tiled(
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> tuple[Array, Array]:
    """out[b,i] = Σ_j exp(s[i,j] - lse[b,i]) v[b,j], s = scale · q kᵀ + mask, lse = log Σ_j exp s.

    q (B, T, d), k (B, S, d), v (B, S, dv); mask (B or 1, T, S): bool, True = may attend, or float,
    added to s; is_causal: query i sees the keys j <= i. scale: 1/√d by default. out (B, T, dv),
    lse (B, T); a query that may attend to nothing gets out 0 and lse -inf. B may be any axes, a
    batch and heads say: q, k and v are read as they lie, and out lies as q does.
    """
    (*lead, queries, _), dv, scale = q.shape, v.shape[-1], _scale(scale, q)
    q, k, v = (_ready(a) for a in (q, k, v))
    out, lse = _like(q, v.shape[-1]), empty((*lead, queries), q.dtype)
    batch = math.prod(lead)
    sizes = np.array([batch, queries, k.shape[-2], q.shape[-1], v.shape[-1]])
    options = *_split_mask(mask, q.dtype), bool(is_causal), scale, _parts(batch, queries)
    width, work = vector_width(), out.size * max(k.shape[-2], 1)
    arrays = *(_in_memory(a) for a in (q, k, v)), *options, width, tile_rows(len(width))
    share(_attention, work, sizes, *arrays, _in_memory(out), lse.reshape(batch, queries))
    return out[..., :dv], lse


def attention_backward_1_tiled(
    gout: Array,
    q: Array,
    k: Array,
    v: Array,
    out: Array,
    lse: Array,
    mask: Array | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> tuple[Array, Array, Array]:
    """gv[j] = Σ_i p gout[i], gq[i] = scale Σ_j ds k[j], gk[j] = scale Σ_i ds q[i].

    p = exp(s[i,j] - lse[i]), computed again; ds = p (gout[i]·v[j] - gout[i]·out[i]).
    Each gq has one owner; gk and gv are summed by one owner per part, and the parts in order.
    """
    (*lead, queries, d), (keys, dv), width = q.shape, v.shape[-2:], vector_width()
    scale, batch = _scale(scale, q), math.prod(lead)
    gout, q, k, v, out = (_ready(a) for a in (gout, q, k, v, out))
    lse = np.ascontiguousarray(lse).reshape(batch, queries)
    parts = _parts(batch, queries)
    thirds = _thirds(q, k, v) if parts == 1 and _padded(q, width) == q.shape[-1] else None
    if thirds is not None:
        gq, gk, gv = _like(thirds, q.shape[-1])
        gk, gv = gk[None], gv[None]
    else:
        gq = _like(q, q.shape[-1])
        gk, gv = (_like(x, _padded(x, width), parts) for x in (k, v))
    if queries == 0:
        gk[...], gv[...] = 0, 0
    sizes = np.array([batch, queries, keys, q.shape[-1], v.shape[-1]])
    options = *_split_mask(mask, q.dtype), bool(is_causal), scale, parts
    arrays = *(_in_memory(a) for a in (gout, q, k, v, out)), lse
    written = (_in_memory(a) for a in (gq, gk, gv))
    tile = width, tile_rows(len(width))
    share(_backward, q.size * max(keys, 1), sizes, *arrays, *options, *tile, *written)
    return gq[..., :d], _sum_parts(gk, d), _sum_parts(gv, dv)


def _scale(scale: float | None, q: Array) -> float:
    return 1 / math.sqrt(max(q.shape[-1], 1)) if scale is None else float(scale)


def _parts(batch: int, queries: int) -> int:
    blocks = -(-queries // QUERIES)
    return max(1, min(blocks, -(-TASKS // max(batch, 1))))


def _ready(x: Array) -> Array:
    """With the numbers of a row side by side, and one column of zeros instead of none."""
    if not x.shape[-1]:
        return np.zeros((*x.shape[:-1], 1), x.dtype)
    return x if _lies_in_rows(x.strides, x.itemsize) else np.ascontiguousarray(x)


@functools.lru_cache(maxsize=256)
def _lies_in_rows(strides: tuple[int, ...], size: int) -> bool:
    return strides[-1] == size and all(s >= 0 and s % size == 0 for s in strides)


def _in_memory(x: Array) -> tuple[Array, Array, int]:
    """x (..., T, d) as numbers, where in these each matrix begins, and how far apart rows are."""
    (*lead, _, _), size = x.shape, x.itemsize
    if x.flags.c_contiguous:
        flat = x.reshape(-1)
    else:
        last = sum((n - 1) * s for n, s in zip(x.shape, x.strides, strict=True)) // size
        flat = np.lib.stride_tricks.as_strided(x, (last + 1 if x.size else 0,), (size,))
    return flat, _starts(tuple(lead), x.strides[:-2], size), x.strides[-2] // size


@functools.lru_cache(maxsize=256)
def _starts(lead: tuple[int, ...], strides: tuple[int, ...], size: int) -> Array:
    """The offset of every matrix, the last leading axis changing quickest."""
    places = np.zeros(lead, np.int64)
    for axis, (n, stride) in enumerate(zip(lead, strides, strict=True)):
        along = np.arange(n, dtype=np.int64) * (stride // size)
        places += along.reshape((n,) + (1,) * (len(lead) - axis - 1))
    return places.reshape(-1)


def _like(x: Array, columns: int, *more: int) -> Array:
    """A new array (*more, ..., T, columns), its axes in the order in which those of x (..., T, d)
    lie in memory."""
    axes, back = _order(x.strides[:-1])
    new = empty((*more, *[x.shape[i] for i in axes], columns), x.dtype)
    n = len(more)
    return new.transpose(*range(n), *[n + i for i in back], new.ndim - 1)


@functools.lru_cache(maxsize=256)
def _order(strides: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The axes from the widest stride to the narrowest, and where each of them is in that order."""
    axes = sorted(range(len(strides)), key=lambda i: -strides[i])
    return tuple(axes), tuple(axes.index(i) for i in range(len(strides)))


def _thirds(q: Array, k: Array, v: Array) -> Array | None:
    """q, k and v as one array (3, ..., T, d), if they lie like the thirds of one; else None.

    Their gradients are then made as the thirds of one too, and nobody has to copy them together.
    """
    start, middle, end = (x.__array_interface__["data"][0] for x in (q, k, v))
    step = middle - start
    if not (q.shape == k.shape == v.shape and q.strides == k.strides == v.strides):
        return None
    if step <= 0 or end - middle != step:
        return None
    return np.lib.stride_tricks.as_strided(q, (3, *q.shape), (step, *q.strides))


def _padded(x: Array, width: Width) -> int:
    """The length of a row of x, rounded up to whole vectors."""
    lanes = len(width) * 8 // x.itemsize
    return -(-x.shape[-1] // lanes) * lanes


def _split_mask(mask: Array | None, dtype: np.dtype) -> tuple[Array, Array]:
    """(allowed as bytes, bias): the one that is not in use is empty, so one kernel serves all."""
    allowed, bias = np.empty((0, 0, 0), np.uint8), np.empty((0, 0, 0), dtype)
    if mask is None or mask.size == 0:
        return allowed, bias
    mask = np.ascontiguousarray(mask).reshape(-1, *mask.shape[-2:])
    return (mask.view(np.uint8), bias) if mask.dtype == bool else (allowed, mask.astype(dtype))


def _sum_parts(parts: Array, d: int) -> Array:
    total = parts[0]
    for part in parts[1:]:
        total += part
    return total if total.shape[-1] == d else total[..., :d].copy(order="K")


@jit(nogil=True, allocates=True)
def _attention(
    tasks, sizes, q_, k_, v_, allowed, bias, causal, scale, parts, width, step, out_, lse
):
    """A task: blocks part, part + parts, ... of the queries of one batch element.

    q_, k_, v_ and out_ are what _in_memory() gives.
    """
    call_helpers(tasks)
    batch, queries, keys, d, dv = sizes
    (q, q_at, q_row), (k, k_at, k_row), (v, v_at, v_row) = q_, k_, v_
    out, out_at, out_row = out_
    lanes = len(width) * 8 // q.itemsize
    q_n, q_t, along, down = _both_ways(d, lanes, q)
    o_n, o_t, along_o, _ = _both_ways(dv, lanes, q)
    s, top = np.zeros((KEYS, QUERIES), q.dtype), np.empty(QUERIES, q.dtype)
    total, factor = np.empty_like(top), np.empty_like(top)
    task = next_task(tasks, 0)
    while task < batch * parts:
        b = task // parts
        for i0 in range(task % parts * QUERIES, queries, parts * QUERIES):
            n = min(QUERIES, queries - i0)
            vectors = (n + lanes - 1) // lanes
            _load_rows(q, q_at[b] + i0 * q_row, q_row, n, d, q.dtype.type(scale), q_n)
            _transpose(width, q_n, along, q_t, down)
            top[:], total[:] = -math.inf, 0
            end = min(keys, i0 + n) if causal else keys
            for j0 in range(0, end, KEYS):
                m = min(KEYS, end - j0)
                k0, v0 = k_at[b] + j0 * k_row, v_at[b] + j0 * v_row
                multiply(width, k, k0, k_row, 1, q_t, QUERIES, s, 0, QUERIES,
                         m, step, d, vectors, False)  # fmt: skip
                _apply_mask(s, b, i0, n, j0, m, allowed, bias, causal)
                for i in range(0, vectors * lanes, lanes):
                    online_softmax(width, s, i, QUERIES, m, top, total, factor, i)
                for c in range(dv if j0 > 0 else 0):
                    for i in range(vectors * lanes):
                        o_t[c, i] *= factor[i]
                multiply(width, v, v0, 1, v_row, s, QUERIES, o_t, 0, QUERIES,
                         dv, step, m, vectors, j0 > 0)  # fmt: skip
            _transpose(width, o_t, down, o_n, along_o)
            at = out_at[b] + i0 * out_row
            _finish(o_n, top, total, out, at, out_row, dv, lse[b, i0 : i0 + n])
        task = next_task(tasks, 0)


@jit(**inner)
def _finish(o_n, top, total, out, at, row, columns, lse):
    """Divide by the sums; a query that saw no key gets 0 and -inf."""
    for i in range(lse.size):
        line = out[at + i * row : at + i * row + columns]
        if top[i] != -math.inf or total[i] != 0:
            lse[i] = top[i] + math.log(total[i])
            share = o_n.dtype.type(1) / total[i]
            for c in range(columns):
                line[c] = o_n[i, c] * share
        else:
            lse[i] = -math.inf
            line[:] = 0


@jit(nogil=True, allocates=True)
def _backward(
    tasks, sizes, gout_, q_, k_, v_, out_, lse, allowed, bias, causal, scale, parts, width, step,
    gq_, gk_, gv_,
):  # fmt: skip
    """A task: blocks part, part + parts, ... of the queries of one batch element; all keys.

    gout_ to out_ and gq_ to gv_ are what _in_memory() gives, gk_ and gv_ with an axis of parts.
    """
    call_helpers(tasks)
    batch, queries, keys, d, dv = sizes
    (gout, gout_at, gout_row), (out, out_at, out_row), (gq, gq_at, gq_row) = gout_, out_, gq_
    (q, q_at, q_row), (k, k_at, k_row), (v, v_at, v_row) = q_, k_, v_
    (gk, gk_at, gk_row), (gv, gv_at, gv_row) = gk_, gv_
    lanes = len(width) * 8 // q.itemsize
    blocks = (queries + QUERIES - 1) // QUERIES
    pad, pad_v = (d + lanes - 1) // lanes * lanes, (dv + lanes - 1) // lanes * lanes
    one, size = q.dtype.type(1), q.dtype.type(scale)
    q_n, q_t, along, down = _both_ways(d, lanes, q)
    g_n, g_t, along_g, _ = _both_ways(dv, lanes, q)
    gq_n, gq_t, _, _ = _both_ways(d, lanes, q)
    s, ds = np.zeros((KEYS, QUERIES), q.dtype), np.zeros((KEYS, QUERIES), q.dtype)
    row = np.empty((2, QUERIES), q.dtype)
    task = next_task(tasks, 0)
    while task < batch * parts:
        b, part = task // parts, task % parts
        gk0, gv0 = gk_at[part * batch + b], gv_at[part * batch + b]
        # From the last block on, which sees the most keys: it writes gk and gv, the others add.
        last = part + (blocks - 1 - part) // parts * parts
        for block in range(last, -1, -parts):
            i0, later = block * QUERIES, block < last
            n = min(QUERIES, queries - i0)
            vectors = (n + lanes - 1) // lanes
            of_gout, of_out = gout_at[b] + i0 * gout_row, out_at[b] + i0 * out_row
            _load_rows(q, q_at[b] + i0 * q_row, q_row, n, d, size, q_n)
            _load_rows(gout, of_gout, gout_row, n, dv, one, g_n)
            _transpose(width, q_n, along, q_t, down)
            _transpose(width, g_n, along_g, g_t, down)
            _load_lse_and_delta(gout, of_gout, gout_row, out, of_out, out_row, dv,
                                lse[b, i0 : i0 + n], row)  # fmt: skip
            end = min(keys, i0 + n) if causal else keys
            for j0 in range(0, end, KEYS):
                m = min(KEYS, end - j0)
                k0, v0 = k_at[b] + j0 * k_row, v_at[b] + j0 * v_row
                multiply(width, k, k0, k_row, 1, q_t, QUERIES, s, 0, QUERIES,
                         m, step, d, vectors, False)  # fmt: skip
                _apply_mask(s, b, i0, n, j0, m, allowed, bias, causal)
                multiply(width, v, v0, v_row, 1, g_t, QUERIES, ds, 0, QUERIES,
                         m, step, dv, vectors, False)  # fmt: skip
                for i in range(0, vectors * lanes, lanes):
                    softmax_slope(width, s, ds, i, QUERIES, m, row[0], row[1], i)
                multiply(width, s, 0, QUERIES, 1, g_n, pad_v, gv, gv0 + j0 * gv_row,
                         gv_row, m, step, n, pad_v // lanes, later)  # fmt: skip
                multiply(width, ds, 0, QUERIES, 1, q_n, pad, gk, gk0 + j0 * gk_row,
                         gk_row, m, step, n, pad // lanes, later)  # fmt: skip
                multiply(width, k, k0, 1, k_row, ds, QUERIES, gq_t, 0, QUERIES,
                         d, step, m, vectors, j0 > 0)  # fmt: skip
            if not later:
                for j in range(end, keys):
                    gk[gk0 + j * gk_row : gk0 + j * gk_row + pad] = 0
                    gv[gv0 + j * gv_row : gv0 + j * gv_row + pad_v] = 0
            _transpose(width, gq_t, down, gq_n, along)
            for i in range(n):
                line = gq[gq_at[b] + (i0 + i) * gq_row : gq_at[b] + (i0 + i) * gq_row + d]
                for c in range(d):
                    line[c] = gq_n[i, c] * size
        task = next_task(tasks, 0)


@jit(fastmath=SUM, **inner)
def _load_lse_and_delta(gout, gout_at, gout_row, out, out_at, out_row, columns, lse, row):
    """lse, +inf where it is -inf so that p is 0; delta[i] = gout[i] · out[i]. Idle lanes: p = 0."""
    row[0], row[1] = math.inf, 0
    for i in range(lse.size):
        if lse[i] != -math.inf:
            row[0, i] = lse[i]
        delta = row.dtype.type(0)
        g = gout[gout_at + i * gout_row : gout_at + i * gout_row + columns]
        o = out[out_at + i * out_row : out_at + i * out_row + columns]
        for c in range(columns):
            delta += g[c] * o[c]
        row[1, i] = delta


@jit(allocates=True, **inner)
def _both_ways(columns, lanes, like):
    """Zeros for a block of queries, (queries, columns) and turned; columns fill whole vectors.

    And for _transpose where a square's rows begin, in the first and in the second.
    """
    padded = (columns + lanes - 1) // lanes * lanes
    block, turned = np.zeros((QUERIES, padded), like.dtype), np.zeros((padded, QUERIES), like.dtype)
    return block, turned, np.arange(lanes) * padded, np.arange(lanes) * QUERIES


@jit(**inner)
def _load_rows(x, at, row, rows, columns, factor, x_n):
    """x_n[i, c] = factor · x[at + i·row + c]. Idle rows keep an earlier block's: they drop out."""
    for i in range(rows):
        line = x[at + i * row : at + i * row + columns]
        for c in range(columns):
            x_n[i, c] = line[c] * factor


@jit(**inner)
def _transpose(width, x, x_rows, x_t, x_t_rows):
    """x_t[c, i] = x[i, c], both sides whole vectors: square by square, each in registers."""
    lanes = x_rows.size
    for i in range(0, x.shape[0], lanes):
        for c in range(0, x.shape[1], lanes):
            at, to = i * x.shape[1] + c, c * x_t.shape[1] + i
            transpose_block(width, x, x_rows, 0, at, x_t, x_t_rows, 0, to)


@jit(**inner)
def _apply_mask(s, b, i0, n, j0, m, allowed, bias, causal):
    """-inf into the scores s[key, query] that a query may not see; bias is added to the others."""
    for i in range(n if allowed.size > 0 else 0):
        for j in range(m):
            if allowed[min(b, allowed.shape[0] - 1), i0 + i, j0 + j] == 0:
                s[j, i] = -math.inf
    for i in range(n if bias.size > 0 else 0):
        for j in range(m):
            s[j, i] += bias[min(b, bias.shape[0] - 1), i0 + i, j0 + j]
    if causal:
        for j in range(max(0, i0 + 1 - j0), m):
            s[j, : min(n, j0 + j - i0)] = -math.inf
