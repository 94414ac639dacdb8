"""The kernels of a captured step, by the emulator in check mode, against what they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from minigen_kernels import cuda, reference
from minigen_kernels.cuda import optimizer, random, step
from minigen_kernels.random import philox_words

from tests.kernels.ladder import FLOATS, close
from tests.kernels.needs import GXX

pytestmark = [pytest.mark.emulator, GXX]
COUNTERS = st.one_of(
    st.integers(0, 2**128 - 2000),
    st.sampled_from([0, 2**32 - 3, 2**64 - 1, 2**64 - 3, 2**96 - 2]),  # where a carry goes on
)


@given(st.integers(0, 2**64 - 1), COUNTERS, st.integers(0, 600), st.integers(0, 5))
def test_words_are_those_of_the_formula(key, counter, n, moved):
    with cuda.emulation(check=True, seed=n):
        words = random.words(key, counter, n)
        further = random.words(key, counter, n, moved=np.array(moved))
    np.testing.assert_array_equal(words, philox_words(key, counter, n))
    np.testing.assert_array_equal(further, philox_words(key, counter + moved, n))


@given(st.lists(st.one_of(st.floats(), st.integers(-(2**63), 2**63 - 1)), max_size=600))
def test_numbers_arrive_bit_by_bit(values):
    to = np.full(len(values) + 1, 77, np.int64)
    with cuda.emulation(check=True, seed=len(values)):
        step.store(to, values)
    for value, found in zip(values, to[:-1], strict=True):
        expected = np.float64(value).view(np.int64) if isinstance(value, float) else value
        assert found == expected
    assert to[-1] == 77


@given(st.sampled_from(FLOATS), st.sampled_from([1, 3, 255, 256, 257, 1000]), st.booleans(),
       st.integers(1, 50), st.sampled_from([0.0, 0.1]))  # fmt: skip
def test_a_recorded_adam_reads_what_changes_from_memory(dtype, n, decoupled, t, decay):
    rng = np.random.default_rng(n + t)
    p, g, m, v = rng.standard_normal((4, n)).astype(dtype)
    v = np.abs(v)
    expected = [x.copy() for x in (p, m, v)]
    rule = {"beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": decay, "decoupled": decoupled}
    reference.adam([expected[0]], [g], [expected[1]], [expected[2]], lr=0.01, step=t, **rule)
    changing = np.array(optimizer.changes(0.01, 0.9, 0.99, decay, decoupled, t))
    with cuda.emulation(check=True, seed=n):
        optimizer.adam_recorded([p], [g], [m], [v], changing, **rule)
    for found, right in zip((p, m, v), expected, strict=True):
        close(found, right, 4, "adam_recorded")
