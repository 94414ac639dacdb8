"""conv2d, conv_transpose2d and conv2d_weight: three partial derivatives of one trilinear form.

    T(x, w, y) = Σ x[n,c, i·s+p·d-P, j·s+q·d-P] · w[o,c,p,q] · y[n,o,i,j]

with stride s, padding P and dilation d. conv2d is ∂T/∂y, conv_transpose2d ∂T/∂x, conv2d_weight
∂T/∂w, so the backward of each is the other two, and derivatives of every order stay among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minigen_kernels import backend_of

from ..function import Function
from ..tensor import Tensor
from .activated import Activated, Activation, WithMoments, activation_of
from .axes import pair_of
from .padding import pad

__all__ = ["conv2d", "conv2d_weight", "conv_transpose2d"]

IntOrPair = int | Sequence[int]
Pair = tuple[int, int]


class Conv2d(Function):
    """y[n,o,i,j] = b[o] + Σ_{c,p,q} x[n,c, i·s+p·d-P, j·s+q·d-P] · w[o,c,p,q]"""

    def __init__(self, **geometry: Any):
        self.geometry = geometry

    def forward(self, x: Any, w: Any, b: Any = None) -> Any:
        return self.compute(backend_of(x).conv2d, x, w, b)

    def compute(self, kernel: Any, x: Any, w: Any, b: Any = None, **finish: Any) -> Any:
        return kernel(x, w, b, **self.geometry, **finish)

    def backward(self, gy: Tensor) -> tuple[Tensor | None, ...]:
        x, w, *b = self.inputs
        gx = _image_of(x.shape, gy, w, self.geometry) if self.needs(0) else None
        gw = Conv2dWeight(w.shape[2:], **self.geometry)(x, gy) if self.needs(1) else None
        return (gx, gw, *[gy.sum((0, 2, 3)) if self.needs(2) else None for _ in b])


class ConvTranspose2d(Function):
    """x[n,c, i·s+p·d-P, j·s+q·d-P] = b[c] + Σ_{o,i,j,p,q} y[n,o,i,j] · w[o,c,p,q]"""

    name = "conv_transpose2d"

    def __init__(self, output_padding: Pair, **geometry: Any):
        self.output_padding = output_padding
        self.geometry = geometry

    def forward(self, y: Any, w: Any, b: Any = None) -> Any:
        return self.compute(backend_of(y).conv_transpose2d, y, w, b)

    def compute(self, kernel: Any, y: Any, w: Any, b: Any = None, **finish: Any) -> Any:
        return kernel(y, w, b, output_padding=self.output_padding, **self.geometry, **finish)

    def backward(self, gx: Tensor) -> tuple[Tensor | None, ...]:
        y, w, *b = self.inputs
        gy = Conv2d(**self.geometry)(gx, w) if self.needs(0) else None
        gw = Conv2dWeight(w.shape[2:], **self.geometry)(gx, y) if self.needs(1) else None
        return (gy, gw, *[gx.sum((0, 2, 3)) if self.needs(2) else None for _ in b])


class Conv2dActivated(Activated, Conv2d):
    """y = f(conv2d(x, w) + b)"""

    name = product = "conv2d"

    def plain(self) -> Function:
        return Conv2d(**self.geometry)


class Conv2dMoments(WithMoments, Conv2d):
    """conv2d, with the moments of y's channels"""

    name = product = "conv2d"


class ConvTranspose2dMoments(WithMoments, ConvTranspose2d):
    """conv_transpose2d, with the moments of x's channels"""

    name = product = "conv_transpose2d"


class ConvTranspose2dActivated(Activated, ConvTranspose2d):
    """x = f(conv_transpose2d(y, w) + b)"""

    name = product = "conv_transpose2d"

    def plain(self) -> Function:
        return ConvTranspose2d(self.output_padding, **self.geometry)


class Conv2dWeight(Function):
    """w[o,c,p,q] = Σ_{n,i,j} x[n,c, i·s+p·d-P, j·s+q·d-P] · y[n,o,i,j]"""

    name = "conv2d_weight"

    def __init__(self, kernel_size: Sequence[int], **geometry: Any):
        self.kernel_size = kernel_size
        self.geometry = geometry

    def forward(self, x: Any, y: Any) -> Any:
        return backend_of(x).conv2d_weight(x, y, self.kernel_size, **self.geometry)

    def backward(self, gw: Tensor) -> tuple[Tensor | None, ...]:
        x, y = self.inputs
        gx = _image_of(x.shape, y, gw, self.geometry) if self.needs(0) else None
        gy = Conv2d(**self.geometry)(x, gw) if self.needs(1) else None
        return gx, gy


