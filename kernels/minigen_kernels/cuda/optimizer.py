"""Adam on the GPU: many tensors by one launch of optimizer.cu."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from .launch import launch, packed, suffix, tiles
from .rows import THREADS

SOURCE = "optimizer.cu"
MOST = 32  # tensors of a launch
CHUNK = 32 * THREADS  # elements of a block
CHUNKS = np.dtype([("size", "i8", MOST), ("first", "i4", MOST), ("count", "i4"), ("", "i4")])


def adam_1_fused(
    params, grads, exp_avgs, exp_avg_sqs, *, lr, beta1, beta2, eps, weight_decay, decoupled, step
):
    """p ← p - lr · m̂ / (√v̂ + eps), with m̂ = m/(1-β1ᵗ), v̂ = v/(1-β2ᵗ), t = step from 1 on.

    m ← m + (1-β1)(g - m), v ← β2 v + (1-β2) g². Weight decay: decoupled, p ← (1 - lr·wd) p first;
    otherwise g ← g + wd p. params, exp_avgs and exp_avg_sqs are changed in place.
    """
    now = changes(lr, beta1, beta2, weight_decay, decoupled, step)
    rule = _constant(beta1, beta2, eps, weight_decay, decoupled) + now
    _update_all(params, grads, exp_avgs, exp_avg_sqs, rule, None)


def adam_recorded(
    params, grads, exp_avgs, exp_avg_sqs, changing, *, beta1, beta2, eps, weight_decay, decoupled
):
    """adam_1_fused for a step that is recorded once and replayed: changing, float64 (3,) on the
    GPU, holds what changes() gives, and is read there."""
    unread = 0.0, 0.0, 0.0
    rule = _constant(beta1, beta2, eps, weight_decay, decoupled) + unread
    _update_all(params, grads, exp_avgs, exp_avg_sqs, rule, changing)


def changes(
    lr: float, beta1: float, beta2: float, weight_decay: float, decoupled: bool, step: int
) -> tuple[float, float, float]:
    """What of the rule changes from step to step: 1 - lr·wd, lr/(1-β1ᵗ) and 1/√(1-β2ᵗ)."""
    keep = 1 - lr * weight_decay if decoupled else 1.0
    return keep, lr / (1 - beta1**step), 1 / math.sqrt(1 - beta2**step)


def _constant(
    beta1: float, beta2: float, eps: float, weight_decay: float, decoupled: bool
) -> tuple[float, ...]:
    """What of the rule stays: struct Rule of optimizer.cu, up to what changes() gives."""
    return 0.0 if decoupled else weight_decay, 1 - beta1, beta2, 1 - beta2, eps


def _update_all(
    params: Any, grads: Any, exp_avgs: Any, exp_avg_sqs: Any, rule: tuple[float, ...], changing: Any
) -> None:
    quadruples = list(zip(params, grads, exp_avgs, exp_avg_sqs, strict=True))
    by_type: dict[str, list[Any]] = {}
    for arrays in quadruples:
        if arrays[0].size:
            by_type.setdefault(suffix("adam", *arrays), []).append(arrays)
    for ending, group in by_type.items():
        for start in range(0, len(group), MOST):
            _update(ending, group[start : start + MOST], rule, changing)


def _update(
    ending: str, group: list[tuple[Any, ...]], rule: tuple[float, ...], changing: Any
) -> None:
    """One launch, for at most MOST quadruples of arrays of one type."""
    flat = [[packed(a) for a in arrays] for arrays in group]
    sizes = [arrays[0].size for arrays in group]
    chunks = [tiles(size, CHUNK) for size in sizes]
    starts = list(itertools.accumulate(chunks, initial=0))
    missing = [0] * (MOST - len(group))
    table = np.array([(sizes + missing, starts[:-1] + missing, len(group), 0)], CHUNKS)
    pointers = tuple(a for four in zip(*flat, strict=True) for a in (*four, *[None] * len(missing)))
    numbers = np.array([(rule,)], [("rule", group[0][0].dtype, len(rule))])
    kernel = f"adam_1_fused_{ending}"
    launch(SOURCE, kernel, starts[-1], THREADS, pointers, table, numbers, changing)
    for arrays, copies in zip(group, flat, strict=True):
        for i in (0, 2, 3):  # a strided array was copied: bring the result home
            if copies[i] is not arrays[i]:
                arrays[i][...] = copies[i].reshape(arrays[i].shape)
