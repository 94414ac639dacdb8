"""Layer norm and batch norm: y = (x - mean) · rstd · weight + bias, rstd = 1 / √(var + eps).

rung 0  reference.layer_norm …    the formula
rung 1  layer_norm_1_rows …       a row (a channel) has one owner and stays in its cache; the rows
                                  of a channel in whole vectors (channels.py), or, if short, not

Sums are float64 (a channel's, of few float32 at a time), and the variance is summed in a second
pass: one pass with E[x²] - E[x]² has no digit left when the mean is a thousand times the deviation.
"""

from __future__ import annotations

import numpy as np

from .. import empty
from .channels import moments_about, pull_about, scale_about, slopes_about, sum_about
from .jit import jit
from .jobs import call_helpers
from .share import BLOCK, SUM, inner, share
from .simd import next_task, vector_width

Array = np.ndarray
# Fused, h = gy · weight would be rounded in its average only, and h - avg h not be 0 where it is.
DIFFERENCE = {"reassoc"}
SHORT = 8  # numbers of an image in a channel, below which a vector is for the most part empty
FEW = 4  # images whose mean is near that of all
ROWS_PER_PART = 64  # rows whose gw and gb are summed together; fixed, so that the bits are


def layer_norm_1_rows(
    x: Array, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array]:
    """y[r,i] = (x[r,i] - mean[r]) · rstd[r] · weight[i] + bias[i]; also mean and rstd, (R,).

    x (R, D), weight and bias (D,) or None; the variance is divided by D.
    Source: Ba, Kiros, Hinton, "Layer normalization", 2016.
    """
    x = np.ascontiguousarray(x)
    weight, bias = _affine(weight, bias, x.shape[1], x.dtype)
    y = empty(x.shape, x.dtype)
    mean, rstd = empty(x.shape[:1], x.dtype), empty(x.shape[:1], x.dtype)
    share(_layer_norm, x.size, x, weight, bias, float(eps), y, mean, rstd)
    return y, mean, rstd


