"""GELU, leaky ReLU, BCE of logits on the GPU: which kernel of elementwise.cu, how many blocks."""

from __future__ import annotations

import numpy as np

from .. import empty
from .launch import launch, packed, suffix, tiles
from .rows import THREADS

SOURCE = "elementwise.cu"
CHUNK = 16 * THREADS  # elements of a block


def gelu_1_vector(x, approximate="none"):
    """y = x Φ(x), or y = x σ(2u) with u = √(2/π) (x + 0.044715 x³), which is ½ x (1 + tanh u)."""
    kernel = f"gelu_1_vector_{_form(approximate)}_{suffix('gelu', x)}"
    y = empty(x.shape, x.dtype, like=x)
    if y.size:
        launch(SOURCE, kernel, tiles(y.size, CHUNK), THREADS, packed(x), y, np.int64(y.size))
    return y


def gelu_backward_1_vector(gy, x, approximate="none"):
    """gx = gy (Φ(x) + x φ(x)), φ = Φ' the normal density; or the slope of the tanh form."""
    kernel = f"gelu_backward_1_vector_{_form(approximate)}_{suffix('gelu_backward', gy, x)}"
    gx = empty(x.shape, x.dtype, like=x)
    if gx.size:
        given = packed(gy), packed(x)
        launch(SOURCE, kernel, tiles(gx.size, CHUNK), THREADS, *given, gx, np.int64(gx.size))
    return gx


def leaky_relu_1_vector(x, slope):
    """y = x where x > 0, slope · x elsewhere. Slope 0 is ReLU: 0 there, even of -∞; NaN stays."""
    kernel = f"leaky_relu_1_vector_{suffix('leaky_relu', x)}"
    y, slope = empty(x.shape, x.dtype, like=x), x.dtype.type(slope)
    if y.size:
        launch(SOURCE, kernel, tiles(y.size, CHUNK), THREADS, packed(x), y, np.int64(y.size), slope)
    return y


def leaky_relu_backward_1_vector(gy, x, slope):
    """gx = gy where x > 0, slope · gy elsewhere. Slope 0: 0 where x <= 0, even of ∞; gy at NaN."""
    kernel = f"leaky_relu_backward_1_vector_{suffix('leaky_relu_backward', gy, x)}"
    gx, slope = empty(x.shape, x.dtype, like=x), x.dtype.type(slope)
    if gx.size:
        given = packed(gy), packed(x)
        launch(SOURCE, kernel, tiles(gx.size, CHUNK), THREADS, *given, gx, np.int64(gx.size), slope)
    return gx


def bce_with_logits_1_vector(x, target):
    """y = (1-t) max(x, 0) + t max(-x, 0) + ln(1 + exp(-|x|)), t the target; 0 · ∞ is 0 here."""
    kernel = f"bce_with_logits_1_vector_{suffix('bce_with_logits', x, target)}"
    y = empty(x.shape, x.dtype, like=x)
    if y.size:
        given = packed(x), packed(target)
        launch(SOURCE, kernel, tiles(y.size, CHUNK), THREADS, *given, y, np.int64(y.size))
    return y


def bce_with_logits_backward_1_vector(gy, x, target):
    """gx = gy (σ(x) - t), t the target."""
    ending = suffix("bce_with_logits_backward", gy, x, target)
    gx = empty(x.shape, x.dtype, like=x)
    if gx.size:
        given = packed(gy), packed(x), packed(target)
        kernel = f"bce_with_logits_backward_1_vector_{ending}"
        launch(SOURCE, kernel, tiles(gx.size, CHUNK), THREADS, *given, gx, np.int64(gx.size))
    return gx


def _form(approximate: str) -> str:
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu(approximate={approximate!r}): choose 'none' or 'tanh'")
    return approximate
