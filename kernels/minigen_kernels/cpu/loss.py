"""softmax and cross-entropy over rows; a row has one owner, and its maximum is taken out first.

rung 0  reference.softmax …    the formula
rung 1  softmax_1_rows …       three passes over a row that stays in the cache, exp in vectors
"""

from __future__ import annotations

import math

import numpy as np

from .. import empty
from .channels import largest, sum_of_exp
from .functions import exp, log64, maximum
from .jit import jit
from .jobs import call_helpers
from .share import BLOCK, SUM, inner, share
from .simd import next_task, vector_width, widest

Array = np.ndarray


def softmax_1_rows(x: Array) -> Array:
    """y[r,c] = exp(x[r,c] - m[r]) / Σ_k exp(x[r,k] - m[r]), m[r] = max_k x[r,k]; x (R, C)."""
    y = empty(x.shape, x.dtype)
    share(_softmax, x.size, np.ascontiguousarray(x), y)
    return y


def softmax_backward_1_rows(gy: Array, y: Array) -> Array:
    """gx[r,c] = y[r,c] (gy[r,c] - Σ_k gy[r,k] y[r,k]), y the softmax; (R, C)."""
    gx = empty(y.shape, y.dtype)
    share(_softmax_backward, y.size, np.ascontiguousarray(gy), np.ascontiguousarray(y), gx)
    return gx


def cross_entropy_1_rows(logits: Array, target: Array) -> tuple[Array, Array]:
    """loss[r] = lse[r] - logits[r, target[r]], lse[r] = log Σ_c exp logits[r,c]; also lse, (R,).

    logits (R, C), target (R,) int64 in 0 … C-1; a negative target is an ignored row of loss 0.
    """
    loss, lse = empty(logits.shape[:1], logits.dtype), empty(logits.shape[:1], logits.dtype)
    logits, target = np.ascontiguousarray(logits), np.ascontiguousarray(target)
    totals = empty(loss.size, np.float64)
    share(_cross_entropy, logits.size, vector_width(), logits, target, totals, loss, lse)
    return loss, lse


def cross_entropy_backward_1_rows(g: Array, logits: Array, target: Array, lse: Array) -> Array:
    """glogits[r,c] = g[r] (exp(logits[r,c] - lse[r]) - [c = target[r]]), 0 for an ignored row."""
    glogits = empty(logits.shape, logits.dtype)
    arrays = [np.ascontiguousarray(a) for a in (g, logits, target, lse)]
    share(_cross_entropy_backward, logits.size, *arrays, glogits)
    return glogits


@jit(nogil=True, fastmath=SUM)
def _softmax(tasks, x, y):
    call_helpers(tasks)
    rows, classes = x.shape
    step = max(1, BLOCK // max(classes, 1))
    first = next_task(tasks, 0) * step
    while first < rows:
        for r in range(first, min(rows, first + step)):
            top = _maximum_of_row(x, r)
            total = 0.0
            for c in range(classes):
                y[r, c] = exp(x[r, c] - top)
            for c in range(classes):
                total += y[r, c]
            factor = x.dtype.type(1.0 / total)
            for c in range(classes):
                y[r, c] *= factor
        first = next_task(tasks, 0) * step


@jit(nogil=True, fastmath=SUM)
def _softmax_backward(tasks, gy, y, gx):
    call_helpers(tasks)
    rows, classes = y.shape
    step = max(1, BLOCK // max(classes, 1))
    first = next_task(tasks, 0) * step
    while first < rows:
        for r in range(first, min(rows, first + step)):
            total = 0.0
            for c in range(classes):
                total += gy[r, c] * y[r, c]
            mean = y.dtype.type(total)
            for c in range(classes):
                gx[r, c] = y[r, c] * (gy[r, c] - mean)
        first = next_task(tasks, 0) * step


@jit(nogil=True)
def _cross_entropy(tasks, width, x, target, totals, loss, lse):
    call_helpers(tasks)
    rows, classes = x.shape
    flat = x.reshape(-1)
    step = max(1, BLOCK // max(classes, 1))
    first = next_task(tasks, 0) * step
    while first < rows:
        to = min(rows, first + step)
        for r in range(first, to):
            lse[r] = largest(width, flat, r * classes, classes)
            totals[r] = sum_of_exp(width, flat, r * classes, classes, lse[r])
        _log(totals[first:to])
        for r in range(first, to):
            # top - x first: top + log(total) would round off the digits of a confident row's loss
            top, spread = lse[r], totals[r]
            lse[r] = top + spread
            loss[r] = 0.0 if target[r] < 0 else (top - x[r, target[r]]) + spread
        first = next_task(tasks, 0) * step


@jit(**inner)
def _log(x):
    """x = ln x, as a loop of its own, which becomes vectors."""
    widest()
    for i in range(x.size):
        x[i] = log64(x[i])


@jit(nogil=True, fastmath={"contract"})
def _cross_entropy_backward(tasks, g, x, target, lse, gx):
    call_helpers(tasks)
    rows, classes = x.shape
    step = max(1, BLOCK // max(classes, 1))
    first = next_task(tasks, 0) * step
    while first < rows:
        for r in range(first, min(rows, first + step)):
            for c in range(classes):
                gx[r, c] = g[r] * exp(x[r, c] - lse[r])
            if target[r] < 0:
                gx[r] = 0
            else:
                gx[r, target[r]] -= g[r]
        first = next_task(tasks, 0) * step


@jit(**inner)
def _maximum_of_row(x, r):
    top = x.dtype.type(-math.inf)
    for c in range(x.shape[1]):
        top = maximum(top, x[r, c])
    return top
