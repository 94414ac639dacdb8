"""Adam and AdamW, in place, one pass over memory.

rung 0  reference.adam    the formula
rung 1  adam_1_fused      all five steps of an element at once; vectors and cores over elements
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numba
import numpy as np

from .jit import jit

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
        _adam(*[a.reshape(-1) for a in flat], *[number(s) for s in scalars])
        for i in (0, 2, 3):  # a strided array was copied: bring the result home
            if flat[i] is not arrays[i]:
                arrays[i][...] = flat[i]


@jit(parallel=True, error_model="numpy", fastmath={"contract"})
def _adam(p, g, m, v, keep, decay, rate, root, one_beta1, beta2, one_beta2, eps):
    for i in numba.prange(p.size):
        w = p[i] * keep
        slope = g[i] + decay * w
        m[i] += one_beta1 * (slope - m[i])
        v[i] = beta2 * v[i] + one_beta2 * slope * slope
        p[i] = w - rate * m[i] / (np.sqrt(v[i]) * root + eps)
