"""Attention by tensor cores, against the formula in float64 on rounded factors, by derived bounds.

q, k, v and the cotangent are rounded where they enter a product, so the formula on rounded arrays
is what is computed, but for two things. The weights p, and the slopes ds of the scores, are rounded
too before they are multiplied: u = 2^-8 or 2^-11 of each term of those sums. And everything is
float32: with E the error of a score, d + 8 roundings of a sum of d products, exp(s - lse) is off by
2 E and a few 2^-23 of itself. Each bound below is the sum of these, element by element.
"""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from minigen_kernels import cuda, emulator
from minigen_kernels.cuda import LADDERS, TENSOR_CORES, attention, rounding

from tests.kernels.cuda_ladder import SEEDS, fill_new_arrays_with_garbage
from tests.kernels.needs import GXX
from tests.kernels.tensor_cores import BITS, SOURCES, broken_copy, rounded
from tests.kernels.test_attention import draw_case

pytestmark = [pytest.mark.emulator, GXX]
KINDS = st.sampled_from(sorted(BITS))
F = 2.0**-23  # of a number in float32, a rounding or a truncation


@pytest.fixture(autouse=True)
def garbage(monkeypatch):
    fill_new_arrays_with_garbage(monkeypatch, attention, rounding)


def scores_of(q, k, mask, is_causal, scale):
    """(scores, the error E of the largest in float32)"""
    scale = 1 / np.sqrt(max(q.shape[2], 1)) if scale is None else scale
    s = scale * (q @ k.swapaxes(1, 2))
    size = scale * (np.abs(q) @ np.abs(k).swapaxes(1, 2)).max(initial=0)
    if mask is not None and mask.dtype != bool:
        s = s + mask
        size += np.abs(mask[np.isfinite(mask)]).max(initial=0)
    elif mask is not None:
        s = np.where(mask, s, -np.inf)
    if is_causal:
        s = np.where(np.tri(*s.shape[1:], dtype=bool), s, -np.inf)
    return s, scale, F * (q.shape[2] + 8) * size


def log_sum_exp(s):
    top = s.max(axis=2, initial=-np.inf, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)
    with np.errstate(divide="ignore"):
        return (np.log(np.exp(s - top).sum(axis=2, keepdims=True)) + top)[:, :, 0]


def weights(s, lse):
    with np.errstate(invalid="ignore"):
        return np.where(np.isneginf(s), 0, np.exp(s - lse[:, :, None]))


def within(got, expected, bound, label):
    assert got.dtype == np.float32 and got.shape == expected.shape, label
    assert np.isfinite(got).all(), label
    excess = np.abs(got - expected) - bound - 2.0**-24 * np.abs(expected) - 1e-30
    assert (excess <= 0).all(), f"{label}: {excess.max(initial=0)} more than rounding explains"


def forward_agrees(precision, seed, q, k, v, mask=None, is_causal=False, scale=None):
    """(out, lse), within their bounds, of the kernel in check mode."""
    with cuda.emulation(check=True, seed=seed):
        out, lse = TENSOR_CORES[precision]["attention"](q, k, v, mask, is_causal, scale)
    qr, kr, vr = (rounded(x, precision) for x in (q, k, v))
    s, _, error = scores_of(qr, kr, mask, is_causal, scale)
    exact = log_sum_exp(s)
    p = weights(s, exact)
    slack = 4 * error + F * (k.shape[1] + 16)
    u = 2.0 ** -BITS[precision]
    within(out, p @ vr, 1.01 * (u + slack) * (p @ np.abs(vr)), "out")
    np.testing.assert_array_equal(np.isneginf(lse), np.isneginf(exact))
    seen = ~np.isneginf(exact)
    assert (np.abs(lse[seen] - exact[seen]) <= slack + F * np.abs(exact[seen])).all()
    return out, lse


