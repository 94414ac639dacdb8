"""Functions of single numbers, forward and backward, each in one pass over memory.

gelu(x) = x Φ(x), Φ the normal distribution; approximate="tanh" takes a logistic curve for Φ.
leaky_relu(x) = x where x > 0, slope · x elsewhere; slope 0 is ReLU.
bce_with_logits(x, t) = ln(1 + exp x) - t x, the binary cross-entropy of a logit x and a target t.

rung 0  reference.gelu …            the formulas
rung 1  gelu_1_vector               Φ by polynomials that become vectors
        leaky_relu_1_vector         a choice between two numbers, which needs no branch
        bce_with_logits_1_vector    exp and log1p by polynomials
"""

from __future__ import annotations

import math

import numpy as np

from .. import empty
from .functions import exp, log1p, normal_cdf
from .jit import jit
from .jobs import call_helpers
from .share import BLOCK, SMALL, share
from .simd import next_task, widest

Array = np.ndarray
PDF0 = 1 / math.sqrt(2 * math.pi)  # the normal density at 0
SLOPE, CUBIC = 2 * math.sqrt(2 / math.pi), 0.044715


def gelu_1_vector(x: Array, approximate: str = "none") -> Array:
    """y = x Φ(x), or y = x σ(2u) with u = √(2/π) (x + 0.044715 x³), which is ½ x (1 + tanh u).

    Any shape. Source: Hendrycks and Gimpel, "Gaussian error linear units", 2016.
    """
    y = empty(x.shape, x.dtype)
    kernel = _gelu_tanh if _is_tanh(approximate) else _gelu
    share(kernel, x.size, np.ascontiguousarray(x).reshape(-1), y.reshape(-1))
    return y


def gelu_backward_1_vector(gy: Array, x: Array, approximate: str = "none") -> Array:
    """gx = gy (Φ(x) + x φ(x)), φ = Φ' the normal density; or the slope of the tanh form."""
    gx = empty(x.shape, x.dtype)
    kernel = _gelu_tanh_backward if _is_tanh(approximate) else _gelu_backward
    gy, x = np.ascontiguousarray(gy), np.ascontiguousarray(x)
    share(kernel, x.size, gy.reshape(-1), x.reshape(-1), gx.reshape(-1))
    return gx


def leaky_relu_1_vector(x: Array, slope: float) -> Array:
    """y = x where x > 0, slope · x elsewhere. Slope 0 is ReLU: 0 there, even of -∞; NaN stays.

    Any shape. Source: Maas, Hannun, Ng, "Rectifier nonlinearities improve neural network acoustic
    models", 2013.
    """
    y = empty(x.shape, x.dtype)
    x, slope = np.ascontiguousarray(x), x.dtype.type(slope)
    share(_leaky_relu, x.size, x.reshape(-1), y.reshape(-1), slope)
    return y


def leaky_relu_backward_1_vector(gy: Array, x: Array, slope: float) -> Array:
    """gx = gy where x > 0, slope · gy elsewhere. Slope 0: 0 where x <= 0, even of ∞; gy at NaN.

    For slope 0, x may as well be the output: it has the same numbers above 0, and none below.
    """
    gx = empty(x.shape, x.dtype)
    gy, x, slope = np.ascontiguousarray(gy), np.ascontiguousarray(x), x.dtype.type(slope)
    share(_leaky_relu_backward, x.size, gy.reshape(-1), x.reshape(-1), gx.reshape(-1), slope)
    return gx


def bce_with_logits_1_vector(x: Array, target: Array) -> Array:
    """y = (1-t) max(x, 0) + t max(-x, 0) + ln(1 + exp(-|x|)), t the target; 0 · ∞ is 0 here.

    Any shape, one for both. For t in 0 … 1 no term is below 0, so that nothing cancels.
    """
    y = empty(x.shape, x.dtype)
    x, target = np.ascontiguousarray(x), np.ascontiguousarray(target)
    share(_bce, x.size, x.reshape(-1), target.reshape(-1), y.reshape(-1))
    return y


