"""Normalisation layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import functional as F
from ..tensor import Tensor
from .module import Module, Parameter

__all__ = ["BatchNorm1d", "BatchNorm2d", "GroupNorm", "InstanceNorm2d", "LayerNorm"]


class _Norm(Module):
    """Weights 1 and biases 0 at first, or none."""

    weight: Parameter | None
    bias: Parameter | None

    def _set_affine(self, shape: tuple[int, ...], weight: bool, bias: bool, dtype: Any) -> None:
        self.weight = Parameter(np.ones(shape, dtype)) if weight else None
        self.bias = Parameter(np.zeros(shape, dtype)) if bias else None


class _RunningNorm(_Norm):
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        bias: bool,
        dtype: Any,
    ):
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self._set_affine((num_features,), affine, affine and bias, dtype)
        track = track_running_stats
        zeros, ones = np.zeros(num_features, dtype), np.ones(num_features, dtype)
        self.register_buffer("running_mean", Tensor(zeros) if track else None)
        self.register_buffer("running_var", Tensor(ones) if track else None)
        count = Tensor(np.array(0, np.int64)) if track else None
        self.register_buffer("num_batches_tracked", count)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, bias={self.bias is not None}, "
            f"track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_RunningNorm):
    """y = (x - mean_c) / √(var_c + eps) · w_c + b_c, over everything but the channels.

    In training mean and var are the batch's, and the running statistics follow them:
    running ← (1 - momentum)·running + momentum·batch; momentum=None takes their plain average.
    In evaluation they are the running statistics. activation: f of f(y), as in functional.conv2d.
    """

    dims: tuple[int, ...] = ()

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        activation: str | tuple[str, float] | None = None,
        bias: bool = True,
        dtype: Any = np.float32,
    ):
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias, dtype)
        self.activation = activation

    def extra_repr(self) -> str:
        text = super().extra_repr()
        return text if self.activation is None else f"{text}, activation={self.activation!r}"

    def forward(self, x: Tensor) -> Tensor:
        name, c = type(self).__name__, self.num_features
        if x.ndim not in self.dims or x.shape[1] != c:
            forms = " or ".join(f"(N, {c}{', L' if d == 3 else ''})" for d in self.dims if d < 4)
            raise ValueError(f"{name}: got input {x.shape}, expected {forms or f'(N, {c}, H, W)'}")
        training = self.training or self.running_mean is None
        momentum = self.momentum or 0.0
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.data[...] += 1
            if self.momentum is None:
                momentum = 1 / int(self.num_batches_tracked)
        arrays = (self.running_mean, self.running_var, self.weight, self.bias)
        how = (training, momentum, self.eps)
        return F.batch_norm(x, *arrays, *how, activation=self.activation)


class BatchNorm1d(_BatchNorm):
    """Batch norm of (N, C) or (N, C, L); see functional.batch_norm."""

    dims = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch norm of images (N, C, H, W); see functional.batch_norm."""

    dims = (4,)


class InstanceNorm2d(_RunningNorm):
    """y = (x - mean) / √(var + eps), over the pixels of each channel of each image.

    Images (N, C, H, W) or (C, H, W); with affine=True times w_c, plus b_c.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        *,
        bias: bool = True,
        dtype: Any = np.float32,
    ):
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias, dtype)

    def forward(self, x: Tensor) -> Tensor:
        c = self.num_features
        if x.ndim not in (3, 4) or x.shape[-3] != c:
            raise ValueError(
                f"InstanceNorm2d: got input {x.shape}, expected (N, {c}, H, W) or ({c}, H, W)"
            )
        images = x if x.ndim == 4 else x.reshape((1, *x.shape))
        use_input = self.training or self.running_mean is None
        assert self.momentum is not None
        y = F.instance_norm(
            images,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            use_input,
            self.momentum,
            self.eps,
        )
        return y.reshape(x.shape)


class LayerNorm(_Norm):
    """y = (x - mean) / √(var + eps) · w + b, over the last axes, which have normalized_shape."""

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: Any = np.float32,
    ):
        shape = normalized_shape
        self.normalized_shape = tuple(shape) if isinstance(shape, Sequence) else (shape,)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        affine = elementwise_affine
        self._set_affine(self.normalized_shape, affine, affine and bias, dtype)

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        )


class GroupNorm(_Norm):
    """y = (x - mean) / √(var + eps) · w_c + b_c, over each of num_groups groups of channels."""

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        bias: bool = True,
        dtype: Any = np.float32,
    ):
        if num_groups < 1 or num_channels % num_groups:
            raise ValueError(
                f"GroupNorm: num_groups={num_groups} must divide num_channels={num_channels}"
            )
        self.num_groups, self.num_channels = num_groups, num_channels
        self.eps, self.affine = eps, affine
        self._set_affine((num_channels,), affine, affine and bias, dtype)

    def forward(self, x: Tensor) -> Tensor:
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )
