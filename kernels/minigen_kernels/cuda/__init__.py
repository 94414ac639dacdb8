"""Kernels written in CUDA C++; LADDERS is the one table of them.

As in minigen_kernels.cpu, a ladder goes from the formula (rung 0) to the last rung written, and all
rungs have one signature. use(backend="emulator") computes with them on NumPy arrays, without a GPU.
"""

from __future__ import annotations

from .. import reference
from . import attention, conv, gemm
from .launch import emulation

__all__ = ["LADDERS", "emulation"]

LADDERS = {
    "gemm": (reference.gemm, gemm.gemm_1_tile, gemm.gemm_2_registers),
    "conv2d": (reference.conv2d, conv.conv2d_1_implicit),
    "conv_transpose2d": (reference.conv_transpose2d, conv.conv_transpose2d_1_phases),
    "conv2d_weight": (reference.conv2d_weight, conv.conv2d_weight_1_split),
    "attention": (reference.attention, attention.attention_1_online),
    "attention_backward": (
        reference.attention_backward,
        attention.attention_backward_1_recompute,
    ),
}
