"""Output sizes of the convolution trio, and the errors when there is none: shared by all rungs."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

Pair = Sequence[int]


def flat_batch(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator for kernels that know one axis of batches: the leading axes are made one for it.

    All arrays have as many of them as the first one, (..., T, d); the results get them back.
    """

    @functools.wraps(kernel)
    def flat(first: Any, *others: Any, **options: Any) -> Any:
        *lead, _, _ = first.shape
        if len(lead) == 1:
            return kernel(first, *others, **options)

        def one(x: Any) -> Any:
            n = len(lead)
            return x.reshape(math.prod(x.shape[:n]), *x.shape[n:]) if hasattr(x, "shape") else x

        given = {name: one(x) for name, x in options.items()}
        results = kernel(one(first), *map(one, others), **given)
        return tuple(x.reshape(*lead, *x.shape[1:]) for x in results)

    return flat


def conv_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """⌊(size + 2·padding - dilation·(kernel - 1) - 1) / stride⌋ + 1; 0 or less: nothing fits."""
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def conv2d_output(
    x_shape: tuple[int, ...],
    w_shape: tuple[int, ...],
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> tuple[int, int, int, int]:
    """(N, O, h, w), the shape of conv2d(x, w); ValueError where shapes or settings do not fit."""
    check_settings("conv2d", x_shape, w_shape, stride, padding, dilation, groups)
    (n, channels, *image), (out, in_group, *kernel) = x_shape, w_shape
    if channels != in_group * groups:
        raise ValueError(
            f"conv2d: x {x_shape} has {channels} channels in axis 1, but w {w_shape} with "
            f"groups={groups} takes {in_group * groups}"
        )
    h, w = (conv_size(image[a], kernel[a], stride[a], padding[a], dilation[a]) for a in (0, 1))
    if h <= 0 or w <= 0:
        raise ValueError(
            f"conv2d: the output would be {h} x {w} pixels: the kernel {tuple(kernel)} with "
            f"dilation {tuple(dilation)} does not fit into the image {tuple(image)} with padding "
            f"{tuple(padding)}; use a larger image, more padding or a smaller kernel"
        )
    return n, out, h, w


def conv_transpose2d_output(
    y_shape: tuple[int, ...],
    w_shape: tuple[int, ...],
    stride: Pair,
    padding: Pair,
    output_padding: Pair,
    dilation: Pair,
    groups: int,
) -> tuple[int, int, int, int]:
    """(N, C, H, W), the shape of conv_transpose2d(y, w); ValueError where shapes do not fit."""
    check_settings("conv_transpose2d", y_shape, w_shape, stride, padding, dilation, groups)
    (n, channels, *image), (out, in_group, *kernel) = y_shape, w_shape
    if channels != out:
        raise ValueError(
            f"conv_transpose2d: the input {y_shape} has {channels} channels in axis 1, but the "
            f"weight {w_shape} takes {out}"
        )
    for a in (0, 1):
        if not 0 <= output_padding[a] < max(stride[a], dilation[a]):
            raise ValueError(
                f"conv_transpose2d: output_padding {tuple(output_padding)} must be at least 0 and "
                f"smaller than stride {tuple(stride)} or dilation {tuple(dilation)}"
            )
    height, width = (
        (image[a] - 1) * stride[a]
        - 2 * padding[a]
        + dilation[a] * (kernel[a] - 1)
        + output_padding[a]
        + 1
        for a in (0, 1)
    )
    if height <= 0 or width <= 0 or 0 in image:
        raise ValueError(
            f"conv_transpose2d: the output would be {height} x {width} pixels from an input of "
            f"{tuple(image)} with padding {tuple(padding)}; use a larger input or less padding"
        )
    return n, in_group * groups, height, width


def conv2d_weight_shape(
    x_shape: tuple[int, ...],
    gy_shape: tuple[int, ...],
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> tuple[int, int, int, int]:
    """(O, C/g, kh, kw), the shape of conv2d_weight(x, gy); ValueError where gy is not conv2d's."""
    if len(x_shape) != 4 or len(gy_shape) != 4:
        raise ValueError(
            f"conv2d_weight: x {x_shape} and gy {gy_shape} must have 4 axes, (N, C, H, W)"
        )
    w_shape = (gy_shape[1], x_shape[1] // max(groups, 1), kernel_size[0], kernel_size[1])
    expected = conv2d_output(x_shape, w_shape, stride, padding, dilation, groups)
    if expected != tuple(gy_shape):
        raise ValueError(
            f"conv2d_weight: gy {gy_shape} must have the shape {expected} of "
            f"conv2d(x {x_shape}, kernel {tuple(kernel_size)}, stride {tuple(stride)}, padding "
            f"{tuple(padding)}, dilation {tuple(dilation)})"
        )
    return w_shape


def check_settings(
    name: str,
    x_shape: tuple[int, ...],
    w_shape: tuple[int, ...],
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> None:
    """ValueError unless these are 4-D shapes and settings that a convolution can have."""
    if len(x_shape) != 4 or len(w_shape) != 4:
        raise ValueError(
            f"{name}: input {x_shape} and weight {w_shape} must have 4 axes, (N, C, H, W) and "
            "(O, C/groups, kh, kw)"
        )
    if min(*w_shape[2:]) < 1:
        raise ValueError(f"{name}: the kernel of weight {w_shape} has no pixels")
    if min(*stride, *dilation) < 1 or min(*padding) < 0:
        raise ValueError(
            f"{name}: stride {tuple(stride)} and dilation {tuple(dilation)} must be at least 1, "
            f"padding {tuple(padding)} at least 0"
        )
    if groups < 1 or w_shape[0] % groups:
        raise ValueError(
            f"{name}: groups={groups} must be at least 1 and divide the {w_shape[0]} rows of "
            f"weight {w_shape}"
        )


def gemm_shape(
    a_shape: tuple[int, ...], b_shape: tuple[int, ...], transpose_a: bool, transpose_b: bool
) -> tuple[tuple[int, ...], int, int, int]:
    """(batch, M, K, N) of gemm(a, b); ValueError where the shapes do not fit."""
    if len(a_shape) < 2 or len(b_shape) < 2:
        raise ValueError(f"gemm: a {a_shape} and b {b_shape} must have 2 axes or more")
    m, k = a_shape[-2:][::-1] if transpose_a else a_shape[-2:]
    k_b, n = b_shape[-2:][::-1] if transpose_b else b_shape[-2:]
    if k != k_b:
        raise ValueError(
            f"gemm: a {a_shape} (transpose_a={transpose_a}) has {k} columns, but b {b_shape} "
            f"(transpose_b={transpose_b}) has {k_b} rows: they must be equal"
        )
    batch_a, batch_b = tuple(a_shape[:-2]), tuple(b_shape[:-2])
    if batch_a and batch_b and batch_a != batch_b:
        raise ValueError(
            f"gemm: the batch axes of a {a_shape} and b {b_shape} must be equal, or missing in one"
        )
    return batch_a or batch_b, m, k, n
