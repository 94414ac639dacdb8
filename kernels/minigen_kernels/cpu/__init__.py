"""Kernels for NumPy arrays, compiled by Numba; LADDERS is the one table of them.

Each ladder goes from the formula in plain Python (rung 0) to the fast kernel (the last rung); all
rungs of a ladder have one signature.
"""

from __future__ import annotations

from .. import reference
from . import (
    attention,
    conv,
    conv_choice,
    conv_lanes,
    conv_rows,
    deposit,
    elementwise,
    gemm,
    loss,
    norm,
    one_query,
    optimizer,
    philox,
    sums,
)

LADDERS = {
    "gemm": (reference.gemm, gemm.gemm_1_loops, gemm.gemm_2_blocked, gemm.gemm_3_vectors),
    "conv2d": (
        reference.conv2d,
        conv.conv2d_1_direct,
        conv.conv2d_2_patches,
        conv_lanes.conv2d_3_lanes,
        conv_rows.conv2d_4_rows,
        conv_choice.conv2d_5_chosen,
    ),
    "conv_transpose2d": (
        reference.conv_transpose2d,
        conv.conv_transpose2d_1_direct,
        conv.conv_transpose2d_2_patches,
        conv_lanes.conv_transpose2d_3_lanes,
        conv_choice.conv_transpose2d_4_chosen,
    ),
    "conv2d_weight": (
        reference.conv2d_weight,
        conv.conv2d_weight_1_direct,
        conv.conv2d_weight_2_patches,
        conv_lanes.conv2d_weight_3_lanes,
        conv_rows.conv2d_weight_4_rows,
        conv_choice.conv2d_weight_5_chosen,
    ),
    "attention": (
        reference.attention,
        attention.attention_1_tiled,
        one_query.attention_2_one_query,
    ),
    "attention_backward": (reference.attention_backward, attention.attention_backward_1_tiled),
    "layer_norm": (reference.layer_norm, norm.layer_norm_1_rows),
    "layer_norm_backward": (reference.layer_norm_backward, norm.layer_norm_backward_1_rows),
    "batch_norm": (reference.batch_norm, norm.batch_norm_1_channels),
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
    "deposit": (reference.deposit, deposit.deposit_1_sorted, deposit.deposit_2_straight),
    "adam": (reference.adam, optimizer.adam_1_fused),
    "philox": (reference.philox, philox.philox_1_blocks),
}
