"""Adam: every rung against the formula, one step by hand, layouts, and what must not change."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from minigen_kernels.cpu import LADDERS

from minigen.testing.strategies import laid_out, shapes
from tests.kernels.ladder import FLOATS, close, same_bits_elsewhere

RUNGS = LADDERS["adam"]


@given(
    st.data(),
    st.sampled_from(FLOATS),
    st.one_of(st.lists(shapes(0, 3), max_size=3), st.lists(shapes(0, 1), min_size=16, max_size=34)),
    st.sampled_from([0.0, 0.1]),
    st.booleans(),
    st.integers(1, 2000),
)
def test_adam_rungs(data, dtype, all_shapes, weight_decay, decoupled, step):
    rng = np.random.default_rng(len(all_shapes) + step)
    lists = [
        [data.draw(laid_out(np.asarray(rng.standard_normal(s), dtype))) for s in all_shapes]
        for _ in range(3)
    ]
    lists.append([data.draw(laid_out(np.asarray(rng.random(s), dtype))) for s in all_shapes])
    options = dict(lr=0.03, beta1=0.9, beta2=0.99, eps=1e-8, weight_decay=weight_decay)
    expected = [[a.copy() for a in arrays] for arrays in lists]
    grads = [g.copy() for g in lists[1]]
    assert RUNGS[0](*expected, **options, decoupled=decoupled, step=step) is None
    for rung in RUNGS[1:]:
        # a copy of the values into the same memory layout, so that strided parameters stay strided
        got = [[_like(a) for a in arrays] for arrays in lists]
        assert rung(*got, **options, decoupled=decoupled, step=step) is None
        for all_got, all_expected in zip(got, expected, strict=True):
            for g, e in zip(all_got, all_expected, strict=True):
                close(g, e, 4, rung.__name__)
        for g, before in zip(got[1], grads, strict=True):
            np.testing.assert_array_equal(g, before)


def _like(array):
    """The same values in memory of the same strides."""
    base = array if array.base is None else array.base
    if base.size == array.size:
        return array.copy(order="K")
    copy = np.zeros([2 * n for n in array.shape], array.dtype)
    view = copy[tuple(slice(None, None, 2) for _ in array.shape)]
    view[...] = array
    return view


@pytest.mark.parametrize("rung", range(len(RUNGS)))
def test_tensors_of_two_types_and_gradients_that_may_not_be_written(rung):
    lists = [[np.full(3, 2.0, t) for t in (np.float32, np.float64) * 9] for _ in range(4)]
    lists[1][0].flags.writeable = lists[1][1].flags.writeable = False
    lists[1][2] = np.frombuffer(b"." + lists[1][2].tobytes(), np.float32, offset=1)  # at odd bytes
    options = dict(lr=0.1, beta1=0.9, beta2=0.99, eps=1e-8, weight_decay=0.1, decoupled=False)
    RUNGS[rung](*lists, **options, step=7)
    for changed in (lists[0], lists[2], lists[3]):
        for a in changed:
            np.testing.assert_allclose(a, changed[1], rtol=1e-6)
            assert not np.allclose(a, 2)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("rung", range(len(RUNGS)))
def test_first_step_by_hand(rung, dtype):
    p, g = np.array([1, -2, 0.5], dtype), np.array([4, -0.25, 1e-3], dtype)
    m, v = np.zeros_like(p), np.zeros_like(p)
    options = dict(lr=0.1, beta1=0.9, beta2=0.999, eps=0.0, weight_decay=0.0)
    RUNGS[rung]([p], [g], [m], [v], **options, decoupled=False, step=1)
    # m̂ = g and v̂ = g²: the first step is lr against the sign of the slope
    np.testing.assert_allclose(p, np.array([0.9, -1.9, 0.4]), rtol=1e-5)
    np.testing.assert_allclose(m, 0.1 * g, rtol=1e-6)
    np.testing.assert_allclose(v, 0.001 * g * g, rtol=1e-4)


@pytest.mark.parametrize("rung", range(len(RUNGS)))
def test_decoupled_decay_does_not_pass_through_the_moments(rung):
    options = dict(lr=0.1, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.5, step=1)
    for decoupled, m_expected, p_expected in ((True, 0.0, 1.9), (False, 0.1, 1.9)):
        p, g, m, v = np.array([2.0]), np.zeros(1), np.zeros(1), np.zeros(1)
        RUNGS[rung]([p], [g], [m], [v], **options, decoupled=decoupled)
        np.testing.assert_allclose(m, m_expected, atol=1e-12)
        np.testing.assert_allclose(p, p_expected, rtol=1e-6)


def test_a_bad_slope_spoils_its_own_element_only():
    p, g = np.ones(40, np.float32), np.ones(40, np.float32)
    g[17] = np.nan
    m, v = np.zeros_like(p), np.zeros_like(p)
    options = dict(lr=0.1, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0)
    RUNGS[-1]([p], [g], [m], [v], **options, decoupled=True, step=1)
    assert np.flatnonzero(np.isnan(p)).tolist() == [17]


def test_same_bits_in_another_process():
    same_bits_elsewhere(
        "import numpy as np\n"
        "from minigen_kernels import backend_of\n"
        "r = np.random.default_rng(0)\n"
        "p, g, m, v = (r.random(5003).astype(np.float32) for _ in range(4))\n"
        "backend_of(p).adam([p], [g], [m], [v], lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8,"
        " weight_decay=0.01, decoupled=True, step=7)\n"
        "result = (p, m, v)\n"
    )