def bce_with_logits_backward_1_vector(gy: Array, x: Array, target: Array) -> Array:
    """gx = gy (σ(x) - t), t the target.

    A gy that is one number repeated, as a sum or a mean sends it back, is read as one number.
    """
    gx = empty(x.shape, x.dtype)
    gy = gy.flat[:1] if not any(gy.strides) else np.ascontiguousarray(gy).reshape(-1)
    x, target = np.ascontiguousarray(x), np.ascontiguousarray(target)
    share(_bce_backward, x.size, gy, x.reshape(-1), target.reshape(-1), gx.reshape(-1))
    return gx


def add(x: Array, y: Array) -> Array:
    """z = x + y, NumPy's bits; contiguous, of one type, in one shape or y (n,) a row for each of x.

    Whatever else is given, NumPy adds, and what is so small that it has done before helpers come.
    """
    row = y.ndim == 1 and x.ndim > 1 and y.size == x.shape[-1]
    fits = row or x.shape == y.shape
    whole = x.flags.c_contiguous and y.flags.c_contiguous and x.dtype == y.dtype
    if x.size <= SMALL or not (fits and whole and x.dtype.char in "fd"):
        return x + y
    z = empty(x.shape, x.dtype)
    share(_add_row if row else _add, x.size, x.reshape(-1), y.reshape(-1), z.reshape(-1))
    return z


def _is_tanh(approximate: str) -> bool:
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu(approximate={approximate!r}): choose 'none' or 'tanh'")
    return approximate == "tanh"


@jit(nogil=True, fastmath={"contract"})
def _gelu(tasks, x, y):
    call_helpers(tasks)
    widest()
    start = next_task(tasks, 0) * BLOCK
    while start < x.size:
        a, b = x[start : start + BLOCK], y[start : start + BLOCK]
        for i in range(a.size):
            cdf, _ = normal_cdf(a[i])
            b[i] = a[i] * cdf
        start = next_task(tasks, 0) * BLOCK


@jit(nogil=True, fastmath={"contract"})
def _gelu_backward(tasks, gy, x, gx):
    call_helpers(tasks)
    widest()
    pdf0 = x.dtype.type(PDF0)
    start = next_task(tasks, 0) * BLOCK
    while start < x.size:
        g, a, b = gy[start : start + BLOCK], x[start : start + BLOCK], gx[start : start + BLOCK]
        for i in range(a.size):
            cdf, bell = normal_cdf(a[i])
            b[i] = g[i] * (cdf + a[i] * bell * pdf0)
        start = next_task(tasks, 0) * BLOCK


@jit(nogil=True, fastmath={"contract"})
def _gelu_tanh(tasks, x, y):
    call_helpers(tasks)
    widest()
    one, slope, cubic = x.dtype.type(1), x.dtype.type(SLOPE), x.dtype.type(SLOPE * CUBIC)
    start = next_task(tasks, 0) * BLOCK
    while start < x.size:
        a, b = x[start : start + BLOCK], y[start : start + BLOCK]
        for i in range(a.size):
            u2 = a[i] * (slope + cubic * a[i] * a[i])
            b[i] = a[i] / (one + exp(-u2))
        start = next_task(tasks, 0) * BLOCK


@jit(nogil=True, fastmath={"contract"})
def _gelu_tanh_backward(tasks, gy, x, gx):
    call_helpers(tasks)
    widest()
    one, slope, cubic = x.dtype.type(1), x.dtype.type(SLOPE), x.dtype.type(SLOPE * CUBIC)
    three = x.dtype.type(3)
    start = next_task(tasks, 0) * BLOCK
    while start < x.size:
        g, a, b = gy[start : start + BLOCK], x[start : start + BLOCK], gx[start : start + BLOCK]
        for i in range(a.size):
            square = cubic * a[i] * a[i]
            gate = one / (one + exp(-a[i] * (slope + square)))
            b[i] = g[i] * (gate + a[i] * gate * (one - gate) * (slope + three * square))
        start = next_task(tasks, 0) * BLOCK


