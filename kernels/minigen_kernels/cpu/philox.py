"""Philox4x32-10 compiled: the bits of random.philox_words, a block of four words at a time.

rung 0  reference.philox    the ten rounds, in whole numbers
rung 1  philox_1_blocks     the same in machine words, blocks shared out to the cores
"""

from __future__ import annotations

import numpy as np

from .. import empty
from .jit import jit
from .jobs import call_helpers
from .share import BLOCK, share
from .simd import next_task

Array = np.ndarray
U = np.uint64
BLOCKS = BLOCK // 4
MASK64 = 0xFFFFFFFFFFFFFFFF
LOW, SHIFT = U(0xFFFFFFFF), U(32)
M0, M1, W0, W1 = U(0xD2511F53), U(0xCD9E8D57), U(0x9E3779B9), U(0xBB67AE85)


def philox_1_blocks(key: int, counter: int, n: int) -> Array:
    """The first n words (uint32) of blocks counter, counter + 1, … of the key: see random.py."""
    words = empty((-(-n // 4), 4), np.uint32)
    low, high = U(counter & MASK64), U((counter >> 64) & MASK64)
    share(_philox, n, U(key), low, high, words)
    return words.reshape(-1)[:n]


@jit(nogil=True)
def _philox(tasks, key, low, high, words):
    call_helpers(tasks)
    task = next_task(tasks, 0)
    while task * BLOCKS < words.shape[0]:
        part = words[task * BLOCKS : (task + 1) * BLOCKS]
        start = low + U(task * BLOCKS)
        for block in range(part.shape[0]):
            lower = start + U(block)
            upper = high + U(lower < low)  # the carry of the 128-bit counter
            c0, c1, c2, c3 = lower & LOW, lower >> SHIFT, upper & LOW, upper >> SHIFT
            k0, k1 = key & LOW, key >> SHIFT
            for _ in range(10):
                p0, p1 = c0 * M0, c2 * M1
                c0, c1 = (p1 >> SHIFT) ^ c1 ^ k0, p1 & LOW
                c2, c3 = (p0 >> SHIFT) ^ c3 ^ k1, p0 & LOW
                k0, k1 = (k0 + W0) & LOW, (k1 + W1) & LOW
            part[block, 0], part[block, 1] = c0, c1
            part[block, 2], part[block, 3] = c2, c3
        task = next_task(tasks, 0)