def _image_of(shape: tuple[int, ...], y: Tensor, w: Tensor, geometry: dict[str, Any]) -> Tensor:
    """∂T/∂x with this shape: where the stride does not divide, the last pixels of x were unused."""
    stride, padding, dilation = geometry["stride"], geometry["padding"], geometry["dilation"]
    unused = tuple(
        shape[2 + a]
        - ((y.shape[2 + a] - 1) * stride[a] - 2 * padding[a])
        - (dilation[a] * (w.shape[2 + a] - 1) + 1)
        for a in (0, 1)
    )
    return ConvTranspose2d(unused, **geometry)(y, w)  # type: ignore[arg-type]


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: IntOrPair = 1,
    padding: IntOrPair | str = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    *,
    activation: Activation | None = None,
    moments: bool = False,
) -> Tensor:
    """y[n,o,i,j] = b[o] + Σ_{c,p,q} x[n,c, i·s+p·d-P, j·s+q·d-P] · w[o,c,p,q]

    input    (N, C, H, W) or (C, H, W); weight (O, C/groups, kh, kw); bias (O,).
    padding  numbers of zero pixels, "valid" (none), or "same": as large an output as the input,
             with the odd pixel of padding at the right and at the bottom; stride 1 only.
    activation  f of f(y), by the same kernel on a GPU: "relu", ("leaky_relu", slope), "tanh",
             "sigmoid", "gelu" or "gelu_tanh".
    moments  a batch_norm of y comes next. On a GPU the kernel that makes y then leaves the mean and
             the squares of its channels too, and batch_norm need not read y for them.
    """
    stride, dilation = pair_of("conv2d", "stride", stride), pair_of("conv2d", "dilation", dilation)
    x = _batched("conv2d", input, weight, bias, groups, channels=weight.shape[1:2], bias_axis=0)
    x, padding = _padded(x, weight.shape[2:], stride, padding, dilation)
    geometry = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    if activation is None:
        conv: Function = (Conv2dMoments if moments else Conv2d)(**geometry)
    else:
        _check_moments("conv2d", moments)
        conv = Conv2dActivated(**geometry).named(activation_of("conv2d", activation))
    y = conv(x, weight) if bias is None else conv(x, weight, bias)
    return y if input.ndim == 4 else y.reshape(y.shape[1:])


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: IntOrPair = 1,
    padding: IntOrPair = 0,
    output_padding: IntOrPair = 0,
    groups: int = 1,
    dilation: IntOrPair = 1,
    *,
    activation: Activation | None = None,
    moments: bool = False,
) -> Tensor:
    """x[n,c, i·s+p·d-P, j·s+q·d-P] = b[c] + Σ_{o,i,j,p,q} y[n,o,i,j] · w[o,c,p,q]

    The adjoint of conv2d in x. input (N, O, h, w) or (O, h, w); weight (O, C/groups, kh, kw); bias
    (C,). The output has (h-1)·s - 2P + d·(kh-1) + output_padding + 1 rows, and columns likewise.
    activation and moments as in conv2d.
    """
    name = "conv_transpose2d"
    s, d = pair_of(name, "stride", stride), pair_of(name, "dilation", dilation)
    extra = pair_of(name, "output_padding", output_padding, least=0)
    if any(extra[a] >= max(s[a], d[a]) for a in (0, 1)):
        raise ValueError(
            f"{name}: output_padding {extra} must be smaller than stride {s} or dilation {d}"
        )
    geometry = {
        "stride": s,
        "padding": pair_of(name, "padding", padding, least=0),
        "dilation": d,
        "groups": groups,
    }
    y = _batched(name, input, weight, bias, groups, channels=weight.shape[:1], bias_axis=1)
    # Whole strides of extra output are rows of zeros in y: what is left is smaller than the stride.
    rows, cols = extra[0] // s[0], extra[1] // s[1]
    if rows or cols:
        y = pad(y, (0, cols, 0, rows))
    left = extra[0] % s[0], extra[1] % s[1]
    if activation is None:
        conv: Function = (ConvTranspose2dMoments if moments else ConvTranspose2d)(left, **geometry)
    else:
        _check_moments(name, moments)
        conv = ConvTranspose2dActivated(left, **geometry).named(activation_of(name, activation))
    x = conv(y, weight) if bias is None else conv(y, weight, bias)
    return x if input.ndim == 4 else x.reshape(x.shape[1:])


