"""interpolate: images made larger or smaller, by the nearest pixel or between four."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from minigen_kernels import beside

from ..tensor import Tensor
from .indexing import Select
from .operands import floating
from .pool import Windows, WindowSpread

__all__ = ["interpolate"]


def interpolate(
    input: Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """x (N, C, ...) with its spatial axes resized, to `size` or by `scale_factor`.

    mode  "nearest" (1 to 3 spatial axes), y[i] = x[⌊i·r⌋], or "bilinear" (2 of them), between the
          pixels around (i + ½)·r - ½, with r = 1/scale_factor or input size / output size.
    align_corners  for "bilinear": the corner pixels keep their places, r = (in - 1)/(out - 1).
    recompute_scale_factor  take r from the sizes also if scale_factor is given.
    antialias  is not there: blur before making smaller, e.g. with avg_pool2d.
    """
    x = input if mode == "nearest" else floating(input)  # a pixel that is copied may be a byte
    _check_mode(x, mode, align_corners)
    if antialias:
        raise ValueError("interpolate: antialias=True is not supported; blur first, or avg_pool2d")
    if recompute_scale_factor and size is not None:
        raise ValueError("interpolate: recompute_scale_factor goes with scale_factor, not size")
    out, factors = _out_sizes(x, size, scale_factor)
    steps = [
        1 / f if f and not recompute_scale_factor else n / max(m, 1)
        for n, m, f in zip(x.shape[2:], out, factors, strict=True)
    ]
    if min(out, default=1) < 1 or not min(x.shape[2:], default=1):
        raise ValueError(f"interpolate: an input of shape {x.shape} cannot be resized to {out}")
    if mode == "nearest":
        return _nearest(x, out, steps)
    for axis, m, step in zip((2, 3), out, steps, strict=True):
        x = _between(x, axis, m, step, bool(align_corners))
    return x


def _check_mode(x: Tensor, mode: str, align_corners: bool | None) -> None:
    if mode not in ("nearest", "bilinear"):
        raise ValueError(f"interpolate: mode={mode!r} must be 'nearest' or 'bilinear'")
    if mode == "nearest" and align_corners is not None:
        raise ValueError("interpolate: align_corners goes with mode='bilinear' only")
    if x.ndim not in ((3, 4, 5) if mode == "nearest" else (4,)):
        wanted = "(N, C, H, W)"
        if mode == "nearest":
            wanted = f"(N, C, W), {wanted} or (N, C, D, H, W)"
        raise ValueError(f"interpolate: for mode={mode!r} the input {x.shape} must be {wanted}")


def _out_sizes(x: Tensor, size: Any, scale_factor: Any) -> tuple[tuple[int, ...], list[float]]:
    """The output's spatial sizes, and the scale factors (0 where sizes were given)."""
    spatial = x.shape[2:]
    if (size is None) == (scale_factor is None):
        raise ValueError("interpolate: give either size or scale_factor")
    given = size if scale_factor is None else scale_factor
    each = list(given) if isinstance(given, Sequence) else [given] * len(spatial)
    if len(each) != len(spatial):
        raise ValueError(
            f"interpolate: {given!r} must be one number, or one for each of the {len(spatial)} "
            f"spatial axes of {x.shape}"
        )
    if scale_factor is None:
        return tuple(int(m) for m in each), [0.0] * len(each)
    return tuple(math.floor(n * f) for n, f in zip(spatial, each, strict=True)), each


def _nearest(x: Tensor, out: tuple[int, ...], steps: list[float]) -> Tensor:
    """y[i] = x[⌊i·r⌋], in float32 as torch reckons; whole factors as one copy."""
    n = x.shape[2:]
    whole = [m // k for m, k in zip(out, n, strict=True)]
    if len(n) == 2 and all(
        m == k * f and step * f == 1 for m, k, f, step in zip(out, n, whole, steps, strict=True)
    ):
        kernel = (whole[0], whole[1])
        return WindowSpread(
            Windows((out[0], out[1]), kernel, kernel, (0, 0), (1, 1), (n[0], n[1]))
        )(x)
    for axis, (m, k, step) in enumerate(zip(out, n, steps, strict=True), 2):
        index = np.floor(np.arange(m, dtype=np.float32) * np.float32(step)).astype(np.int64)
        x = Select(axis, beside(np.minimum(index, k - 1), x.data))(x)
    return x


def _between(x: Tensor, axis: int, out: int, step: float, align_corners: bool) -> Tensor:
    """y[i] = (1 - t)·x[⌊s⌋] + t·x[⌊s⌋ + 1] along an axis, for the place s = ⌊s⌋ + t of pixel i."""
    n, dtype = x.shape[axis], x.dtype
    i = np.arange(out, dtype=dtype)
    if align_corners:
        place = i * dtype.type((n - 1) / (out - 1) if out > 1 else 0.0)
    else:
        place = np.maximum((i + dtype.type(0.5)) * dtype.type(step) - dtype.type(0.5), 0)
    low = np.minimum(place.astype(np.int64), n - 1)
    high = np.minimum(low + 1, n - 1)
    t = np.clip(place - low, 0, 1).astype(dtype).reshape((out, *[1] * (x.ndim - 1 - axis)))
    low, high, t, rest = (beside(a, x.data) for a in (low, high, t, 1 - t))
    below, above = Select(axis, low)(x), Select(axis, high)(x)
    return below * Tensor(rest) + above * Tensor(t)
