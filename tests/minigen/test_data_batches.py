"""Batches: every epoch a permutation, and a position that survives JSON."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigen.data import batches, permutation
from minigen.errors import CheckpointError

SIZES = dict(n=st.integers(1, 40), batch=st.integers(1, 50), seed=st.integers(0, 2**64 - 1))


def epoch_of(stream):
    epoch, parts = stream.epoch, []
    while stream.epoch == epoch:
        parts.append(next(stream))
    return parts


@given(**SIZES, epoch=st.integers(0, 2**40))
def test_permutation_is_one_and_depends_on_seed_and_epoch_only(n, batch, seed, epoch):
    order = permutation(n, seed, epoch)
    assert order.dtype == np.int64
    np.testing.assert_array_equal(np.sort(order), np.arange(n))
    np.testing.assert_array_equal(order, permutation(n, seed, epoch))


def test_permutations_differ_between_epochs_and_seeds_and_are_uniform():
    assert not np.array_equal(permutation(100, 3, 0), permutation(100, 3, 1))
    assert not np.array_equal(permutation(100, 3, 0), permutation(100, 4, 0))
    firsts = np.bincount([permutation(4, 7, epoch)[0] for epoch in range(4000)], minlength=4)
    assert np.all(np.abs(firsts - 1000) < 5 * np.sqrt(4000 * 0.25 * 0.75))


def test_order_is_the_same_in_every_release():
    np.testing.assert_array_equal(permutation(8, 1, 2), [7, 5, 3, 1, 4, 0, 6, 2])


@given(**SIZES)
def test_an_epoch_visits_every_item_once(n, batch, seed):
    stream = batches(n, batch, seed=seed, drop_last=False)
    for _ in range(3):
        parts = epoch_of(stream)
        assert len(parts) == stream.steps_per_epoch
        assert all(len(part) == min(batch, n) for part in parts[:-1])
        np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(n))


@given(**SIZES)
def test_drop_last_gives_full_batches_without_repeats(n, batch, seed):
    stream = batches(range(n), batch, seed=seed)
    for _ in range(3):
        parts = epoch_of(stream)
        assert len(parts) == stream.steps_per_epoch == max(1, n // batch)
        assert {len(part) for part in parts} == {min(batch, n)}
        flat = np.concatenate(parts)
        assert len(np.unique(flat)) == len(flat)


@given(**SIZES, before=st.integers(0, 30), drop_last=st.booleans(), shuffle=st.booleans())
def test_resumes_exactly_through_json(n, batch, seed, before, drop_last, shuffle):
    options = dict(drop_last=drop_last, shuffle=shuffle)
    unbroken = batches(n, batch, seed=seed, **options)
    for _ in range(before):
        next(unbroken)
    resumed = batches(n, batch, seed=0, **options)
    resumed.load_state_dict(json.loads(json.dumps(unbroken.state_dict())))
    for _ in range(7):
        np.testing.assert_array_equal(next(unbroken), next(resumed))


def test_a_batch_may_be_changed_by_its_owner():
    stream, other = batches(10, 5, seed=1), batches(10, 5, seed=1)
    next(stream)[:] = -1
    next(other)
    np.testing.assert_array_equal(next(stream), next(other))


def test_unshuffled_order():
    stream = batches(5, 2, shuffle=False, drop_last=False)
    assert [next(stream).tolist() for _ in range(4)] == [[0, 1], [2, 3], [4], [0, 1]]


@pytest.mark.parametrize("changed", [dict(n=11), dict(batch=3), dict(drop_last=False)])
def test_other_data_or_batches_are_refused(changed):
    state = batches(10, 4).state_dict()
    options = dict(n=10, batch=4, drop_last=True) | changed
    other = batches(options["n"], options["batch"], drop_last=options["drop_last"])
    with pytest.raises(CheckpointError, match="the saved run had"):
        other.load_state_dict(state)


@pytest.mark.parametrize("n, batch, seed", [(0, 4, 0), (4, 0, 0), (4, 4, -1), (4, 4, 2**64)])
def test_impossible_arguments_are_refused(n, batch, seed):
    with pytest.raises(ValueError, match="at least"):
        batches(n, batch, seed=seed)
