"""Fused attention: rungs against the formula, slopes, laws, memory, and hard rows."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from minigen_kernels import backend_of, reference

from minigen.testing.strategies import laid_out, sizes
from tests.kernels.ladder import (
    FLOATS,
    largest,
    rungs_agree,
    same_bits_elsewhere,
    slope_agrees,
)

NOTHING = np.empty(0)


def draw_mask(kind, rng, batch, queries, keys, dtype):
    """None, or a mask (Bm, T, S), Bm = 1 or the batch; a query may be left without a key."""
    if kind == "none":
        return None
    shape = (rng.choice([1, batch]) if batch else 0, queries, keys)
    if kind == "float":
        bias = rng.standard_normal(shape).astype(dtype)
        return np.where(rng.random(shape) < 0.2, dtype(-np.inf), bias)
    return rng.random(shape) < 0.6


def draw_case(data, dtype, zero=True):
    """(q, k, v, mask) and the options; small sizes, and sizes about the tile's 64."""
    batch, d, dv = (data.draw(sizes(zero, most)) for most in (3, 7, 7))
    few, many = sizes(zero), st.sampled_from([63, 64, 65, 67])
    queries, keys = data.draw(
        st.one_of(st.tuples(few, few), st.tuples(many, few), st.tuples(few, many))
    )
    rng = np.random.default_rng(batch + 5 * d + 50 * queries + 7 * keys)
    shapes = (batch, queries, d), (batch, keys, d), (batch, keys, dv)
    arrays = [data.draw(laid_out(rng.standard_normal(s).astype(dtype))) for s in shapes]
    kind = data.draw(st.sampled_from(["none", "bool", "float"]))
    mask = draw_mask(kind, rng, batch, queries, keys, dtype)
    scale = data.draw(st.sampled_from([None, 0.3, 1.7]))
    return [*arrays, mask], {"is_causal": data.draw(st.booleans()), "scale": scale}, rng


@given(st.data(), st.sampled_from(FLOATS))
def test_rungs(data, dtype):
    (q, k, v, mask), options, rng = draw_case(data, dtype)
    terms = q.shape[2] + k.shape[1]
    out, lse = rungs_agree("attention", q, k, v, mask, **options, terms=terms)
    gout = data.draw(laid_out(rng.standard_normal(out.shape).astype(dtype)))
    terms += q.shape[1] + v.shape[2]
    least = largest(gout, v) * max(largest(q), largest(k))  # a query that sees one key: 0 - 0
    arguments = (gout, q, k, v, out, lse, mask)
    rungs_agree("attention_backward", *arguments, **options, terms=terms, least=least)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("batch, queries, keys", [(1, 131, 70), (3, 65, 130)])
def test_rungs_over_several_tiles(dtype, causal, batch, queries, keys):
    rng = np.random.default_rng(queries)
    d, dv = 3, 18
    shapes = (batch, queries, d), (batch, keys, d), (batch, keys, dv), (batch, queries, dv)
    q, k, v, gout = (rng.standard_normal(s).astype(dtype) for s in shapes)
    out, lse = rungs_agree("attention", q, k, v, None, causal, terms=keys)
    rungs_agree("attention_backward", gout, q, k, v, out, lse, None, causal, terms=keys + queries)


@given(st.data(), st.sampled_from(FLOATS), st.booleans())
def test_any_leading_axes_however_they_lie(data, dtype, causal):
    """Heads beside each other in one array, as a layer makes q, k and v; the results lie alike."""
    batch, heads, tokens, d = (data.draw(sizes(zero, most)) for zero, most in
                               ((True, 3), (True, 3), (False, 9), (False, 20)))  # fmt: skip
    rng = np.random.default_rng(batch + 5 * heads + 25 * tokens + 250 * d)
    packed = rng.standard_normal((batch, tokens, 3, heads, d)).astype(dtype)
    q, k, v = packed.transpose(2, 0, 3, 1, 4)
    if data.draw(st.booleans()) and batch and heads:
        q, k, v = q[0, 0], k[0, 0], v[0, 0]  # no leading axis at all
    lead = q.shape[:-2]
    common = data.draw(st.booleans())
    mask = rng.random(((1,) * len(lead) if common else lead) + (tokens, tokens)) < 0.7
    mask = None if causal else mask
    out, lse = rungs_agree("attention", q, k, v, mask, causal, terms=tokens + d)
    gout = rng.standard_normal(out.shape).astype(dtype)
    least = largest(gout, v) * max(largest(q), largest(k))
    arguments = gout, q, k, v, out, lse, mask, causal
    rungs_agree("attention_backward", *arguments, terms=2 * (tokens + d), least=least)
    here = backend_of(NOTHING)
    out, _ = here.attention(q, k, v, mask, causal)
    flat = [np.ascontiguousarray(x).reshape(-1, tokens, d) for x in (q, k, v)]
    rows = None if mask is None else mask.reshape(-1, tokens, tokens)
    same, _ = here.attention(*flat, rows, causal)
    np.testing.assert_array_equal(out.reshape(same.shape), same)  # to the last bit
    if len(lead) == 2 and out.size:
        assert out.transpose(0, 2, 1, 3).flags.c_contiguous
    if mask is None and len(lead) == 2 and out.size:
        slopes = here.attention_backward(*arguments)
        apart = here.attention_backward(gout, *(x.copy() for x in (q, k, v)), *arguments[4:])
        for together, alone in zip(slopes, apart, strict=True):
            np.testing.assert_array_equal(together, alone)


