"""Correct kernels: the right result, and no alarm, under fifty seeds; and so in both modes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from minigen_kernels import emulator

from tests.kernels.needs import GXX

pytestmark = [pytest.mark.emulator, GXX]
SOURCE = Path(__file__).parent / "emulated" / "correct.cu"
POLYNOMIAL = np.array([(1.0, -2.0, 0.5)], "f8, f8, f8")
X = np.random.default_rng(0).standard_normal(256).astype(np.float32)
X64 = X.astype(np.float64)
BLOCKS, WARPS = X64.reshape(4, 64), X64.reshape(8, 32)


def everywhere(per_group, size):
    """Each group's own number, at all its places."""
    return np.repeat(per_group, size)


def swapped_pairs():
    return X64.reshape(128, 2)[:, ::-1].ravel()


def tail_counts():
    return np.where(np.arange(256) < 200, 100, 56)


def zero_filled():
    kept = BLOCKS.copy()
    kept[:, 48:] = 0
    return kept.ravel()


def half_sums_at_their_start():
    y = np.zeros((8, 32))
    y[:, 0] = WARPS[:, :16].sum(1)
    return y.ravel()


def some_plus_one():
    y = WARPS.copy()
    y[[0, 2, 4, 6], :20] += 1  # thread 1 of a block is in its first warp
    return y.ravel()


def block_short_warps():
    y = np.full(256, np.nan)
    for b in range(8):
        part = X64[20 * b : 20 * b + 20]
        y[20 * b : 20 * b + 20] = part[0] + (part > 0).sum()
    return y


def up_to(n):
    y = np.full(256, np.nan)
    y[:n] = X64[:n]
    return y


def last_block_sum():
    y = np.zeros(256)  # blocks that come later in the seed's order write their zeros first
    return y, X64.sum()


def largest_of_four():
    return [X64[[min(i + k, 255) for k in range(4)]].max() for i in range(256)]


# Kernel → what it must leave in y.
EXPECTED = {
    "reverse_in_blocks": lambda: BLOCKS[:, ::-1].ravel(),
    "transpose_by_padded_tile": lambda: X64.reshape(16, 16).T.ravel(),
    "warp_sums_by_shuffle": lambda: everywhere(WARPS.sum(1), 32),
    "warp_sums_by_shared_memory": lambda: everywhere(WARPS.sum(1), 32),
    "half_warp_sums": lambda: everywhere(X64.reshape(16, 16).sum(1), 16),
    "prefix_sum_with_two_buffers": lambda: BLOCKS.cumsum(1).ravel(),
    "histogram_of_signs": lambda: np.stack(
        [(BLOCKS >= 0).sum(1), (BLOCKS < 0).sum(1)], 1
    ).repeat(32, 0).ravel(),
    "bytes_side_by_side": lambda: X64,
    "vectors_then_scalars": swapped_pairs,
    "grid_stride": lambda: 2 * X64,
    "tail_of_a_block": lambda: X64 * tail_counts(),
    "dynamic_shared_of_two_types": lambda: BLOCKS[:, ::-1].ravel(),
    "lock": lambda: up_to(32),
    "wait_for_a_flag": lambda: up_to(64),
    "full_mask_in_a_short_warp": block_short_warps,
    "values_that_nobody_uses": half_sums_at_their_start,
    "vote_after_some_have_returned": some_plus_one,
    "pipeline_of_two_stages": lambda: np.tile(BLOCKS[:, ::-1].sum(0), 4),
    "copies_with_zero_fill": zero_filled,
    "struct_by_value": lambda: 1 - 2 * X64 + 0.5 * X64**2,
    "local_array_by_pointer": largest_of_four,
    "maximum_by_compare_and_swap": lambda: everywhere(np.abs(BLOCKS).max(1), 64),
    "blur_with_constants": lambda: np.convolve(X64, [0.25, 0.5, 0.25], "same"),
    "templates_and_lambdas": lambda: X64**3,
    "functions_of_either_name": lambda: 2 * np.sqrt(np.abs(X64)) + np.exp(X64),
}


def launch_of(name: str) -> tuple[int, int]:
    found = re.search(rf"KERNEL\({name}\).*LAUNCH (\d+) (\d+)", SOURCE.read_text())
    return (int(found[1]), int(found[2])) if found else (4, 64)


def run(name: str, check: bool, seed: int) -> np.ndarray:
    grid, block = launch_of(name)
    y = np.full(256, np.nan, np.float32)
    more = [POLYNOMIAL] if name == "struct_by_value" else []
    kernel = getattr(emulator.load(SOURCE, check=check, seed=seed), name)
    kernel[grid, block, 1024](X, y, 256, *more)
    return y


def test_every_kernel_is_run():
    names = emulator.load(SOURCE, check=True).kernel_names
    assert set(names) == {*EXPECTED, "sum_of_all_last_block_adds"} and len(names) >= 25


@pytest.mark.parametrize("name", EXPECTED)
def test_no_alarm_under_fifty_seeds(name):
    expected = np.asarray(EXPECTED[name]())
    for seed in range(50):
        np.testing.assert_allclose(run(name, True, seed), expected, rtol=2e-5, atol=2e-5)


# Polling a volatile variable needs check mode, where reads of one let others run.
@pytest.mark.parametrize("name", sorted({*EXPECTED} - {"wait_for_a_flag"}))
def test_the_fast_mode_gives_the_same(name):
    for seed in range(4):
        np.testing.assert_allclose(run(name, False, seed), EXPECTED[name](), rtol=2e-5, atol=2e-5)


def test_the_last_block_adds_what_all_blocks_left():
    for seed in range(50):
        y = run("sum_of_all_last_block_adds", True, seed)
        sums = y[y != 0]
        np.testing.assert_allclose(sums, X64.sum(), rtol=2e-5)
        assert len(sums) <= 4
