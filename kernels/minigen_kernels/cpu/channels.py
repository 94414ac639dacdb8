"""Vector code for a channel of images: rows of n numbers, `skip` numbers apart, in one array.

A row of logits is a channel with one row. A loop that LLVM turns into vectors itself takes several
vectors at a time, and what is left of a row number by number: of 49 numbers a third. Here only the
last vector of a row is masked.

Sums are of differences from a number near them. What a lane finds in a piece of a row is added as
it is, and the pieces are added in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from .functions import exp
from .jit import intrinsic
from .simd import I1, I32, I64, _Code
from .vector import Vector

PIECE = 8  # vectors of a row


class _Rows:
    """The loops over a channel's vectors: where they are, and which of their lanes count."""

    def __init__(self, code: _Code, rows: Any, skip: Any, n: Any) -> None:
        self.code, self.rows, self.skip, self.n = code, rows, skip, n

    def each(self, body: Callable[[Any, Any], None], after: Callable[[], None] | None = None):
        """body(place, mask) of every vector, place in numbers, mask None if all lanes count.

        after() ends every row, or every piece of one that is longer.
        """
        builder, length = self.code.builder, I64(PIECE * self.code.lanes)
        one = builder.icmp_signed("<=", self.n, length) if after else I1(1)
        with builder.if_else(one) as (short, long):
            with short, cgutils.for_range(builder, self.rows) as row:
                self._piece(builder.mul(row.index, self.skip), self.n, body)
                if after:
                    after()
            with long, cgutils.for_range(builder, self.rows) as row:
                pieces = builder.sdiv(builder.add(self.n, builder.sub(length, I64(1))), length)
                with cgutils.for_range(builder, pieces) as piece:
                    done = builder.mul(piece.index, length)
                    left = builder.sub(self.n, done)
                    n = builder.select(builder.icmp_signed("<", left, length), left, length)
                    start = builder.add(builder.mul(row.index, self.skip), done)
                    self._piece(start, n, body)
                    if after:
                        after()

    def _piece(self, start: Any, n: Any, body: Callable[[Any, Any], None]) -> None:
        builder, lanes = self.code.builder, self.code.lanes
        whole = builder.and_(n, I64(-lanes))
        with cgutils.for_range_slice(builder, I64(0), whole, I64(lanes), inc=True) as (i, _):
            body(builder.add(start, i), None)
        with builder.if_then(builder.icmp_signed("<", whole, n)):
            rest = self.code.splat(builder.trunc(builder.sub(n, whole), I32))
            lane = ir.Constant(ir.VectorType(I32, lanes), list(range(lanes)))
            body(builder.add(start, whole), builder.icmp_signed("<", lane, rest))

    def load(self, start: Any, place: Any, mask: Any) -> Vector:
        """The vector at this place of an array; 0 in the lanes that do not count."""
        code = self.code
        if mask is None:
            return Vector(code, code.load(self._address(start, place), code.vector, code.size))
        zero = ir.Constant(code.vector, [0.0] * code.lanes)
        arguments = [self._pointer(start, place), I32(code.size), mask, zero]
        return Vector(code, code.call(self._masked("load"), code.vector, arguments))

    def store(self, x: Vector, start: Any, place: Any, mask: Any) -> None:
        code = self.code
        if mask is None:
            code.store(x.value, self._address(start, place))
        else:
            arguments = [x.value, self._pointer(start, place), I32(code.size), mask]
            code.call(self._masked("store"), ir.VoidType(), arguments)

    def _masked(self, what: str) -> str:
        return f"llvm.masked.{what}.v{self.code.lanes}f{self.code.size * 8}.p0"

    def _address(self, start: Any, place: Any) -> Any:
        return self.code.builder.add(start, self.code.builder.mul(place, I64(self.code.size)))

    def _pointer(self, start: Any, place: Any) -> Any:
        return self.code.builder.inttoptr(
            self._address(start, place), self.code.vector.as_pointer()
        )

    def sums(self, terms: Callable[[Any, Any], tuple[Vector, ...]], count: int) -> list[Any]:
        """Σ of each of the `count` terms(place, mask), as float64; masked lanes do not count."""
        code, builder = self.code, self.code.builder
        wide = ir.VectorType(ir.DoubleType(), code.lanes)
        zero, wide_zero = (ir.Constant(kind, [0.0] * code.lanes) for kind in (code.vector, wide))
        # LLVM keeps these in registers. They are set here, for this code may stand in a loop.
        parts, totals = (
            [cgutils.alloca_once_value(builder, start) for _ in range(count)]
            for start in (zero, wide_zero)
        )
        for part, total in zip(parts, totals, strict=True):
            builder.store(zero, part)
            builder.store(wide_zero, total)

        def add(place: Any, mask: Any) -> None:
            for part, term in zip(parts, terms(place, mask), strict=True):
                value = term.value if mask is None else builder.select(mask, term.value, zero)
                builder.store(builder.fadd(builder.load(part), value), part)

        def widen() -> None:
            for part, total in zip(parts, totals, strict=True):
                value = builder.load(part)
                value = value if code.size == 8 else builder.fpext(value, wide)
                builder.store(builder.fadd(builder.load(total), value), total)
                builder.store(zero, part)

        self.each(add, widen)
        return [self._over_lanes(builder.load(total), builder.fadd) for total in totals]

    def largest(self, start: Any) -> Any:
        """The largest number; NaN if there is one."""
        code, builder = self.code, self.code.builder
        least = ir.Constant(code.vector, [float("-inf")] * code.lanes)
        top = cgutils.alloca_once_value(builder, least)
        builder.store(least, top)

        def compare(place: Any, mask: Any) -> None:
            value = self.load(start, place, mask).value
            value = value if mask is None else builder.select(mask, value, least)
            builder.store(self._maximum(builder.load(top), value), top)

        self.each(compare)
        return self._over_lanes(builder.load(top), self._maximum)

    def _maximum(self, a: Any, b: Any) -> Any:
        lanes = a.type.count if isinstance(a.type, ir.VectorType) else 0
        kind = (f"v{lanes}" if lanes else "") + f"f{self.code.size * 8}"
        return self.code.call(f"llvm.maximum.{kind}", a.type, [a, b])

    def _over_lanes(self, vector: Any, together: Callable[[Any, Any], Any]) -> Any:
        """One number of all lanes: the upper half together with the lower, and so on."""
        builder, half = self.code.builder, self.code.lanes // 2
        while half:
            nothing = ir.Constant(vector.type, ir.Undefined)
            low, high = (
                builder.shuffle_vector(
                    vector, nothing,
                    ir.Constant(ir.VectorType(I32, half), list(range(first, first + half))),
                )
                for first in (0, half)
            )  # fmt: skip
            vector, half = together(low, high), half // 2
        return builder.extract_element(vector, I32(0))


