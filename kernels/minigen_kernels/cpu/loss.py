"""softmax and cross-entropy over rows; a row has one owner, and its maximum is taken out first.

rung 0  reference.softmax …    the formula
rung 1  softmax_1_rows …       three passes over a row that stays in the cache, exp in vectors
"""

from __future__ import annotations

import math

import numba
import numpy as np

from .. import empty
from .functions import exp, maximum
from .jit import jit

Array = np.ndarray
SUM = {"reassoc", "contract"}  # lets a sum be split over vector lanes; NaN and inf stay right


def softmax_1_rows(x: Array) -> Array:
    """y[r,c] = exp(x[r,c] - m[r]) / Σ_k exp(x[r,k] - m[r]), m[r] = max_k x[r,k]; x (R, C)."""
    y = empty(x.shape, x.dtype)
    _softmax(np.ascontiguousarray(x), y)
    return y


def softmax_backward_1_rows(gy: Array, y: Array) -> Array:
    """gx[r,c] = y[r,c] (gy[r,c] - Σ_k gy[r,k] y[r,k]), y the softmax; (R, C)."""
    gx = empty(y.shape, y.dtype)
    _softmax_backward(np.ascontiguousarray(gy), np.ascontiguousarray(y), gx)
    return gx


def cross_entropy_1_rows(logits: Array, target: Array) -> tuple[Array, Array]:
    """loss[r] = lse[r] - logits[r, target[r]], lse[r] = log Σ_c exp logits[r,c]; also lse, (R,).

    logits (R, C), target (R,) int64 in 0 … C-1; a negative target is an ignored row of loss 0.
    """
    loss, lse = empty(logits.shape[:1], logits.dtype), empty(logits.shape[:1], logits.dtype)
    _cross_entropy(np.ascontiguousarray(logits), np.ascontiguousarray(target), loss, lse)
    return loss, lse


def cross_entropy_backward_1_rows(g: Array, logits: Array, target: Array, lse: Array) -> Array:
    """glogits[r,c] = g[r] (exp(logits[r,c] - lse[r]) - [c = target[r]]), 0 for an ignored row."""
    glogits = empty(logits.shape, logits.dtype)
    arrays = [np.ascontiguousarray(a) for a in (g, logits, target, lse)]
    _cross_entropy_backward(*arrays, glogits)
    return glogits


@jit(parallel=True, error_model="numpy", fastmath=SUM)
def _softmax(x, y):
    rows, classes = x.shape
    for r in numba.prange(rows):
        top = x.dtype.type(-math.inf)
        for c in range(classes):
            top = maximum(top, x[r, c])
        total = 0.0
        for c in range(classes):
            y[r, c] = exp(x[r, c] - top)
            total += y[r, c]
        share = x.dtype.type(1.0 / total)
        for c in range(classes):
            y[r, c] *= share


@jit(parallel=True, error_model="numpy", fastmath=SUM)
def _softmax_backward(gy, y, gx):
    rows, classes = y.shape
    for r in numba.prange(rows):
        total = 0.0
        for c in range(classes):
            total += gy[r, c] * y[r, c]
        mean = y.dtype.type(total)
        for c in range(classes):
            gx[r, c] = y[r, c] * (gy[r, c] - mean)


@jit(parallel=True, error_model="numpy", fastmath=SUM)
def _cross_entropy(x, target, loss, lse):
    rows, classes = x.shape
    for r in numba.prange(rows):
        top = x.dtype.type(-math.inf)
        for c in range(classes):
            top = maximum(top, x[r, c])
        total = 0.0
        for c in range(classes):
            total += exp(x[r, c] - top)
        # (top - x) first: for a confident row this keeps the digits that top + log would round off
        spread = math.log(total)
        lse[r] = top + spread
        loss[r] = 0.0 if target[r] < 0 else (top - x[r, target[r]]) + spread


@jit(parallel=True, error_model="numpy", fastmath={"contract"})
def _cross_entropy_backward(g, x, target, lse, gx):
    rows, classes = x.shape
    for r in numba.prange(rows):
        scale = g[r] if target[r] >= 0 else x.dtype.type(0)
        for c in range(classes):
            gx[r, c] = scale * exp(x[r, c] - lse[r])
        if target[r] >= 0:
            gx[r, target[r]] -= g[r]
