"""Seeded bugs in losses."""

from __future__ import annotations

from ..bugs import Bug
from . import gradients, laws, parity

FILE = "minigen/ops/loss.py"
KERNELS = "kernels/minigen_kernels/cpu/elementwise.py"
FUNCTIONS = "kernels/minigen_kernels/cpu/functions.py"
RUNGS = "tests/kernels/test_elementwise.py"

BUGS = [
    Bug(
        "kl-without-its-half",
        FILE,
        "losses = 0.5 * (logvar.exp() + distance * distance - 1 - logvar)",
        "losses = 1.0 * (logvar.exp() + distance * distance - 1 - logvar)",
        (laws("kl"),),
    ),
    Bug(
        "kl-reads-logvar-as-deviation",
        FILE,
        "losses = 0.5 * (logvar.exp() + distance * distance - 1 - logvar)",
        "losses = 0.5 * ((2 * logvar).exp() + distance * distance - 1 - 2 * logvar)",
        (laws("kl"),),
    ),
    Bug(
        "kl-forgets-the-second-variance",
        FILE,
        "distance * distance * (-logvar2).exp() - 1 - ratio",
        "distance * distance - 1 - ratio",
        (laws("kl"),),
    ),
    Bug(
        "ignored-targets-counted-in-the-mean",
        FILE,
        "return Tensor((index >= 0).astype(x.dtype))",
        "return Tensor((index >= -1).astype(x.dtype))",
        (gradients("cross_entropy (ignored rows)"), parity("cross_entropy (ignored rows)")),
    ),
    Bug(
        "label-smoothing-not-spread-over-classes",
        FILE,
        "smooth = where(Tensor(index >= 0), smooth, 0.0) / x.shape[1]",
        "smooth = where(Tensor(index >= 0), smooth, 0.0)",
        (parity("cross_entropy (label smoothing)"),),
    ),
    Bug(
        "logarithm-without-the-low-part-of-ln-2",
        FUNCTIONS,
        "return x if x != x else e * LN2_HIGH64 + (near + e * LN2_LOW64)",
        "return x if x != x else e * LN2_HIGH64 + near",
        (f"{RUNGS} -k log_is_within",),
    ),
    Bug(
        "rows-of-classes-summed-without-their-tail",
        "kernels/minigen_kernels/cpu/channels.py",
        "value = term.value if mask is None else builder.select(mask, term.value, zero)",
        "value = term.value if mask is None else zero",
        ("tests/kernels/test_loss.py -k cross_entropy_rungs",),
    ),
    Bug(
        "last-row-of-each-block-not-added",
        KERNELS,
        "for r in range(start, min(x.size, start + step), n):",
        "for r in range(start, min(x.size, start + step) - n, n):",
        (f"{RUNGS} -k add_of_many_blocks",),
    ),
    Bug(
        "pos-weight-on-the-negatives",
        FILE,
        "positive = positive * (1 + (pos_weight - 1) * target)",
        "positive = positive * (1 + (pos_weight - 1) * (1 - target))",
        (parity("binary_cross_entropy_with_logits"),),
    ),
    Bug(
        "mean-over-the-batch-only",
        FILE,
        "return losses.mean() if divisor is None else losses.sum() / divisor.sum()",
        "return losses.sum() / max(losses.shape[0] if losses.ndim else 1, 1)"
        " if divisor is None else losses.sum() / divisor.sum()",
        (laws("reductions"),),
    ),
    Bug(
        "cross-entropy-kernel-given-the-wrong-cotangent",
        FILE,
        "return (kernels.cross_entropy_backward(gy, arrays[0], self.target, self.lse),)",
        "return (kernels.cross_entropy_backward(gy * 0 + 1, arrays[0], self.target, self.lse),)",
        (gradients("cross_entropy"),),
    ),
    Bug(
        "bce-slope-without-its-cotangent",
        FILE,
        "backend_of(gy).bce_with_logits_backward(gy, *arrays)",
        "backend_of(gy).bce_with_logits_backward(gy * 0 + 1, *arrays)",
        (gradients("binary_cross_entropy_with_logits"),),
    ),
    Bug(
        "bce-slope-of-the-target-has-the-wrong-sign",
        FILE,
        "-(gy * arrays[0]) if self.needs(1)",
        "gy * arrays[0] if self.needs(1)",
        (gradients("binary_cross_entropy_with_logits"),),
    ),
    Bug(
        "bce-sides-exchanged-below-0",
        KERNELS,
        "wrong = one - t[i] if a[i] > zero else t[i]",
        "wrong = one - t[i] if a[i] > zero else one - t[i]",
        (f"{RUNGS} -k bce_rungs", gradients("binary_cross_entropy_with_logits")),
    ),
    Bug(
        "bce-of-an-infinite-logit-is-nan",
        KERNELS,
        "(zero if wrong == zero else wrong * size)",
        "wrong * size",
        (f"{RUNGS} -k bce_in_every_corner",),
    ),
    Bug(
        "bce-slope-reads-the-first-block-of-the-cotangent-always",
        KERNELS,
        "g = gy[start : start + BLOCK]\n            for i in range(a.size):\n"
        "                b[i] = g[i] * _bce_slope",
        "g = gy[: BLOCK]\n            for i in range(a.size):\n"
        "                b[i] = g[i] * _bce_slope",
        (f"{RUNGS} -k bce_of_many_blocks",),
    ),
    Bug(
        "log1p-of-a-series-cut-short",
        FUNCTIONS,
        "p = (p * z + 0.400000000000145827) * z + 0.666666666666666586",
        "p = p * z + 0.666666666666666586",
        (f"{RUNGS} -k log1p",),
    ),
]
