"""The first two rungs of three ladders, in Python: where a reader meets the CUDA model.

Rung 1 is naive, one thread to each element of the result; rung 2 works by tiles in shared memory.
They have the signature of rung 0, and a table of their own: what minigen computes with begins with
the CUDA C++ kernels beside this folder, and Numba is not needed for those. No warp shuffles here:
Numba's simulator, in which they are tested, has none.
"""

from __future__ import annotations

from ... import reference
from . import attention, conv, gemm

__all__ = ["LADDERS"]

LADDERS = {
    "gemm": (reference.gemm, gemm.gemm_1_naive, gemm.gemm_2_tiled),
    "conv2d": (reference.conv2d, conv.conv2d_1_naive, conv.conv2d_2_tiled),
    "attention": (reference.attention, attention.attention_1_naive, attention.attention_2_tiled),
}
