"""Philox4x32-10 compiled: the bits of random.philox_words, a block of four words at a time.

rung 0  reference.philox    the ten rounds, in whole numbers
rung 1  philox_1_blocks     the same in machine words, blocks shared out to the cores
"""

from __future__ import annotations

import numba
import numpy as np

from .. import empty
from .jit import jit

Array = np.ndarray
U = np.uint64
MASK64 = 0xFFFFFFFFFFFFFFFF
LOW, SHIFT = U(0xFFFFFFFF), U(32)
M0, M1, W0, W1 = U(0xD2511F53), U(0xCD9E8D57), U(0x9E3779B9), U(0xBB67AE85)


def philox_1_blocks(key: int, counter: int, n: int) -> Array:
    """The first n words (uint32) of blocks counter, counter + 1, … of the key: see random.py."""
    words = empty((-(-n // 4), 4), np.uint32)
    _philox(U(key), U(counter & MASK64), U((counter >> 64) & MASK64), words)
    return words.reshape(-1)[:n]


@jit(parallel=True)
def _philox(key, low, high, words):
    for block in numba.prange(words.shape[0]):
        lower = low + U(block)
        upper = high + U(lower < low)  # the carry of the 128-bit counter
        c0, c1, c2, c3 = lower & LOW, lower >> SHIFT, upper & LOW, upper >> SHIFT
        k0, k1 = key & LOW, key >> SHIFT
        for _ in range(10):
            p0, p1 = c0 * M0, c2 * M1
            c0, c1, c2, c3 = (p1 >> SHIFT) ^ c1 ^ k0, p1 & LOW, (p0 >> SHIFT) ^ c3 ^ k1, p0 & LOW
            k0, k1 = (k0 + W0) & LOW, (k1 + W1) & LOW
        words[block, 0], words[block, 1] = c0, c1
        words[block, 2], words[block, 3] = c2, c3
