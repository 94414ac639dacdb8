"""What a result was measured on: the machine, and its measured ceilings."""

from __future__ import annotations

import time
from typing import Any

import numpy as np


def fma_gflops(width_bits: int | None = None, tries: int = 40) -> float:
    """The FMA peak of all threads together in GFLOP/s, float32: the best of many short tries.

    The register tile of the matrix product on panels that stay in the first-level cache: nothing
    but loads from it and multiply-adds.
    """
    from minigen_kernels import use
    from minigen_kernels.cpu import simd, threads

    from . import peak

    with use(vector_bits=width_bits):
        width = simd.vector_width()
        rows, columns = simd.tile_shape(width, np.float32)
        a, b = (np.full(peak.DEPTH * n, 0.5, np.float32) for n in (rows, columns))
        arguments = width, a, b, rows * columns
        threads.on_all_threads(peak.work, *arguments)  # compiles it
        seconds = []
        for _ in range(tries):
            began = time.perf_counter()
            threads.on_all_threads(peak.work, *arguments)
            seconds.append(time.perf_counter() - began)
    flop = 2.0 * peak.TILES * peak.DEPTH * rows * columns * threads.get_threads()
    return flop / min(seconds) * 1e-9


def copy_gbytes(megabytes: int = 64, tries: int = 20) -> float:
    """GB/s of NumPy copying an array that is larger than the caches, reads and writes counted."""
    source = np.ones(megabytes * 250_000, np.float32)
    target = np.empty_like(source)
    seconds = []
    for _ in range(tries):
        began = time.perf_counter()
        np.copyto(target, source)
        seconds.append(time.perf_counter() - began)
    return 2e-9 * source.nbytes / min(seconds)


def describe() -> dict[str, Any]:
    """Versions, CPU, threads, vector width, and the measured ceilings."""
    from minigen.environment import environment

    return {
        **environment(),
        "fma_gflops": fma_gflops(),
        "copy_gbytes_per_s": copy_gbytes(),
    }
