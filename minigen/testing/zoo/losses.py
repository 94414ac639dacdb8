"""Seeded bugs in losses."""

from __future__ import annotations

from ..bugs import Bug
from . import gradients, laws, parity

FILE = "minigen/ops/loss.py"

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
]
