"""Vector code for convolutions with a batch across the lanes: lane l holds image n0 + l.

A pixel of L images is one vector then, so a stride, a dilation or a border costs nothing: every tap
of every pixel is an aligned load from somewhere else. Two pieces of LLVM: a transposition of L × L
numbers, which brings images into this order and back, and register tiles that multiply.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types

from .jit import intrinsic, jit
from .share import inner
from .simd import I32, I64, _Code, _rows

VECTORS = 2  # vectors across a tile; a single one at the end of an odd number
AHEAD = 16  # steps of k for which b is asked for in advance: it comes from the second-level cache


def heights(words: int) -> tuple[int, int, int, int, int]:
    """Rows of the register tiles: whatever is left of one height is done by the next.

    3 is for the channels of colours: one row at a time has too few sums for a multiply-add a cycle.
    """
    return (12, 8, 4, 3, 1) if _rows(words) == 12 else (6, 4, 3, 2, 1)


@intrinsic
def transpose_block(typing_context, width, source, rows, r0, at, target, columns, c0, to):
    """target[columns[c0 + j] + to + i] = source[rows[r0 + i] + at + j], i and j below the lanes.

    rows and columns are offsets; both arrays contiguous, of one dtype.
    """
    n, dtype = types.int64, source.dtype
    signature = types.void(width, source, rows, n, n, target, columns, n, n)

    def codegen(context, builder, signature, args):
        code = _Code(context, builder, width.count, dtype)
        _, source_, rows_, r0, at, target_, columns_, c0, to = args
        begin, end = code.address(source, source_, at), code.address(target, target_, to)
        from_, into = code.address(rows, rows_, r0), code.address(columns, columns_, c0)

        def line(start, table, i):
            offset = code.load(table, I64, 8, 8 * i)
            return builder.add(start, builder.mul(offset, I64(code.size)))

        lines = [
            code.load(line(begin, from_, i), code.vector, code.size) for i in range(code.lanes)
        ]
        for j, value in enumerate(_transposed(code, lines)):
            code.store(value, line(end, into, j))
        return context.get_dummy_value()

    return signature, codegen


def _transposed(code: _Code, lines: list[Any]) -> list[Any]:
    """Swap the blocks beside the diagonal, of half the lanes, then of a quarter … then of one."""
    lanes, half = code.lanes, code.lanes // 2
    while half:
        out = list(lines)
        for i in (i for i in range(lanes) if not i & half):
            low = [k if not k & half else lanes + k - half for k in range(lanes)]
            high = [k + half if not k & half else lanes + k for k in range(lanes)]
            for at, mask in ((i, low), (i + half, high)):
                constant = ir.Constant(ir.VectorType(I32, lanes), mask)
                out[at] = code.builder.shuffle_vector(lines[i], lines[i + half], constant)
        lines, half = out, half // 2
    return lines


def multiply_into(
    code, rows, vectors, depth, a_of, b_of, c_lines, first=None, fresh=None, ahead_of=None,
    many=None, beside=None, left=None,
) -> None:  # fmt: skip
    """c[r] = (fresh(r, v) if first, else c[r]) + Σ_k a(r, k) · b(k), added up in the order of k.

    The whole tile stays in registers. a_of(r, k) and b_of(k) give addresses, c_lines has one per
    row. Without `first`, c is always added to. c is asked for before the sum and read behind it,
    b AHEAD steps before its turn, so that nothing waits for memory. That b may lie anywhere;
    ahead_of(k) gives its address where b_of() cannot look beyond the depth. With `many`, the sum is
    over p < many too, the outer loop, and a_of(p, r, k) and b_of(p, k) are asked. The vectors of b
    and of c lie side by side, unless `beside` says how many bytes behind the first each of them
    does: pairs. With `left`, only so many lanes of each are read and written in c.
    """
    builder, step = code.builder, code.lanes * code.size
    name = f"llvm.fmuladd.v{code.lanes}f{code.size * 8}"  # fused where the CPU can
    of_b, of_c = zip(*(beside or [(I64(v * step),) * 2 for v in range(vectors)]), strict=True)
    places = [builder.add(line, of_c[v]) for line in c_lines for v in range(vectors)]
    for place in places:
        code.prefetch(place)

    def body(k, sums, *p):
        b_k, soon = b_of(*p, k), (ahead_of or b_of)(*p, builder.add(k, I64(AHEAD)))
        for v in range(vectors):
            code.prefetch(builder.add(soon, of_b[v]), write=False)
        line = [code.load(builder.add(b_k, at), code.vector, code.size) for at in of_b]
        results = []
        for r in range(rows):
            a_rk = code.splat(code.load(a_of(*p, r, k), code.scalar, code.size))
            for v in range(vectors):
                terms = [a_rk, line[v], sums[r * vectors + v]]
                results.append(code.call(name, code.vector, terms))
        return results

    zero = ir.Constant(code.vector, [0.0] * code.lanes)
    sums = [zero] * (rows * vectors)
    if many is None:
        sums = code.loop(depth, sums, body)
    else:
        sums = code.loop(
            many, sums, lambda p, sums: code.loop(depth, sums, lambda k, s: body(k, s, p))
        )

    def store(start, masks) -> None:
        for n, (value, place) in enumerate(zip(sums, places, strict=True)):
            r, v = divmod(n, vectors)
            there = start(r, v) if start else code.load_some(place, masks and masks[v])
            code.store_some(builder.fadd(there, value), place, masks and masks[v])

    def finish(masks) -> None:
        if first is None:
            store(None, masks)
            return
        with builder.if_else(first) as (then, otherwise):
            with then:
                store(fresh, masks)
            with otherwise:
                store(None, masks)

    if left is None:
        finish(None)
        return
    whole = [builder.icmp_signed("==", count, I64(code.lanes)) for count in left]
    with builder.if_else(functools.reduce(builder.and_, whole)) as (then, otherwise):
        with then:
            finish(None)
        with otherwise:
            finish([code.lanes_below(count) for count in left])


def _tap_tile(which: int, vectors: int) -> Callable[..., Any]:
    """The tile of a convolution: rows are output channels, k runs over the taps."""

    @intrinsic
    def tile(typing_context, width, depth, a, a_at, b, b_at, taps, k0, c, c_at, c_row,
             bias, bias_at, first):  # fmt: skip
        """c[c_at + r·c_row + j] (+)= Σ_k a[a_at + k·rows + r] · b[b_at + taps[k0 + k] + j]

        The first time the sum begins with bias[bias_at + r], afterwards with what is there.
        """
        rows, n = heights(width.count)[which], types.int64
        signature = types.void(width, n, a, n, b, n, taps, n, c, n, n, bias, n, types.boolean)

        def codegen(context, builder, signature, args):
            code = _Code(context, builder, width.count, c.dtype)
            _, depth, a_, a_at, b_, b_at, taps_, k0, c_, c_at, c_row, bias_, bias_at, first = args
            size = I64(code.size)
            a_start, b_start = code.address(a, a_, a_at), code.address(b, b_, b_at)
            table, c_start = code.address(taps, taps_, k0), code.address(c, c_, c_at)
            fresh, move = code.address(bias, bias_, bias_at), builder.mul(c_row, size)
            c_lines = [builder.add(c_start, builder.mul(move, I64(r))) for r in range(rows)]

            def a_of(r, k):
                return builder.add(a_start, builder.add(builder.mul(k, I64(rows * code.size)),
                                                        I64(r * code.size)))  # fmt: skip

            def b_of(k):
                offset = code.load(builder.add(table, builder.mul(k, I64(8))), I64, 8)
                return builder.add(b_start, builder.mul(offset, size))

            def start(r, v):
                return code.splat(code.load(fresh, code.scalar, code.size, r * code.size))

            def ahead_of(k):
                last = builder.sub(depth, I64(1))
                return b_of(builder.select(builder.icmp_signed("<", k, depth), k, last))

            multiply_into(
                code, rows, vectors, depth, a_of, b_of, c_lines, first, start, ahead_of
            )
            return context.get_dummy_value()

        return signature, codegen

    return tile


def _sum_tile(which: int, vectors: int) -> Callable[..., Any]:
    """The tile of a weight gradient: rows are taps, p runs over pixels, k over their images."""

    @intrinsic
    def tile(typing_context, width, many, depth, a, a_at, pixels, p0, taps, r0, b, b_at, b_row,
             c, c_at, c_row):  # fmt: skip
        """c[c_at + r·c_row + j] += Σ_p Σ_k a[a_at + pixels[p0 + p] + taps[r0 + r] + k]
                                            · b[b_at + (p·depth + k)·b_row + j]"""
        rows, n = heights(width.count)[which], types.int64
        signature = types.void(width, n, n, a, n, pixels, n, taps, n, b, n, n, c, n, n)

        def codegen(context, builder, signature, args):
            code = _Code(context, builder, width.count, c.dtype)
            (_, many, depth, a_, a_at, pixels_, p0, taps_, r0,
             b_, b_at, b_row, c_, c_at, c_row) = args  # fmt: skip
            size = I64(code.size)
            a_start, b_start = code.address(a, a_, a_at), code.address(b, b_, b_at)
            table, c_start = code.address(taps, taps_, r0), code.address(c, c_, c_at)
            places = code.address(pixels, pixels_, p0)
            b_step, move = builder.mul(b_row, size), builder.mul(c_row, size)
            c_lines = [builder.add(c_start, builder.mul(move, I64(r))) for r in range(rows)]
            offsets = [code.load(table, I64, 8, 8 * r) for r in range(rows)]
            a_lines = [builder.add(a_start, builder.mul(o, size)) for o in offsets]

            def a_of(p, r, k):
                pixel = code.load(builder.add(places, builder.mul(p, I64(8))), I64, 8)
                return builder.add(a_lines[r], builder.mul(builder.add(pixel, k), size))

            def b_of(p, k):
                row = builder.add(builder.mul(p, depth), k)
                return builder.add(b_start, builder.mul(row, b_step))

            multiply_into(code, rows, vectors, depth, a_of, b_of, c_lines, many=many)
            return context.get_dummy_value()

        return signature, codegen

    return tile


_tap_20, _tap_21, _tap_22, _tap_23, _tap_24 = (_tap_tile(which, 2) for which in range(5))
_tap_10, _tap_11, _tap_12, _tap_13, _tap_14 = (_tap_tile(which, 1) for which in range(5))
_sum_20, _sum_21, _sum_22, _sum_23, _sum_24 = (_sum_tile(which, 2) for which in range(5))
_sum_10, _sum_11, _sum_12, _sum_13, _sum_14 = (_sum_tile(which, 1) for which in range(5))


@jit(**inner)
def tap_tile(which, two, w, n, a, i, b, j, taps, k, c, at, row, bias, o, first):
    """The tile of a convolution, of heights()[which] rows and two vectors or one."""
    if two:
        if which == 0:
            _tap_20(w, n, a, i, b, j, taps, k, c, at, row, bias, o, first)
        elif which == 1:
            _tap_21(w, n, a, i, b, j, taps, k, c, at, row, bias, o, first)
        elif which == 2:
            _tap_22(w, n, a, i, b, j, taps, k, c, at, row, bias, o, first)
        elif which == 3:
            _tap_23(w, n, a, i, b, j, taps, k, c, at, row, bias, o, first)
        else:
            _tap_24(w, n, a, i, b, j, taps, k, c, at, row, bias, o, first)
    elif which == 0:
        _tap_10(w, n, a, i, b, j, taps, k, c, at, row, bias, o, first)
    elif which == 1:
        _tap_11(w, n, a, i, b, j, taps, k, c, at, row, bias, o, first)
    elif which == 2:
        _tap_12(w, n, a, i, b, j, taps, k, c, at, row, bias, o, first)
    elif which == 3:
        _tap_13(w, n, a, i, b, j, taps, k, c, at, row, bias, o, first)
    else:
        _tap_14(w, n, a, i, b, j, taps, k, c, at, row, bias, o, first)


@jit(**inner)
def sum_tile(which, two, w, m, n, a, i, pixels, p, taps, r, b, j, b_row, c, at, row):
    """The tile of a weight gradient, of heights()[which] rows and two vectors or one."""
    if two:
        if which == 0:
            _sum_20(w, m, n, a, i, pixels, p, taps, r, b, j, b_row, c, at, row)
        elif which == 1:
            _sum_21(w, m, n, a, i, pixels, p, taps, r, b, j, b_row, c, at, row)
        elif which == 2:
            _sum_22(w, m, n, a, i, pixels, p, taps, r, b, j, b_row, c, at, row)
        elif which == 3:
            _sum_23(w, m, n, a, i, pixels, p, taps, r, b, j, b_row, c, at, row)
        else:
            _sum_24(w, m, n, a, i, pixels, p, taps, r, b, j, b_row, c, at, row)
    elif which == 0:
        _sum_10(w, m, n, a, i, pixels, p, taps, r, b, j, b_row, c, at, row)
    elif which == 1:
        _sum_11(w, m, n, a, i, pixels, p, taps, r, b, j, b_row, c, at, row)
    elif which == 2:
        _sum_12(w, m, n, a, i, pixels, p, taps, r, b, j, b_row, c, at, row)
    elif which == 3:
        _sum_13(w, m, n, a, i, pixels, p, taps, r, b, j, b_row, c, at, row)
    else:
        _sum_14(w, m, n, a, i, pixels, p, taps, r, b, j, b_row, c, at, row)
