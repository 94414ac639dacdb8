"""Attention on the GPU: which kernel of attention.cu, and how many blocks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import empty
from ..emulator.tensor_map import TensorMap
from ..geometry import flat_batch
from .device import is_hopper
from .launch import MOST_BLOCKS, float64_by, launch, packed, suffix, tiles
from .rounding import rounded

ROWS, WIDTH, THREADS = 32, 64, 256
TILE, TENSOR_THREADS, WARPS = 64, 128, 4  # of attention_tensor.cu, and of attention_bf16.cu
# A key is loaded for each 64 queries: 4 bytes of a number, or 2 if it is rounded beforehand, which
# moves 6 once. That is less from 4 times 64 queries on. Wider heads would not fit into registers.
LEAST_QUERIES, WIDEST = 256, 128
BLOCK_QUERIES, STEP_KEYS, BOX_THREADS, STEPS = 128, 64, 384, 4  # of attention_wgmma.cu
# A block of rung 4 has one of an H100's 132 multiprocessors; of those of rung 3, for half as many
# queries each, there are two for it. If exps are not hidden, wgmma is capped at 660 TFLOP/s of the
# whole chip and mma.sync at 485: so much faster that 97 multiprocessors do what 132 did.
LEAST_BLOCKS = 97
ATTENTION = np.dtype(
    [("T", "i4"), ("S", "i4"), ("d", "i4"), ("dv", "i4"), ("mask_batch", "i8"),
     ("is_causal", "i4"), ("", "i4")]
)


@flat_batch
def attention_1_online(q, k, v, mask=None, is_causal=False, scale=None):
    """out[b,i] = Σ_j exp(s[j] - lse) v[b,j], lse[b,i] = log Σ_j exp s[j], s = scale q·k + mask

    A block takes 32 queries past all keys, with a running maximum and sum for each.
    """
    ending = suffix("attention", q, k, v)
    how = "attention.cu", f"attention_1_online_{ending}", ROWS, THREADS
    return _attention(*how, q, k, v, mask, is_causal, scale)


def _attention(
    source: str, kernel: str, side: int, threads: int, q, k, v, mask, is_causal, scale
) -> tuple[Any, Any]:
    (batch, rows, _), dv = q.shape, v.shape[2]
    out, lse = empty((batch, rows, dv), q.dtype, like=q), empty((batch, rows), q.dtype, like=q)
    g, scale = _geometry(q, k, v, mask, is_causal), _scale(q, scale)
    q, k, v = packed(q), packed(k), packed(v)
    for part in _batches(batch if rows else 0):
        grid = tiles(rows, side), max(1, tiles(dv, WIDTH)), part.stop - part.start
        given = q[part], k[part], v[part], *_masks(mask, part, q.dtype)
        launch(source, kernel, grid, threads, *given, out[part], lse[part], g, scale)
    return out, lse


@flat_batch
def attention_backward_1_recompute(
    gout, q, k, v, out, lse, mask=None, is_causal=False, scale=None
):
    """gv[j] = Σ_i p gout[i], gq[i] = scale Σ_j ds k[j], gk[j] = scale Σ_i ds q[i],

    with p = exp(s[j] - lse[i]) and ds = p (gout[i]·v[j] - gout[i]·out[i]), computed anew by a
    thread per query, then by a thread per key: no atomics, so the same bits in every run.
    """
    ending = suffix("attention_backward", gout, q, k, v, out, lse)
    gradients = tuple(empty(x.shape, q.dtype, like=q) for x in (q, k, v))
    g, scale = _geometry(q, k, v, mask, is_causal), _scale(q, scale)
    given = [packed(x) for x in (gout, q, k, v, out, lse)]
    for part in _batches(len(q)):
        arrays = [*(x[part] for x in given), *_masks(mask, part, q.dtype)]
        gq, gk, gv = (x[part] for x in gradients)
        for name, size, written in (("queries", q.shape[1], (gq,)), ("keys", k.shape[1], (gk, gv))):
            if size:
                grid = tiles(size, THREADS), 1, part.stop - part.start
                kernel = f"attention_backward_1_{name}_{ending}"
                launch("attention.cu", kernel, grid, THREADS, *arrays, *written, g, scale)
    return gradients


@float64_by(attention_1_online)
@flat_batch
def attention_2_tf32(q, k, v, mask=None, is_causal=False, scale=None):
    """Attention by tensor cores: factors of both products rounded to TF32, the rest float32."""
    return _tensor("tf32", q, k, v, mask, is_causal, scale)


@float64_by(attention_1_online)
@flat_batch
def attention_2_bf16(q, k, v, mask=None, is_causal=False, scale=None):
    """Attention by tensor cores: factors of both products rounded to bfloat16, the rest float32."""
    return _tensor("bf16", q, k, v, mask, is_causal, scale)


@float64_by(attention_1_online)
@flat_batch
def attention_3_bf16(q, k, v, mask=None, is_causal=False, scale=None):
    """The same; q, k and v are rounded once, beforehand, and the next 64 keys and values are copied
    into shared memory while 64 are computed with. Few queries and wide heads go to attention_2."""
    rows, (keys, dv) = q.shape[1], v.shape[1:]
    if rows < LEAST_QUERIES or not keys or not 0 < max(q.shape[2], dv) <= WIDEST:
        return _tensor("bf16", q, k, v, mask, is_causal, scale)
    return _rounded_attention(_launch_pipeline, q, k, v, mask, is_causal, scale)


@float64_by(attention_1_online)
@flat_batch
def attention_4_bf16(q, k, v, mask=None, is_causal=False, scale=None):
    """The same; on a GPU of compute capability 9.0, where there are many queries, both products by
    wgmma, whose operands the copy engine fetches: a thread asks for them, eight warps multiply."""
    (batch, rows, d), (keys, dv) = q.shape, v.shape[1:]
    blocks = tiles(rows, BLOCK_QUERIES) * batch
    fits = keys and d and dv and max(d, dv) <= WIDEST
    if not is_hopper(q) or blocks < LEAST_BLOCKS or not fits:
        return attention_3_bf16(q, k, v, mask, is_causal, scale)
    return _rounded_attention(_launch_boxes, q, k, v, mask, is_causal, scale)


def _rounded_attention(start_kernel: Any, q, k, v, mask, is_causal, scale) -> tuple[Any, Any]:
    """Attention of q, k and v rounded beforehand, by _launch_pipeline or _launch_boxes."""
    suffix("attention", q, k, v)
    (batch, rows, d), dv = q.shape, v.shape[2]
    out, lse = empty((batch, rows, dv), q.dtype, like=q), empty((batch, rows), q.dtype, like=q)
    g, scale = _geometry(q, k, v, mask, is_causal), _scale(q, scale)
    q16, k16, v16 = (rounded(packed(x)) for x in (q, k, v))
    side = 64 if max(d, dv) <= 64 else 128
    for part in _batches(batch):
        end = *_masks(mask, part, q.dtype), out[part], lse[part], g, scale
        start_kernel(side, q16[part], k16[part], v16[part], *end)
    return out, lse


def _launch_pipeline(side: int, q, k, v, *end: Any) -> None:
    grid = tiles(q.shape[1], TILE), 1, len(q)
    shared = 5 * TILE * side * 2  # q, and k and v twice
    name = f"attention_3_pipeline_{side}"
    launch("attention_bf16.cu", name, grid, TENSOR_THREADS, q, k, v, *end, shared=shared)


def _launch_boxes(side: int, q, k, v, *end: Any) -> None:
    grid = tiles(q.shape[1], BLOCK_QUERIES), 1, len(q)
    boxes = [TensorMap(q, (BLOCK_QUERIES, 64)), *(TensorMap(x, (STEP_KEYS, 64)) for x in (k, v))]
    barriers = 8 * (1 + 2 * STEPS)
    shared = (BLOCK_QUERIES + 2 * STEPS * STEP_KEYS) * side * 2 + -(-barriers // 128) * 128
    name = f"attention_4_wgmma_{side}"
    launch("attention_wgmma.cu", name, grid, BOX_THREADS, *boxes, *end, shared=shared)


def _tensor(precision: str, q, k, v, mask, is_causal, scale) -> tuple[Any, Any]:
    suffix("attention", q, k, v)
    how = "attention_tensor.cu", f"attention_2_tensor_{precision}", TILE, TENSOR_THREADS
    return _attention(*how, q, k, v, mask, is_causal, scale)


@float64_by(attention_backward_1_recompute)
@flat_batch
def attention_backward_2_tf32(
    gout, q, k, v, out, lse, mask=None, is_causal=False, scale=None
):
    """gq, gk and gv by tensor cores: factors of all products rounded to TF32, the rest float32."""
    return _tensor_backward("tf32", gout, q, k, v, out, lse, mask, is_causal, scale)


@float64_by(attention_backward_1_recompute)
@flat_batch
def attention_backward_2_bf16(
    gout, q, k, v, out, lse, mask=None, is_causal=False, scale=None
):
    """gq, gk, gv by tensor cores: factors of all products rounded to bfloat16, the rest float32."""
    return _tensor_backward("bf16", gout, q, k, v, out, lse, mask, is_causal, scale)


def _tensor_backward(precision: str, gout, q, k, v, out, lse, mask, is_causal, scale) -> tuple:
    """A kernel for each gradient, after one that makes gout · out for each query."""
    suffix("attention_backward", gout, q, k, v, out, lse)
    source, g, scale = "attention_tensor.cu", _geometry(q, k, v, mask, is_causal), _scale(q, scale)
    gradients = [empty(x.shape, q.dtype, like=q) for x in (q, k, v)]
    gout, q, k, v, out, lse = map(packed, (gout, q, k, v, out, lse))
    along = empty(lse.shape, q.dtype, like=q)
    if along.size:
        given = gout, out, along, along.size, v.shape[2]
        kernel = "attention_backward_2_along"
        launch(source, kernel, tiles(along.size, WARPS), TENSOR_THREADS, *given)
    for part in _batches(len(q)):
        arrays = [*(x[part] for x in (gout, q, k, v, lse, along)), *_masks(mask, part, q.dtype)]
        for name, gradient in zip("qkv", gradients, strict=True):
            _, rows, columns = gradient.shape
            if gradient.size:
                kernel = f"attention_backward_2_{name}_{precision}"
                grid = tiles(rows, TILE), tiles(columns, TILE), part.stop - part.start
                given = *arrays, gradient[part], g, scale
                launch(source, kernel, grid, TENSOR_THREADS, *given)
    return tuple(gradients)


def _scale(q: Any, scale: float | None) -> Any:
    return q.dtype.type(1 / math.sqrt(max(q.shape[2], 1)) if scale is None else scale)


def _geometry(q: Any, k: Any, v: Any, mask: Any, is_causal: bool) -> np.ndarray:
    """struct Attention of attention.cu."""
    step = 0 if mask is None or len(mask) == 1 else mask.shape[1] * mask.shape[2]
    sizes = (q.shape[1], k.shape[1], q.shape[2], v.shape[2])
    return np.array([(*sizes, step, bool(is_causal), 0)], ATTENTION)


def _masks(mask: Any, part: slice, dtype: Any) -> tuple[Any, Any]:
    """(where queries may look, what is added to the scores) of these batches: one, or neither."""
    if mask is None:
        return None, None
    mask = packed(mask if len(mask) == 1 else mask[part])
    if mask.dtype == bool:
        return mask.view(np.uint8), None
    return None, mask.astype(dtype, copy=False)


def _batches(count: int) -> list[slice]:
    """The batch in parts that fit into a grid."""
    starts = range(0, count, MOST_BLOCKS)
    return [slice(start, min(start + MOST_BLOCKS, count)) for start in starts]