@jit(nogil=True)
def _leaky_relu(tasks, x, y, slope):
    call_helpers(tasks)
    zero = x.dtype.type(0)
    start = next_task(tasks, 0) * BLOCK
    while start < x.size:
        a, b = x[start : start + BLOCK], y[start : start + BLOCK]
        for i in range(a.size):
            below = zero if slope == zero else slope * a[i]
            b[i] = below if a[i] <= zero else a[i]
        start = next_task(tasks, 0) * BLOCK


@jit(nogil=True)
def _leaky_relu_backward(tasks, gy, x, gx, slope):
    call_helpers(tasks)
    zero = x.dtype.type(0)
    start = next_task(tasks, 0) * BLOCK
    while start < x.size:
        g, a, b = gy[start : start + BLOCK], x[start : start + BLOCK], gx[start : start + BLOCK]
        if slope == zero:
            for i in range(a.size):
                b[i] = zero if a[i] <= zero else g[i]
        else:
            for i in range(a.size):
                b[i] = g[i] if a[i] > zero else slope * g[i]
        start = next_task(tasks, 0) * BLOCK


@jit(nogil=True, fastmath={"contract"})
def _bce(tasks, x, target, y):
    call_helpers(tasks)
    widest()
    zero, one = x.dtype.type(0), x.dtype.type(1)
    start = next_task(tasks, 0) * BLOCK
    while start < x.size:
        a, t, b = x[start : start + BLOCK], target[start : start + BLOCK], y[start : start + BLOCK]
        for i in range(a.size):
            size = abs(a[i])
            wrong = one - t[i] if a[i] > zero else t[i]  # the probability on the other side
            b[i] = (zero if wrong == zero else wrong * size) + log1p(exp(-size))
        start = next_task(tasks, 0) * BLOCK


@jit(nogil=True, fastmath={"contract"})
def _bce_backward(tasks, gy, x, target, gx):
    call_helpers(tasks)
    widest()
    start = next_task(tasks, 0) * BLOCK
    while start < x.size:
        a, t, b = x[start : start + BLOCK], target[start : start + BLOCK], gx[start : start + BLOCK]
        if gy.size == 1:
            for i in range(a.size):
                b[i] = gy[0] * _bce_slope(a[i], t[i])
        else:
            g = gy[start : start + BLOCK]
            for i in range(a.size):
                b[i] = g[i] * _bce_slope(a[i], t[i])
        start = next_task(tasks, 0) * BLOCK


@jit(fastmath={"contract"})
def _bce_slope(x, t):
    """σ(x) - t as ±(σ(-|x|) - …): near 1, σ(x) itself has no digits left."""
    one = type(x)(1)
    e = exp(-abs(x))
    tail = e / (one + e)
    return (one - t) - tail if x > 0 else tail - t


@jit(nogil=True)
def _add(tasks, x, y, z):
    call_helpers(tasks)
    start = next_task(tasks, 0) * BLOCK
    while start < x.size:
        a, b, c = x[start : start + BLOCK], y[start : start + BLOCK], z[start : start + BLOCK]
        for i in range(a.size):
            c[i] = a[i] + b[i]
        start = next_task(tasks, 0) * BLOCK


@jit(nogil=True)
def _add_row(tasks, x, row, z):
    call_helpers(tasks)
    n = row.size
    step = max(1, BLOCK // n) * n
    start = next_task(tasks, 0) * step
    while start < x.size:
        for r in range(start, min(x.size, start + step), n):
            a, c = x[r : r + n], z[r : r + n]
            for i in range(n):
                c[i] = a[i] + row[i]
        start = next_task(tasks, 0) * step