def backward_agrees(precision, seed, gout, q, k, v, out, lse, mask, is_causal, scale):
    """The three gradients are within their bounds, of the kernels in check mode."""
    with cuda.emulation(check=True, seed=seed):
        gradients = TENSOR_CORES[precision]["attention_backward"](
            gout, q, k, v, out, lse, mask, is_causal, scale
        )
    gr, qr, kr, vr = (rounded(x, precision) for x in (gout, q, k, v))
    s, scale, error = scores_of(qr, kr, mask, is_causal, scale)
    p = weights(s, lse.astype(np.float64))
    along = (gout.astype(np.float64) * out).sum(axis=2, keepdims=True)
    sizes = np.abs(gr) @ np.abs(vr).swapaxes(1, 2)
    sizes = sizes + np.abs(gout.astype(np.float64) * out).sum(axis=2, keepdims=True)
    ds = scale * p * (gr @ vr.swapaxes(1, 2) - along)
    u = 2.0 ** -BITS[precision]
    # The error of exp(s - lse): of s, of lse, and of a difference of two numbers of their size.
    error = 2 * error + F * (16 + np.abs(lse[np.isfinite(lse)]).max(initial=0))
    queries, keys = s.shape[1:]
    of_ds = scale * p * sizes * (F * (v.shape[2] + 24) + error)
    size = (u + F * (queries + keys + 8)) * np.abs(ds) + of_ds
    of_p = (u + error + F * (queries + 24)) * p
    pairs = {
        "gq": (ds @ kr, size @ np.abs(kr)),
        "gk": (ds.swapaxes(1, 2) @ qr, size.swapaxes(1, 2) @ np.abs(qr)),
        "gv": (p.swapaxes(1, 2) @ gr, of_p.swapaxes(1, 2) @ np.abs(gr)),
    }
    for got, (name, (expected, bound)) in zip(gradients, pairs.items(), strict=True):
        within(got, expected, 1.01 * bound, name)


def both_agree(precision, seed, q, k, v, mask=None, is_causal=False, scale=None):
    inputs = [x.copy() for x in (q, k, v)]
    out, lse = forward_agrees(precision, seed, q, k, v, mask, is_causal, scale)
    rng = np.random.default_rng(seed)
    gout = rng.standard_normal(out.shape).astype(np.float32)
    backward_agrees(precision, seed, gout, q, k, v, out, lse, mask, is_causal, scale)
    for before, after in zip(inputs, (q, k, v), strict=True):
        np.testing.assert_array_equal(before, after)


@given(st.data(), SEEDS, KINDS)
def test_attention_and_its_backward(data, seed, precision):
    (q, k, v, mask), options, _ = draw_case(data, np.float32)
    both_agree(precision, seed, q, k, v, mask, **options)


def arrays(*shapes):
    rng = np.random.default_rng(sum(map(sum, shapes)))
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize("precision", BITS)
@pytest.mark.parametrize("causal", [False, True])
def test_attention_of_several_tiles(precision, causal):
    """More queries, keys and columns than a tile and a step have, in every direction."""
    both_agree(precision, 3, *arrays((2, 67, 70), (2, 131, 70), (2, 131, 66)), is_causal=causal)
    both_agree(precision, 4, *arrays((1, 131, 33), (1, 67, 33), (1, 67, 5)), is_causal=causal)


@pytest.mark.parametrize("precision", BITS)
def test_a_query_that_sees_nothing_and_scores_that_are_large(precision):
    q, k, v = arrays((1, 70, 4), (1, 70, 4), (1, 70, 4))
    allowed = np.random.default_rng(2).random((1, 70, 70)) < 0.5
    allowed[:, 3] = False
    both_agree(precision, 1, q, k, v, allowed)
    out, lse = forward_agrees(precision, 1, q, k, v, allowed)
    assert (out[:, 3] == 0).all() and np.isneginf(lse[:, 3]).all()
    with cuda.emulation(check=True):
        out, lse = TENSOR_CORES[precision]["attention"](300 * q, 300 * k, v)
    assert np.isfinite(out).all() and np.isfinite(lse).all()
    assert np.abs(out).max() <= 1.01 * np.abs(v).max()


@pytest.mark.parametrize("precision", BITS)
def test_rounding_happens_where_it_is_said_and_nowhere_else(precision):
    """More error than float32 has; none where one weight is 1 and v needs no rounding."""
    q, k, v = arrays((1, 33, 16), (1, 40, 16), (1, 40, 8))
    kernel, plain = TENSOR_CORES[precision]["attention"], LADDERS["attention"][-1]
    exact = LADDERS["attention"][0](*(x.astype(np.float64) for x in (q, k, v)))[0]
    with cuda.emulation(check=True):
        errors = [np.linalg.norm(f(q, k, v)[0] - exact) for f in (kernel, plain)]
        assert errors[0] > 100 * errors[1]
        v = np.round(8 * v)
        out, _ = kernel(q[:, :, :1] * 0, k[:, :1, :1], v[:, :1])
    np.testing.assert_array_equal(out, np.broadcast_to(v[:, :1], out.shape))


