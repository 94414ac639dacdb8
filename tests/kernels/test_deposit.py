"""Rows added up by an index: every rung against the formula, and what a lookup's gradient is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from minigen_kernels import backend_of

from minigen.testing.strategies import laid_out, sizes
from tests.kernels.ladder import FLOATS, rungs_agree


# Rows of 64 and 130 numbers: a block of columns and more, as the straight rung shares them out.
@given(st.data(), st.sampled_from(FLOATS), sizes(most=3), st.one_of(sizes(), st.just(67)),
       st.one_of(sizes(), st.sampled_from([64, 130])), st.sampled_from([1, 3, 11]))  # fmt: skip
def test_rungs(data, dtype, blocks, rows, width, size):
    rng = np.random.default_rng(rows + 10 * width)
    y = data.draw(laid_out(rng.standard_normal((blocks, rows, width)).astype(dtype)))
    rungs_agree("deposit", y, rng.integers(0, size, rows), size, terms=rows)


@pytest.mark.parametrize("dtype", FLOATS)
def test_rows_that_nobody_names_are_0_and_a_row_named_twice_is_a_sum(dtype):
    y = np.array([[[1, 2], [3, 4], [5, 6]]], dtype)
    x = backend_of(y).deposit(y, np.array([2, 0, 2]), 4)
    np.testing.assert_array_equal(x, [[[3, 4], [0, 0], [6, 8], [0, 0]]])