@intrinsic
def largest(typing_context, width, x, at, n):
    """max x, of n numbers; NaN if there is one among them."""
    i = types.int64

    def codegen(context, builder, signature, args):
        code = _Code(context, builder, width.count, x.dtype)
        _, x_, at, n = args
        return _Rows(code, I64(1), I64(0), n).largest(code.address(x, x_, at))

    return x.dtype(width, x, i, i), codegen


@intrinsic
def sum_of_exp(typing_context, width, x, at, n, top):
    """Σ exp(x - top), of n numbers"""
    dtype, i = x.dtype, types.int64

    def codegen(context, builder, signature, args):
        code = _Code(context, builder, width.count, dtype)
        _, x_, at, n, top = args
        row, start = _Rows(code, I64(1), I64(0), n), code.address(x, x_, at)
        top = Vector(code, code.splat(top))
        return row.sums(lambda *where: (exp(row.load(start, *where) - top),), 1)[0]

    return types.float64(width, x, i, i, dtype), codegen


@intrinsic
def sum_about(typing_context, width, x, at, rows, skip, n, centre):
    """Σ (x - centre)"""
    dtype, i = x.dtype, types.int64

    def codegen(context, builder, signature, args):
        code = _Code(context, builder, width.count, dtype)
        _, x_, at, rows, skip, n, centre = args
        channel, start = _Rows(code, rows, skip, n), code.address(x, x_, at)
        centre = Vector(code, code.splat(centre))
        return channel.sums(lambda *where: (channel.load(start, *where) - centre,), 1)[0]

    return types.float64(width, x, i, i, i, i, dtype), codegen