@pytest.mark.parametrize("precision", BITS)
def test_attention_has_no_bank_conflict_and_no_sector_too_many(precision):
    """64 queries and 64 keys of 64 numbers: a tile, gone past in two steps."""
    q, k, v = arrays((1, 64, 64), (1, 64, 64), (1, 64, 64))
    whole = 64 * 64 * 4 // 32

    def moved(operation):
        sites = [s for s in module.counts() if s.space == "global" and s.operation == operation]
        return sum(s.transactions for s in sites)

    out, lse = np.zeros_like(q), np.zeros((1, 64), np.float32)
    module = emulator.load(SOURCES / "attention_tensor.cu", count=True)
    module.reset_counts()
    g, scale = attention._geometry(q, k, v, None, False), np.float32(0.125)
    forward = getattr(module, f"attention_2_tensor_{precision}")
    forward[(1, 1, 1), 128](q, k, v, None, None, out, lse, g, scale)
    assert moved("read") == (2 + 1 + 1) * whole  # q in each step, k and v once
    assert moved("write") == whole + 64 * 4 // 32
    along = np.zeros_like(lse)
    for name, products in ("q", 2), ("k", 2), ("v", 1):
        before = moved("read"), moved("write")
        backward = getattr(module, f"attention_backward_2_{name}_{precision}")
        backward[(1, 1, 1), 128](out, q, k, v, lse, along, None, None, np.zeros_like(q), g, scale)
        # The block's own rows in each step, the others and what they are multiplied by once.
        read = moved("read") - before[0] - (3 * products + 1) * whole
        assert read == 2 * 64 * products  # lse and along, at each place of the scores
        assert moved("write") - before[1] == whole
    assert {s.operation for s in module.counts() if s.space == "shared"} == {"read", "write"}
    assert all(s.extra == 0 for s in module.counts())


@pytest.mark.parametrize(
    "right, wrong, kinds",
    [
        ("    cp_async_wait<0>();\n    __syncthreads();\n", "    __syncthreads();\n", {"wait"}),
        ("    cp_async_wait<0>();\n    __syncthreads();\n", "    cp_async_wait<0>();\n",
         {"race", "wait"}),
        ("    __syncthreads();  // nobody reads the tiles any more\n    if", "    if", {"race"}),
        ("tiles.b[step], places...", "tiles.b[0], places...", {"race", "wait"}),
    ],
)
def test_what_holds_the_values_of_tf32_together(tmp_path, right, wrong, kinds):
    """They are copied while scores become weights: a wait, two barriers, a place for each step."""
    source = SOURCES / "attention_tensor.cu"
    broken = broken_copy(tmp_path, source, source.name, right, wrong)
    q, k, v = arrays((1, 64, 16), (1, 64, 16), (1, 64, 64))
    g, scale = attention._geometry(q, k, v, None, False), np.float32(0.25)
    for seed in range(3):
        module = emulator.load(broken, check=True, seed=seed)
        out, lse = np.zeros_like(v), np.zeros((1, 64), np.float32)
        with pytest.raises(emulator.KernelError) as caught:
            module.attention_2_tensor_tf32[(1, 1, 1), 128](q, k, v, None, None, out, lse, g, scale)
        assert caught.value.kind in kinds | {"uninitialised"}, caught.value


# ---------------------------------------------------------------- arrays of bfloat16
@contextlib.contextmanager
def every_head_rounded_beforehand():
    before, attention.LEAST_QUERIES = attention.LEAST_QUERIES, 1
    try:
        yield
    finally:
        attention.LEAST_QUERIES = before


@given(st.data(), SEEDS)
def test_attention_of_arrays_that_are_rounded_beforehand(data, seed):
    (q, k, v, mask), options, _ = draw_case(data, np.float32)
    with every_head_rounded_beforehand():
        forward_agrees("bf16", seed, q, k, v, mask, **options)


@pytest.mark.parametrize("causal", [False, True])
def test_rounded_beforehand_of_several_tiles(causal):
    """More queries and keys than a step has, narrow heads and wide ones; and its backward pass."""
    with every_head_rounded_beforehand():
        both_agree("bf16", 3, *arrays((2, 67, 70), (2, 131, 70), (2, 131, 66)), is_causal=causal)
        both_agree("bf16", 4, *arrays((1, 131, 33), (1, 67, 33), (1, 67, 5)), is_causal=causal)
        forward_agrees("bf16", 5, *arrays((1, 5, 128), (1, 200, 128), (1, 200, 128)),
                       is_causal=causal)  # fmt: skip


def test_queries_that_see_nothing_and_large_scores_when_rounded_beforehand():
    q, k, v = arrays((1, 70, 4), (1, 70, 4), (1, 70, 4))
    allowed = np.random.default_rng(2).random((1, 70, 70)) < 0.5
    allowed[:, 3] = False
    with every_head_rounded_beforehand():
        out, lse = forward_agrees("bf16", 1, q, k, v, allowed)
        assert (out[:, 3] == 0).all() and np.isneginf(lse[:, 3]).all()
        with cuda.emulation(check=True):
            out, lse = attention.attention_3_bf16(300 * q, 300 * k, v)
    assert np.isfinite(out).all() and np.isfinite(lse).all()
    assert np.abs(out).max() <= 1.01 * np.abs(v).max()