def test_gradients_of_the_thirds_of_an_array_are_thirds_of_one():
    """So that nobody copies them together; as many heads as make no parts of one."""
    packed = np.random.default_rng(0).standard_normal((8, 5, 3, 2, 16)).astype(np.float32)
    q, k, v = packed.transpose(2, 0, 3, 1, 4)
    out, lse = backend_of(q).attention(q, k, v)
    gq, gk, gv = backend_of(q).attention_backward(q, q, k, v, out, lse)
    places = [x.__array_interface__["data"][0] for x in (gq, gk, gv)]
    assert gq.strides == q.strides and np.ptp(np.diff(places)) == 0
    assert places[1] - places[0] == k.__array_interface__["data"][0] - q.ctypes.data


@given(st.data(), st.sampled_from(FLOATS), st.sampled_from(["none", "bool", "float"]))
def test_one_query_against_a_cache(data, dtype, kind):
    """Keys and values are the first rows of longer arrays; what lies behind them is not looked at.

    Sizes about the lanes of all vectors, and a number beside each key that is not one of its own.
    """
    batch, heads = data.draw(sizes(False, 3)), data.draw(sizes(False, 3))
    d, dv = (data.draw(st.sampled_from([1, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33])) for _ in "kv")
    keys, room = data.draw(st.sampled_from([1, 2, 5, 8, 15, 16, 17, 33, 67])), 70
    rng = np.random.default_rng(batch + 5 * heads + 25 * d + 50 * dv + 7 * keys)
    q = rng.standard_normal((batch, 1, 3, heads, d)).astype(dtype)[:, :, 1].transpose(0, 2, 1, 3)
    k, v = (np.full((batch, heads, room, n + 1), np.nan, dtype) for n in (d, dv))
    k, v = k[:, :, :keys, :d], v[:, :, :keys, :dv]
    k[...], v[...] = rng.standard_normal(k.shape), rng.standard_normal(v.shape)
    mask = draw_mask(kind, rng, batch * heads, 1, keys, dtype)
    if mask is not None:
        mask = mask.reshape((*(1, 1), 1, keys) if len(mask) == 1 else (batch, heads, 1, keys))
    causal = mask is None and data.draw(st.booleans())
    out, _ = rungs_agree("attention", q, k, v, mask, causal, terms=keys + d)
    assert np.isfinite(out).all()


@pytest.mark.parametrize("dtype", FLOATS)
def test_one_query_meets_nan_and_infinity(dtype):
    """Each in a key and in a value, of a row of its own; -inf alone hides a key."""
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((6, n, 5)).astype(dtype) for n in (1, 20, 20))
    q[:] = abs(q)
    k[0, 3, 1], k[1, 17, 4], k[2, :, 0] = np.nan, np.inf, -np.inf
    v[3, 19, 2], v[4, 0, 3] = np.nan, -np.inf
    rungs_agree("attention", q, k, v, terms=25)


@given(st.data(), st.integers(0, 999))
def test_slope(data, seed):
    (q, k, v, mask), options, rng = draw_case(data, np.float64, zero=False)
    q, k, v = (a[:, :9] for a in (q, k, v))
    mask = None if mask is None else mask[:, :9, :9]
    out, lse = reference.attention(q, k, v, mask, **options)
    gout = rng.standard_normal(out.shape)
    grads = backend_of(NOTHING).attention_backward(gout, q, k, v, out, lse, mask, **options)

    def forward(q, k, v):
        return reference.attention(q, k, v, mask, **options)[0]

    slope_agrees(forward, (q, k, v), gout, grads, seed)


@pytest.mark.parametrize("dtype", FLOATS)
def test_one_key_gives_its_value(dtype):
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal(s).astype(dtype) for s in ((2, 70, 5), (2, 1, 5), (2, 1, 3)))
    out, lse = backend_of(q).attention(q, k, v, scale=1.0)
    np.testing.assert_allclose(out, np.broadcast_to(v, out.shape), rtol=4 * np.finfo(dtype).eps)
    score = np.einsum("btd,bsd->bt", q.astype(float), k)
    np.testing.assert_allclose(lse, score, rtol=1e-5, atol=1e-5)


