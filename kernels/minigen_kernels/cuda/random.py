"""Random numbers on the GPU: those of minigen_kernels.random, a block of words to a thread."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import empty
from .launch import launch, packed, suffix, tiles

SOURCE, THREADS = "random.cu", 256
MASK64 = 0xFFFFFFFFFFFFFFFF
COUNTER = np.dtype([("low", "u8"), ("high", "u8")])


def philox_1_blocks(key, counter, n, like=None):
    """The first n words (uint32) of blocks counter, counter + 1, … of the key: see random.py.

    They lie on the device of `like`.
    """
    return _drawn("philox_1_blocks", key, counter, n, np.dtype(np.uint32), like)


def uniform_1_blocks(key, counter, n, dtype, like=None):
    """Multiples of 2⁻²⁴ (float32: a word each) or 2⁻⁵³ (float64: two words each) in [0, 1)."""
    dtype = np.dtype(dtype)
    kernel = f"uniform_1_blocks_{suffix('uniform', np.empty(0, dtype))}"
    return _drawn(kernel, key, counter, n, dtype, like)


def normal_1_blocks(key, counter, n, dtype, like=None):
    """Pairs r cos a, r sin a with r = √(-2 log(1 - u)), a = 2π v; u, v a word each, or two."""
    dtype = np.dtype(dtype)
    kernel = f"normal_1_blocks_{suffix('normal', np.empty(0, dtype))}"
    return _drawn(kernel, key, counter, n, dtype, like)


def dropout_1_fused(x, p, key, counter):
    """y[i] = x[i] / (1 - p), or x[i] · 0 where the float32 uniform number i of the key is below p.

    The numbers are those of blocks counter, counter + 1, …; they are drawn anew wherever needed.
    """
    kernel, y = f"dropout_1_fused_{suffix('dropout', x)}", empty(x.shape, x.dtype, like=x)
    if y.size:
        scale = x.dtype.type(1 / (1 - p))
        launch(
            SOURCE, kernel, tiles(y.size, 4 * THREADS), THREADS,
            np.uint64(key), _counter(counter), np.float32(p), scale, packed(x), y, np.int64(y.size),
        )
    return y


def _drawn(kernel: str, key: int, counter: int, n: int, dtype: np.dtype, like: Any) -> Any:
    """n numbers from a kernel that makes 16 bytes of each block of words."""
    blocks = tiles(n * dtype.itemsize, 16)
    values = empty((blocks, 16 // dtype.itemsize), dtype, like=like)
    if blocks:
        grid, start = tiles(blocks, THREADS), _counter(counter)
        launch(SOURCE, kernel, grid, THREADS, np.uint64(key), start, values, np.int64(blocks))
    return values.reshape(-1)[:n]


def _counter(counter: int) -> np.ndarray:
    """struct Counter of random.cu."""
    return np.array([(counter & MASK64, counter >> 64 & MASK64)], COUNTER)
