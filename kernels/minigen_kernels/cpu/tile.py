"""c[r,i] (+)= Σ_k a[r,k] · b[k,i] for small matrices in the cache, with a of any strides.

Attention's product. A tile of c stays in vector registers for the whole sum; b is loaded by vectors
along i, and a by single numbers that are broadcast. So nothing is packed: keys and values are read
as they lie, transposed or not. (simd.multiply_tile wants packed panels, which pays for large a.)
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from .jit import intrinsic, jit
from .share import inner
from .simd import I64, _Code, _rows

VECTORS = 2  # vectors across a tile; a single one at the end of an odd number


def _tile(full: bool, vectors: int) -> Any:
    """An intrinsic for one tile of `vectors` vectors and all rows that fit, or a single row."""

    @intrinsic
    def tile(typing_context, width, depth, a, a_at, a_row, a_step, b, b_at, b_row, c, c_at, c_row,
             add):  # fmt: skip
        def codegen(context, builder, signature, args):
            _, depth, a_, a_at, a_row, a_step, b_, b_at, b_row, c_, c_at, c_row, add = args
            code = _Code(context, builder, width.count, c.dtype)
            rows = tile_rows(width.count) if full else 1
            size = I64(code.size)
            starts = code.address(a, a_, a_at), code.address(b, b_, b_at), code.address(c, c_, c_at)
            steps = [builder.mul(n, size) for n in (a_row, a_step, b_row, c_row)]
            _emit(code, rows, vectors, depth, starts, steps, add)
            return context.get_dummy_value()

        n = types.int64
        return types.void(width, n, a, n, n, n, b, n, n, c, n, n, types.boolean), codegen

    return tile


def _emit(code, rows, vectors, depth, starts, steps, add) -> None:
    """The loop over k around rows x vectors sums; addresses and steps in bytes."""
    (a, b, c), (a_row, a_step, b_row, c_row) = starts, steps
    builder, step = code.builder, code.lanes * code.size
    name = f"llvm.fmuladd.v{code.lanes}f{code.size * 8}"  # fused where the CPU can
    a_lines = [builder.add(a, builder.mul(a_row, I64(r))) for r in range(rows)]
    c_lines = [builder.add(c, builder.mul(c_row, I64(r))) for r in range(rows)]

    def body(k, sums):
        b_k, a_k = builder.add(b, builder.mul(k, b_row)), builder.mul(k, a_step)
        b_line = [code.load(b_k, code.vector, code.size, v * step) for v in range(vectors)]
        results = []
        for r in range(rows):
            a_rk = code.splat(code.load(builder.add(a_lines[r], a_k), code.scalar, code.size))
            for v in range(vectors):
                terms = [a_rk, b_line[v], sums[r * vectors + v]]
                results.append(code.call(name, code.vector, terms))
        return results

    zero = ir.Constant(code.vector, [0.0] * code.lanes)
    places = [(line, v * step) for line in c_lines for v in range(vectors)]
    start = [
        builder.select(add, code.load(line, code.vector, code.size, offset), zero)
        for line, offset in places
    ]
    for value, (line, offset) in zip(code.loop(depth, start, body), places, strict=True):
        code.store(value, line, offset)


def tile_rows(words: int) -> int:
    """Rows of a tile: 8 where 32 registers hold 16 sums and what they are made of, else 4."""
    return 8 if _rows(words) > 8 else 4


_block_2, _block_1, _row_2, _row_1 = (
    _tile(full, vectors) for full in (True, False) for vectors in (VECTORS, 1)
)


@jit(**inner)
def multiply(width, a, a0, a_row, a_step, b, b_row, c, c0, c_row, rows, step, depth, vectors, add):
    """c[c0 + r·c_row + i] (+)= Σ_k a[a0 + r·a_row + k·a_step] · b[k·b_row + i], flat indices.

    r < rows, k < depth (at least 1), i < vectors · lanes of a vector; c is added to if `add`, else
    replaced. a, b and c are contiguous, of one dtype; step is tile_rows(len(width)).
    """
    lanes = len(width) * 8 // c.itemsize
    r = 0
    while r < rows:
        a_r, c_r = a0 + r * a_row, c0 + r * c_row
        full = r + step <= rows
        for v in range(0, vectors - 1, 2):
            at, to = v * lanes, c_r + v * lanes
            if full:
                _block_2(width, depth, a, a_r, a_row, a_step, b, at, b_row, c, to, c_row, add)
            else:
                _row_2(width, depth, a, a_r, a_row, a_step, b, at, b_row, c, to, c_row, add)
        if vectors % 2:
            at, to = (vectors - 1) * lanes, c_r + (vectors - 1) * lanes
            if full:
                _block_1(width, depth, a, a_r, a_row, a_step, b, at, b_row, c, to, c_row, add)
            else:
                _row_1(width, depth, a, a_r, a_row, a_step, b, at, b_row, c, to, c_row, add)
        r += step if full else 1
