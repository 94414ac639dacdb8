"""Kernels for NumPy arrays, compiled by Numba; LADDERS is the one table of them.

Each ladder goes from the formula in plain Python (rung 0) to the fast kernel (the last rung); all
rungs of a ladder have one signature.
"""

from __future__ import annotations

from .. import reference
from . import conv, gemm

LADDERS = {
    "gemm": (reference.gemm, gemm.gemm_1_loops),
    "conv2d": (reference.conv2d, conv.conv2d_1_direct),
    "conv_transpose2d": (reference.conv_transpose2d, conv.conv_transpose2d_1_direct),
    "conv2d_weight": (reference.conv2d_weight, conv.conv2d_weight_1_direct),
}
