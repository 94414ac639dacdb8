"""Attention in numba.cuda: with all scores in memory, then with an online softmax over tiles."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from ... import empty, namespace_of
from ..launch import packed, tiles
from .numba_cuda import cuda, launch

ROWS = 32  # queries of a block, a thread each, and keys of a tile
SHARED_BYTES = 48 * 1024  # of a block
NOWHERE = -math.inf


def attention_1_naive(q, k, v, mask=None, is_causal=False, scale=None):
    """out[b,i] = Σ_j exp(s[j] - lse) v[b,j], lse[b,i] = log Σ_j exp s[j], s = scale q·k + mask

    Three kernels, with the array of scores (B, T, S) between them.
    """
    out, lse = _results(q, v)
    (batch, rows, _), keys = q.shape, k.shape[1]
    if not out.size or not keys:
        return _of_no_key(out, lse)
    scores = empty((batch, rows, keys), q.dtype, like=q)
    added, scale = _added(q, mask), _scale(q, scale)
    for kernel, size, arguments in (
        (_scores, scores.size, (packed(q), packed(k), added, is_causal, scale, scores)),
        (_weights, lse.size, (scores, lse)),
        (_weighted, out.size, (scores, packed(v), out)),
    ):
        launch(kernel, tiles(size, ROWS), ROWS, *arguments)
    return out, lse


def attention_2_tiled(q, k, v, mask=None, is_causal=False, scale=None):
    """The same without the array of scores: ROWS queries go past all keys, ROWS at a time.

    A thread keeps its query's largest score and sum of exponentials so far, and rescales what it
    has when a larger one comes. Keys and values of a step lie in shared memory.
    """
    out, lse = _results(q, v)
    if not out.size or not k.shape[1]:
        return _of_no_key(out, lse)
    rows = min(ROWS, SHARED_BYTES // (q.dtype.itemsize * (q.shape[2] + v.shape[2])))
    if rows < 1:
        raise ValueError(
            f"attention_2_tiled: a key and a value of {q.shape[2]} + {v.shape[2]} numbers do not "
            f"fit into {SHARED_BYTES} bytes of shared memory; use another rung"
        )
    kernel = _tiled(np.dtype(q.dtype).name, rows, max(q.shape[2], 1), v.shape[2])
    grid = tiles(q.shape[1], rows), len(q)
    arguments = packed(q), packed(k), packed(v), _added(q, mask), is_causal, _scale(q, scale)
    launch(kernel, grid, rows, *arguments, out, lse)
    return out, lse


def _results(q: Any, v: Any) -> tuple[Any, Any]:
    batch, rows, _ = q.shape
    out = empty((batch, rows, v.shape[2]), q.dtype, like=q)
    return out, empty((batch, rows), q.dtype, like=q)


def _of_no_key(out: Any, lse: Any) -> tuple[Any, Any]:
    out[...], lse[...] = 0, NOWHERE
    return out, lse


def _scale(q: Any, scale: float | None) -> float:
    return 1 / math.sqrt(max(q.shape[2], 1)) if scale is None else scale


def _added(q: Any, mask: Any) -> Any:
    """What is added to the scores, (1 or B, T, S): -inf where a query may not look; or one 0."""
    xp = namespace_of(q)
    if mask is None:
        return xp.zeros((1, 1, 1), q.dtype)
    if mask.dtype == bool:
        return xp.where(mask, 0, NOWHERE).astype(q.dtype)
    return packed(mask.astype(q.dtype, copy=False))


@cuda.jit(device=True)
def _masked(score, added, is_causal, b, i, j):
    if is_causal and j > i:
        return NOWHERE
    if added.size == 1:
        return score + added[0, 0, 0]
    return score + added[b if added.shape[0] > 1 else 0, i, j]


@cuda.jit
def _scores(q, k, added, is_causal, scale, scores):
    index = cuda.grid(1)
    if index < scores.size:
        rows, keys = scores.shape[1], scores.shape[2]
        j, i, b = index % keys, index // keys % rows, index // (keys * rows)
        total = 0.0
        for c in range(q.shape[2]):
            total += q[b, i, c] * k[b, j, c]
        scores[b, i, j] = _masked(scale * total, added, is_causal, b, i, j)


@cuda.jit
def _weights(scores, lse):
    """scores ← exp(scores - lse), a row to a thread."""
    index = cuda.grid(1)
    if index < lse.size:
        b, i = index // lse.shape[1], index % lse.shape[1]
        top, total = NOWHERE, 0.0
        for j in range(scores.shape[2]):
            top = max(top, scores[b, i, j])
        if top != NOWHERE:
            for j in range(scores.shape[2]):
                total += math.exp(scores[b, i, j] - top)
        shift = NOWHERE if top == NOWHERE else top + math.log(total)
        lse[b, i] = shift
        for j in range(scores.shape[2]):
            scores[b, i, j] = 0 if top == NOWHERE else math.exp(scores[b, i, j] - shift)


@cuda.jit
def _weighted(weights, v, out):
    index = cuda.grid(1)
    if index < out.size:
        rows, width = out.shape[1], out.shape[2]
        c, i, b = index % width, index // width % rows, index // (width * rows)
        total = 0.0
        for j in range(weights.shape[2]):
            total += weights[b, i, j] * v[b, j, c]
        out[b, i, c] = total


@functools.cache
def _tiled(dtype: str, rows: int, d: int, dv: int) -> Any:
    """The kernel for this type and these sizes: all are constants of its arrays."""
    number = np.dtype(dtype)

    @cuda.jit
    def kernel(q, k, v, added, is_causal, scale, out, lse):
        of_k = cuda.shared.array((rows, d), number)
        of_v = cuda.shared.array((rows, dv), number)
        sums = cuda.local.array(dv, number)
        thread, b = cuda.threadIdx.x, cuda.blockIdx.y
        i = cuda.blockIdx.x * rows + thread
        top, total = NOWHERE, 0.0
        for c in range(dv):
            sums[c] = 0
        for start in range(0, k.shape[1], rows):
            if start + thread < k.shape[1]:
                for c in range(q.shape[2]):
                    of_k[thread, c] = k[b, start + thread, c]
                for c in range(dv):
                    of_v[thread, c] = v[b, start + thread, c]
            cuda.syncthreads()
            for j in range(min(rows, k.shape[1] - start) if i < q.shape[1] else 0):
                score = 0.0
                for c in range(q.shape[2]):
                    score += q[b, i, c] * of_k[j, c]
                score = _masked(scale * score, added, is_causal, b, i, start + j)
                if score != NOWHERE:
                    if score > top:
                        shrink = math.exp(top - score)
                        total *= shrink
                        for c in range(dv):
                            sums[c] *= shrink
                        top = score
                    weight = math.exp(score - top)
                    total += weight
                    for c in range(dv):
                        sums[c] += weight * of_v[j, c]
            cuda.syncthreads()
        if i < q.shape[1]:
            lse[b, i] = top + math.log(total) if total > 0 else NOWHERE
            for c in range(dv):
                out[b, i, c] = sums[c] / total if total > 0 else 0

    return kernel
