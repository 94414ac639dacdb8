"""Normalisation: y = (x - mean) / √(var + eps) · w + b, with mean and var over various axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from minigen_kernels import activated, backend_of, namespace_of

from ..function import Function
from ..tensor import Tensor
from .activated import Activated, Activation, activate, activation_of, moments_of
from .fused import Fused

__all__ = ["batch_norm", "group_norm", "instance_norm", "layer_norm"]


class LayerNorm(Fused):
    """y[...,i] = (x[...,i] - mean) / √(var + eps) · w[i] + b[i], mean and var over x[...,:]"""

    name = "layer_norm"

    def __init__(self, eps: float):
        self.eps = eps

    def forward(self, x: Any, w: Any, b: Any) -> Any:
        y, self.mean, self.rstd = backend_of(x).layer_norm(_rows(x), w, b, self.eps)
        return y.reshape(x.shape)

    def kernel_backward(self, gy: Any, *arrays: Any) -> tuple[Any, ...]:
        x, w, _ = arrays
        kernel = backend_of(x).layer_norm_backward
        gx, gw, gb = kernel(_rows(gy), _rows(x), w, self.mean, self.rstd)
        return gx.reshape(x.shape), gw, gb

    def formula(self, *inputs: Tensor) -> Tensor:
        x, w, b = inputs
        return standardized(x, (x.ndim - 1,), self.eps) * w + b


def _rows(x: Any) -> Any:
    """x (..., D) as a matrix."""
    return x.reshape((math.prod(x.shape[:-1]), x.shape[-1]))


class BatchNorm(Fused):
    """y[n,c,l] = (x[n,c,l] - mean_c) / √(var_c + eps) · w[c] + b[c], for x (N, C, L)"""

    name = "batch_norm"

    def __init__(self, eps: float, moments: Any = None):
        self.eps, self.moments = eps, moments

    def forward(self, x: Any, w: Any, b: Any) -> Any:
        kernels = backend_of(x)
        kernel = None if self.moments is None else activated(kernels, "batch_norm")
        if kernel is None:
            return self.compute(kernels.batch_norm, x, w, b)
        return self.compute(kernel, x, w, b, activation="none", moments=self.moments)

    def compute(self, kernel: Any, x: Any, w: Any, b: Any, **finish: Any) -> Any:
        y, self.mean, self.var = kernel(x, w, b, self.eps, **finish)
        return y

    def kernel_backward(self, gy: Any, *arrays: Any) -> tuple[Any, ...]:
        x, w, _ = arrays
        return backend_of(x).batch_norm_backward(gy, x, w, self.mean, self.var, self.eps)

    def formula(self, *inputs: Tensor) -> Tensor:
        x, w, b = inputs
        return standardized(x, (0, 2), self.eps) * w.reshape((-1, 1)) + b.reshape((-1, 1))


class BatchNormActivated(Activated, BatchNorm):
    """y = f(batch_norm(x))"""

    name = product = "batch_norm"

    def compute(self, kernel: Any, x: Any, w: Any, b: Any, **finish: Any) -> Any:
        if "keep" in finish:  # the kernel with an activation
            finish["moments"] = self.moments
        return super().compute(kernel, x, w, b, **finish)

    def plain(self) -> Function:
        return BatchNorm(self.eps)


def standardized(x: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
    """(x - mean) / √(var + eps), mean and variance (divided by the count) over axes."""
    centred = x - x.mean(axes, True)
    variance = (centred * centred).mean(axes, True)
    return centred / (variance + eps).sqrt()


def layer_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """y = (x - mean) / √(var + eps) · w + b, over the last axes, which have normalized_shape.

    weight and bias have normalized_shape; the variance is divided by the count.
    """
    shape = _shape(normalized_shape)
    x = _floating("layer_norm", input)
    if not shape or x.shape[x.ndim - len(shape) :] != shape or x.ndim < len(shape):
        raise ValueError(
            f"layer_norm: normalized_shape {shape} must be the end of the input's shape {x.shape}"
        )
    _check_affine("layer_norm", shape, weight, bias)
    w, b = _affine(x, shape, weight, bias)
    if len(shape) == 1:
        return LayerNorm(eps)(x, w, b)
    size = math.prod(shape)
    rows = x.reshape((*x.shape[: x.ndim - len(shape)], size))
    return LayerNorm(eps)(rows, w.reshape((size,)), b.reshape((size,))).reshape(x.shape)


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """y = (x - mean) / √(var + eps) · w_c + b_c, over each sample's num_groups groups of channels.

    input (N, C, ...); weight and bias (C,); the variance is divided by the count.
    """
    x = _floating("group_norm", input)
    channels = _channels("group_norm", x)
    if num_groups < 1 or channels % num_groups:
        raise ValueError(
            f"group_norm: num_groups={num_groups} must be at least 1 and divide the {channels} "
            f"channels in axis 1 of the input {x.shape}"
        )
    if x.shape[0] * math.prod(x.shape[2:]) * (channels // num_groups) == 1:
        raise ValueError(
            f"group_norm: one value per group has no variance (input {x.shape}, "
            f"num_groups={num_groups}); use fewer groups"
        )
    _check_affine("group_norm", (channels,), weight, bias)
    groups = x.shape[0] * num_groups
    rows = x.reshape((groups, x.size // groups if groups else 0))
    w, b = _affine(x, rows.shape[1:], None, None)
    return _per_channel(LayerNorm(eps)(rows, w, b).reshape(x.shape), weight, bias)


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """y = (x - mean) / √(var + eps) · w_c + b_c, over the pixels of each channel of each sample.

    input (N, C, d1[, d2, d3]); weight, bias and running statistics (C,). Running statistics, if
    given, are updated in place with the samples' average; use_input_stats=False normalises by them.
    """
    x = _floating("instance_norm", input)
    n, c, pixels = x.shape[0], _channels("instance_norm", x), math.prod(x.shape[2:])
    if not use_input_stats:
        return batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    if pixels == 1:
        raise ValueError(
            f"instance_norm: expected more than 1 spatial element when training, got input size "
            f"{x.shape}: one pixel has no variance"
        )
    _check_affine("instance_norm", (c,), weight, bias)
    w, b = _affine(x, (n * c,), None, None)
    norm = BatchNorm(eps)
    y = norm(x.reshape((1, n * c, pixels)), w, b)
    if n * c:
        mean, var = norm.mean.reshape(n, c).mean(0), norm.var.reshape(n, c).mean(0)
        _update_running(running_mean, mean, momentum)
        _update_running(running_var, var * (pixels / max(pixels - 1, 1)), momentum)
    return _per_channel(y.reshape(x.shape), weight, bias)


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    activation: Activation | None = None,
) -> Tensor:
    """y = (x - mean_c) / √(var_c + eps) · w_c + b_c, over everything but the channels.

    input     (N, C) or (N, C, d1[, d2, d3]); weight, bias and running statistics (C,).
    training  normalise by the batch, whose variance is divided by the count n, and move the running
              statistics in place: running ← (1 - momentum)·running + momentum·batch, with the
              variance divided by n - 1. Otherwise normalise by the running statistics.
    activation  f of f(y), by the same kernel on a GPU in training; as in conv2d.
    """
    x = _floating("batch_norm", input)
    channels = _channels("batch_norm", x)
    n, pixels = x.shape[0], math.prod(x.shape[2:])
    f = None if activation is None else activation_of("batch_norm", activation)
    _check_affine(
        "batch_norm", (channels,), weight, bias, running_mean=running_mean, running_var=running_var
    )
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("batch_norm: training=False needs running_mean and running_var")
        column = (channels, *[1] * (x.ndim - 2))
        scale = 1 / (running_var.reshape(column) + eps).sqrt()
        y = _per_channel((x - running_mean.reshape(column)) * scale, weight, bias)
        return y if f is None else activate(y, f)
    if n * pixels == 1:
        raise ValueError(
            f"batch_norm: expected more than 1 value per channel when training, got input size "
            f"{x.shape}: use a larger batch, or model.eval()"
        )
    w, b = _affine(x, (channels,), weight, bias)
    norm = (BatchNorm if f is None else BatchNormActivated)(eps, moments_of(x))
    if isinstance(norm, BatchNormActivated) and f is not None:
        norm.named(f)
    y = norm(x.reshape((n, channels, pixels)), w, b)
    if n * pixels:
        _update_running(running_mean, norm.mean, momentum)
        _update_running(running_var, norm.var * (n * pixels / (n * pixels - 1)), momentum)
    return y.reshape(x.shape)


# ---- arguments and small parts


def _shape(shape: int | Sequence[int]) -> tuple[int, ...]:
    return tuple(shape) if isinstance(shape, Sequence) else (int(shape),)


def _floating(op: str, x: Tensor) -> Tensor:
    if x.dtype.kind != "f":
        raise TypeError(f"{op}: the input is {x.dtype}; convert it, e.g. .to('float32')")
    return x


def _channels(op: str, x: Tensor) -> int:
    if x.ndim < 2:
        raise ValueError(f"{op}: the input {x.shape} must have 2 axes or more, (N, C, ...)")
    return x.shape[1]


def _check_affine(
    op: str,
    shape: tuple[int, ...],
    weight: Tensor | None,
    bias: Tensor | None,
    **statistics: Tensor | None,
) -> None:
    for name, value in {"weight": weight, "bias": bias, **statistics}.items():
        if value is not None and value.shape != shape:
            raise ValueError(
                f"{op}: the {name} has shape {value.shape}, but the input takes {shape}"
            )


def _affine(
    x: Tensor, shape: tuple[int, ...], weight: Tensor | None, bias: Tensor | None
) -> tuple[Tensor, Tensor]:
    """weight and bias, with ones and zeros where they are left out."""
    xp = namespace_of(x.data)
    return (
        Tensor(xp.ones(shape, x.dtype)) if weight is None else weight,
        Tensor(xp.zeros(shape, x.dtype)) if bias is None else bias,
    )


def _per_channel(y: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """y · w_c + b_c for y (N, C, ...)."""
    column = (y.shape[1], *[1] * (y.ndim - 2))
    y = y if weight is None else y * weight.reshape(column)
    return y if bias is None else y + bias.reshape(column)


def _update_running(running: Tensor | None, batch: np.ndarray, momentum: float) -> None:
    """running ← (1 - momentum)·running + momentum·batch, in place and outside the tape.

    The count of changes is left alone: no backward pass reads a running statistic in training.
    """
    if running is not None:
        running.data[...] = (1 - momentum) * running.data + momentum * batch
