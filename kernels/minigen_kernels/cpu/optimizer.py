"""Adam and AdamW, in place, one pass over memory.

rung 0  reference.adam    the formula
rung 1  adam_1_fused      all five steps of an element at once; cores over blocks of many tensors
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .jit import jit
from .jobs import call_helpers
from .share import BLOCK, share
from .simd import next_task

Array = np.ndarray
TENSORS = 16  # of a call: a network's biases are too small to be worth one each


def adam_1_fused(
    params: Sequence[Array],
    grads: Sequence[Array],
    exp_avgs: Sequence[Array],
    exp_avg_sqs: Sequence[Array],
    *,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    step: int,
) -> None:
    """p ← p - lr · m̂ / (√v̂ + eps), with m̂ = m/(1-β1ᵗ), v̂ = v/(1-β2ᵗ), t = step from 1 on.

    m ← m + (1-β1)(g - m), v ← β2 v + (1-β2) g². Weight decay: decoupled, p ← (1 - lr·wd) p first;
    otherwise g ← g + wd p. params, exp_avgs and exp_avg_sqs are changed in place.
    Source: Kingma and Ba 2015; Loshchilov and Hutter 2019; the order of operations is torch's.
    """
    keep = 1 - lr * weight_decay if decoupled else 1.0
    decay = 0.0 if decoupled else weight_decay
    rate, root = lr / (1 - beta1**step), 1 / math.sqrt(1 - beta2**step)
    scalars = keep, decay, rate, root, 1 - beta1, beta2, 1 - beta2, eps
    many = list(zip(params, grads, exp_avgs, exp_avg_sqs, strict=True))
    for dtype in {p.dtype for p in params}:
        _together([arrays for arrays in many if arrays[0].dtype == dtype], dtype.type, scalars)


def _together(
    many: Sequence[tuple[Array, ...]], number: type[np.floating], scalars: Sequence[float]
) -> None:
    """Adam for tensors of one dtype, a few in each call of the kernel."""
    nothing = np.empty(0, number)
    for i in range(0, len(many), TENSORS):
        given = many[i : i + TENSORS]
        flat = [tuple([_row(a) for a in arrays]) for arrays in given]
        size = sum([arrays[0].size for arrays in flat])
        stuffing = [(nothing,) * 4] * (TENSORS - len(flat))
        rows = zip(*flat, *stuffing, strict=True)
        share(_adam, size, *rows, *[number(s) for s in scalars])
        for homes, arrays in zip(given, flat, strict=True):
            for k in (0, 2, 3):  # what was copied: bring the result home
                if not _lies_well(homes[k]):
                    homes[k][...] = arrays[k].reshape(homes[k].shape)


def _lies_well(a: Array) -> bool:
    """Are the numbers in a row, as machine code wants them? All such arrays are of one type."""
    return a.flags.c_contiguous and a.flags.behaved


def _row(a: Array) -> Array:
    return a.ravel() if _lies_well(a) else a.flatten()


@jit(nogil=True, fastmath={"contract"})
def _adam(tasks, params, grads, ms, vs, keep, decay, rate, root, one_beta1, beta2, one_beta2, eps):
    """A task: a block of one of the tensors, counted through all of them."""
    call_helpers(tasks)
    task, before, t = next_task(tasks, 0), 0, 0
    while t < TENSORS:
        blocks = (params[t].size + BLOCK - 1) // BLOCK
        if task >= before + blocks:
            before, t = before + blocks, t + 1
            continue
        start = (task - before) * BLOCK
        p, g = params[t][start : start + BLOCK], grads[t][start : start + BLOCK]
        m, v = ms[t][start : start + BLOCK], vs[t][start : start + BLOCK]
        for i in range(p.size):
            w = p[i] * keep
            slope = g[i] + decay * w
            mean = m[i] + one_beta1 * (slope - m[i])
            square = beta2 * v[i] + one_beta2 * slope * slope
            m[i], v[i] = mean, square
            p[i] = w - rate * mean / (np.sqrt(square) * root + eps)
        task = next_task(tasks, 0)
