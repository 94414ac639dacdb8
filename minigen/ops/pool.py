"""Pooling: the largest element or the mean of each window of the last two axes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from minigen_kernels import beside, namespace_of

from ..function import Function
from ..tensor import Tensor
from .axes import pair_of
from .choice import perhaps, where
from .indexing import gather
from .operands import floating

__all__ = ["avg_pool2d", "max_pool2d"]

IntOrPair = int | Sequence[int]
Pair = tuple[int, int]


class Windows(NamedTuple):
    """Windows over an image (H, W): of k pixels d apart, every s pixels, from -P on; `out` many."""

    image: Pair
    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    out: Pair

    def slices(self) -> Iterator[tuple[tuple[Any, ...], tuple[Any, ...]]]:
        """For every p, q of the kernel: where the windows' pixel p, q lies in image and output."""
        rows, cols = self._along(0), self._along(1)
        for image_rows, out_rows in rows:
            for image_cols, out_cols in cols:
                yield (..., image_rows, image_cols), (..., out_rows, out_cols)

    def _along(self, a: int) -> list[tuple[slice, slice]]:
        """For each pixel of the kernel, the windows (i) whose pixel lies inside the image."""
        n, s, out = self.image[a], self.stride[a], self.out[a]
        found = []
        for p in range(self.kernel[a]):
            offset = p * self.dilation[a] - self.padding[a]  # the pixel of window i is i·s + offset
            first = max(-(offset // s), 0)
            last = max(min(-((offset - n) // s), out), first)  # not included
            start = first * s + offset
            found.append((slice(start, start + (last - first) * s, s), slice(first, last)))
        return found


class WindowSum(Function):
    """y[i,j] = Σ_{p,q} x[i·s+p·d-P, j·s+q·d-P] over the pixels inside the image"""

    keeps_inputs = False

    def __init__(self, windows: Windows):
        self.windows = windows

    def forward(self, x: Any) -> Any:
        y = namespace_of(x).zeros((*x.shape[:-2], *self.windows.out), x.dtype)
        for image, out in self.windows.slices():
            y[out] += x[image]
        return y

    def backward(self, gy: Tensor) -> Tensor:
        return WindowSpread(self.windows)(gy)


class WindowSpread(Function):
    """x = 0, then x[i·s+p·d-P, j·s+q·d-P] += y[i,j] for all p, q: the adjoint of WindowSum"""

    keeps_inputs = False

    def __init__(self, windows: Windows):
        self.windows = windows

    def forward(self, y: Any) -> Any:
        x = namespace_of(y).zeros((*y.shape[:-2], *self.windows.image), y.dtype)
        for image, out in self.windows.slices():
            x[image] += y[out]
        return x

    def backward(self, gx: Tensor) -> Tensor:
        return WindowSum(self.windows)(gx)


def _windows(
    op: str,
    x: Tensor,
    kernel_size: IntOrPair,
    stride: IntOrPair | None,
    padding: IntOrPair,
    dilation: IntOrPair,
    ceil_mode: bool,
) -> Windows:
    """The windows that torch takes; with ceil_mode also one that runs over the far edge."""
    if x.ndim not in (3, 4):
        raise ValueError(f"{op}: the input {x.shape} must be (N, C, H, W) or (C, H, W)")
    kernel = pair_of(op, "kernel_size", kernel_size)
    s = kernel if stride is None or stride == () else pair_of(op, "stride", stride)
    pads, d = pair_of(op, "padding", padding, 0), pair_of(op, "dilation", dilation)
    out = []
    for a in (0, 1):
        n, span = x.shape[a - 2], d[a] * (kernel[a] - 1) + 1
        if pads[a] > span // 2:
            raise ValueError(
                f"{op}: padding {pads} must be at most half the kernel, {kernel} dilated by {d}"
            )
        room = n + 2 * pads[a] - span
        count = (room + (s[a] - 1 if ceil_mode else 0)) // s[a] + 1
        if ceil_mode and (count - 1) * s[a] >= n + pads[a]:
            count -= 1  # a window that would begin in the far padding
        if count < 1:
            raise ValueError(
                f"{op}: a kernel of {span} pixels does not fit axis {a - 2} of the input {x.shape} "
                f"with padding {pads[a]}"
            )
        out.append(count)
    return Windows((x.shape[-2], x.shape[-1]), kernel, s, pads, d, (out[0], out[1]))


def max_pool2d(
    input: Tensor,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """y[i,j] = max_{p,q} x[i·s+p·d-P, j·s+q·d-P]; the first of equal elements has the slope.

    input    (N, C, H, W) or (C, H, W); stride is kernel_size unless given; padding is never chosen,
             and a window that has nothing else gives -inf.
    return_indices  also the places of the chosen elements, counted through (H, W); -1 for none.
    """
    x = floating(input)
    windows = _windows("max_pool2d", x, kernel_size, stride, padding, dilation, ceil_mode)
    h, w = windows.image
    places = _largest(x.data, windows)
    lead, out = x.shape[:-2], windows.out
    found = places >= 0
    flat = Tensor((places * found).reshape((*lead, out[0] * out[1])))
    y = gather(x.reshape((*lead, h * w)), -1, flat).reshape((*lead, *out))
    if perhaps(~found):
        y = where(Tensor(found), y, -np.inf)
    return (y, Tensor(places)) if return_indices else y


def _largest(x: Any, windows: Windows) -> Any:
    """Where in (H, W), counted through, each window has its largest element (or a NaN)."""
    xp = namespace_of(x)
    width = windows.image[1]
    shape = (*x.shape[:-2], *windows.out)
    best = xp.full(shape, -np.inf, x.dtype)
    places = xp.full(shape, -1, np.int64)
    counted = xp.arange(windows.image[0] * width).reshape(windows.image)
    for image, out in windows.slices():
        value = x[image]
        better = ~(value <= best[out]) | (places[out] < 0)
        better &= ~xp.isnan(best[out]) | xp.isnan(value)
        best[out] = xp.where(better, value, best[out])
        places[out] = xp.where(better, counted[image], places[out])
    return places


def avg_pool2d(
    input: Tensor,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """y[i,j] = Σ_{p,q} x[i·s+p-P, j·s+q-P] / count

    input  (N, C, H, W) or (C, H, W); stride is kernel_size unless given.
    count  the pixels of the window, padding included unless count_include_pad=False, but never
           what ceil_mode adds behind the padding; or divisor_override.
    """
    x = floating(input)
    windows = _windows("avg_pool2d", x, kernel_size, stride, padding, 1, ceil_mode)
    total = WindowSum(windows)(x)
    if divisor_override is not None:
        if divisor_override == 0:
            raise ValueError("avg_pool2d: divisor_override=0 must not be zero")
        return total / divisor_override
    counts = []
    for a in (0, 1):
        edge = windows.padding[a] if count_include_pad else 0
        start = np.arange(windows.out[a]) * windows.stride[a] - windows.padding[a]
        stop = np.minimum(start + windows.kernel[a], windows.image[a] + edge)
        counts.append(stop - np.maximum(start, -edge))
    if (counts[0] == counts[0][:1]).all() and (counts[1] == counts[1][:1]).all():
        return total * (1 / float(counts[0][0] * counts[1][0]))
    count = (counts[0][:, None] * counts[1]).astype(x.dtype)
    return total / Tensor(beside(count, x.data))