def conv2d_weight(
    input: Tensor,
    gy: Tensor,
    kernel_size: IntOrPair,
    stride: IntOrPair = 1,
    padding: IntOrPair = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
) -> Tensor:
    """gw[o,c,p,q] = Σ_{n,i,j} x[n,c, i·s+p·d-P, j·s+q·d-P] · gy[n,o,i,j]: conv2d's slope in w.

    input (N, C, H, W); gy (N, O, h, w), as large as conv2d's output; the result is
    (O, C/groups, kh, kw).
    """
    name = "conv2d_weight"
    geometry = {
        "stride": pair_of(name, "stride", stride),
        "padding": pair_of(name, "padding", padding, least=0),
        "dilation": pair_of(name, "dilation", dilation),
        "groups": groups,
    }
    return Conv2dWeight(pair_of(name, "kernel_size", kernel_size), **geometry)(input, gy)


# ---- arguments


def _check_moments(op: str, moments: bool) -> None:
    if moments:
        raise ValueError(
            f"{op}: moments=True is for a batch_norm of the product itself, not of its activation: "
            "give the activation to batch_norm"
        )


def _padded(
    x: Tensor, kernel: tuple[int, ...], stride: Pair, padding: IntOrPair | str, dilation: Pair
) -> tuple[Tensor, Pair]:
    """x and the padding that is left for the kernel to do, which pads both sides equally."""
    if not isinstance(padding, str):
        return x, pair_of("conv2d", "padding", padding, least=0)
    if padding == "valid":
        return x, (0, 0)
    if padding != "same":
        raise ValueError(f"conv2d: padding={padding!r} must be 'same', 'valid', or numbers")
    if stride != (1, 1):
        raise ValueError(
            f"conv2d: padding='same' needs stride 1, not {stride}; give the padding in numbers"
        )
    rows, cols = (dilation[a] * (kernel[a] - 1) for a in (0, 1))
    if rows % 2 or cols % 2:
        x = pad(x, (0, cols % 2, 0, rows % 2))
    return x, (rows // 2, cols // 2)


def _batched(
    op: str,
    x: Tensor,
    w: Tensor,
    b: Tensor | None,
    groups: int,
    channels: tuple[int, ...],
    bias_axis: int,
) -> Tensor:
    """x as (N, C, H, W), once the shapes are known to fit; errors in the terms of the caller."""
    if w.ndim != 4 or x.ndim not in (3, 4):
        layout = "(O, C/groups, kh, kw)" if op == "conv2d" else "(C_in, C_out/groups, kh, kw)"
        raise ValueError(
            f"{op}: the input has shape {x.shape} and the weight {w.shape}; they must be "
            f"(N, C, H, W) or (C, H, W), and {layout}"
        )
    for name, value in (("input", x), ("weight", w)):
        if value.dtype.kind != "f":
            raise TypeError(f"{op}: the {name} is {value.dtype}; convert it, e.g. .to('float32')")
    if not isinstance(groups, int) or groups < 1 or w.shape[0] % groups:
        raise ValueError(
            f"{op}: groups={groups!r} must be at least 1 and divide axis 0 of the weight {w.shape}"
        )
    takes = channels[0] * (groups if op == "conv2d" else 1)
    if x.shape[-3] != takes:
        raise ValueError(
            f"{op}: axis {x.ndim - 3} of the input {x.shape} has {x.shape[-3]} channels, but the "
            f"weight {w.shape} with groups={groups} takes {takes}; an input of shape "
            f"{(*x.shape[:-3], takes, *x.shape[-2:])} would fit"
        )
    out = w.shape[0] if bias_axis == 0 else w.shape[1] * groups
    if b is not None and b.shape != (out,):
        raise ValueError(
            f"{op}: the bias has shape {b.shape}, but the output has {out} channels: "
            f"a bias of shape ({out},) would fit"
        )
    return x if x.ndim == 4 else x.reshape((1, *x.shape))
