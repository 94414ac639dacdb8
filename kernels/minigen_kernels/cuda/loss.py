"""softmax and cross-entropy on the GPU: which kernel of loss.cu, and how many blocks."""

from __future__ import annotations

import numpy as np

from .. import empty
from .launch import packed, suffix
from .rows import launch_rows

SOURCE = "loss.cu"


def softmax_1_rows(x):
    """y[r,c] = exp(x[r,c] - m[r]) / Σ_k exp(x[r,k] - m[r]), m[r] = max_k x[r,k]; x (R, C).

    The maximum and the sum in one pass over the row: the sum is rescaled when the maximum grows.
    """
    ending = suffix("softmax", x)
    y = empty(x.shape, x.dtype, like=x)
    if y.size:
        launch_rows(SOURCE, "softmax_1_rows", ending, x.shape, packed(x), y, *x.shape)
    return y


def softmax_backward_1_rows(gy, y):
    """gx[r,c] = y[r,c] (gy[r,c] - Σ_k gy[r,k] y[r,k]), y the softmax; (R, C)."""
    ending = suffix("softmax_backward", gy, y)
    gx = empty(y.shape, y.dtype, like=y)
    if gx.size:
        given = packed(gy), packed(y)
        launch_rows(SOURCE, "softmax_backward_1_rows", ending, y.shape, *given, gx, *y.shape)
    return gx


def cross_entropy_1_rows(logits, target):
    """loss[r] = lse[r] - logits[r, target[r]], lse[r] = log Σ_c exp logits[r,c]; also lse, (R,).

    One pass over the logits, and no array of probabilities. A negative target: loss 0.
    """
    ending = suffix("cross_entropy", logits)
    loss, lse = (empty(len(logits), logits.dtype, like=logits) for _ in range(2))
    given = packed(logits), packed(target.astype(np.int64, copy=False))
    launch_rows(
        SOURCE, "cross_entropy_1_rows", ending, logits.shape, *given, loss, lse, *logits.shape
    )
    return loss, lse


def cross_entropy_backward_1_rows(g, logits, target, lse):
    """glogits[r,c] = g[r] (exp(logits[r,c] - lse[r]) - [c = target[r]]), 0 for an ignored row."""
    ending = suffix("cross_entropy_backward", g, logits, lse)
    glogits = empty(logits.shape, logits.dtype, like=logits)
    if glogits.size:
        target = target.astype(np.int64, copy=False)
        given = (packed(a) for a in (g, logits, target, lse))
        launch_rows(
            SOURCE, "cross_entropy_backward_1_rows", ending, logits.shape, *given, glogits,
            *logits.shape,
        )
    return glogits
