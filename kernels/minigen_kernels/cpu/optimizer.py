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
    many = [list(arrays) for arrays in (params, grads, exp_avgs, exp_avg_sqs)]
    for i in range(0, len(many[0]), TENSORS):
        given = [arrays[i : i + TENSORS] for arrays in many]
        number = given[0][0].dtype.type
        flat = [[a.ravel() for a in arrays] for arrays in given]
        size = sum([a.size for a in flat[0]])
        nothing = (np.empty(0, number),) * (TENSORS - len(flat[0]))
        rows = [(*arrays, *nothing) for arrays in flat]
        share(_adam, size, *rows, *[number(s) for s in scalars])
        for k in (0, 2, 3):  # a strided array was copied: bring the result home
            for home, array in zip(given[k], flat[k], strict=True):
                if not home.flags.c_contiguous:
                    home[...] = array.reshape(home.shape)


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
