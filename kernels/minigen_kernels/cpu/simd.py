"""Vector code for Numba: the register tile of a matrix product, and the gather that feeds it.

Both are Numba intrinsics that write LLVM vectors by hand. The width of the vectors travels in the
type of the argument `width`, a tuple with one element for every 64 bits, so that Numba compiles
(and caches) one version for each width and dtype.

Addresses are kept as integers and turned into pointers at each load: that is written alike for
LLVM with typed pointers and without.
"""

from __future__ import annotations

import functools
import os
import platform
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import types

from .. import setting
from .jit import intrinsic

I1, I32, I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)
FLOATS = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}
VECTORS = 2  # vectors across a tile

Width = tuple[int, ...]


@functools.cache
def native_bits() -> int:
    """The width of this CPU's vector registers: 512 (AVX-512), 256 (AVX) or 128 (SSE, NEON)."""
    features = binding.get_host_cpu_features()
    return 512 if features.get("avx512f") else 256 if features.get("avx") else 128


def vector_width() -> Width:
    """The width in force, as an argument: use(), else MINIGEN_VECTOR_BITS, else the CPU's."""
    return (0,) * ((setting().vector_bits or usual_bits()) // 64)


@functools.cache  # of every kernel call: the environment is asked once
def usual_bits() -> int:
    """MINIGEN_VECTOR_BITS, or the CPU's own width."""
    bits = int(os.environ.get("MINIGEN_VECTOR_BITS") or native_bits())
    if bits not in (128, 256, 512):
        raise ValueError(f"MINIGEN_VECTOR_BITS={bits}: choose 128, 256 or 512")
    return bits


def tile_shape(width: Width, dtype: Any) -> tuple[int, int]:
    """(rows, columns) of the register tile: rows x 2 vectors of sums, 2 of b and 1 of a must fit.

    AVX-512 and NEON have 32 registers, SSE and AVX 16.
    """
    return _rows(len(width)), VECTORS * len(width) * 8 // np.dtype(dtype).itemsize


def _rows(words: int) -> int:
    many = words == 8 or platform.machine().lower() in ("aarch64", "arm64")
    return 12 if many else 6


class _Code:
    """The little of LLVM that the kernels below are written in."""

    def __init__(self, context: Any, builder: Any, words: int, dtype: Any) -> None:
        self.context, self.builder = context, builder
        self.scalar = FLOATS[dtype]
        self.size = dtype.bitwidth // 8
        self.lanes = words * 8 // self.size
        self.vector = ir.VectorType(self.scalar, self.lanes)
        self.columns = VECTORS * self.lanes

    def address(self, array_type: Any, array: Any, index: Any) -> Any:
        """The address of element `index` of a contiguous array, as an integer."""
        data = self.context.make_array(array_type)(self.context, self.builder, array).data
        size = I64(array_type.dtype.bitwidth // 8)
        at = self.builder.mul(index, size)
        return self.builder.add(self.builder.ptrtoint(data, I64), at)

    def load(self, address: Any, kind: Any, size: int, offset: int = 0) -> Any:
        """The value of this LLVM type that lies `offset` bytes behind the address."""
        at = self.builder.add(address, I64(offset))
        return self.builder.load(self.builder.inttoptr(at, kind.as_pointer()), align=size)

    def store(self, value: Any, address: Any, offset: int = 0) -> None:
        at = self.builder.add(address, I64(offset))
        pointer = self.builder.inttoptr(at, value.type.as_pointer())
        self.builder.store(value, pointer, align=self.size)

    def lanes_below(self, count: Any) -> Any:
        """Of each lane, whether its number is below this one."""
        numbers = ir.Constant(ir.VectorType(I32, self.lanes), list(range(self.lanes)))
        return self.builder.icmp_signed("<", numbers, self.splat(self.builder.trunc(count, I32)))

    def load_some(self, address: Any, mask: Any = None) -> Any:
        """The vector at the address; with a mask, 0 and no look at memory in lanes without it."""
        if mask is None:
            return self.load(address, self.vector, self.size)
        pointer = self.builder.inttoptr(address, self.vector.as_pointer())
        nothing = ir.Constant(self.vector, [0.0] * self.lanes)
        name = f"llvm.masked.load.v{self.lanes}f{self.size * 8}.p0"
        return self.call(name, self.vector, [pointer, I32(self.size), mask, nothing])

    def store_some(self, value: Any, address: Any, mask: Any = None) -> None:
        """Store a vector; with a mask, only the lanes that have it."""
        if mask is None:
            self.store(value, address)
            return
        pointer = self.builder.inttoptr(address, self.vector.as_pointer())
        name = f"llvm.masked.store.v{self.lanes}f{self.size * 8}.p0"
        self.call(name, ir.VoidType(), [value, pointer, I32(self.size), mask])

    def prefetch(self, address: Any, offset: int = 0, write: bool = True) -> None:
        """Ask for the cache line `offset` bytes behind the address: it will be used soon."""
        module, byte = self.builder.module, ir.IntType(8).as_pointer()
        name = "llvm.prefetch.p0"
        if name not in module.globals:
            kind = ir.FunctionType(ir.VoidType(), [byte, I32, I32, I32])
            ir.Function(module, kind, name)
        at = self.builder.inttoptr(self.builder.add(address, I64(offset)), byte)
        self.builder.call(module.globals[name], [at, I32(int(write)), I32(3), I32(1)])  # keep, data

    def splat(self, value: Any) -> Any:
        """A vector with this value in every lane."""
        undefined = ir.Constant(ir.VectorType(value.type, self.lanes), ir.Undefined)
        first = self.builder.insert_element(undefined, value, I32(0))
        zeros = ir.Constant(ir.VectorType(I32, self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(first, undefined, zeros)

    def call(self, name: str, result: Any, arguments: list[Any]) -> Any:
        """Call an LLVM intrinsic, declared on first use."""
        module = self.builder.module
        if name not in module.globals:
            ir.Function(module, ir.FunctionType(result, [a.type for a in arguments]), name)
        return self.builder.call(module.globals[name], arguments)

    def loop(self, count: Any, start: list[Any], body: Any) -> list[Any]:
        """values = start; for k in range(count): values = body(k, values). count is at least 1."""
        builder = self.builder
        before = builder.block
        inside, after = builder.append_basic_block("loop"), builder.append_basic_block("after")
        builder.branch(inside)
        builder.position_at_end(inside)
        k = builder.phi(I64)
        k.add_incoming(I64(0), before)
        values = [builder.phi(value.type) for value in start]
        for phi, value in zip(values, start, strict=True):
            phi.add_incoming(value, before)
        results = body(k, values)
        following, end = builder.add(k, I64(1)), builder.block  # not inside, if body has a loop
        k.add_incoming(following, end)
        for phi, value in zip(values, results, strict=True):
            phi.add_incoming(value, end)
        builder.cbranch(builder.icmp_signed("<", following, count), inside, after)
        builder.position_at_end(after)
        return results


def _counter(context: Any, builder: Any, kind: Any, array: Any, n: Any) -> Any:
    """The pointer to counters[n]."""
    data = context.make_array(kind)(context, builder, array).data
    at = builder.add(builder.ptrtoint(data, I64), builder.mul(n, I64(8)))
    return builder.inttoptr(at, I64.as_pointer())


@intrinsic
def next_task(typing_context, counters, n):
    """counters[n], and 1 is added to it in the same breath: no two threads get the same number."""
    signature = types.int64(counters, types.int64)

    def codegen(context, builder, signature, args):
        pointer = _counter(context, builder, counters, *args[:2])
        return builder.atomic_rmw("add", pointer, I64(1), "seq_cst")

    return signature, codegen


@intrinsic
def widest(typing_context):
    """Let the vectors that LLVM makes of this function's loops be as wide as the registers.

    Left to itself it takes half of them on CPUs with AVX-512, whose first makes lost clock rate.
    """

    def codegen(context, builder, signature, args):
        # llvmlite knows this attribute of LLVM's not by name, and its own add() would refuse it.
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def set_counter(typing_context, counters, n, value):
    """counters[n] = value, seen by other threads after all that this one wrote before."""
    signature = types.void(counters, types.int64, types.int64)

    def codegen(context, builder, signature, args):
        pointer = _counter(context, builder, counters, *args[:2])
        builder.atomic_rmw("xchg", pointer, args[2], "seq_cst")
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def await_counter(typing_context, counters, n, value, most):
    """counters[n] as soon as it is `value` or more, or after looking `most` times (at least 1)."""
    signature = types.int64(counters, types.int64, types.int64, types.int64)

    def codegen(context, builder, signature, args):
        array, n, value, most = args
        pointer = _counter(context, builder, counters, array, n)
        before = builder.block
        look, rest, end = (builder.append_basic_block(name) for name in ("look", "rest", "end"))
        builder.branch(look)
        builder.position_at_end(look)
        left = builder.phi(I64)
        left.add_incoming(most, before)
        found = builder.load_atomic(pointer, "acquire", 8)
        following = builder.sub(left, I64(1))
        less = builder.icmp_signed("<", found, value)
        on = builder.icmp_signed(">", following, I64(0))
        builder.cbranch(builder.and_(less, on), rest, end)
        builder.position_at_end(rest)
        _pause(builder)
        left.add_incoming(following, builder.block)
        builder.branch(look)
        builder.position_at_end(end)
        return found

    return signature, codegen


def _pause(builder: Any) -> None:
    """Tell a core of x86 that this loop waits: it then leaves more to its other thread."""
    if platform.machine().lower() not in ("x86_64", "amd64", "i386", "i686"):
        return
    module, name = builder.module, "llvm.x86.sse2.pause"
    if name not in module.globals:
        ir.Function(module, ir.FunctionType(ir.VoidType(), []), name)
    builder.call(module.globals[name], [])


@intrinsic
def multiply_tile(typing_context, width, depth, a, a_at, b, b_at, tile):
    """tile[i, j] = Σ_k a[a_at + k·rows + i] · b[b_at + k·columns + j], k < depth (at least 1).

    a and b are packed panels, tile an array of rows · columns; all contiguous, of one dtype. The
    whole tile stays in registers; each element is one chain of multiply-adds in the order of k.
    """
    dtype, words = tile.dtype, width.count
    signature = types.void(width, types.int64, a, types.int64, b, types.int64, tile)

    def codegen(context, builder, signature, args):
        code = _Code(context, builder, words, dtype)
        rows, step = _rows(words), code.lanes * code.size
        _, depth, a_array, a_at, b_array, b_at, tile_array = args
        a_start = code.address(a, a_array, a_at)
        b_start = code.address(b, b_array, b_at)
        name = f"llvm.fmuladd.v{code.lanes}f{code.size * 8}"  # fused where the CPU can

        def body(k, sums):
            a_k = builder.add(a_start, builder.mul(k, I64(rows * code.size)))
            b_k = builder.add(b_start, builder.mul(k, I64(VECTORS * step)))
            b_row = [code.load(b_k, code.vector, code.size, v * step) for v in range(VECTORS)]
            results = []
            for i in range(rows):
                a_ik = code.splat(code.load(a_k, code.scalar, code.size, i * code.size))
                for v in range(VECTORS):
                    terms = [a_ik, b_row[v], sums[i * VECTORS + v]]
                    results.append(code.call(name, code.vector, terms))
            return results

        zero = ir.Constant(code.vector, [0.0] * code.lanes)
        sums = code.loop(depth, [zero] * (rows * VECTORS), body)
        out = code.address(tile, tile_array, I64(0))
        for n, value in enumerate(sums):
            code.store(value, out, n * step)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def store_tile(typing_context, width, tile, c, at, row, i, bias, bias_at, first):
    """c[at + row[i + r] + j] = tile[r, j] + (bias[bias_at + i + r] if first, else what is there).

    The whole tile, its columns side by side in c.
    """
    dtype, words, n = tile.dtype, width.count, types.int64
    signature = types.void(width, tile, c, n, row, n, bias, n, types.boolean)

    def codegen(context, builder, signature, args):
        code = _Code(context, builder, words, dtype)
        step = code.lanes * code.size
        _, tile_array, c_array, at, row_array, i, bias_array, bias_at, first = args
        source = code.address(tile, tile_array, I64(0))
        target = code.address(c, c_array, at)
        moves = code.address(row, row_array, i)
        starts = code.address(bias, bias_array, builder.add(bias_at, i))
        for r in range(_rows(words)):
            offset = code.load(moves, I64, 8, r * 8)
            line = builder.add(target, builder.mul(offset, I64(code.size)))
            fresh = code.splat(code.load(starts, code.scalar, code.size, r * code.size))
            for v in range(VECTORS):
                there = code.load(line, code.vector, code.size, v * step)
                value = code.load(source, code.vector, code.size, (r * VECTORS + v) * step)
                start = builder.select(first, fresh, there)
                code.store(builder.fadd(start, value), line, v * step)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def gather_panel(typing_context, width, out, at, data, base, row, k, depth, col, j, height, wide):
    """out[at + k·columns + j] = data[base + row[0,k] + col[0,j]] inside the image, else 0.

    `row` (3, K) and `col` (3, N) hold offsets into data, and image coordinates: the element is
    inside when 0 <= row[1,k] + col[1,j] < height and 0 <= row[2,k] + col[2,j] < wide.
    Packs `depth` rows from k on, of the tile's number of columns from j on.
    """
    dtype, words, n = data.dtype, width.count, types.int64
    signature = types.void(width, out, n, data, n, row, n, n, col, n, n, n)

    def codegen(context, builder, signature, args):
        code = _Code(context, builder, words, dtype)
        _, out_array, at, data_array, base, row_array, k0, depth, col_array, j0, height, wide = args
        data_start = code.address(data, data_array, I64(0))
        start = builder.add(data_start, builder.mul(base, I64(code.size)))
        out_start = code.address(out, out_array, at)
        sizes = [code.splat(builder.trunc(size, I32)) for size in (height, wide)]
        narrow = ir.VectorType(I32, code.lanes)

        def table(kind, array, index):
            """Addresses of the table's three lines, from `index` on."""
            first = code.address(kind, array, index)
            shape = context.make_array(kind)(context, builder, array).shape
            line = builder.mul(builder.extract_value(shape, 1), I64(8))
            return first, builder.add(first, line), builder.add(first, builder.mul(line, I64(2)))

        many = ir.VectorType(I64, code.lanes)
        columns = []
        for v in range(VECTORS):
            offset, h, w = (
                code.load(line, many, 8, v * code.lanes * 8) for line in table(col, col_array, j0)
            )
            sized = builder.mul(offset, code.splat(I64(code.size)))
            where = builder.add(sized, code.splat(start))
            columns.append((where, builder.trunc(h, narrow), builder.trunc(w, narrow)))
        lines = table(row, row_array, k0)

        def body(k, _):
            here = builder.mul(k, I64(8))
            offset, h, w = (code.load(builder.add(line, here), I64, 8) for line in lines)
            move = code.splat(builder.mul(offset, I64(code.size)))
            places = [code.splat(builder.trunc(place, I32)) for place in (h, w)]
            out_k = builder.add(out_start, builder.mul(k, I64(code.columns * code.size)))
            for v, (where, *column) in enumerate(columns):
                inside = ir.Constant(ir.VectorType(I1, code.lanes), [1] * code.lanes)
                for size, place, coordinate in zip(sizes, places, column, strict=True):
                    sum_ = builder.add(place, coordinate)
                    inside = builder.and_(inside, builder.icmp_unsigned("<", sum_, size))
                values = _gather(code, builder.add(where, move), inside, data_start)
                code.store(values, out_k, v * code.lanes * code.size)
            return []

        code.loop(depth, [], body)
        return context.get_dummy_value()

    return signature, codegen


def _gather(code: _Code, addresses: Any, inside: Any, valid: Any) -> Any:
    """The values at the addresses, 0 in lanes that are not inside.

    Those lanes read at the address `valid` instead, so that no lane needs a branch on CPUs that
    have no masked gather.
    """
    builder = code.builder
    addresses = builder.select(inside, addresses, code.splat(valid))
    pointers = builder.inttoptr(addresses, ir.VectorType(code.scalar.as_pointer(), code.lanes))
    every = ir.Constant(ir.VectorType(I1, code.lanes), [1] * code.lanes)
    nothing = ir.Constant(code.vector, ir.Undefined)
    kind = f"v{code.lanes}f{code.size * 8}"
    name = f"llvm.masked.gather.{kind}.v{code.lanes}p0"
    values = code.call(name, code.vector, [pointers, I32(code.size), every, nothing])
    return builder.select(inside, values, ir.Constant(code.vector, [0.0] * code.lanes))
