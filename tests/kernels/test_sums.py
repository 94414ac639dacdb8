"""Sums over the rows of a matrix: rungs against the formula, laws, accuracy, bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from minigen_kernels import backend_of
from minigen_kernels.cpu import sums

from minigen.testing.strategies import laid_out, sizes
from tests.kernels.ladder import (
    FLOATS,
    largest,
    rungs_agree,
    same_bits_elsewhere,
    same_bits_for_any_threads,
)

# What one task takes, and what makes several tasks, in either direction.
LONG = st.one_of(sizes(), st.sampled_from([31, 64, 257]))
SHAPES = [(1, 1), (40_003, 3), (70_001, 1), (700, 129), (517, 300), (9, 3001), (2, 40_000)]


def normal(dtype, *shape):
    return np.random.default_rng(shape).standard_normal(shape).astype(dtype)


@given(st.data(), st.sampled_from(FLOATS), LONG, LONG)
def test_column_sums_rungs(data, dtype, rows, width):
    x = data.draw(laid_out(normal(dtype, rows, width)))
    rungs_agree("column_sums", x, terms=rows, least=largest(x))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", SHAPES)
def test_whole_numbers_are_summed_exactly_by_any_number_of_threads(dtype, shape):
    x = np.random.default_rng(shape).integers(-9, 10, shape).astype(dtype)
    y = same_bits_for_any_threads(lambda: backend_of(x).column_sums(x))
    np.testing.assert_array_equal(y, x.astype(np.int64).sum(axis=0))


@pytest.mark.parametrize("shape", SHAPES)
def test_sums_are_as_near_to_the_truth_as_float32_can_say(shape):
    x = normal(np.float32, *shape) + 1
    y, exact = same_bits_for_any_threads(lambda: backend_of(x).column_sums(x)), x.sum(0, float)
    np.testing.assert_allclose(y, exact, rtol=0.51 * np.finfo(np.float32).eps)
    assert np.linalg.norm(y - exact) <= np.linalg.norm(x.sum(axis=0) - exact)


@given(st.integers(1, 60), st.integers(1, 40), st.integers(0, 999))
def test_rows_in_another_order_have_the_same_sum(rows, width, seed):
    x, order = normal(np.float64, rows, width), np.random.default_rng(seed).permutation(rows)
    f = backend_of(x).column_sums
    np.testing.assert_allclose(f(x[order]), f(x), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(7, 5), (700, 129)])
def test_a_bad_value_spoils_its_own_column_only(bad, shape):
    x = normal(np.float32, *shape)
    x[4, 2] = bad
    y = backend_of(x).column_sums(x)
    np.testing.assert_array_equal(y[2], bad)
    assert np.isfinite(np.delete(y, 2)).all()


def test_the_shapes_above_make_one_task_and_several():
    found = {(rows * width > sums.SMALL, width > sums.COLUMNS, width < sums.NARROW)
             for rows, width in SHAPES}  # fmt: skip
    assert len(found) >= 5


def test_same_bits_in_another_process():
    same_bits_elsewhere(
        "import numpy as np\n"
        "from minigen_kernels import backend_of\n"
        "x = np.random.default_rng(0).standard_normal((3001, 67)).astype(np.float32)\n"
        "result = (backend_of(x).column_sums(x),)\n"
    )