def layer_norm_backward_1_rows(
    gy: Array, x: Array, weight: Array | None, mean: Array, rstd: Array
) -> tuple[Array, Array, Array]:
    """gx = rstd (h - avg h - x̂ avg(h x̂)) with h = gy · weight, x̂ = (x - mean) rstd, avg over a row.

    gw[i] = Σ_r gy x̂ and gb[i] = Σ_r gy; both always, (D,).
    """
    gy, x = np.ascontiguousarray(gy), np.ascontiguousarray(x)
    rows, width = x.shape
    weight, _ = _affine(weight, None, width, x.dtype)
    gx = empty(x.shape, x.dtype)
    parts = min(64, -(-rows // ROWS_PER_PART))
    sums = np.zeros((parts, 2, width), np.float64)
    mean, rstd = np.ascontiguousarray(mean), np.ascontiguousarray(rstd)
    share(_layer_norm_backward, x.size, gy, x, weight, mean, rstd, gx, sums)
    gw, gb = sums.sum(axis=0).astype(x.dtype)
    return gx, gw, gb


def batch_norm_1_channels(
    x: Array, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array]:
    """y[n,c,l] = (x[n,c,l] - mean[c]) / √(var[c] + eps) · weight[c] + bias[c]; also mean and var.

    x (N, C, L), weight and bias (C,) or None; mean and var over N and L, var divided by N·L.
    Source: Ioffe and Szegedy, "Batch normalization", 2015.
    """
    x = np.ascontiguousarray(x)
    weight, bias = _affine(weight, bias, x.shape[1], x.dtype)
    y = empty(x.shape, x.dtype)
    mean, var = empty(x.shape[1], x.dtype), empty(x.shape[1], x.dtype)
    if x.shape[2] < SHORT:
        share(_batch_norm_short, x.size, x, weight, bias, float(eps), y, mean, var)
    else:
        arrays = x.reshape(-1), weight, bias, float(eps), y.reshape(-1), mean, var
        share(_batch_norm, x.size, vector_width(), x.shape, *arrays)
    return y, mean, var


def batch_norm_backward_1_channels(
    gy: Array, x: Array, weight: Array | None, mean: Array, var: Array, eps: float
) -> tuple[Array, Array, Array]:
    """gx = weight · rstd (gy - avg gy - x̂ avg(gy x̂)), avg over N and L; gw = Σ gy x̂, gb = Σ gy."""
    gy, x = np.ascontiguousarray(gy), np.ascontiguousarray(x)
    weight, _ = _affine(weight, None, x.shape[1], x.dtype)
    gx = empty(x.shape, x.dtype)
    gw, gb = empty(x.shape[1], x.dtype), empty(x.shape[1], x.dtype)
    mean, var = np.ascontiguousarray(mean), np.ascontiguousarray(var)
    given, found = (weight, mean, var, float(eps)), (gw, gb)
    if x.shape[2] < SHORT:
        share(_batch_norm_backward_short, x.size, gy, x, *given, gx, *found)
    else:
        arrays = gy.reshape(-1), x.reshape(-1), *given, gx.reshape(-1), *found
        share(_batch_norm_backward, x.size, vector_width(), x.shape, *arrays)
    return gx, gw, gb


def _affine(weight: Array | None, bias: Array | None, n: int, dtype) -> tuple[Array, Array]:
    """Weight and bias as arrays, so that one compiled kernel serves with and without."""
    return (
        np.ones(n, dtype) if weight is None else np.ascontiguousarray(weight),
        np.zeros(n, dtype) if bias is None else np.ascontiguousarray(bias),
    )


@jit(nogil=True, fastmath=SUM)
def _layer_norm(tasks, x, weight, bias, eps, y, mean, rstd):
    call_helpers(tasks)
    rows, width = x.shape
    step = max(1, BLOCK // max(width, 1))
    first = next_task(tasks, 0) * step
    while first < rows:
        for r in range(first, min(rows, first + step)):
            total = 0.0
            for i in range(width):
                total += x[r, i]
            mu = total / max(width, 1)
            square = 0.0
            for i in range(width):
                square += (x[r, i] - mu) * (x[r, i] - mu)
            scale = 1.0 / np.sqrt(square / max(width, 1) + eps)
            mean[r], rstd[r] = mu, scale
            m, s = x.dtype.type(mu), x.dtype.type(scale)
            for i in range(width):
                y[r, i] = (x[r, i] - m) * s * weight[i] + bias[i]
        first = next_task(tasks, 0) * step


@jit(nogil=True, fastmath=DIFFERENCE)
def _layer_norm_backward(tasks, gy, x, weight, mean, rstd, gx, sums):
    call_helpers(tasks)
    rows, width = x.shape
    parts = sums.shape[0]
    part = next_task(tasks, 0)
    while part < parts:
        for r in range(part * rows // parts, (part + 1) * rows // parts):
            m, s = mean[r], rstd[r]
            sum_h, sum_hx = 0.0, 0.0
            for i in range(width):
                h = gy[r, i] * weight[i]
                sum_h += h
                sum_hx += h * ((x[r, i] - m) * s)
            for i in range(width):
                sums[part, 0, i] += gy[r, i] * ((x[r, i] - m) * s)
                sums[part, 1, i] += gy[r, i]
            avg_h, avg_hx = x.dtype.type(sum_h / width), x.dtype.type(sum_hx / width)
            for i in range(width):
                x_hat = (x[r, i] - m) * s
                gx[r, i] = (gy[r, i] * weight[i] - avg_h - x_hat * avg_hx) * s
        part = next_task(tasks, 0)


@jit(nogil=True, fastmath=SUM)
def _batch_norm_short(tasks, x, weight, bias, eps, y, mean, var):
    call_helpers(tasks)
    batch, channels, length = x.shape
    count = max(batch * length, 1)
    c = next_task(tasks, 0)
    while c < channels:
        total = 0.0
        for n in range(batch):
            for i in range(length):
                total += x[n, c, i]
        mu = total / count
        square = 0.0
        for n in range(batch):
            for i in range(length):
                square += (x[n, c, i] - mu) * (x[n, c, i] - mu)
        mean[c], var[c] = mu, square / count
        m = x.dtype.type(mu)
        scale = x.dtype.type(weight[c] / np.sqrt(square / count + eps))
        for n in range(batch):
            for i in range(length):
                y[n, c, i] = (x[n, c, i] - m) * scale + bias[c]
        c = next_task(tasks, 0)


@jit(nogil=True, fastmath=SUM)
def _batch_norm_backward_short(tasks, gy, x, weight, mean, var, eps, gx, gw, gb):
    call_helpers(tasks)
    batch, channels, length = x.shape
    count = max(batch * length, 1)
    c = next_task(tasks, 0)
    while c < channels:
        rstd = 1.0 / np.sqrt(var[c] + eps)
        m, s = mean[c], x.dtype.type(rstd)
        sum_g, sum_gx = 0.0, 0.0
        for n in range(batch):
            for i in range(length):
                sum_g += gy[n, c, i]
                sum_gx += gy[n, c, i] * ((x[n, c, i] - m) * s)
        gw[c], gb[c] = sum_gx, sum_g
        avg_g, avg_gx = x.dtype.type(sum_g / count), x.dtype.type(sum_gx / count)
        scale = x.dtype.type(weight[c] * rstd)
        for n in range(batch):
            for i in range(length):
                x_hat = (x[n, c, i] - m) * s
                gx[n, c, i] = (gy[n, c, i] - avg_g - x_hat * avg_gx) * scale
        c = next_task(tasks, 0)


@jit(nogil=True)
def _batch_norm(tasks, width, shape, x, weight, bias, eps, y, mean, var):
    call_helpers(tasks)
    batch, channels, length = shape
    count, skip, number = max(batch * length, 1), channels * length, x.dtype.type
    c = next_task(tasks, 0)
    while c < channels:
        at = c * length
        near = _near(width, x, at, batch, skip, length)
        sums = moments_about(width, x, at, batch, skip, length, near)
        away, square = sums[0] / count, sums[1] / count
        if square < 2 * away * away:  # it was not near, and few digits of the variance are left
            near = number(near + away)
            sums = moments_about(width, x, at, batch, skip, length, near)
            away, square = sums[0] / count, sums[1] / count
        m, square = number(near + away), square - away * away
        square = 0.0 if square < 0 else square
        mean[c], var[c] = m, square
        scale = number(weight[c] / np.sqrt(square + eps))
        scale_about(width, x, at, batch, skip, length, m, scale, bias[c], y)
        c = next_task(tasks, 0)


@jit(nogil=True)
def _batch_norm_backward(tasks, width, shape, gy, x, weight, mean, var, eps, gx, gw, gb):
    call_helpers(tasks)
    batch, channels, length = shape
    count, skip, number = max(batch * length, 1), channels * length, x.dtype.type
    c = next_task(tasks, 0)
    while c < channels:
        at = c * length
        rstd = 1.0 / np.sqrt(var[c] + eps)
        near, m = _near(width, gy, at, batch, skip, length), mean[c]
        sum_g, sum_gx = slopes_about(width, gy, x, at, batch, skip, length, near, m)
        sum_g, sum_gx = near * float(count) + sum_g, sum_gx * rstd
        gw[c], gb[c] = sum_gx, sum_g
        avg_g, slope = number(sum_g / count), number(sum_gx / count * rstd)
        scale = number(weight[c] * rstd)
        pull_about(width, gy, x, at, batch, skip, length, avg_g, m, slope, scale, gx)
        c = next_task(tasks, 0)


@jit(**inner)
def _near(width, x, at, batch, skip, length):
    """A number near a channel's mean: that of a few images, if it is finite."""
    first = x[at] if at < x.size else x.dtype.type(0)
    rows = min(batch, FEW)
    away = sum_about(width, x, at, rows, skip, length, first) / max(rows * length, 1)
    near = x.dtype.type(first + away)
    return near if near - near == 0 else x.dtype.type(0)
