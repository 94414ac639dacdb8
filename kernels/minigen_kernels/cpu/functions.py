"""exp, log, log1p, the normal distribution, maximum, in a form that LLVM turns into vectors.

A call of libm inside a loop keeps the loop from being vectorised. These are polynomials without a
branch; each picks float32 or float64 by the type of its argument, and NaN in gives NaN out. exp
also takes a Vector, and then writes LLVM code for all its lanes.
The coefficients interpolate at Chebyshev points, computed with 50 digits.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import overload

from .jit import intrinsic, jit
from .vector import Condition, Vector

F = np.float32
MAGIC32, MAGIC64 = np.float32(1.5 * 2**23), np.float64(1.5 * 2**52)
LOG2E32, LOG2E64 = np.float32(1 / math.log(2)), np.float64(1 / math.log(2))
# ln 2 in two parts; n times the first part is exact for |n| <= 1024
LN2_HIGH32, LN2_LOW32 = np.float32(0.693359375), np.float32(-2.12194440e-4)
LN2_HIGH64, LN2_LOW64 = np.float64(float.fromhex("0x1.62e42fee00000p-1")), 1.90821492927058770e-10

SQRT_HALF = int(np.float64(math.sqrt(0.5)).view(np.int64))


def where(condition: Any, a: Any, b: Any) -> Any:
    """a where the condition holds, else b: numbers or Vectors."""
    if isinstance(condition, Condition):
        return condition.where(a, b)
    return a if condition else b


@overload(where)
def _where(condition, a, b):
    return lambda condition, a, b: a if condition else b


def half_power(t: Any) -> Any:
    """2**(n-1), n the integer that t - MAGIC is: it stands in the low bits of t."""
    if isinstance(t, Vector):
        return t.half_power()
    return _half_power32(t) if type(t) is np.float32 else _half_power64(t)


@overload(half_power)
def _half_power(t):
    if t == types.float32:
        return lambda t: _half_power32(t)
    return lambda t: _half_power64(t)


@jit
def _half_power32(t):
    return np.int32((np.float32(t).view(np.int32) << 23) + (126 << 23)).view(np.float32)


@jit
def _half_power64(t):
    return np.int64((np.float64(t).view(np.int64) << 52) + (1022 << 52)).view(np.float64)


def _exp32(x):
    """exp(x) = 2**n · exp(r), n = round(x / ln 2); within 2 ulp, and 0 below 2**-125."""
    z = where(x > F(88.8), F(88.8), x)
    t = z * LOG2E32 + MAGIC32
    n = t - MAGIC32
    r = (z - n * LN2_HIGH32) - n * LN2_LOW32
    p = F(0.0027882236) * r + F(0.01675026955)
    p = ((p * r + F(0.08333270554)) * r + F(0.3333283083)) * r + F(1.0000000094)
    p = (p * r + F(2.0000000755)) * r + F(2.0)
    return where(x < F(-86.643394), F(0.0), p * half_power(t))


def _exp64(x):
    """exp(x), as exp32; relative error below 1e-15, and 0 below 2**-1021."""
    z = where(x > 709.9, 709.9, x)
    t = z * LOG2E64 + MAGIC64
    n = t - MAGIC64
    r = (z - n * LN2_HIGH64) - n * LN2_LOW64
    p = 4.1843177797858742e-9 * r + 5.022976419178068e-8
    p = (p * r + 5.511450375501656e-7) * r + 5.511444984133044e-6
    p = ((p * r + 4.9603174700279863e-5) * r + 0.00039682539819405158) * r + 0.0027777777777743749
    p = ((p * r + 0.016666666666619016) * r + 0.083333333333333384) * r + 0.33333333333333405
    p = ((p * r + 0.9999999999999999998) * r + 2.0) * r + 2.0
    return where(x < -707.7032713652975, 0.0, p * half_power(t))


exp32 = jit(_exp32, fastmath={"contract"})
exp64 = jit(_exp64, fastmath={"contract"})


@jit(fastmath={"contract"})
def normal_cdf32(x):
    """Φ(x) = ½ erfc(-x/√2), and the factor exp(-x²/2) that its slope needs too.

    ½ erfc(t) = exp(-t²) · y · P(y) with y = 1 / (1 + 0.3 t), t >= 0: no cancellation in the tail.
    """
    t = abs(x) * F(0.7071067811865476)
    bell = exp32(F(-0.5) * x * x)
    y = F(1.0) / (F(1.0) + F(0.3) * t)
    z = y - F(0.5)
    p = (F(-0.06524640773) * z + F(-0.01569983205)) * z + F(0.1401181141)
    p = ((p * z + F(0.3266767072)) * z + F(0.4556590384)) * z + F(0.4748673205)
    p = ((p * z + F(0.3975625733)) * z + F(0.2765236243)) * z + F(0.1624899607)
    tail = y * p * bell
    return (tail if x < F(0.0) else F(1.0) - tail), bell


@jit(fastmath={"contract"})
def normal_cdf64(x):
    """Φ(x) and exp(-x²/2), as normal_cdf32 with y = 1 / (1 + 0.4 t)."""
    t = abs(x) * 0.7071067811865476
    bell = exp64(-0.5 * x * x)
    y = 1.0 / (1.0 + 0.4 * t)
    z = y - 0.5
    p = (-0.00401663825676918682 * z + 0.0052383876867131596) * z + 0.00448365351932743502
    p = ((p * z - 0.0108735217075435428) * z + 0.000575537036482601977) * z + 0.0126611693474065722
    p = ((p * z - 0.00774389816035892536) * z - 0.0110378103968237422) * z + 0.0149563797957329189
    p = ((p * z + 0.00799786514540458093) * z - 0.0230622114933293482) * z - 0.0059705779447854265
    p = ((p * z + 0.0359779524360044419) * z + 0.0112437268858813975) * z - 0.0616804556285542898
    p = ((p * z - 0.0537154834487065674) * z + 0.090756960435979483) * z + 0.274001832392960307
    p = ((p * z + 0.363131293318397419) * z + 0.321860739775661191) * z + 0.21080636406114366
    tail = y * p * bell
    return (tail if x < 0.0 else 1.0 - tail), bell


def exp(x: Any) -> Any:
    """exp(x) of a float32, a float64 or a Vector."""
    if isinstance(x, Vector):
        return _exp32(x) if x.code.size == 4 else _exp64(x)
    return exp32(x) if type(x) is np.float32 else exp64(x)


@overload(exp)
def _exp(x):
    if x == types.float32:
        return lambda x: exp32(x)
    return lambda x: exp64(x)


@jit(fastmath={"contract"})
def log64(x):
    """ln x of a normal number > 0; relative error below 1e-15.

    x = 2**e m with m between √½ and √2, and ln m = 2 artanh s = 2 (s + s³/3 + s⁵/5 + …), where
    s = (m - 1) / (m + 1): its terms are below 1e-17 from s²³ on.
    """
    bits = np.float64(x).view(np.int64)
    e = (bits - SQRT_HALF) >> 52
    f = np.int64(bits - (e << 52)).view(np.float64) - 1.0
    s = f / (2.0 + f)
    z = s * s
    p = 2 / 21 * z + 2 / 19
    p = ((p * z + 2 / 17) * z + 2 / 15) * z + 2 / 13
    p = ((p * z + 2 / 11) * z + 2 / 9) * z + 2 / 7
    p = (p * z + 2 / 5) * z + 2 / 3
    # f - (f - 2 s) instead of 2 s, whose rounding would show.
    near = f - s * (f - p * z)
    return x if x != x else e * LN2_HIGH64 + (near + e * LN2_LOW64)


@jit(fastmath={"contract"})
def log1p32(e):
    """ln(1 + e) for 0 <= e <= 1; relative error below 2e-7, however small e is.

    As in log64, 1 + e has the logarithm 2 artanh s = 2 (s + s³/3 + …), with s = e / (2 + e).
    """
    s = e / (F(2.0) + e)
    z = s * s
    p = F(0.26851498023) * z + F(0.28236619805)
    p = (p * z + F(0.40007560645)) * z + F(0.66666640337)
    return e - s * (e - p * z)  # instead of 2 s, whose rounding would show


@jit(fastmath={"contract"})
def log1p64(e):
    """ln(1 + e) for 0 <= e <= 1, as log1p32; relative error below 4e-16."""
    s = e / (2.0 + e)
    z = s * s
    p = 0.161640456119435322 * z + 0.0880073848614467388
    p = ((p * z + 0.120010728095907125) * z + 0.133141442096549362) * z + 0.153855700649586231
    p = ((p * z + 0.181817894361328582) * z + 0.22222222717427863) * z + 0.285714285671087572
    p = (p * z + 0.400000000000145827) * z + 0.666666666666666586
    return e - s * (e - p * z)


def log1p(e: Any) -> Any:
    """ln(1 + e) of a float32 or a float64 in 0 … 1."""
    return log1p32(e) if type(e) is np.float32 else log1p64(e)


@overload(log1p)
def _log1p(e):
    if e == types.float32:
        return lambda e: log1p32(e)
    return lambda e: log1p64(e)


def normal_cdf(x: Any) -> Any:
    """(Φ(x), exp(-x²/2)) of a float32 or a float64."""
    return normal_cdf32(x) if type(x) is np.float32 else normal_cdf64(x)


@overload(normal_cdf)
def _normal_cdf(x):
    if x == types.float32:
        return lambda x: normal_cdf32(x)
    return lambda x: normal_cdf64(x)


def maximum(a: Any, b: Any) -> Any:
    """The larger of two floats of one type; NaN if either is."""
    return np.maximum(a, b)


@overload(maximum)
def _maximum(a, b):
    return lambda a, b: _llvm_maximum(a, b)


@intrinsic
def _llvm_maximum(typing_context, a, b):
    """llvm.maximum: unlike `a if a > b else b`, a running maximum of it can be a vector."""

    def codegen(context, builder, signature, args):
        kind = context.get_value_type(signature.return_type)
        name = f"llvm.maximum.{'f32' if kind == ir.FloatType() else 'f64'}"
        function = builder.module.globals.get(name)
        if function is None:
            function = ir.Function(builder.module, ir.FunctionType(kind, [kind, kind]), name)
        return builder.call(function, args)

    return a(a, a), codegen
