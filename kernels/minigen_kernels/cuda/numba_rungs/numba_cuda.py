"""The one place that names numba.cuda, so that its successor can take its place here.

Without a GPU, NUMBA_ENABLE_CUDASIM=1 in the environment, set before the first import, lets Numba
run these kernels in its simulator, in Python.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

from numba import config as numba_config

__all__ = ["cuda", "launch"]

config: Any = numba_config  # its settings are made at run time
cuda: Any = importlib.import_module("numba.cuda")
config.CUDA_LOW_OCCUPANCY_WARNINGS = 0  # a small grid is no mistake here


def launch(kernel: Any, grid: Any, block: Any, *arguments: Any) -> None:
    """Run a kernel on NumPy arrays (which are copied to the GPU and back) or on CuPy arrays."""
    _check()
    kernel[grid, block](*arguments)


@functools.cache
def _check() -> None:
    """RuntimeError where there is neither a GPU nor the simulator."""
    if not cuda.is_available():
        raise RuntimeError(
            "numba.cuda rungs need an NVIDIA GPU and pip install 'minigen[cuda13]' (cuda12), or "
            "Numba's simulator: set NUMBA_ENABLE_CUDASIM=1 before Python starts"
        )
