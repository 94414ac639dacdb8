"""Seeded bugs in attention: the composed formula and the fused kernels."""

from __future__ import annotations

from ..bugs import Bug
from . import gradients, laws, parity

FILE = "minigen/ops/attention.py"
KERNEL = "kernels/minigen_kernels/cpu/attention.py"
ONE_QUERY = "kernels/minigen_kernels/cpu/one_query.py"
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
        "gradients-of-the-thirds-of-an-array-in-another-order",
        KERNEL,
        "gq, gk, gv = _like(thirds, q.shape[-1])",
        "gk, gq, gv = _like(thirds, q.shape[-1])",
        (f"{KERNELS} -k thirds",),
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
    Bug(
        "a-query-alone-sees-what-lies-behind-its-key",
        ONE_QUERY,
        "_scores(width, query, k, k_at[b], k_row, d, keys",
        "_scores(width, query, k, k_at[b], k_row, k_row, keys",
        (KERNELS + " -k one_query",),
    ),
    Bug(
        "a-query-alone-takes-the-next-one-s-values",
        ONE_QUERY,
        "_average(width, s, part, v, v_at[b]",
        "_average(width, s, part, v, v_at[min(b + 1, batch - 1)]",
        (KERNELS + " -k one_query",),
    ),
    Bug(
        "halves-of-two-keys-in-one-sum",
        ONE_QUERY,
        "            for start in range(0, lanes, segment)\n            for row in (0, 1)\n",
        "            for row in (0, 1)\n            for start in range(0, lanes, segment)\n",
        (KERNELS + " -k one_query",),
    ),
    Bug(
        "a-query-alone-weighs-by-one-when-all-is-hidden",
        ONE_QUERY,
        "base, total = zero if top == -math.inf else top, zero",
        "base, total = top, zero",
        (KERNELS + " -k one_query",),
    ),
]
