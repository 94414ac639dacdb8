"""Kernels written in CUDA C++; LADDERS is the one table of them.

As in minigen_kernels.cpu, a ladder goes from the formula (rung 0) to the last rung written, and all
rungs have one signature. use(backend="emulator") computes with them on NumPy arrays, without a GPU.
"""

from __future__ import annotations

from typing import Any

from .. import reference
from . import (
    attention,
    conv,
    conv_weight,
    deposit,
    elementwise,
    gemm,
    loss,
    norm,
    optimizer,
    random,
    sums,
)
from .launch import emulation

__all__ = ["LADDERS", "OTHER_TENSOR_CORES", "TENSOR_CORES", "emulation"]

LADDERS = {
    "gemm": (reference.gemm, gemm.gemm_1_tile, gemm.gemm_2_registers),
    "conv2d": (reference.conv2d, conv.conv2d_1_implicit, conv.conv2d_2_shallow),
    "conv_transpose2d": (reference.conv_transpose2d, conv.conv_transpose2d_1_phases),
    "conv2d_weight": (reference.conv2d_weight, conv_weight.conv2d_weight_1_split),
    # With an activation at the end. The CPU has no such kernels: there it is a pass of its own.
    "gemm_activated": (
        reference.gemm_activated,
        gemm.gemm_activated_1_tile,
        gemm.gemm_activated_2_registers,
    ),
    "conv2d_activated": (
        reference.conv2d_activated,
        conv.conv2d_activated_1_implicit,
        conv.conv2d_activated_2_shallow,
    ),
    "conv_transpose2d_activated": (
        reference.conv_transpose2d_activated,
        conv.conv_transpose2d_activated_1_phases,
    ),
    "attention": (reference.attention, attention.attention_1_online),
    "attention_backward": (
        reference.attention_backward,
        attention.attention_backward_1_recompute,
    ),
    "layer_norm": (reference.layer_norm, norm.layer_norm_1_rows),
    "layer_norm_backward": (reference.layer_norm_backward, norm.layer_norm_backward_1_rows),
    "batch_norm": (reference.batch_norm, norm.batch_norm_1_channels),
    "batch_norm_activated": (
        reference.batch_norm_activated,
        norm.batch_norm_activated_1_channels,
    ),
    "batch_norm_backward": (reference.batch_norm_backward, norm.batch_norm_backward_1_channels),
    "softmax": (reference.softmax, loss.softmax_1_rows),
    "softmax_backward": (reference.softmax_backward, loss.softmax_backward_1_rows),
    "cross_entropy": (reference.cross_entropy, loss.cross_entropy_1_rows),
    "cross_entropy_backward": (
        reference.cross_entropy_backward,
        loss.cross_entropy_backward_1_rows,
    ),
    "gelu": (reference.gelu, elementwise.gelu_1_vector),
    "gelu_backward": (reference.gelu_backward, elementwise.gelu_backward_1_vector),
    "leaky_relu": (reference.leaky_relu, elementwise.leaky_relu_1_vector),
    "leaky_relu_backward": (
        reference.leaky_relu_backward,
        elementwise.leaky_relu_backward_1_vector,
    ),
    "bce_with_logits": (reference.bce_with_logits, elementwise.bce_with_logits_1_vector),
    "bce_with_logits_backward": (
        reference.bce_with_logits_backward,
        elementwise.bce_with_logits_backward_1_vector,
    ),
    "column_sums": (reference.column_sums, sums.column_sums_1_parts),
    "deposit": (reference.deposit, deposit.deposit_1_ballots),
    "adam": (reference.adam, optimizer.adam_1_fused),
    "philox": (reference.philox, random.philox_1_blocks),
    # On the CPU these are whole-array arithmetic on Philox's words: minigen_kernels.random.
    "uniform": (reference.uniform, random.uniform_1_blocks),
    "normal": (reference.normal, random.normal_1_blocks),
    "dropout": (reference.dropout, random.dropout_1_fused),
}

# What use(precision=...) puts in the place of a rung: the same kernels on arrays of float32, with
# factors rounded for tensor cores. float64 arrays go to the last rung above.
TENSOR_CORES: dict[str, dict[str, Any]] = {
    "float32": {},
    "tf32x3": {  # attention stays with its rung in float32
        "gemm": gemm.gemm_3_tf32x3,
        "conv2d": conv.conv2d_3_tf32x3,
        "conv_transpose2d": conv.conv_transpose2d_2_tf32x3,
        "conv2d_weight": conv_weight.conv2d_weight_2_tf32x3,
        "gemm_activated": gemm.gemm_activated_3_tf32x3,
        "conv2d_activated": conv.conv2d_activated_3_tf32x3,
        "conv_transpose2d_activated": conv.conv_transpose2d_activated_2_tf32x3,
    },
    "tf32": {
        "gemm": gemm.gemm_3_tf32,
        "conv2d": conv.conv2d_3_tf32,
        "conv_transpose2d": conv.conv_transpose2d_2_tf32,
        "conv2d_weight": conv_weight.conv2d_weight_2_tf32,
        "gemm_activated": gemm.gemm_activated_3_tf32,
        "conv2d_activated": conv.conv2d_activated_3_tf32,
        "conv_transpose2d_activated": conv.conv_transpose2d_activated_2_tf32,
        "attention": attention.attention_2_tf32,
        "attention_backward": attention.attention_backward_2_tf32,
    },
    "bf16": {
        "gemm": gemm.gemm_4_bf16,
        "conv2d": conv.conv2d_4_bf16,
        "conv_transpose2d": conv.conv_transpose2d_3_bf16,
        "conv2d_weight": conv_weight.conv2d_weight_3_bf16,
        "gemm_activated": gemm.gemm_activated_4_bf16,
        "conv2d_activated": conv.conv2d_activated_4_bf16,
        "conv_transpose2d_activated": conv.conv_transpose2d_activated_3_bf16,
        "attention": attention.attention_3_bf16,
        "attention_backward": attention.attention_backward_2_bf16,
    },
}

# Rungs beside those, by their numbers, for use(precision=..., rung=...). The last of each, for
# Hopper, has yet to be run on a GPU: until then it has to be asked for.
OTHER_TENSOR_CORES: dict[str, dict[str, dict[int, Any]]] = {
    "bf16": {
        "gemm": {3: gemm.gemm_3_bf16, 5: gemm.gemm_5_bf16},
        "gemm_activated": {3: gemm.gemm_activated_3_bf16, 5: gemm.gemm_activated_5_bf16},
        "attention": {2: attention.attention_2_bf16, 4: attention.attention_4_bf16},
    }
}


def by_tensor_cores(precision: str, rung: int | None) -> dict[str, Any]:
    """What use(precision=..., rung=...) puts in the place of the rungs in float32."""
    chosen = dict(TENSOR_CORES[precision])
    for name, others in OTHER_TENSOR_CORES.get(precision, {}).items():
        chosen[name] = others.get(-1 if rung is None else rung, chosen[name])
    return chosen
