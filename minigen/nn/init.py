"""Initial values, set in place; randomness comes from the keyword rng."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from minigen_kernels import beside, to_device
from minigen_kernels.random import is_generator

from ..tensor import Tensor

if TYPE_CHECKING:
    from minigen_kernels.random import Generator

__all__ = [
    "calculate_gain",
    "constant_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "orthogonal_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]


def _set(tensor: Tensor, values: Any) -> Tensor:
    tensor.data[...] = beside(values, tensor.data) if hasattr(values, "strides") else values
    tensor.changed()
    return tensor


def needed(rng: Generator | None, who: str) -> Generator:
    """rng itself, or an error that says where to get one."""
    if rng is None or not is_generator(rng):
        got = "none" if rng is None else f"{type(rng).__name__}"
        raise TypeError(
            f"{who} draws random numbers and needs the keyword rng, a minigen.Generator "
            f"(got {got}); e.g. rng=minigen.Generator(0)"
        )
    return rng


def constant_(tensor: Tensor, val: float) -> Tensor:
    """tensor ← val"""
    return _set(tensor, val)


def zeros_(tensor: Tensor) -> Tensor:
    """tensor ← 0"""
    return _set(tensor, 0)


def ones_(tensor: Tensor) -> Tensor:
    """tensor ← 1"""
    return _set(tensor, 1)


def uniform_(
    tensor: Tensor, a: float = 0.0, b: float = 1.0, *, rng: Generator | None = None
) -> Tensor:
    """tensor ← U(a, b)"""
    rng = needed(rng, "uniform_")
    return _set(tensor, a + (b - a) * rng.uniform(tensor.shape, tensor.dtype))


def normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, *, rng: Generator | None = None
) -> Tensor:
    """tensor ← N(mean, std²)"""
    rng = needed(rng, "normal_")
    return _set(tensor, mean + std * rng.normal(tensor.shape, tensor.dtype))


def _fans(tensor: Tensor) -> tuple[int, int]:
    """(inputs, outputs) of one unit of a weight (out, in, *kernel)."""
    if tensor.ndim < 2:
        raise ValueError(f"fan in and fan out need 2 axes or more, not {tensor.shape}")
    pixels = math.prod(tensor.shape[2:])
    return tensor.shape[1] * pixels, tensor.shape[0] * pixels


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which a layer's weights must grow to undo what the nonlinearity shrinks."""
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    gains = {"linear": 1.0, "conv2d": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2)}
    gains |= {"conv_transpose2d": 1.0, "selu": 3 / 4}
    if nonlinearity not in gains:
        raise ValueError(
            f"calculate_gain({nonlinearity!r}): known are leaky_relu, {', '.join(gains)}"
        )
    return gains[nonlinearity]


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"mode={mode!r} must be 'fan_in' or 'fan_out'")
    fan = max(_fans(tensor)[mode == "fan_out"], 1)
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    *,
    rng: Generator | None = None,
) -> Tensor:
    """tensor ← U(-√3·s, √3·s) with s = gain / √fan; a is leaky_relu's slope (He et al. 2015)."""
    bound = math.sqrt(3) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, rng=rng)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    *,
    rng: Generator | None = None,
) -> Tensor:
    """tensor ← N(0, s²) with s = gain / √fan; a is leaky_relu's slope (He et al. 2015)."""
    return normal_(tensor, 0, _kaiming_std(tensor, a, mode, nonlinearity), rng=rng)


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, *, rng: Generator | None = None) -> Tensor:
    """tensor ← U(-√3·s, √3·s) with s = gain·√(2 / (fan_in + fan_out)) (Glorot and Bengio 2010)."""
    bound = math.sqrt(3) * gain * math.sqrt(2 / max(sum(_fans(tensor)), 1))
    return uniform_(tensor, -bound, bound, rng=rng)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, *, rng: Generator | None = None) -> Tensor:
    """tensor ← N(0, s²) with s = gain·√(2 / (fan_in + fan_out)) (Glorot and Bengio 2010)."""
    return normal_(tensor, 0, gain * math.sqrt(2 / max(sum(_fans(tensor)), 1)), rng=rng)


def orthogonal_(tensor: Tensor, gain: float = 1.0, *, rng: Generator | None = None) -> Tensor:
    """tensor ← gain · Q: orthonormal rows, or columns if these are fewer (Saxe et al. 2014)."""
    rng = needed(rng, "orthogonal_")
    if tensor.ndim < 2:
        raise ValueError(f"orthogonal_ needs 2 axes or more, not {tensor.shape}")
    rows, cols = tensor.shape[0], math.prod(tensor.shape[1:])
    drawn = rng.normal((max(rows, cols), min(rows, cols)), np.float64)
    q, r = np.linalg.qr(to_device(drawn, "cpu"))
    q = q * np.sign(np.diag(r))  # without this, Q would not be uniformly distributed
    return _set(tensor, (gain * (q if rows >= cols else q.T)).reshape(tensor.shape))
