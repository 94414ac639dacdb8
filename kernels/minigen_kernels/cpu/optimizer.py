"""Adam and AdamW, in place, one pass over memory.

rung 0  reference.adam    the formula
rung 1  adam_1_fused      all five steps of an element at once; vectors and cores over elements
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
    for arrays in zip(params, grads, exp_avgs, exp_avg_sqs, strict=True):
        number = arrays[0].dtype.type
        flat = [np.ascontiguousarray(a) for a in arrays]
        scalars = (keep, decay, rate, root, 1 - beta1, beta2, 1 - beta2, eps)
        rows = [a.reshape(-1) for a in flat]
        share(_adam, rows[0].size, *rows, *[number(s) for s in scalars])
        for i in (0, 2, 3):  # a strided array was copied: bring the result home
            if flat[i] is not arrays[i]:
                arrays[i][...] = flat[i]


@jit(nogil=True, error_model="numpy", fastmath={"contract"})
def _adam(tasks, params, g, m, v, keep, decay, rate, root, one_beta1, beta2, one_beta2, eps):
    call_helpers(tasks)
    start = next_task(tasks, 0) * BLOCK
    while start < params.size:
        p, slopes = params[start : start + BLOCK], g[start : start + BLOCK]
        ms, vs = m[start : start + BLOCK], v[start : start + BLOCK]
        for i in range(p.size):
            w = p[i] * keep
            slope = slopes[i] + decay * w
            mean = ms[i] + one_beta1 * (slope - ms[i])
            square = beta2 * vs[i] + one_beta2 * slope * slope
            ms[i], vs[i] = mean, square
            p[i] = w - rate * mean / (np.sqrt(square) * root + eps)
        start = next_task(tasks, 0) * BLOCK
