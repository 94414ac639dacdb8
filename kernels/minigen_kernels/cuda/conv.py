"""conv2d and conv_transpose2d on the GPU: which kernel, and how many blocks."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import empty, geometry
from .activation import NOTHING, Finish
from .gemm import STAGES_BYTES
from .launch import Kernel, float64_by, launch, packed, suffix, tiles
from .rounding import padded, turned

MOST_SHALLOW, FILTERS = 4, 16  # channels of a group for conv_shallow.cu, and filters of a thread
THREADS = 256  # of the kernels that make no tiles
CONV = np.dtype(
    [(name, "i4") for name in "N C H W O kh kw h w".split()]
    + [(f"{name}_{a}", "i4") for name in ("stride", "pad", "dilation") for a in "hw"]
    + [("groups", "i4")]
)
IMPLICIT = Kernel("conv.cu", "conv2d_1_implicit", 64, 256)
PHASES = Kernel("conv.cu", "conv_transpose2d_1_phases", 64, 256)
TENSOR = Kernel("conv_tensor.cu", "conv2d_3_tensor", 64, 128, 2)
PIPELINE = Kernel("conv_bf16.cu", "conv2d_4_pipeline", 64, 128, 2)
# A pixel of x is loaded for each tap that meets it and each tile of 64 filters: 4 bytes, or 2 if it
# is rounded beforehand, which moves 6 once. With fewer channels, the zeros beside them cost more.
LEAST_LOADS, LEAST_CHANNELS = 6, 16
PIPELINE_PHASES = Kernel("conv_bf16.cu", "conv_transpose2d_3_pipeline", 64, 128, 2)
TENSOR_PHASES = Kernel("conv_tensor.cu", "conv_transpose2d_2_tensor", 64, 128, 2)


def conv2d_1_implicit(
    x, w, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1
) -> Any:
    """y[n,o,i,j] = b[o] + Σ_{c,p,q} x[n,c, i·s+p·d-P, j·s+q·d-P] · w[o,c,p,q], as one product."""
    ending = suffix("conv2d", x, w, bias)
    return _conv2d(IMPLICIT, ending, x, w, bias, stride, padding, dilation, groups)


def conv2d_2_shallow(
    x, w, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1
) -> Any:
    """The same; few channels per group, as in a first layer, by a kernel of their own.

    A thread makes a pixel of y in 16 channels: the product would be too shallow for tiles.
    """
    return _shallow(x, w, bias, stride, padding, dilation, groups)


def conv2d_activated_1_implicit(
    x, w, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, activation="relu",
    slope=0.0, keep=False, moments=False,
) -> Any:  # fmt: skip
    """y = f(conv2d(x, w) + bias): f is applied to the sums while they are in registers."""
    ending = suffix("conv2d_activated", x, w, bias)
    how = stride, padding, dilation, groups, Finish(activation, slope, keep, moments)
    return _conv2d(IMPLICIT, ending, x, w, bias, *how)


def conv2d_activated_2_shallow(
    x, w, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, activation="relu",
    slope=0.0, keep=False, moments=False,
) -> Any:  # fmt: skip
    """The same; few channels per group by the kernel of conv2d_2_shallow."""
    how = stride, padding, dilation, groups, Finish(activation, slope, keep, moments)
    return _shallow(x, w, bias, *how)


def _shallow(
    x: Any, w: Any, bias: Any, stride, padding, dilation, groups: int, finish: Finish = NOTHING
) -> Any:
    ending = suffix("conv2d", x, w, bias)
    if finish.moments or (x.ndim == 4 and x.shape[1] > MOST_SHALLOW * groups):
        how = stride, padding, dilation, groups, finish
        return _conv2d(IMPLICIT, ending, x, w, bias, *how)
    shape = geometry.conv2d_output(x.shape, w.shape, stride, padding, dilation, groups)
    y = empty(shape, x.dtype, like=x)
    before = finish.before(y)
    if y.size:
        pixels = shape[0] * shape[2] * shape[3]
        grid = tiles(pixels, THREADS), tiles(shape[1] // groups, FILTERS), groups
        g = conv_struct(x.shape, w.shape, shape, stride, padding, dilation, groups)
        given = packed(x), packed(w), packed(bias), y, g, before, finish.struct(y)
        launch("conv_shallow.cu", f"conv2d_2_shallow_{ending}", grid, THREADS, *given)
    return finish.results(y, before)


@float64_by(conv2d_2_shallow)
def conv2d_3_tf32(
    x, w, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1
) -> Any:
    """y = conv2d(x, w) by tensor cores: factors rounded to TF32, sums in float32."""
    suffix("conv2d", x, w, bias)
    return _conv2d(TENSOR, "tf32", x, w, bias, stride, padding, dilation, groups)


@float64_by(conv2d_2_shallow)
def conv2d_3_tf32x3(
    x, w, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1
) -> Any:
    """y = conv2d(x, w) by tensor cores, nearly in float32: a factor is two numbers of TF32."""
    suffix("conv2d", x, w, bias)
    return _conv2d(TENSOR, "tf32x3", x, w, bias, stride, padding, dilation, groups)


@float64_by(conv2d_2_shallow)
def conv2d_3_bf16(
    x, w, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1
) -> Any:
    """y = conv2d(x, w) by tensor cores: factors rounded to bfloat16, sums in float32."""
    suffix("conv2d", x, w, bias)
    return _conv2d(TENSOR, "bf16", x, w, bias, stride, padding, dilation, groups)


@float64_by(conv2d_2_shallow)
def conv2d_4_bf16(
    x, w, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1
) -> Any:
    """The same; where it pays, x and w are rounded once, beforehand, to arrays in which a pixel's
    channels lie side by side, and then copied into shared memory three steps ahead."""
    return _conv2d_in_bf16(x, w, bias, stride, padding, dilation, groups)


@float64_by(conv2d_activated_2_shallow)
def conv2d_activated_4_bf16(
    x, w, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, activation="relu",
    slope=0.0, keep=False, moments=False,
) -> Any:  # fmt: skip
    """y = f(conv2d(x, w) + bias) by conv2d_4_bf16's kernels."""
    how = stride, padding, dilation, groups, Finish(activation, slope, keep, moments)
    return _conv2d_in_bf16(x, w, bias, *how)


