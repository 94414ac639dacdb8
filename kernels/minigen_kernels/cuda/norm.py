"""Layer norm and batch norm on the GPU: which kernels of norm.cu, and how many blocks."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import empty
from .activation import NOTHING, Finish
from .conv_weight import PROCESSORS
from .launch import MOST_BLOCKS, launch, packed, suffix, tiles
from .rows import THREADS, WARP, launch_rows

SOURCE = "norm.cu"
ROWS_PER_PART = 64  # rows of which gw and gb are summed by one block, at least
MOST_PARTS = 64  # into which a sum over rows is cut
SHORTEST_PART = 2048  # values of a channel below which it is not worth being cut
BLOCKS_PER_PROCESSOR = 8  # at work on a multiprocessor at one time
CHANNELS = np.dtype([(name, "i4") for name in ("N", "C", "L", "each")])


def layer_norm_1_rows(x, weight, bias, eps):
    """y[r,i] = (x[r,i] - mean[r]) · rstd[r] · weight[i] + bias[i]; also mean and rstd, (R,).

    A team of threads to a row; the variance is summed about the mean.
    """
    ending = suffix("layer_norm", x, weight, bias)
    (rows, width), number = x.shape, x.dtype.type
    y, mean, rstd = (empty(shape, x.dtype, like=x) for shape in (x.shape, rows, rows))
    given = packed(x), packed(weight), packed(bias)
    launch_rows(
        SOURCE, "layer_norm_1_rows", ending, x.shape, *given, y, mean, rstd,
        rows, width, number(eps),
    )
    return y, mean, rstd


def layer_norm_backward_1_rows(gy, x, weight, mean, rstd):
    """gx = rstd (h - avg h - x̂ avg(h x̂)) with h = gy · weight, x̂ = (x - mean) rstd, avg over a row.

    gw[i] = Σ_r gy x̂ and gb[i] = Σ_r gy, (D,): parts of the rows, then the sum of the parts.
    """
    ending = suffix("layer_norm_backward", gy, x, weight, mean, rstd)
    rows, width = x.shape
    gx, sums = empty(x.shape, x.dtype, like=x), empty((2, width), x.dtype, like=x)
    gy, x, mean, rstd = (packed(a) for a in (gy, x, mean, rstd))
    launch_rows(
        SOURCE, "layer_norm_backward_1_rows", ending, x.shape, gy, x, packed(weight), mean, rstd,
        gx, rows, width,
    )
    if width:
        each = max(ROWS_PER_PART, tiles(rows, MOST_PARTS))
        parts = max(1, tiles(rows, each))
        found = sums if parts == 1 else empty((parts, 2, width), x.dtype, like=x)
        kernel, grid = f"layer_norm_backward_1_columns_{ending}", (tiles(width, WARP), parts)
        launch(SOURCE, kernel, grid, THREADS, gy, x, mean, rstd, found, rows, width, each)
        if parts > 1:
            grid = tiles(2 * width, THREADS)
            launch(SOURCE, f"add_parts_{ending}", grid, THREADS, found, sums, 2 * width, parts)
    return gx, sums[0], sums[1]


def batch_norm_1_channels(x, weight, bias, eps):
    """y[n,c,l] = (x[n,c,l] - mean[c]) / √(var[c] + eps) · weight[c] + bias[c]; also mean and var.

    Mean and squares of parts of each channel, which the second kernel joins.
    """
    return _batch_norm(suffix("batch_norm", x, weight, bias), x, weight, bias, eps, NOTHING, None)


def batch_norm_activated_1_channels(
    x, weight, bias, eps, activation="relu", slope=0.0, keep=False, moments=None
):
    """y = f(batch_norm(x)), applied where y is made; also mean and var.

    moments: those that conv2d_activated or conv_transpose2d_activated left of x, which is then read
    once instead of three times.
    """
    finish = Finish(activation, slope, keep)
    ending = suffix("batch_norm_activated", x, weight, bias, moments)
    return _batch_norm(ending, x, weight, bias, eps, finish, moments)


def _batch_norm(ending: str, x, weight, bias, eps, finish: Finish, moments: Any) -> tuple:
    (batch, channels, length), eps = x.shape, x.dtype.type(eps)
    y, mean, var = (empty(shape, x.dtype, like=x) for shape in (x.shape, channels, channels))
    before = finish.before(y)
    if channels:
        g, grid = _parts(x)
        x = packed(x)
        given = x, packed(weight), packed(bias), y, before, finish.struct(y)
        if moments is None:
            found = empty((2, *grid), x.dtype, like=x)
            launch(SOURCE, f"batch_norm_1_parts_{ending}", grid, THREADS, x, found, g)
            kernel, of_channels = f"batch_norm_1_channels_{ending}", (found, mean, var)
        else:
            join = moments, mean, var, moments.shape[1], batch * length
            launch(SOURCE, f"batch_norm_1_join_{ending}", channels, THREADS, *join)
            kernel, of_channels = f"batch_norm_1_joined_{ending}", (mean, var)
        launch(SOURCE, kernel, grid, THREADS, *given, *of_channels, g, eps)
    return ((y, before) if finish.keep else y), mean, var


def batch_norm_backward_1_channels(gy, x, weight, mean, var, eps):
    """gx = weight · rstd (gy - avg gy - x̂ avg(gy x̂)), avg over N and L; gw = Σ gy x̂, gb = Σ gy."""
    ending = suffix("batch_norm_backward", gy, x, weight, mean, var)
    channels, eps = x.shape[1], x.dtype.type(eps)
    gx, gw, gb = (empty(shape, x.dtype, like=x) for shape in (x.shape, channels, channels))
    if channels:
        g, grid = _parts(x)
        found = empty((2, *grid), x.dtype, like=x)
        gy, x, mean, var = (packed(a) for a in (gy, x, mean, var))
        kernel = f"batch_norm_backward_1_parts_{ending}"
        launch(SOURCE, kernel, grid, THREADS, gy, x, mean, var, found, g, eps)
        launch(
            SOURCE, f"batch_norm_backward_1_channels_{ending}", grid, THREADS,
            gy, x, packed(weight), mean, var, found, gx, gw, gb, g, eps,
        )
    return gx, gw, gb


def _parts(x: Any) -> tuple[np.ndarray, tuple[int, int]]:
    """struct Channels of norm.cu, and the grid: channels, and parts of each."""
    batch, channels, length = x.shape
    count = batch * length
    wanted = tiles(BLOCKS_PER_PROCESSOR * PROCESSORS, channels)
    parts = max(1, min(wanted, tiles(count, SHORTEST_PART), THREADS, MOST_BLOCKS))
    each = tiles(max(count, 1), 4 * parts) * 4  # whole packs of 16 bytes
    return np.array([(batch, channels, length, each)], CHANNELS), (channels, parts)
