"""The ceiling for kernels: the multiply-adds of one register tile, over and over."""

from __future__ import annotations

import numpy as np
from minigen_kernels.cpu.jit import jit
from minigen_kernels.cpu.jobs import call_helpers
from minigen_kernels.cpu.simd import multiply_tile

DEPTH = 256  # of the panels: 12 to 32 KiB, which stay in the first-level cache
TILES = 200  # in one call: less than a millisecond, so that the best of many calls is undisturbed


@jit(nogil=True, allocates=True)
def work(counters, width, a, b, size):
    """Multiply the same two panels TILES times."""
    call_helpers(counters)
    tile = np.empty(size, a.dtype)
    for _ in range(TILES):
        multiply_tile(width, DEPTH, a, 0, b, 0, tile)