@intrinsic
def moments_about(typing_context, width, x, at, rows, skip, n, centre):
    """(Σ (x - centre), Σ (x - centre)²)"""
    dtype, i = x.dtype, types.int64
    pair = types.UniTuple(types.float64, 2)

    def codegen(context, builder, signature, args):
        code = _Code(context, builder, width.count, dtype)
        _, x_, at, rows, skip, n, centre = args
        channel, start = _Rows(code, rows, skip, n), code.address(x, x_, at)
        centre = Vector(code, code.splat(centre))

        def terms(*where):
            away = channel.load(start, *where) - centre
            return away, away * away

        return context.make_tuple(builder, pair, channel.sums(terms, 2))

    return pair(width, x, i, i, i, i, dtype), codegen


@intrinsic
def slopes_about(typing_context, width, g, x, at, rows, skip, n, centre_g, centre):
    """(Σ (g - centre_g), Σ g (x - centre))"""
    dtype, i = x.dtype, types.int64
    pair = types.UniTuple(types.float64, 2)

    def codegen(context, builder, signature, args):
        code = _Code(context, builder, width.count, dtype)
        _, g_, x_, at, rows, skip, n, *centres = args
        channel = _Rows(code, rows, skip, n)
        of_g, of_x = code.address(g, g_, at), code.address(x, x_, at)
        centre_g, centre = (Vector(code, code.splat(number)) for number in centres)

        def terms(*where):
            slope = channel.load(of_g, *where)
            return slope - centre_g, slope * (channel.load(of_x, *where) - centre)

        return context.make_tuple(builder, pair, channel.sums(terms, 2))

    return pair(width, g, x, i, i, i, i, dtype, dtype), codegen


@intrinsic
def scale_about(typing_context, width, x, at, rows, skip, n, centre, scale, step, y):
    """y = (x - centre) scale + step"""
    dtype, i = x.dtype, types.int64

    def codegen(context, builder, signature, args):
        code = _Code(context, builder, width.count, dtype)
        _, x_, at, rows, skip, n, *numbers, y_ = args
        channel = _Rows(code, rows, skip, n)
        start, end = code.address(x, x_, at), code.address(y, y_, at)
        centre, scale, step = (Vector(code, code.splat(number)) for number in numbers)

        def body(*where):
            channel.store((channel.load(start, *where) - centre) * scale + step, end, *where)

        channel.each(body)
        return context.get_dummy_value()

    return types.void(width, x, i, i, i, i, dtype, dtype, dtype, y), codegen


@intrinsic
def pull_about(typing_context, width, g, x, at, rows, skip, n, mean_g, centre, slope, scale, gx):
    """gx = (g - mean_g - (x - centre) slope) scale"""
    dtype, i = x.dtype, types.int64

    def codegen(context, builder, signature, args):
        code = _Code(context, builder, width.count, dtype)
        _, g_, x_, at, rows, skip, n, *numbers, gx_ = args
        channel = _Rows(code, rows, skip, n)
        of_g, of_x, end = (code.address(*a, at) for a in ((g, g_), (x, x_), (gx, gx_)))
        mean_g, centre, slope, scale = (Vector(code, code.splat(number)) for number in numbers)

        def body(*where):
            away = channel.load(of_x, *where) - centre
            channel.store((channel.load(of_g, *where) - mean_g - away * slope) * scale, end, *where)

        channel.each(body)
        return context.get_dummy_value()

    return types.void(width, g, x, i, i, i, i, dtype, dtype, dtype, dtype, gx), codegen
