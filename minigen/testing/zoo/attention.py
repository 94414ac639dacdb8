"""Seeded bugs in attention: the composed formula and the fused kernels."""

from __future__ import annotations

from ..bugs import Bug
from . import gradients, laws, parity

FILE = "minigen/ops/attention.py"
KERNEL = "kernels/minigen_kernels/cpu/attention.py"
KERNELS = "tests/kernels/test_attention.py"

ATTENTION = "scaled_dot_product_attention"
COMPOSED = (gradients("attention_weights"), gradients(ATTENTION), laws("attention"))

BUGS = [
    Bug(
        "scaled-by-d-instead-of-its-root",
        FILE,
        "scale = 1 / math.sqrt(max(d, 1)) if scale is None else scale\n    q, k, v",
        "scale = 1 / max(d, 1) if scale is None else scale\n    q, k, v",
        (parity(ATTENTION), laws("attention_is_its_weights")),
    ),
    Bug(
        "softmax-over-the-queries-in-the-composed-formula",
        FILE,
        "    total = exps.sum(-1, True)\n",
        "    total = exps.sum(-2, True)\n",
        COMPOSED,
    ),
    Bug(
        "the-causal-mask-hides-the-diagonal",
        FILE,
        "xp.tri(scores.shape[-2], scores.shape[-1], dtype=bool)",
        "xp.tri(scores.shape[-2], scores.shape[-1], -1, dtype=bool)",
        COMPOSED,
    ),
    Bug(
        "a-boolean-mask-read-as-forbidden",
        FILE,
        "scores = where(attn_mask, scores, -math.inf)",
        "scores = where(attn_mask, -math.inf, scores)",
        COMPOSED,
    ),
    Bug(
        "additive-mask-left-out-of-the-composed-formula",
        FILE,
        "        scores = scores + attn_mask\n",
        "        scores = scores + attn_mask * 0\n",
        (*COMPOSED, parity(ATTENTION)),
    ),
    Bug(
        "fused-backward-forgets-the-scale",
        FILE,
        "gy, *arrays, self._output, self.lse, self.mask, self.is_causal, self.scale\n",
        "gy, *arrays, self._output, self.lse, self.mask, self.is_causal, 1.0\n",
        (gradients(ATTENTION),),
    ),
    Bug(
        "online-softmax-keeps-the-old-sum-unscaled",
        "kernels/minigen_kernels/cpu/strips.py",
        "code.loop(m, [(totals.load() * scale).value], terms)",
        "code.loop(m, [totals.load().value], terms)",
        (KERNELS + " -k several_tiles",),
    ),
    Bug(
        "delta-left-out-of-the-fused-backward",
        KERNEL,
        "+= g[c] * o[c]",
        "+= g[c] * 0",
        (KERNELS + " -k rungs",),
    ),
    Bug(
        "dropout-leaves-the-kept-values-unscaled",
        "minigen/ops/random.py",
        "return x * Tensor(kept * x.dtype.type(1 / (1 - p)))",
        "return x * Tensor(kept * x.dtype.type(1))",
        (laws("dropout_keeps_the_mean"),),
    ),
    Bug(
        "values-as-far-apart-as-keys",
        KERNEL,
        "multiply(width, v, v0, 1, v_row, s, QUERIES, o_t",
        "multiply(width, v, v0, 1, k_row, s, QUERIES, o_t",
        (KERNELS + " -k rungs",),
    ),
    Bug(
        "rows-that-are-taken-to-lie-side-by-side",
        KERNEL,
        "size), x.strides[-2] // size",
        "size), x.shape[-1]",
        (KERNELS + " -k leading_axes",),
    ),
    Bug(
        "slopes-of-keys-from-the-first-head-s-place",
        KERNEL,
        "gk0, gv0 = gk_at[part * batch + b], gv_at[part * batch + b]",
        "gk0, gv0 = gk_at[part * batch], gv_at[part * batch + b]",
        (KERNELS + " -k 'rungs or slope'",),
    ),
]