def _conv2d_in_bf16(
    x: Any, w: Any, bias: Any, stride, padding, dilation, groups: int, finish: Finish = NOTHING
) -> Any:
    suffix("conv2d", x, w, bias)
    shape = geometry.conv2d_output(x.shape, w.shape, stride, padding, dilation, groups)
    (n, c, *image), (o, channels, kh, kw) = x.shape, w.shape
    loads = kh * kw * tiles(o // groups, PIPELINE.tile) / (stride[0] * stride[1])
    if loads < LEAST_LOADS or channels < LEAST_CHANNELS:
        how = stride, padding, dilation, groups, finish
        return _conv2d(TENSOR, "bf16", x, w, bias, *how)
    y = empty(shape, x.dtype, like=x)
    before, pixels = finish.before(y), shape[0] * shape[2] * shape[3]
    found = finish.found(y, PIPELINE.parts * tiles(pixels, PIPELINE.tile))
    if y.size:
        grid = tiles(pixels, PIPELINE.tile), tiles(o // groups, PIPELINE.tile), groups
        wide = turned(packed(x).reshape(n * groups, c // groups, image[0] * image[1]))
        taps = turned(packed(w).reshape(o, channels, kh * kw))
        g = conv_struct(x.shape, w.shape, shape, stride, padding, dilation, groups)
        end = padded(channels), before, finish.struct(y), found
        given = wide, taps, packed(bias), y, g, *end
        launch(PIPELINE.source, PIPELINE.name, grid, PIPELINE.threads, *given, shared=STAGES_BYTES)
    return finish.results(y, before, found)


def _activated_conv2d(precision: str) -> Any:
    """conv2d by tensor cores with an activation at its end, in this precision."""

    @float64_by(conv2d_activated_2_shallow)
    def kernel(
        x, w, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1,
        activation="relu", slope=0.0, keep=False, moments=False,
    ) -> Any:  # fmt: skip
        suffix("conv2d_activated", x, w, bias)
        how = stride, padding, dilation, groups, Finish(activation, slope, keep, moments)
        return _conv2d(TENSOR, precision, x, w, bias, *how)

    kernel.__name__ = f"conv2d_activated_3_{precision}"
    return kernel


conv2d_activated_3_tf32 = _activated_conv2d("tf32")
conv2d_activated_3_tf32x3 = _activated_conv2d("tf32x3")
conv2d_activated_3_bf16 = _activated_conv2d("bf16")


def _conv2d(
    kernel: Kernel, ending: str, x: Any, w: Any, bias: Any, stride, padding, dilation, groups: int,
    finish: Finish = NOTHING,
) -> Any:  # fmt: skip
    shape = geometry.conv2d_output(x.shape, w.shape, stride, padding, dilation, groups)
    y = empty(shape, x.dtype, like=x)
    before, pixels = finish.before(y), shape[0] * shape[2] * shape[3]
    found = finish.found(y, kernel.parts * tiles(pixels, kernel.tile))
    if y.size:
        grid = tiles(pixels, kernel.tile), tiles(shape[1] // groups, kernel.tile), groups
        g = conv_struct(x.shape, w.shape, shape, stride, padding, dilation, groups)
        name = f"{kernel.name}_{ending}"
        given = packed(x), packed(w), packed(bias), y, g, before, finish.struct(y), found
        launch(kernel.source, name, grid, kernel.threads, *given)
    return finish.results(y, before, found)


def conv_transpose2d_1_phases(
    y, w, bias=None, stride=(1, 1), padding=(0, 0), output_padding=(0, 0), dilation=(1, 1), groups=1
) -> Any:
    """x[n,c, i·s+p·d-P, j·s+q·d-P] = b[c] + Σ_{o,i,j,p,q} y[n,o,i,j] · w[o,c,p,q]

    Stride s makes s × s phases of pixels; in each the sum is dense, over a part of the taps.
    """
    ending = suffix("conv_transpose2d", y, w, bias)
    how = stride, padding, output_padding, dilation, groups
    return _conv_transpose2d(PHASES, ending, y, w, bias, *how)


@float64_by(conv_transpose2d_1_phases)
def conv_transpose2d_2_tf32(
    y, w, bias=None, stride=(1, 1), padding=(0, 0), output_padding=(0, 0), dilation=(1, 1), groups=1
) -> Any:
    """x = conv_transpose2d(y, w) by tensor cores: factors rounded to TF32, sums in float32."""
    suffix("conv_transpose2d", y, w, bias)
    how = stride, padding, output_padding, dilation, groups
    return _conv_transpose2d(TENSOR_PHASES, "tf32", y, w, bias, *how)


@float64_by(conv_transpose2d_1_phases)
def conv_transpose2d_2_tf32x3(
    y, w, bias=None, stride=(1, 1), padding=(0, 0), output_padding=(0, 0), dilation=(1, 1), groups=1
) -> Any:
    """x = conv_transpose2d(y, w) by tensor cores, nearly in float32: see conv2d_3_tf32x3."""
    suffix("conv_transpose2d", y, w, bias)
    how = stride, padding, output_padding, dilation, groups
    return _conv_transpose2d(TENSOR_PHASES, "tf32x3", y, w, bias, *how)


@float64_by(conv_transpose2d_1_phases)
def conv_transpose2d_2_bf16(
    y, w, bias=None, stride=(1, 1), padding=(0, 0), output_padding=(0, 0), dilation=(1, 1), groups=1
) -> Any:
    """x = conv_transpose2d(y, w) by tensor cores: factors rounded to bfloat16, sums in float32."""
    suffix("conv_transpose2d", y, w, bias)
    how = stride, padding, output_padding, dilation, groups
    return _conv_transpose2d(TENSOR_PHASES, "bf16", y, w, bias, *how)


def conv_transpose2d_activated_1_phases(
    y, w, bias=None, stride=(1, 1), padding=(0, 0), output_padding=(0, 0), dilation=(1, 1),
    groups=1, activation="relu", slope=0.0, keep=False, moments=False,
) -> Any:  # fmt: skip
    """x = f(conv_transpose2d(y, w) + bias): f is applied to sums that are still in registers."""
    ending = suffix("conv_transpose2d_activated", y, w, bias)
    finish = Finish(activation, slope, keep, moments)
    how = stride, padding, output_padding, dilation, groups, finish
    return _conv_transpose2d(PHASES, ending, y, w, bias, *how)


@float64_by(conv_transpose2d_1_phases)
def conv_transpose2d_3_bf16(
    y, w, bias=None, stride=(1, 1), padding=(0, 0), output_padding=(0, 0), dilation=(1, 1), groups=1
) -> Any:
    """The same; where it pays, y and w are rounded beforehand, as in conv2d_4_bf16."""
    how = stride, padding, output_padding, dilation, groups
    return _conv_transpose2d_in_bf16(y, w, bias, *how)


@float64_by(conv_transpose2d_activated_1_phases)
def conv_transpose2d_activated_3_bf16(
    y, w, bias=None, stride=(1, 1), padding=(0, 0), output_padding=(0, 0), dilation=(1, 1),
    groups=1, activation="relu", slope=0.0, keep=False, moments=False,
) -> Any:  # fmt: skip
    """x = f(conv_transpose2d(y, w) + bias) by conv_transpose2d_3_bf16's kernels."""
    finish = Finish(activation, slope, keep, moments)
    how = stride, padding, output_padding, dilation, groups, finish
    return _conv_transpose2d_in_bf16(y, w, bias, *how)


def _conv_transpose2d_in_bf16(
    y: Any, w: Any, bias: Any, stride, padding, output_padding, dilation, groups: int,
    finish: Finish = NOTHING,
) -> Any:  # fmt: skip
    suffix("conv_transpose2d", y, w, bias)
    shape = geometry.conv_transpose2d_output(
        y.shape, w.shape, stride, padding, output_padding, dilation, groups
    )
    (n, o, *image), (_, channels, kh, kw) = y.shape, w.shape
    depth = o // groups
    if kh * kw * tiles(channels, PIPELINE.tile) < LEAST_LOADS or depth < LEAST_CHANNELS:
        how = stride, padding, output_padding, dilation, groups, finish
        return _conv_transpose2d(TENSOR_PHASES, "bf16", y, w, bias, *how)
    x = empty(shape, y.dtype, like=y)
    pixels, phases = _pixels_of_a_phase(shape, stride), stride[0] * stride[1]
    before = finish.before(x)
    found = finish.found(x, phases * PIPELINE.parts * tiles(pixels, PIPELINE.tile))
    if x.size:
        across = tiles(pixels, PIPELINE.tile), tiles(channels, PIPELINE.tile)
        wide = turned(packed(y).reshape(n * groups, depth, image[0] * image[1]))
        taps = turned(packed(w).reshape(groups, depth, channels * kh * kw))
        g = conv_struct(shape, w.shape, y.shape, stride, padding, dilation, groups)
        given = wide, taps, packed(bias), x, g, padded(depth), before, finish.struct(x), found
        kernel, grid = PIPELINE_PHASES, (*across, groups * phases)
        launch(kernel.source, kernel.name, grid, kernel.threads, *given, shared=STAGES_BYTES)
    return finish.results(x, before, found)


def _activated_conv_transpose2d(precision: str) -> Any:
    """conv_transpose2d by tensor cores with an activation at its end, in this precision."""

    @float64_by(conv_transpose2d_activated_1_phases)
    def kernel(
        y, w, bias=None, stride=(1, 1), padding=(0, 0), output_padding=(0, 0), dilation=(1, 1),
        groups=1, activation="relu", slope=0.0, keep=False, moments=False,
    ) -> Any:  # fmt: skip
        suffix("conv_transpose2d_activated", y, w, bias)
        finish = Finish(activation, slope, keep, moments)
        how = stride, padding, output_padding, dilation, groups, finish
        return _conv_transpose2d(TENSOR_PHASES, precision, y, w, bias, *how)

    kernel.__name__ = f"conv_transpose2d_activated_2_{precision}"
    return kernel


conv_transpose2d_activated_2_tf32 = _activated_conv_transpose2d("tf32")
conv_transpose2d_activated_2_tf32x3 = _activated_conv_transpose2d("tf32x3")
conv_transpose2d_activated_2_bf16 = _activated_conv_transpose2d("bf16")


def _conv_transpose2d(
    kernel: Kernel, ending: str, y: Any, w: Any, bias: Any,
    stride, padding, output_padding, dilation, groups: int, finish: Finish = NOTHING,
) -> Any:  # fmt: skip
    shape = geometry.conv_transpose2d_output(
        y.shape, w.shape, stride, padding, output_padding, dilation, groups
    )
    x = empty(shape, y.dtype, like=y)
    pixels, phases = _pixels_of_a_phase(shape, stride), stride[0] * stride[1]
    before = finish.before(x)
    found = finish.found(x, phases * kernel.parts * tiles(pixels, kernel.tile))
    if x.size:
        across = tiles(pixels, kernel.tile), tiles(shape[1] // groups, kernel.tile)
        g = conv_struct(shape, w.shape, y.shape, stride, padding, dilation, groups)
        name, grid = f"{kernel.name}_{ending}", (*across, groups * phases)
        given = packed(y), packed(w), packed(bias), x, g, before, finish.struct(x), found
        launch(kernel.source, name, grid, kernel.threads, *given)
    return finish.results(x, before, found)


def _pixels_of_a_phase(shape: tuple[int, ...], stride: tuple[int, int]) -> int:
    """Of an image of conv_transpose2d, at most: phases differ by a row or a column."""
    return shape[0] * tiles(shape[2], stride[0]) * tiles(shape[3], stride[1])


def conv_struct(x_shape, w_shape, y_shape, stride, padding, dilation, groups) -> np.ndarray:
    """struct Conv of conv.cu."""
    sizes = (*x_shape, w_shape[0], *w_shape[2:], *y_shape[2:])
    return np.array([(*sizes, *stride, *padding, *dilation, groups)], CONV)