@pytest.mark.parametrize("queries, keys, d, dv, kernel", [
    (256, 8, 64, 64, "attention_3_pipeline_64"),
    (256, 8, 4, 65, "attention_3_pipeline_128"),
    (255, 8, 64, 64, "attention_2_tensor_bf16"),
    (256, 8, 129, 4, "attention_2_tensor_bf16"),
    (256, 0, 4, 4, "attention_2_tensor_bf16"),
])  # fmt: skip
def test_which_heads_are_rounded_beforehand(monkeypatch, queries, keys, d, dv, kernel):
    seen: list[str] = []
    for module in (attention, rounding):
        monkeypatch.setattr(module, "launch", lambda source, kernel, *a, **o: seen.append(kernel))
    attention.attention_3_bf16(*arrays((1, queries, d), (1, keys, d), (1, keys, dv)))
    assert seen == ["round_n"] * (3 if "pipeline" in kernel else 0) + [kernel]


def attention_bf16(rows, width, source=SOURCES / "attention_bf16.cu", **how):
    """(module, out, out in float64 of weights that are not rounded) of one head."""
    q, k, v = (rounded(x, "bf16").astype(np.float32) for x in arrays(*[(1, rows, width)] * 3))
    stored = [(x.view(np.uint32) >> 16).astype(np.uint16) for x in (q, k, v)]
    out, lse = np.full_like(q, np.nan), np.full((1, rows), np.nan, np.float32)
    module = emulator.load(source, **how)
    if module.count:
        module.reset_counts()
    side = 64 if width <= 64 else 128
    g, scale = attention._geometry(q, k, v, None, False), np.float32(0.125)
    kernel = getattr(module, f"attention_3_pipeline_{side}")
    given = *stored, None, None, out, lse, g, scale
    kernel[(-(-rows // 64), 1, 1), 128, 5 * 64 * side * 2](*given)
    s, _, _ = scores_of(q.astype(float), k.astype(float), None, False, 0.125)
    return module, out, weights(s, log_sum_exp(s)) @ v


@pytest.mark.parametrize("width", [64, 128])
def test_attention_of_bfloat16_arrays_has_no_bank_conflict_and_no_sector_too_many(width):
    """128 queries and keys: two blocks of two steps."""
    module, out, exact = attention_bf16(128, width, count=True)
    assert np.linalg.norm(out - exact) <= 4e-3 * np.linalg.norm(exact)
    assert {s.operation for s in module.counts() if s.space == "shared"} == {"read", "write"}
    assert all(s.extra == 0 for s in module.counts())
    whole = 128 * width * 2 // 32
    moved = {
        what: sum(s.transactions for s in module.counts()
                  if s.space == "global" and s.operation == what)
        for what in ("read", "write")
    }  # fmt: skip
    assert moved["read"] == whole + 2 * 2 * whole  # q once; k and v by each block
    assert moved["write"] == 2 * whole + 128 * 4 // 32


@pytest.mark.parametrize(
    "right, wrong, kinds",
    [
        ("    cp_async_wait<0>();\n    __sync", "    __sync", {"wait"}),
        ("    __syncthreads();", "", {"race", "wait", "uninitialised"}),
        ("copy(step + 1);", "copy(step + 2);", {"race", "wait", "uninitialised"}),
        ("row0 + row < rows && column", "column", {"out-of-bounds"}),
    ],
)
def test_what_holds_the_steps_of_attention_together(tmp_path, right, wrong, kinds):
    source = SOURCES / "attention_bf16.cu"
    broken = broken_copy(tmp_path, source, source.name, right, wrong)
    # Rows that are not there must lie in the guard behind an array, not in what lies behind that.
    rows, width = (97, 8) if kinds == {"out-of-bounds"} else (130, 64)
    for seed in range(3):
        with pytest.raises(emulator.KernelError) as caught:
            attention_bf16(rows, width, source=broken, check=True, seed=seed)
        assert caught.value.kind in kinds, caught.value


def test_without_the_swizzle_of_attention_the_counters_show_it(tmp_path):
    swizzle = "((word / 4) ^ (row / (32 / WORDS) % (WORDS / 4)))"
    source = SOURCES / "attention_bf16.cu"
    plain = broken_copy(tmp_path, source, "tensor.cuh", swizzle, "(word / 4)")
    module, _, _ = attention_bf16(64, 64, source=plain, count=True)
    reads = [s for s in module.counts() if s.space == "shared" and s.operation == "read"]
    assert sum(s.extra for s in reads) == 7 * sum(s.ideal for s in reads)
