"""gelu(x) = x Φ(x), Φ the normal distribution; approximate="tanh" takes a logistic curve for Φ.

rung 0  reference.gelu    the formula
rung 1  gelu_1_vector     one pass over memory; Φ by polynomials that become vectors
"""

from __future__ import annotations

import math

import numba
import numpy as np

from .. import empty
from .functions import exp, normal_cdf
from .jit import jit

Array = np.ndarray
PDF0 = 1 / math.sqrt(2 * math.pi)  # the normal density at 0
SLOPE, CUBIC = 2 * math.sqrt(2 / math.pi), 0.044715


def gelu_1_vector(x: Array, approximate: str = "none") -> Array:
    """y = x Φ(x), or y = x σ(2u) with u = √(2/π) (x + 0.044715 x³), which is ½ x (1 + tanh u).

    Any shape. Source: Hendrycks and Gimpel, "Gaussian error linear units", 2016.
    """
    y = empty(x.shape, x.dtype)
    kernel = _gelu_tanh if _is_tanh(approximate) else _gelu
    kernel(np.ascontiguousarray(x).reshape(-1), y.reshape(-1))
    return y


def gelu_backward_1_vector(gy: Array, x: Array, approximate: str = "none") -> Array:
    """gx = gy (Φ(x) + x φ(x)), φ = Φ' the normal density; or the slope of the tanh form."""
    gx = empty(x.shape, x.dtype)
    kernel = _gelu_tanh_backward if _is_tanh(approximate) else _gelu_backward
    gy, x = np.ascontiguousarray(gy), np.ascontiguousarray(x)
    kernel(gy.reshape(-1), x.reshape(-1), gx.reshape(-1))
    return gx


def _is_tanh(approximate: str) -> bool:
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu(approximate={approximate!r}): choose 'none' or 'tanh'")
    return approximate == "tanh"


@jit(parallel=True, error_model="numpy", fastmath={"contract"})
def _gelu(x, y):
    for i in numba.prange(x.size):
        cdf, _ = normal_cdf(x[i])
        y[i] = x[i] * cdf


@jit(parallel=True, error_model="numpy", fastmath={"contract"})
def _gelu_backward(gy, x, gx):
    pdf0 = x.dtype.type(PDF0)
    for i in numba.prange(x.size):
        cdf, bell = normal_cdf(x[i])
        gx[i] = gy[i] * (cdf + x[i] * bell * pdf0)


@jit(parallel=True, error_model="numpy", fastmath={"contract"})
def _gelu_tanh(x, y):
    one, slope, cubic = x.dtype.type(1), x.dtype.type(SLOPE), x.dtype.type(SLOPE * CUBIC)
    for i in numba.prange(x.size):
        u2 = x[i] * (slope + cubic * x[i] * x[i])
        y[i] = x[i] / (one + exp(-u2))


@jit(parallel=True, error_model="numpy", fastmath={"contract"})
def _gelu_tanh_backward(gy, x, gx):
    one, slope, cubic = x.dtype.type(1), x.dtype.type(SLOPE), x.dtype.type(SLOPE * CUBIC)
    three = x.dtype.type(3)
    for i in numba.prange(x.size):
        square = cubic * x[i] * x[i]
        gate = one / (one + exp(-x[i] * (slope + square)))
        gx[i] = gy[i] * (gate + x[i] * gate * (one - gate) * (slope + three * square))
