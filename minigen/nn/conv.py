"""Convolutions, pooling, upsampling and padding of images (N, C, H, W) or (C, H, W)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import functional as F
from ..tensor import Tensor
from . import init
from .linear import torch_default_
from .module import Module, Parameter

if TYPE_CHECKING:
    from minigen_kernels.random import Generator

__all__ = ["AvgPool2d", "Conv2d", "ConvTranspose2d", "MaxPool2d", "Upsample", "ZeroPad2d"]

IntOrPair = int | Sequence[int]


def _pair(value: Any) -> tuple[int, int]:
    numbers = tuple(value) if isinstance(value, Sequence) else (value, value)
    return numbers[0], numbers[-1]


class _Conv(Module):
    def __init__(self, in_channels: int, out_channels: int, settings: dict[str, Any], groups: int):
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{type(self).__name__}: groups={groups} must divide in_channels={in_channels} "
                f"and out_channels={out_channels}"
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        for name, value in settings.items():
            setattr(self, name, value if isinstance(value, str) else _pair(value))

    def _fill(self, shape: tuple[int, ...], bias: bool, rng: Generator | None, dtype: Any) -> None:
        rng = init.needed(rng, type(self).__name__)
        self.weight = Parameter(np.empty(shape, dtype))
        self.bias = Parameter(np.empty(self.out_channels, dtype)) if bias else None
        torch_default_(self.weight, self.bias, rng)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        text += f", stride={self.stride}"
        plain = {"padding": (0, 0), "output_padding": (0, 0), "dilation": (1, 1), "groups": 1}
        for name, default in plain.items():
            value = getattr(self, name, default)
            text += "" if value == default else f", {name}={value}"
        text += "" if self.bias is not None else ", bias=False"
        text += "" if self.activation is None else f", activation={self.activation!r}"
        return text + ", moments=True" * self.moments

    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    activation: str | tuple[str, float] | None
    moments: bool


class Conv2d(_Conv):
    """y[n,o,i,j] = b[o] + Σ_{c,p,q} x[n,c, i·s+p·d-P, j·s+q·d-P] · w[o,c,p,q]

    weight (out_channels, in_channels/groups, kh, kw), bias (out_channels,); arguments as in
    functional.conv2d, moments=True where a batch norm comes next (it matters in training only).
    Initial values: U(-1/√fan_in, 1/√fan_in), torch's default.
    """

    padding: tuple[int, int] | str

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrPair,
        stride: IntOrPair = 1,
        padding: IntOrPair | str = 0,
        dilation: IntOrPair = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        activation: str | tuple[str, float] | None = None,
        moments: bool = False,
        rng: Generator | None = None,
        dtype: Any = np.float32,
    ):
        settings = {"kernel_size": kernel_size, "stride": stride, "padding": padding}
        super().__init__(in_channels, out_channels, {**settings, "dilation": dilation}, groups)
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        self._fill(shape, bias, rng, dtype)
        self.activation, self.moments = activation, moments

    def forward(self, x: Tensor) -> Tensor:
        geometry = (self.stride, self.padding, self.dilation, self.groups)
        end = {"activation": self.activation, "moments": self.moments and self.training}
        return F.conv2d(x, self.weight, self.bias, *geometry, **end)


class ConvTranspose2d(_Conv):
    """x[n,c, i·s+p·d-P, j·s+q·d-P] = b[c] + Σ_{o,i,j,p,q} y[n,o,i,j] · w[o,c,p,q]: conv2d's adjoint

    weight (in_channels, out_channels/groups, kh, kw), bias (out_channels,); arguments as in
    functional.conv_transpose2d. Initial values as torch's default, whose fan_in counts axis 1.
    """

    padding: tuple[int, int]
    output_padding: tuple[int, int]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrPair,
        stride: IntOrPair = 1,
        padding: IntOrPair = 0,
        output_padding: IntOrPair = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: IntOrPair = 1,
        *,
        activation: str | tuple[str, float] | None = None,
        moments: bool = False,
        rng: Generator | None = None,
        dtype: Any = np.float32,
    ):
        settings = {"kernel_size": kernel_size, "stride": stride, "padding": padding}
        settings |= {"output_padding": output_padding, "dilation": dilation}
        super().__init__(in_channels, out_channels, settings, groups)
        shape = (in_channels, out_channels // groups, *self.kernel_size)
        self._fill(shape, bias, rng, dtype)
        self.activation, self.moments = activation, moments

    def forward(self, x: Tensor) -> Tensor:
        geometry = (self.stride, self.padding, self.output_padding, self.groups, self.dilation)
        end = {"activation": self.activation, "moments": self.moments and self.training}
        return F.conv_transpose2d(x, self.weight, self.bias, *geometry, **end)


class MaxPool2d(Module):
    """y = the maximum of each window, as functional.max_pool2d has it"""

    def __init__(
        self,
        kernel_size: IntOrPair,
        stride: IntOrPair | None = None,
        padding: IntOrPair = 0,
        dilation: IntOrPair = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ):
        self.kernel_size, self.padding, self.dilation = kernel_size, padding, dilation
        self.stride = kernel_size if stride is None else stride
        self.return_indices, self.ceil_mode = return_indices, ceil_mode

    def forward(self, x: Tensor) -> Any:
        windows = (self.kernel_size, self.stride, self.padding, self.dilation)
        return F.max_pool2d(x, *windows, self.ceil_mode, self.return_indices)

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class AvgPool2d(Module):
    """y = the mean of each window, as functional.avg_pool2d has it"""

    def __init__(
        self,
        kernel_size: IntOrPair,
        stride: IntOrPair | None = None,
        padding: IntOrPair = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ):
        self.kernel_size, self.padding, self.ceil_mode = kernel_size, padding, ceil_mode
        self.stride = kernel_size if stride is None else stride
        self.count_include_pad, self.divisor_override = count_include_pad, divisor_override

    def forward(self, x: Tensor) -> Tensor:
        windows = (self.kernel_size, self.stride, self.padding, self.ceil_mode)
        return F.avg_pool2d(x, *windows, self.count_include_pad, self.divisor_override)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class Upsample(Module):
    """The image enlarged to `size`, or by `scale_factor`: mode "nearest" or "bilinear"."""

    def __init__(
        self,
        size: IntOrPair | None = None,
        scale_factor: float | Sequence[float] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ):
        self.size, self.scale_factor = size, scale_factor
        self.mode, self.align_corners = mode, align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def forward(self, x: Tensor) -> Tensor:
        how = (self.mode, self.align_corners, self.recompute_scale_factor)
        return F.interpolate(x, self.size, self.scale_factor, *how)

    def extra_repr(self) -> str:
        how = f"size={self.size}" if self.size is not None else f"scale_factor={self.scale_factor}"
        return f"{how}, mode={self.mode!r}"


class ZeroPad2d(Module):
    """Zeros around the image: one number, or (left, right, top, bottom)."""

    def __init__(self, padding: IntOrPair):
        self.padding = tuple(padding) if isinstance(padding, Sequence) else (padding,) * 4

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, self.padding)

    def extra_repr(self) -> str:
        return f"{self.padding}"
