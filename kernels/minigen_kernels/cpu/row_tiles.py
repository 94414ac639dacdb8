"""Register tiles for convolutions with the pixels of a row across the lanes.

With a stride of one, the pixels that a tap meets lie side by side, and so do the results: vectors
of both are read and written as they lie, only not always aligned. Of the last vector of a row,
only the lanes inside the row are written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import types

from .jit import intrinsic, jit
from .lanes import heights, multiply_into
from .share import inner
from .simd import I64, _Code, _rows


def _pixel_tile(which: int) -> Callable[..., Any]:
    """The tile of a convolution: rows are output channels, k runs over the taps."""

    @intrinsic
    def tile(typing_context, width, depth, a, a_at, b, b_at, b_next, taps, k0, c, c_at, c_next,
             c_row, left, left_next, bias, bias_at, first):  # fmt: skip
        """c[c_at + r·c_row + j] (+)= Σ_k a[a_at + k·rows + r] · b[b_at + taps[k0 + k] + j]

        for j < left; and once more with c_at + c_next, b_at + b_next and left_next. The first time
        the sum begins with bias[bias_at + r], afterwards with what is there.
        """
        rows, n = heights(width.count)[which], types.int64
        signature = types.void(
            width, n, a, n, b, n, n, taps, n, c, n, n, n, n, n, bias, n, types.boolean
        )

        def codegen(context, builder, signature, args):
            code = _Code(context, builder, width.count, c.dtype)
            (_, depth, a_, a_at, b_, b_at, b_next, taps_, k0, c_, c_at, c_next, c_row, left,
             left_next, bias_, bias_at, first) = args  # fmt: skip
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

            beside = [(I64(0), I64(0)), (builder.mul(b_next, size), builder.mul(c_next, size))]
            multiply_into(
                code, rows, 2, depth, a_of, b_of, c_lines, first, start,
                beside=beside, left=(left, left_next),
            )  # fmt: skip
            return context.get_dummy_value()

        return signature, codegen

    return tile


_pixels_0, _pixels_1, _pixels_2, _pixels_3, _pixels_4 = (_pixel_tile(which) for which in range(5))


@jit(**inner)
def pixel_tile(which, w, n, a, i, b, j, bs, taps, k, c, at, cs, row, l0, l1, bias, o, first):
    """The tile of a convolution, of heights()[which] rows and two vectors of pixels."""
    if which == 0:
        _pixels_0(w, n, a, i, b, j, bs, taps, k, c, at, cs, row, l0, l1, bias, o, first)
    elif which == 1:
        _pixels_1(w, n, a, i, b, j, bs, taps, k, c, at, cs, row, l0, l1, bias, o, first)
    elif which == 2:
        _pixels_2(w, n, a, i, b, j, bs, taps, k, c, at, cs, row, l0, l1, bias, o, first)
    elif which == 3:
        _pixels_3(w, n, a, i, b, j, bs, taps, k, c, at, cs, row, l0, l1, bias, o, first)
    else:
        _pixels_4(w, n, a, i, b, j, bs, taps, k, c, at, cs, row, l0, l1, bias, o, first)


def dot_shape(words: int) -> tuple[int, tuple[int, ...]]:
    """Rows of the tiles of a weight gradient, and how many taps each kind has."""
    return (4, (6, 4, 3, 1)) if _rows(words) == 12 else (2, (4, 3, 2, 1))


def _dot_tile(which: int, full: bool) -> Callable[..., Any]:
    """The tile of a weight gradient: rows of gy and taps as dot_shape() says, or one row."""

    @intrinsic
    def tile(typing_context, width, images, lines, wide, a, a_at, a_image, a_row, b, b_at, b_image,
             b_line, taps, t0, sums, at):  # fmt: skip
        """sums[at + (t·rows + r)·lanes + j mod lanes] += Σ_{n,i,j} a[a_at + r·a_row + n·a_image
                    + i·wide + j] · b[b_at + taps[t0 + t] + n·b_image + i·b_line + j]"""
        n = types.int64
        signature = types.void(width, n, n, n, a, n, n, n, b, n, n, n, taps, n, sums, n)

        def codegen(context, builder, signature, args):
            code = _Code(context, builder, width.count, sums.dtype)
            (_, images, lines, wide, a_, a_at, a_image, a_row, b_, b_at, b_image, b_line,
             taps_, t0, sums_, at) = args  # fmt: skip
            rows, kinds = dot_shape(width.count)
            rows, many, size = rows if full else 1, kinds[which], I64(code.size)
            a_start, b_start = code.address(a, a_, a_at), code.address(b, b_, b_at)
            a_lines = [
                builder.add(a_start, builder.mul(builder.mul(a_row, I64(r)), size))
                for r in range(rows)
            ]
            table, out = code.address(taps, taps_, t0), code.address(sums, sums_, at)
            b_lines = [
                builder.add(b_start, builder.mul(code.load(table, I64, 8, 8 * t), size))
                for t in range(many)
            ]
            vectors = builder.sdiv(builder.add(wide, I64(code.lanes - 1)), I64(code.lanes))
            name = f"llvm.fmuladd.v{code.lanes}f{code.size * 8}"  # fused where the CPU can

            def step(n, i, v, values):
                j = builder.mul(v, I64(code.lanes))
                mask = code.lanes_below(builder.sub(wide, j))

                def offset(image, line):
                    place = builder.add(builder.mul(n, image), builder.mul(i, line))
                    return builder.mul(builder.add(place, j), size)

                of_a, of_b = offset(a_image, wide), offset(b_image, b_line)
                line = [code.load_some(builder.add(start, of_a), mask) for start in a_lines]
                results = []
                for t, start in enumerate(b_lines):
                    tap = code.load_some(builder.add(start, of_b), mask)
                    for r in range(rows):
                        terms = [line[r], tap, values[t * rows + r]]
                        results.append(code.call(name, code.vector, terms))
                return results

            places = [
                builder.add(out, I64(n * code.lanes * code.size)) for n in range(rows * many)
            ]
            start = [code.load_some(place) for place in places]
            values = code.loop(
                images, start, lambda n, values: code.loop(
                    lines, values, lambda i, values: code.loop(
                        vectors, values, lambda v, values: step(n, i, v, values)
                    )
                ),
            )  # fmt: skip
            for value, place in zip(values, places, strict=True):
                code.store(value, place)
            return context.get_dummy_value()

        return signature, codegen

    return tile


_dots_0, _dots_1, _dots_2, _dots_3 = (_dot_tile(which, True) for which in range(4))
_dot_0, _dot_1, _dot_2, _dot_3 = (_dot_tile(which, False) for which in range(4))


@jit(**inner)
def dot_tile(which, full, w, images, lines, wide, a, i, an, ar, b, j, bn, bl, taps, t, s, at):
    """The tile of a weight gradient, of dot_shape()[1][which] taps and all rows or one."""
    if full:
        if which == 0:
            _dots_0(w, images, lines, wide, a, i, an, ar, b, j, bn, bl, taps, t, s, at)
        elif which == 1:
            _dots_1(w, images, lines, wide, a, i, an, ar, b, j, bn, bl, taps, t, s, at)
        elif which == 2:
            _dots_2(w, images, lines, wide, a, i, an, ar, b, j, bn, bl, taps, t, s, at)
        else:
            _dots_3(w, images, lines, wide, a, i, an, ar, b, j, bn, bl, taps, t, s, at)
    elif which == 0:
        _dot_0(w, images, lines, wide, a, i, an, ar, b, j, bn, bl, taps, t, s, at)
    elif which == 1:
        _dot_1(w, images, lines, wide, a, i, an, ar, b, j, bn, bl, taps, t, s, at)
    elif which == 2:
        _dot_2(w, images, lines, wide, a, i, an, ar, b, j, bn, bl, taps, t, s, at)
    else:
        _dot_3(w, images, lines, wide, a, i, an, ar, b, j, bn, bl, taps, t, s, at)
