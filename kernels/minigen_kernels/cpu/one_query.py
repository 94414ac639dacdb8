"""Attention's second rung: one query by itself, as in drawing token by token from a cache.

rung 2  attention_2_one_query   a row of scores for each query; more queries than one: rung 1

A tile of rung 1 has lanes for many queries, and a single one would leave all but one of them empty.
Here the lanes lie along a key or a value, whose numbers lie side by side. Each is read once, so the
memory that they come from sets the pace: values are asked for while the scores are computed, and
the keys of the next query while the values are added up.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from .. import empty
from .attention import _like, _ready, _scale, _split_mask, _starts, attention_1_tiled
from .functions import exp, maximum
from .jit import intrinsic, jit
from .jobs import call_helpers
from .share import SUM, share
from .simd import I32, I64, _Code, next_task, vector_width, widest

Array = np.ndarray
TASKS = 32  # or fewer: more of them would be fetched one after another, and write to shared lines


def attention_2_one_query(
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> tuple[Array, Array]:
    """out[b] = Σ_j exp(s[j] - lse[b]) v[b,j], s = scale · k q[b] + mask, lse = log Σ_j exp s[j].

    Shapes and options as attention_1_tiled has them, and with more queries than one it is that.
    """
    if q.shape[-2] != 1 or not q.size or not v.size:
        return attention_1_tiled(q, k, v, mask, is_causal, scale)
    lead, (keys, dv) = q.shape[:-2], v.shape[-2:]
    q, k, v = (_ready(a) for a in (q, k, v))
    out, lse = _like(q, dv), empty((*lead, 1), q.dtype)
    seen = 1 if is_causal else keys  # the first query sees the first key
    sizes = np.array([lse.size, seen, q.shape[-1], dv])
    arrays = (*(_rows(a) for a in (q, k, v)), *_split_mask(mask, q.dtype), _scale(scale, q))
    share(_one_query, q.size * seen, vector_width(), sizes, *arrays, _rows(out), lse.reshape(-1))
    return out, lse


def _rows(x: Array) -> tuple[Array, Array, int]:
    """The first row of x (..., T, d), where each matrix begins from there, how far apart rows are.

    A row and not all of x: it has x's address, and costs nothing to make however x lies.
    """
    size = x.itemsize
    starts = _starts(x.shape[:-2], x.strides[:-2], size)
    return x[(0,) * (x.ndim - 1)], starts, x.strides[-2] // size


class _Row:
    """Rows of an array with whole vectors of lanes, the last of which may reach beyond a row's end.

    array[at + j·row + c], c < columns: at, row and columns are LLVM's whole numbers.
    """

    def __init__(self, code: _Code, kind: Any, array: Any, at: Any, row: Any, columns: Any) -> None:
        self.code, self.columns = code, columns
        self.start = code.address(kind, array, at)
        self.down = code.builder.mul(row, I64(code.size))

    def vectors(self) -> Any:
        """How many vectors a row takes."""
        return _vectors(self.code, self.columns)

    def address(self, j: Any) -> Any:
        """Where row j begins."""
        return self.code.builder.add(self.start, self.code.builder.mul(j, self.down))

    def load(self, address: Any, v: Any) -> Any:
        """Vector v of the row at this address, 0 behind its end: no memory is touched there."""
        name, zero = f"llvm.masked.load.{_kind(self.code)}.p0", _zero(self.code)
        arguments = [self._place(address, v), I32(self.code.size), self._inside(v), zero]
        return self.code.call(name, self.code.vector, arguments)

    def store(self, value: Any, address: Any, v: Any) -> None:
        name = f"llvm.masked.store.{_kind(self.code)}.p0"
        arguments = [value, self._place(address, v), I32(self.code.size), self._inside(v)]
        self.code.call(name, ir.VoidType(), arguments)

    def _place(self, address: Any, v: Any) -> Any:
        builder, step = self.code.builder, I64(self.code.lanes * self.code.size)
        there = builder.add(address, builder.mul(v, step))
        return builder.inttoptr(there, self.code.vector.as_pointer())

    def _inside(self, v: Any) -> Any:
        """True in the lanes of vector v that are before the end of a row."""
        code, builder = self.code, self.code.builder
        lanes = ir.Constant(ir.VectorType(I32, code.lanes), list(range(code.lanes)))
        left = builder.sub(self.columns, builder.mul(v, I64(code.lanes)))
        return builder.icmp_signed("<", lanes, code.splat(builder.trunc(left, I32)))


def _kind(code: _Code) -> str:
    """The code's vector in the names of LLVM's functions."""
    return f"v{code.lanes}f{code.size * 8}"


def _zero(code: _Code) -> Any:
    return ir.Constant(code.vector, [0.0] * code.lanes)


def _vectors(code: _Code, count: Any) -> Any:
    """How many vectors so many numbers take."""
    return code.builder.udiv(code.builder.add(count, I64(code.lanes - 1)), I64(code.lanes))


def _row_sums(code: _Code, rows: list[Any]) -> Any:
    """Lane r of the result is the sum of the lanes of rows[r]; as many rows as lanes.

    Two rows become one at a time: the first halves of both beside each other, plus the second ones.
    """
    lanes = segment = code.lanes  # segment: lanes that hold the parts of one sum
    while len(rows) > 1:
        half, pairs = segment // 2, len(rows) // 2
        firsts = [
            row * lanes + start + i
            for start in range(0, lanes, segment)
            for row in (0, 1)
            for i in range(half)
        ]
        masks = [
            ir.Constant(ir.VectorType(I32, lanes), [i + move for i in firsts]) for move in (0, half)
        ]
        rows = [
            code.builder.fadd(*(code.builder.shuffle_vector(a, b, mask) for mask in masks))
            for a, b in zip(rows[:pairs], rows[pairs:], strict=True)
        ]
        segment = half
    return rows[0]


@intrinsic
def _scores(typing_context, width, q, k, at, row, columns, m, s, soon, soon_at, soon_row):
    """s[j] = Σ_c q[c] · k[at + j·row + c], c < columns, for m keys (at least 1 of both).

    As many keys at a time as a vector has lanes; the last of them fills up its vector, in s too.
    Asks for the m rows of `soon` on the way.
    """
    n = types.int64

    def codegen(context, builder, signature, args):
        code = _Code(context, builder, width.count, s.dtype)
        _, q_, k_, at, row, columns, m, s_, soon_, soon_at, soon_row = args
        query = _Row(code, q, q_, I64(0), I64(0), columns)
        keys = _Row(code, k, k_, at, row, columns)
        ahead = _Row(code, soon, soon_, soon_at, soon_row, columns)
        target, last = code.address(s, s_, I64(0)), builder.sub(m, I64(1))

        def group(g, _):
            first, places = builder.mul(g, I64(code.lanes)), []
            for r in range(code.lanes):
                j = builder.add(first, I64(r))
                j = builder.select(builder.icmp_signed("<", j, last), j, last)
                places.append(keys.address(j))
                code.prefetch(ahead.address(j), write=False)

            def terms(v, sums):
                part = query.load(query.start, v)
                return [
                    code.call(f"llvm.fmuladd.{_kind(code)}", code.vector, [part, there, total])
                    for there, total in zip((keys.load(p, v) for p in places), sums, strict=True)
                ]

            sums = code.loop(keys.vectors(), [_zero(code)] * code.lanes, terms)
            to = builder.add(target, builder.mul(first, I64(code.size)))
            code.store(_row_sums(code, sums), to)
            return []

        code.loop(_vectors(code, m), [], group)
        return context.get_dummy_value()

    return types.void(width, q, k, n, n, n, n, s, soon, n, n), codegen


@intrinsic
def _average(typing_context, width, p, share, v, at, row, columns, m, out, to, soon, soon_at,
             soon_row):  # fmt: skip
    """out[to + c] = share · Σ_j p[j] · v[at + j·row + c], c < columns, for m values (at least 1).

    Asks for the m rows of `soon` on the way.
    """
    n = types.int64

    def codegen(context, builder, signature, args):
        code = _Code(context, builder, width.count, out.dtype)
        _, p_, share_, v_, at, row, columns, m, out_, to, soon_, soon_at, soon_row = args
        weights = code.address(p, p_, I64(0))
        values = _Row(code, v, v_, at, row, columns)
        target = _Row(code, out, out_, to, I64(0), columns)
        ahead = _Row(code, soon, soon_, soon_at, soon_row, columns)

        def column(c, _):
            def add(j, sums):
                code.prefetch(ahead.address(j), write=False)
                place = builder.add(weights, builder.mul(j, I64(code.size)))
                weight = code.splat(code.load(place, code.scalar, code.size))
                terms = [weight, values.load(values.address(j), c), *sums]
                return [code.call(f"llvm.fmuladd.{_kind(code)}", code.vector, terms)]

            (total,) = code.loop(m, [_zero(code)], add)
            target.store(builder.fmul(total, code.splat(share_)), target.start, c)
            return []

        code.loop(values.vectors(), [], column)
        return context.get_dummy_value()

    return types.void(width, p, share, v, n, n, n, n, out, n, soon, n, n), codegen


@jit(nogil=True, allocates=True, fastmath=SUM)
def _one_query(tasks, width, sizes, q_, k_, v_, allowed, bias, scale, out_, lse):
    """A task: a few batch elements in a row. q_, k_, v_ and out_ are what _rows() gives."""
    call_helpers(tasks)
    widest()
    batch, keys, d, dv = sizes
    (q, q_at, _), (k, k_at, k_row), (v, v_at, v_row), (out, out_at, _) = q_, k_, v_, out_
    query, s = np.empty(d, q.dtype), np.empty(keys + len(width) * 8 // q.itemsize, q.dtype)
    zero, one, size = q.dtype.type(0), q.dtype.type(1), q.dtype.type(scale)
    step = (batch + TASKS - 1) // TASKS
    first = next_task(tasks, 0) * step
    while first < batch:
        for b in range(first, min(batch, first + step)):
            for c in range(d):
                query[c] = q[q_at[b] + c] * size
            _scores(width, query, k, k_at[b], k_row, d, keys, s, v, v_at[b], v_row)
            for j in range(keys if allowed.size > 0 else 0):
                if allowed[min(b, allowed.shape[0] - 1), 0, j] == 0:
                    s[j] = -math.inf
            for j in range(keys if bias.size > 0 else 0):
                s[j] += bias[min(b, bias.shape[0] - 1), 0, j]
            top = s[0]
            for j in range(1, keys):
                top = maximum(top, s[j])
            base, total = zero if top == -math.inf else top, zero
            for j in range(keys):
                s[j] = exp(s[j] - base)
            for j in range(keys):
                total += s[j]
            # A query that may attend to nothing has only weights of 0, and their sum is 0.
            lse[b] = base + math.log(total) if total != 0 else -math.inf
            part = one / total if total != 0 else zero
            soon = k_at[min(b + 1, batch - 1)]
            _average(width, s, part, v, v_at[b], v_row, dv, keys, out, out_at[b], k, soon, k_row)
        first = next_task(tasks, 0) * step
