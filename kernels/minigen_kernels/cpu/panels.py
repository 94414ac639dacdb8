"""C[s; i, j] = start[j] + Σ_k A[s; i, k] · B[s; k, j], of matrices with strides: gemm's last rung.

The register tile takes single numbers of A, along a few rows at once, and vectors of B. A is read
as it lies where it lies along the depth: packing it took a tenth of the time of a C of 128 columns.
Otherwise panels of as many rows as the tile has are packed depth by depth, just before they are
used. B is read as it lies where its columns lie side by side, and packed into panels otherwise;
what lies along the depth is packed by transposing squares in registers. The order in which an
element's terms are added depends on the depth alone, not on tasks or threads.
"""

from __future__ import annotations

import dataclasses
import functools
import threading

import numpy as np
from numba import types

from .. import CACHE_LINE, LARGE, empty
from .jit import intrinsic, jit
from .jobs import COUNTERS, call_helpers
from .lanes import multiply_into, transpose_block
from .share import inner
from .simd import I64, VECTORS, Width, _Code, _rows, next_task, tile_shape
from .threads import get_threads, on_all_threads

Array = np.ndarray
Strides = tuple[int, int, int]
DEPTH_BLOCK = 384  # columns of a panel of A in the first-level cache
COLUMN_BLOCK = 16  # panels of B in a task: at most 768 KiB, which stay in the second-level cache
AHEAD = 4  # panels packed at once of an A whose columns lie side by side
SOON = 4  # rows of B that are asked for in advance when they are packed
FAR = 2048  # bytes from row to row of B that are too many: they fall into few sets of the caches
FEW = 8  # panels of A for which B is read as it lies even if its vectors lie badly
TILES = 1536  # of C in a task: at most 2.3 MB, near the second-level cache for all depths
MOST_TASKS = 4  # for each thread, down and across
# What costs as much as so many tiles: to pack a panel, to begin a task; and what a thread that
# comes late costs, as a share of a round.
READ_A, PACK_A, PACK_B, START, LATE = 0.6, 1.0, 1.5, 0.2, 0.1
SMALL = 300_000  # multiplications for which the matrices are not worth another core's caches

# What the entries of Layout.sizes are.
M, N, DEPTH, K_BLOCK, ROW_BLOCK, ROW_BLOCKS, COLUMN_BLOCK_, COLUMN_BLOCKS, TASKS = range(9)
A_BATCH, A_LINE, A_DEEP, B_BATCH, B_LINE, B_DEEP, PACKED, SCRATCH = range(9, 17)
HEIGHTS = 17  # and the two behind it


@dataclasses.dataclass(frozen=True, eq=False)
class Layout:
    """All that the compiled code needs to know besides the data: made by _layout()."""

    sizes: Array
    a_lines: Array
    b_lines: Array
    ramp: Array
    zeros: Array
    scratch: int
    small: bool


def multiply(
    a: Array,
    b: Array,
    c: Array,
    a_strides: Strides,
    b_strides: Strides,
    depth: int,
    bias: Array | None,
    width: Width,
) -> None:
    """c (batches, m, n) = bias (n,) + A · B of flat arrays a and b, no dimension 0.

    The strides of A and B, in elements: of the batch (0: one for all), of a line (a row of A, a
    column of B), and of the depth. One of the last two is 1.
    """
    threads = get_threads()
    aligned = b.nbytes < LARGE or b.__array_interface__["data"][0] % CACHE_LINE == 0
    p = _layout(c.shape, depth, a_strides, b_strides, aligned, width, c.dtype, threads)
    start = p.zeros
    if bias is not None:
        start = np.ascontiguousarray(bias)
        if bias.size < p.zeros.size:
            start = np.zeros(p.zeros.shape, c.dtype)
            start[: bias.size] = bias
    arguments = (
        *(width, a, b, c.reshape(-1), start),
        *(_scratch(p.scratch, c.dtype), p.sizes, p.a_lines, p.b_lines, p.ramp),
    )
    if p.small:
        _work(np.zeros(COUNTERS, np.int64), *arguments)
    else:
        on_all_threads(_work, *arguments)


_mine = threading.local()


