"""C[s; i, j] = bias[i] + Σ_k A[s; i, k] · B[s; k, j]: one loop nest for GEMM and convolutions.

The three matrices need not exist. Element A[i, k] lies at base[s] + row[i] + col[k] of a flat
array, C[i, j] likewise, and so does B[k, j], which is 0 when its pixel (the sum of two coordinates)
lies outside the image. With row = (c, p, q) and col = (n, i, j) B is the matrix of image patches,
packed piece by piece straight from the image: im2col without its memory.

A is packed into panels of the register tile's rows, once. Then each task packs a block of B into
panels and multiplies tile by tile. The order in which an element's terms are added depends on the
depth alone, not on tasks or threads.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from .. import empty
from . import threads
from .jit import jit
from .jobs import COUNTERS, call_helpers
from .share import inner
from .simd import Width, gather_panel, multiply_tile, next_task, store_tile, tile_shape

Array = np.ndarray
DEPTH_BLOCK = 384  # rows of a panel of B in the first-level cache, beside one panel of A
COLUMN_BLOCK = 8  # panels of B in a task: together they stay in the second-level cache
TASKS_PER_THREAD = 4
SMALL = 100_000  # multiplications that are done before a second thread has woken up

# What the entries of Plan.sizes are.
M, N, DEPTH, ROWS, COLUMNS, K_BLOCK, ROW_PANELS, COLUMN_PANELS = range(8)
ROW_BLOCK, ROW_BLOCKS, COLUMN_BLOCK_, COLUMN_BLOCKS, BY_DEPTH, HEIGHT, WIDE = range(8, 15)
BIAS_STEP, PACK_TASKS, MULTIPLY_TASKS = range(15, 18)


@dataclasses.dataclass(frozen=True, eq=False)
class Places:
    """Where a matrix lies: element (r, c) of batch s at base[s] + row[r] + col[c]."""

    base: Array
    row: Array
    col: Array


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """All that the compiled code needs to know besides the data: made by plan()."""

    tables: tuple[Array, ...]
    sizes: Array
    packed: int
    small: bool


def steps(count: int, step: int = 1) -> Array:
    """[0, step, 2·step, …], as int64."""
    return np.arange(count, dtype=np.int64) * step


def plain(offsets: Array) -> Array:
    """Rows or columns of a matrix that is no image: all its elements are inside."""
    return np.stack([offsets, np.zeros_like(offsets), np.zeros_like(offsets)])


def plan(
    a: Places,
    b: Places,
    c: Places,
    image: tuple[int, int],
    width: Width,
    dtype: np.dtype,
    bias_step: int = 0,
) -> Plan:
    """Lay out the work. b.row (3, K) and b.col (3, N) hold offsets and image coordinates h, w."""
    m, depth, n, batches = len(a.row), len(a.col), len(c.col), len(c.base)
    rows, columns = tile_shape(width, dtype)
    row_panels, column_panels = -(-m // rows), -(-n // columns)
    missing = column_panels * columns - n
    padded = np.pad(b.col, ((0, 0), (0, missing)))
    padded[1, n:] = np.iinfo(np.int32).min // 2  # a pixel outside every image reads as 0
    wanted = -(-TASKS_PER_THREAD * threads.get_threads() // batches)
    column_block = max(1, min(COLUMN_BLOCK, column_panels // wanted))
    column_blocks = -(-column_panels // column_block)
    row_block = max(4, row_panels // max(1, wanted // column_blocks))
    row_blocks = -(-row_panels // row_block)
    sizes = (
        *(m, n, depth, rows, columns, -(-depth // -(-depth // DEPTH_BLOCK))),
        *(row_panels, column_panels, row_block, row_blocks, column_block, column_blocks),
        *(int(depth < 2 or a.col[1] - a.col[0] == 1), *image, bias_step),
        *(len(a.base) * row_panels, batches * row_blocks * column_blocks),
    )
    c_padded = np.pad(c.col, (0, missing), constant_values=-1)
    tables = (
        *(a.base, a.row, a.col, b.base, np.ascontiguousarray(b.row), padded),
        *(c.base, c.row, c.col, _runs(padded, columns), _runs(plain(c_padded), columns)),
    )
    packed = len(a.base) * row_panels * depth * rows
    return Plan(tables, np.array(sizes, np.int64), packed, batches * m * n * depth < SMALL)


def _runs(col: Array, columns: int) -> Array:
    """For each panel of columns: 1 if its elements lie side by side, at one image coordinate."""
    panels = col.reshape(3, -1, columns)
    following = np.diff(panels, axis=2) == np.array([1, 0, 0])[:, None, None]
    return following.all(axis=(0, 2)).astype(np.int64)


def contract(a: Array, b: Array, c: Array, bias: Array | None, width: Width, p: Plan) -> None:
    """C = bias + A · B into c; a, b and c are flat and contiguous, no dimension is 0."""
    packed = empty(p.packed, c.dtype)
    start = np.zeros(p.sizes[M], c.dtype) if bias is None else np.ascontiguousarray(bias)
    for stage in (0, 1):
        arguments = (stage, width, a, b, c, start, packed, p.sizes, *p.tables)
        if p.small or (stage == 0 and p.packed < SMALL):
            _work(np.zeros(COUNTERS, np.int64), *arguments)
        else:
            threads.on_all_threads(_work, *arguments)


@jit(**inner)
def _pack_rows(packed, at, a, start, row, col, i0, rows, by_depth):
    """packed[at + k·rows + i] = A[i0 + i, k], 0 below the last row."""
    filled = min(rows, row.size - i0)
    if filled < rows:
        packed[at : at + col.size * rows] = 0
    if by_depth:
        for i in range(filled):
            for k in range(col.size):
                packed[at + k * rows + i] = a[start + row[i0 + i] + col[k]]
    else:
        for k in range(col.size):
            for i in range(filled):
                packed[at + k * rows + i] = a[start + row[i0 + i] + col[k]]


@jit(**inner)
def _pack_run(packed, at, b, base, row, k0, depth, col, j0, sizes):
    """gather_panel where the columns lie side by side: copies."""
    columns = sizes[COLUMNS]
    for k in range(depth):
        line = packed[at + k * columns : at + (k + 1) * columns]
        h, w = row[1, k0 + k] + col[1, j0], row[2, k0 + k] + col[2, j0]
        if 0 <= h < sizes[HEIGHT] and 0 <= w < sizes[WIDE]:
            start = base + row[0, k0 + k] + col[0, j0]
            source = b[start : start + columns]
            for j in range(columns):
                line[j] = source[j]
        else:
            line[:] = 0


@jit(**inner)
def _store_edge(c, base, row, col, i0, j0, tile, sizes, bias, bias_at, first):
    """store_tile, element by element: the last rows and columns, and columns that lie apart."""
    columns = sizes[COLUMNS]
    for i in range(min(sizes[ROWS], row.size - i0)):
        for j in range(min(columns, col.size - j0)):
            at = base + row[i0 + i] + col[j0 + j]
            start = bias[bias_at + i0 + i] if first else c[at]
            c[at] = start + tile[i * columns + j]


@jit(allocates=True, **inner)
def _multiply_block(
    task, width, b, c, bias, packed_a, sizes,
    a_base, b_base, b_row, b_col, c_base, c_row, c_col, b_run, c_run,
):  # fmt: skip
    """One task: a block of C, over the whole depth."""
    depth, rows, columns = sizes[DEPTH], sizes[ROWS], sizes[COLUMNS]
    blocks = sizes[ROW_BLOCKS] * sizes[COLUMN_BLOCKS]
    s, block = task // blocks, task % blocks
    row_from = block // sizes[COLUMN_BLOCKS] * sizes[ROW_BLOCK]
    row_to = min(sizes[ROW_PANELS], row_from + sizes[ROW_BLOCK])
    from_ = block % sizes[COLUMN_BLOCKS] * sizes[COLUMN_BLOCK_]
    panels = min(sizes[COLUMN_PANELS] - from_, sizes[COLUMN_BLOCK_])
    a_panels = min(s, a_base.size - 1) * sizes[ROW_PANELS]
    base, bias_at = b_base[min(s, b_base.size - 1)], s * sizes[BIAS_STEP]
    tile = np.empty(rows * columns, c.dtype)
    packed = np.empty(sizes[K_BLOCK] * columns * panels, c.dtype)
    for k0 in range(0, depth, sizes[K_BLOCK]):
        k = min(sizes[K_BLOCK], depth - k0)
        for n in range(panels):
            at, j0 = n * k * columns, (from_ + n) * columns
            if b_run[from_ + n]:
                _pack_run(packed, at, b, base, b_row, k0, k, b_col, j0, sizes)
            else:
                h, w = sizes[HEIGHT], sizes[WIDE]
                gather_panel(width, packed, at, b, base, b_row, k0, k, b_col, j0, h, w)
        for i in range(row_from, row_to):
            for n in range(panels):
                a_at = ((a_panels + i) * depth + k0) * rows
                multiply_tile(width, k, packed_a, a_at, packed, n * k * columns, tile)
                i0, j0 = i * rows, (from_ + n) * columns
                if c_run[from_ + n] and i0 + rows <= c_row.size:
                    at = c_base[s] + c_col[j0]
                    store_tile(width, tile, c, at, c_row, i0, bias, bias_at, k0 == 0)
                else:
                    _store_edge(
                        c, c_base[s], c_row, c_col, i0, j0, tile, sizes, bias, bias_at, k0 == 0
                    )


@jit(nogil=True)
def _work(
    counters, stage, width, a, b, c, bias, packed, sizes,
    a_base, a_row, a_col, b_base, b_row, b_col, c_base, c_row, c_col, b_run, c_run,
):  # fmt: skip
    """Fetch tasks until there are none: in stage 0 panels of A to pack, in stage 1 blocks of C."""
    call_helpers(counters)
    task = next_task(counters, 0)
    while task < sizes[PACK_TASKS + stage]:
        if stage == 0:
            s, panel = task // sizes[ROW_PANELS], task % sizes[ROW_PANELS]
            rows, at = sizes[ROWS], task * sizes[DEPTH] * sizes[ROWS]
            i0, by_depth = panel * rows, sizes[BY_DEPTH]
            _pack_rows(packed, at, a, a_base[s], a_row, a_col, i0, rows, by_depth)
        else:
            _multiply_block(
                task, width, b, c, bias, packed, sizes,
                a_base, b_base, b_row, b_col, c_base, c_row, c_col, b_run, c_run,
            )  # fmt: skip
        task = next_task(counters, 0)
