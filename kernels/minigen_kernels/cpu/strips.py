"""Softmax of a strip: as many queries as a vector has lanes, beside each other, against m keys.

The scores of a key are one vector, so the maximum, the sum and the slope of all the strip's queries
are kept in registers from key to key. (Loops over a tile of scores, which LLVM turns into vectors
itself, load and store them for every key, in narrower vectors, and take half as long again.)
"""

from __future__ import annotations

import math
from typing import Any

from numba import types

from .functions import exp, where
from .jit import intrinsic
from .simd import I64, _Code
from .vector import Vector


class _Rows:
    """Vectors of a contiguous array: the one that begins at element `at`, and those below it."""

    def __init__(self, code: _Code, kind: Any, array: Any, at: Any, row: Any = None) -> None:
        self.code, self.start = code, code.address(kind, array, at)
        self.down = None if row is None else code.builder.mul(row, I64(code.size))

    def _address(self, j: Any) -> Any:
        if j is None:
            return self.start
        return self.code.builder.add(self.start, self.code.builder.mul(j, self.down))

    def load(self, j: Any = None) -> Vector:
        """The vector j rows below."""
        return Vector(self.code, self.code.load(self._address(j), self.code.vector, self.code.size))

    def store(self, x: Vector, j: Any = None) -> None:
        self.code.store(x.value, self._address(j))


@intrinsic
def online_softmax(typing_context, width, s, at, row, m, top, total, factor, i):
    """s ← exp(s - top) with the new top; total, a sum of such terms, is scaled to it and goes on.

    The strip's scores of key j < m (at least 1): s[at + j·row] and the lanes behind it; top, total
    and factor from i on. factor: what else has been summed with the old top is multiplied by.
    Where nothing is seen top stays -inf, and 0 is subtracted, as -inf - -inf is NaN. A NaN does
    not reach top, but exp brings it into the sum.
    """
    n = types.int64
    signature = types.void(width, s, n, n, n, top, total, factor, n)

    def codegen(context, builder, signature, args):
        code = _Code(context, builder, width.count, s.dtype)
        _, s_, at, row, m, top_, total_, factor_, i = args
        scores = _Rows(code, s, s_, at, row)
        tops, totals = _Rows(code, top, top_, i), _Rows(code, total, total_, i)

        def highest(j, values):
            seen, x = Vector(code, values[0]), scores.load(j)
            return [where(x > seen, x, seen).value]

        old = tops.load()
        (new,) = (Vector(code, value) for value in code.loop(m, [old.value], highest))
        base = where(new > -math.inf, new, 0.0)
        scale = exp(old - base)

        def terms(j, values):
            p = exp(scores.load(j) - base)
            scores.store(p, j)
            return [(Vector(code, values[0]) + p).value]

        (sums,) = code.loop(m, [(totals.load() * scale).value], terms)
        tops.store(new)
        totals.store(Vector(code, sums))
        _Rows(code, factor, factor_, i).store(scale)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def softmax_slope(typing_context, width, s, ds, at, row, m, lse, delta, i):
    """s ← p = exp(s - lse), ds ← p (ds - delta), for the strip's scores of m keys (at least 1)."""
    n = types.int64
    signature = types.void(width, s, ds, n, n, n, lse, delta, n)

    def codegen(context, builder, signature, args):
        code = _Code(context, builder, width.count, s.dtype)
        _, s_, ds_, at, row, m, lse_, delta_, i = args
        scores, slopes = _Rows(code, s, s_, at, row), _Rows(code, ds, ds_, at, row)
        log_sum, mean = _Rows(code, lse, lse_, i).load(), _Rows(code, delta, delta_, i).load()

        def body(j, _):
            p = exp(scores.load(j) - log_sum)
            slopes.store(p * (slopes.load(j) - mean), j)
            scores.store(p, j)
            return []

        code.loop(m, [], body)
        return context.get_dummy_value()

    return signature, codegen