@given(st.sampled_from(FLOATS), st.integers(1, 90), st.integers(0, 99))
def test_causal_output_ignores_later_keys(dtype, keys, seed):
    rng = np.random.default_rng(seed)
    q, k, v = rng.standard_normal((3, 1, 90, 4)).astype(dtype)
    i = int(rng.integers(0, keys))
    before, _ = backend_of(q).attention(q, k[:, :keys], v[:, :keys], is_causal=True)
    k[:, i + 1 :], v[:, i + 1 :] = 1e3, -1e3
    after, _ = backend_of(q).attention(q, k[:, :keys], v[:, :keys], is_causal=True)
    np.testing.assert_array_equal(before[:, : i + 1], after[:, : i + 1])


@given(st.sampled_from(FLOATS), st.integers(1, 140), st.integers(0, 99))
def test_order_of_keys_and_a_shift_of_scores_change_nothing(dtype, keys, seed):
    rng = np.random.default_rng(seed)
    q, k, v = (rng.standard_normal((1, n, 4)).astype(dtype) for n in (3, keys, keys))
    attention, order = backend_of(q).attention, rng.permutation(keys)
    out, lse = attention(q, k, v)
    tol = 64 * np.finfo(dtype).eps * (4 + np.abs(v).max())
    for other in (
        attention(q, k[:, order], v[:, order]),
        attention(q, k, v, np.full((1, 3, keys), dtype(2.0))),
    ):
        np.testing.assert_allclose(other[0], out, rtol=tol, atol=tol)
    np.testing.assert_allclose(other[1], lse + 2, rtol=tol, atol=tol)
    ones, _ = attention(q, k, np.ones_like(v))
    np.testing.assert_allclose(ones, 1, rtol=tol)


def test_a_float_mask_of_infinities_is_the_boolean_mask():
    rng = np.random.default_rng(1)
    q, k, v = rng.standard_normal((3, 2, 67, 5))
    allowed = rng.random((2, 67, 67)) < 0.3
    bias = np.where(allowed, 0.0, -np.inf)
    for a, b in zip(
        backend_of(q).attention(q, k, v, allowed), backend_of(q).attention(q, k, v, bias),
        strict=True,
    ):  # fmt: skip
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_query_that_sees_nothing(dtype):
    rng = np.random.default_rng(2)
    q, k, v, gout = rng.standard_normal((4, 2, 70, 4)).astype(dtype)
    allowed = rng.random((1, 70, 70)) < 0.5
    allowed[:, 3] = False
    out, lse = rungs_agree("attention", q, k, v, allowed, terms=80)
    assert (out[:, 3] == 0).all() and np.isneginf(lse[:, 3]).all()
    gq, gk, gv = rungs_agree("attention_backward", gout, q, k, v, out, lse, allowed, terms=200)
    assert (gq[:, 3] == 0).all() and np.isfinite(gk).all() and np.isfinite(gv).all()
    gout[:, 3], q[:, 3] = 1e3, -1e3
    again = backend_of(q).attention_backward(gout, q, k, v, out, lse, allowed)
    np.testing.assert_array_equal(again[1], backend_of(q).attention_backward(
        np.where(np.arange(70)[:, None] == 3, 0, gout).astype(dtype), q, k, v, out, lse, allowed
    )[1])  # fmt: skip


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_bad_query_spoils_its_own_row_only(bad):
    rng = np.random.default_rng(3)
    q, k, v = rng.standard_normal((3, 1, 70, 4)).astype(np.float32)
    q[0, 5, 2] = bad
    out, lse = rungs_agree("attention", q, k, v, terms=80)
    assert np.isnan(out[0, 5]).all() and np.isfinite(np.delete(out, 5, axis=1)).all()
    assert np.isnan(lse[0, 5]) or np.isinf(lse[0, 5])


def test_large_scores_do_not_overflow():
    q, k, v = (np.random.default_rng(4).standard_normal((1, 65, 4)) for _ in range(3))
    for dtype in FLOATS:
        arrays = [(300 * a).astype(dtype) for a in (q, k)] + [v.astype(dtype)]
        out, lse = backend_of(arrays[0]).attention(*arrays, scale=1.0)
        assert np.isfinite(out).all() and np.isfinite(lse).all()
        np.testing.assert_array_less(np.abs(out), np.abs(v).max() + 1e-3)


def test_memory_grows_with_the_length_not_with_its_square():
    kernels = backend_of(NOTHING)
    peaks = []
    for length in (1024, 4096):
        q, k, v = np.random.default_rng(5).standard_normal((3, 1, length, 4)).astype(np.float32)
        out, lse = kernels.attention(q, k, v)  # compiled before anything is measured
        tracemalloc.start()
        kernels.attention(q, k, v)
        kernels.attention_backward(out, q, k, v, out, lse)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 6 * peaks[0]  # 16 times, if it grew with the square


def test_same_bits_in_another_process():
    same_bits_elsewhere(
        "import numpy as np\n"
        "from minigen_kernels import backend_of\n"
        "q, k, v, g = np.random.default_rng(0).standard_normal((4, 3, 150, 8)).astype(np.float32)\n"
        "f = backend_of(q)\n"
        "out, lse = f.attention(q, k, v, is_causal=True)\n"
        "result = (out, lse, *f.attention_backward(g, q, k, v, out, lse, is_causal=True))\n"
    )