def _scratch(size: int, dtype: np.dtype) -> Array:
    """Memory for packed panels, kept by each thread that asks for products: it is warm."""
    kept = getattr(_mine, dtype.char, None)
    if kept is None or kept.size < size:
        kept = empty(size, dtype)
        setattr(_mine, dtype.char, kept)
    return kept


def _heights(words: int) -> tuple[int, int, int]:
    """Rows of the register tiles: the last rows of C take the lowest tile that holds them."""
    return (12, 8, 4) if _rows(words) == 12 else (6, 4, 2)


@functools.lru_cache(maxsize=256)
def _layout(
    shape: tuple[int, int, int],
    depth: int,
    a: Strides,
    b: Strides,
    aligned: bool,
    width: Width,
    dtype: np.dtype,
    threads: int,
) -> Layout:
    """Share the work out. Cached: training asks for the same sizes again and again."""
    batches, m, n = shape
    rows, columns = tile_shape(width, dtype)
    row_panels, column_panels = -(-m // rows), -(-n // columns)
    row_of_b = b[2] * dtype.itemsize
    scattered = row_of_b >= FAR or not aligned or row_of_b % CACHE_LINE
    pack_b = b[1] != 1 or bool(scattered) and row_panels > FEW
    packing = PACK_A if a[2] != 1 else READ_A, PACK_B * pack_b
    row_block, column_block = task_shape(batches, row_panels, column_panels, *packing, threads)
    row_blocks, column_blocks = -(-row_panels // row_block), -(-column_panels // column_block)
    k_block = -(-depth // -(-depth // DEPTH_BLOCK))
    lanes = columns // VECTORS
    sizes = (
        *(m, n, depth, k_block, row_block * rows, row_blocks, column_block, column_blocks),
        *(batches * row_blocks * column_blocks, *a, *b, int(pack_b)),
        AHEAD * _whole_lines(k_block * rows + lanes, dtype)
        + _whole_lines(k_block * columns * column_block + rows * columns, dtype),
        *_heights(len(width)),
    )
    return Layout(
        np.array(sizes, np.int64),
        _lines(m, a[1], rows) if a[2] == 1 else np.arange(rows, dtype=np.int64),
        _lines(n, b[1], columns) if b[2] == 1 else np.empty(0, np.int64),
        np.arange(lanes, dtype=np.int64) * columns,
        np.zeros(column_panels * columns, dtype),
        sizes[SCRATCH] * threads,
        batches * m * n * depth < SMALL,
    )


def task_shape(
    batches: int, rows: int, columns: int, pack_a: float, pack_b: float, threads: int
) -> tuple[int, int]:
    """Panels of A and of B in a task: those with which all threads together are done first.

    The cost of a task is counted in tiles of C. Whole rounds of tasks are what takes time, and many
    tasks make up for a thread that comes late.
    """
    least = -(-columns // COLUMN_BLOCK)
    more = MOST_TASKS * threads if threads > 1 else 1
    fewest = -(-rows * -(-columns // least) // TILES)  # blocks of rows
    down = np.arange(fewest, max(fewest, min(rows, fewest + more)) + 1)[:, None]
    across = np.arange(least, max(least, min(columns, more)) + 1)
    wide = -(-columns // across)
    high = np.minimum(-(-rows // down), TILES // wide)
    tasks = batches * -(-rows // high) * -(-columns // wide)
    each = high * wide + pack_a * high + pack_b * wide + START
    cost = -(-tasks // threads) * each * (1 + LATE * threads / tasks)
    i, j = np.unravel_index(np.argmin(cost), cost.shape)
    return int(high[i, 0]), int(wide[j])


def _whole_lines(count: int, dtype: np.dtype) -> int:
    """So many numbers, rounded up to cache lines."""
    line = CACHE_LINE // dtype.itemsize
    return -(-count // line) * line


def _lines(count: int, step: int, more: int) -> Array:
    """Where the lines begin; behind the last it stands a few times again, as stuffing."""
    return np.minimum(np.arange(count + more, dtype=np.int64), count - 1) * step


@intrinsic
def _copy_lines(typing_context, width, depth, source, at, row, target, to, step, left):
    """target[to + k·step + i] = source[at + k·row + i] if i < left else 0; k < depth, i below the
    lanes. left is at least 1."""
    n, dtype = types.int64, source.dtype
    signature = types.void(width, n, source, n, n, target, n, n, n)

    def codegen(context, builder, signature, args):
        code = _Code(context, builder, width.count, dtype)
        _, depth, source_, at, row, target_, to, step, left = args
        begin, end = code.address(source, source_, at), code.address(target, target_, to)
        down, on = (builder.mul(stride, I64(code.size)) for stride in (row, step))

        def copy(mask):
            def body(k, _):
                value = code.load_some(builder.add(begin, builder.mul(k, down)), mask)
                code.store(value, builder.add(end, builder.mul(k, on)))
                return []

            code.loop(depth, [], body)

        whole = builder.icmp_signed("==", left, I64(code.lanes))
        with builder.if_else(whole) as (then, otherwise):
            with then:
                copy(None)
            with otherwise:
                copy(code.lanes_below(left))
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _copy_row(typing_context, width, source, at, ahead, target, to):
    """target[to + j] = source[at + j], for a row of a tile; asks for what lies `ahead`."""
    n, dtype = types.int64, source.dtype
    signature = types.void(width, source, n, n, target, n)

    def codegen(context, builder, signature, args):
        code = _Code(context, builder, width.count, dtype)
        _, source_, at, ahead, target_, to = args
        begin, end = code.address(source, source_, at), code.address(target, target_, to)
        soon = builder.add(begin, builder.mul(ahead, I64(code.size)))
        for v in range(VECTORS):
            step = v * code.lanes * code.size
            code.prefetch(soon, step, write=False)
            code.store(code.load(begin, code.vector, code.size, step), end, step)
        return context.get_dummy_value()

    return signature, codegen


@jit(**inner)
def _pack_rows(width, b, at, deep, from_, to, k, columns, target, panels):
    """The whole panels of a B whose columns lie side by side: copied row by row, as they lie."""
    for d in range(k):
        for j in range(from_, to, columns):
            _copy_row(width, b, at + d * deep + j, SOON * deep, target,
                      panels + (j - from_) * k + d * columns)  # fmt: skip


@jit(**inner)
def _pack(width, x, at, line, deep, r0, count, rows, depth, lines, ramp, target, to):
    """target[to + k·rows + i] = x[at + (r0 + i)·line + k·deep], i < rows, k < depth.

    Beyond the last of `count` lines stand some finite numbers: what old memory holds may be
    numbers so small that the CPU takes a hundred times as long to multiply them. Behind the panel
    anything may be written, in as many places as a vector has lanes.
    """
    lanes = len(width) * 8 // target.itemsize
    # The last lanes first: what a vector writes too much, the following ones write again.
    for part in range((rows - 1) // lanes * lanes, -1, -lanes):
        r, o = r0 + part, to + part
        if deep == 1 and depth >= lanes:
            for block in range(0, depth, lanes):
                k = min(block, depth - lanes)
                transpose_block(width, x, lines, r, at + k, target, ramp, 0, o + k * rows)
        elif line == 1 and r < count:
            _copy_lines(width, depth, x, at + r, deep, target, o, rows, min(lanes, count - r))
        else:
            wanted = min(lanes, rows - part)
            there = max(0, min(wanted, count - r))
            for k in range(depth):
                for i in range(there):
                    target[o + k * rows + i] = x[at + (r + i) * line + k * deep]
                for i in range(there, wanted):
                    target[o + k * rows + i] = 0


@jit(**inner)
def _pack_ahead(width, a, at, deep, rows, depth, panels, target, to, apart):
    """Panels of an A whose columns lie side by side: a line of memory serves all that need it."""
    for d in range(depth):
        for p in range(panels):
            here, there = at + d * deep + p * rows, to + p * apart + d * rows
            _copy_lines(width, 1, a, here, 0, target, there, 0, len(width) * 8 // a.itemsize)


def _tile(which: int, vectors: int):
    """The register tile: any rows of A, b_row from row to row of B."""

    @intrinsic
    def tile(typing_context, width, depth, a, a_at, lines, r0, a_step, b, b_at, b_row,
             c, c_at, c_row, start, start_at, first, left):  # fmt: skip
        """c[c_at + r·c_row + j] (+)= Σ_k a[a_at + lines[r0 + r] + k·a_step] · b[b_at + k·b_row + j]

        The first time start[start_at + j] is added, afterwards what is there. Of the last vector,
        c has `left` lanes.
        """
        rows, n = _heights(width.count)[which], types.int64
        signature = types.void(
            width, n, a, n, lines, n, n, b, n, n, c, n, n, start, n, types.boolean, n
        )

        def codegen(context, builder, signature, args):
            code = _Code(context, builder, width.count, c.dtype)
            (_, depth, a_, a_at, lines_, r0, a_step, b_, b_at, b_row,
             c_, c_at, c_row, start_, start_at, first, left) = args  # fmt: skip
            size, step = I64(code.size), code.lanes * code.size
            a_start, b_start = code.address(a, a_, a_at), code.address(b, b_, b_at)
            c_start, fresh = code.address(c, c_, c_at), code.address(start, start_, start_at)
            table = code.address(lines, lines_, r0)
            along, down, move = (builder.mul(x, size) for x in (a_step, b_row, c_row))
            c_lines = [builder.add(c_start, builder.mul(move, I64(r))) for r in range(rows)]
            offsets = [code.load(table, I64, 8, 8 * r) for r in range(rows)]
            a_lines = [builder.add(a_start, builder.mul(o, size)) for o in offsets]

            def a_of(r, k):
                return builder.add(a_lines[r], builder.mul(k, along))

            def b_of(k):
                return builder.add(b_start, builder.mul(k, down))

            def begin(r, v):
                return code.load(fresh, code.vector, code.size, v * step)

            lanes = [I64(code.lanes)] * (vectors - 1) + [left]
            multiply_into(code, rows, vectors, depth, a_of, b_of, c_lines, first, begin, left=lanes)
            return context.get_dummy_value()

        return signature, codegen

    return tile


_tile_20, _tile_21, _tile_22 = (_tile(which, 2) for which in range(3))
_tile_10, _tile_11, _tile_12 = (_tile(which, 1) for which in range(3))


@jit(**inner)
def _any_tile(which, two, w, n, a, i, lines, r, deep, b, j, b_row, c, at, c_row, start, o, first,
              left):  # fmt: skip
    """The tile of _heights()[which] rows and two vectors or one."""
    if two:
        if which == 0:
            _tile_20(w, n, a, i, lines, r, deep, b, j, b_row, c, at, c_row, start, o, first, left)
        elif which == 1:
            _tile_21(w, n, a, i, lines, r, deep, b, j, b_row, c, at, c_row, start, o, first, left)
        else:
            _tile_22(w, n, a, i, lines, r, deep, b, j, b_row, c, at, c_row, start, o, first, left)
    elif which == 0:
        _tile_10(w, n, a, i, lines, r, deep, b, j, b_row, c, at, c_row, start, o, first, left)
    elif which == 1:
        _tile_11(w, n, a, i, lines, r, deep, b, j, b_row, c, at, c_row, start, o, first, left)
    else:
        _tile_12(w, n, a, i, lines, r, deep, b, j, b_row, c, at, c_row, start, o, first, left)


@jit(**inner)
def _edge(which, two, w, k, a, i, lines, r0, deep, b, j, b_row, c, at, start, o, first,
          rows, left, sizes, s, tile):  # fmt: skip
    """A tile of which C has not all rows: computed beside it, in s from `tile` on."""
    columns = (2 if two else 1) * (len(w) * 8 // c.itemsize)
    if not first:
        for r in range(rows):
            for q in range(left):
                s[tile + r * columns + q] = c[at + r * sizes[N] + q]
    _any_tile(which, two, w, k, a, i, lines, r0, deep, b, j, b_row, s, tile, columns, start, o,
              first, len(w) * 8 // c.itemsize)  # fmt: skip
    for r in range(rows):
        for q in range(left):
            c[at + r * sizes[N] + q] = s[tile + r * columns + q]


@jit(**inner)
def _block(task, width, a, b, c, start, s, at, sizes, a_lines, b_lines, ramp):
    """One task: a block of C, over the whole depth. s from `at` on is this thread's scratch."""
    lanes = len(width) * 8 // c.itemsize
    line = CACHE_LINE // c.itemsize
    columns, high = VECTORS * lanes, sizes[HEIGHTS]
    m, n, depth = sizes[M], sizes[N], sizes[DEPTH]
    batch, block = divmod(task, sizes[ROW_BLOCKS] * sizes[COLUMN_BLOCKS])
    row_block, column_block = divmod(block, sizes[COLUMN_BLOCKS])
    rows_from = row_block * sizes[ROW_BLOCK]
    rows_to = min(m, rows_from + sizes[ROW_BLOCK])
    from_ = column_block * sizes[COLUMN_BLOCK_] * columns
    to = min(n, from_ + sizes[COLUMN_BLOCK_] * columns)
    a0, b0, c0 = batch * sizes[A_BATCH], batch * sizes[B_BATCH], batch * m * n
    # Behind the panels of A, in whole cache lines each: those of B.
    apart = (sizes[K_BLOCK] * high + lanes + line - 1) // line * line
    panels = at + AHEAD * apart
    tile = panels + sizes[K_BLOCK] * columns * sizes[COLUMN_BLOCK_]  # and a tile for the edges
    for k0 in range(0, depth, sizes[K_BLOCK]):
        k = min(sizes[K_BLOCK], depth - k0)
        first, packed_to = b0 + k0 * sizes[B_DEEP], from_
        if sizes[PACKED] and sizes[B_LINE] == 1:
            packed_to = from_ + (to - from_) // columns * columns
            _pack_rows(width, b, first, sizes[B_DEEP], from_, packed_to, k, columns, s, panels)
        for j in range(packed_to, to, columns):
            if sizes[PACKED] or j + columns > n:
                place = panels + (j - from_) * k
                _pack(width, b, first, sizes[B_LINE], sizes[B_DEEP], j, n, columns, k,
                      b_lines, ramp, s, place)  # fmt: skip
        here, deep = sizes[A_DEEP] == 1, 1
        a_at, ready, i, a_from = at, rows_from, rows_from, a0 + k0 * sizes[A_DEEP]
        while i < rows_to:
            left = rows_to - i
            which = 0 if left > sizes[HEIGHTS + 1] else 1 if left > sizes[HEIGHTS + 2] else 2
            rows = sizes[HEIGHTS + which]
            if not here:
                deep, a_at = rows, a_at + apart
                if i >= ready:
                    # A vector for each of a panel's depths, and none beyond the last row.
                    ahead = min(AHEAD, left // high, (m - i + high - lanes) // high)
                    a_at = at
                    if ahead > 1 and high <= lanes:
                        ready = i + ahead * high
                        _pack_ahead(width, a, a_from + i, sizes[A_DEEP], high, k, ahead, s, at,
                                    apart)  # fmt: skip
                    else:
                        _pack(width, a, a_from, 1, sizes[A_DEEP], i, m, rows, k,
                              a_lines, ramp, s, at)  # fmt: skip
            panel, a_at, r = (a, a_from, i) if here else (s, a_at, 0)
            for j in range(from_, to, columns):
                two = n - j > lanes
                of_last = min(lanes, n - j - lanes if two else n - j)
                packed = sizes[PACKED] != 0 or j + columns > n
                source = s if packed else b
                b_at = panels + (j - from_) * k if packed else b0 + k0 * sizes[B_DEEP] + j
                b_row = columns if packed else sizes[B_DEEP]
                c_at, f = c0 + i * n + j, k0 == 0
                if left >= rows:
                    _any_tile(which, two, width, k, panel, a_at, a_lines, r, deep,
                              source, b_at, b_row, c, c_at, n, start, j, f, of_last)  # fmt: skip
                else:
                    _edge(which, two, width, k, panel, a_at, a_lines, r, deep,
                          source, b_at, b_row, c, c_at, start, j, f,
                          min(rows, left), min(columns, n - j), sizes, s, tile)  # fmt: skip
            i += rows


@jit(nogil=True)
def _work(counters, width, a, b, c, start, scratch, sizes, a_lines, b_lines, ramp):
    """Fetch tasks until there are none; each thread that comes takes a scratch of its own."""
    call_helpers(counters)
    at = next_task(counters, 1) * sizes[SCRATCH]
    task = next_task(counters, 0)
    while task < sizes[TASKS]:
        _block(task, width, a, b, c, start, scratch, at, sizes, a_lines, b_lines, ramp)
        task = next_task(counters, 0)
