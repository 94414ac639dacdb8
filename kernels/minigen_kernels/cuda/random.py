"""Random numbers on the GPU: those of minigen_kernels.random, a block of words to a thread."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import empty
from .launch import launch, packed, suffix, tiles

SOURCE, THREADS = "random.cu", 256
MASK64 = 0xFFFFFFFFFFFFFFFF
COUNTER = np.dtype([("low", "u8"), ("high", "u8")])


def philox_1_blocks(key, counter, n):
    """The first n words (uint32) of blocks counter, counter + 1, … of the key: see random.py."""
    return words(key, counter, n)


def words(key: int, counter: int, n: int, like: Any = None, moved: Any = None) -> Any:
    """The same, on the device of `like`.

    moved  one int64 in that device's memory, which is added to the counter: for a captured launch,
           whose other arguments stay what they were. Here and below.
    """
    return _drawn("philox_1_blocks", key, counter, moved, n, np.dtype(np.uint32), like)


def uniform_1_blocks(key, counter, n, dtype, like=None, moved=None):
    """Multiples of 2⁻²⁴ (float32: a word each) or 2⁻⁵³ (float64: two words each) in [0, 1)."""
    dtype = np.dtype(dtype)
    kernel = f"uniform_1_blocks_{suffix('uniform', np.empty(0, dtype))}"
    return _drawn(kernel, key, counter, moved, n, dtype, like)


def normal_1_blocks(key, counter, n, dtype, like=None, moved=None):
    """Pairs r cos a, r sin a with r = √(-2 log(1 - u)), a = 2π v; u, v a word each, or two."""
    dtype = np.dtype(dtype)
    kernel = f"normal_1_blocks_{suffix('normal', np.empty(0, dtype))}"
    return _drawn(kernel, key, counter, moved, n, dtype, like)


def dropout_1_fused(x, p, key, counter, moved=None):
    """y[i] = x[i] / (1 - p), or x[i] · 0 where the float32 uniform number i of the key is below p.

    The numbers are those of blocks counter, counter + 1, …; the same call on the slope of y is the
    backward pass, which draws them anew.
    """
    kernel, y = f"dropout_1_fused_{suffix('dropout', x)}", empty(x.shape, x.dtype, like=x)
    if y.size:
        where = np.uint64(key), _counter(counter), moved
        scale, grid = x.dtype.type(1 / (1 - p)), tiles(y.size, 4 * THREADS)
        given = np.float32(p), scale, packed(x), y, np.int64(y.size)
        launch(SOURCE, kernel, grid, THREADS, *where, *given)
    return y


def _drawn(
    kernel: str, key: int, counter: int, moved: Any, n: int, dtype: np.dtype, like: Any
) -> Any:
    """n numbers from a kernel that makes 16 bytes of each block of words."""
    blocks = tiles(n * dtype.itemsize, 16)
    values = empty((blocks, 16 // dtype.itemsize), dtype, like=like)
    if blocks:
        where, grid = (np.uint64(key), _counter(counter), moved), tiles(blocks, THREADS)
        launch(SOURCE, kernel, grid, THREADS, *where, values, np.int64(blocks))
    return values.reshape(-1)[:n]


def _counter(counter: int) -> np.ndarray:
    """struct Counter of random.cu."""
    return np.array([(counter & MASK64, counter >> 64 & MASK64)], COUNTER)
