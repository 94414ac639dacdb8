"""Rung 4 of attention in bfloat16, by wgmma and boxes: against the formula, and what holds it
together. It has been run by the emulator only."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from minigen_kernels import cuda, emulator
from minigen_kernels.cuda import attention, rounding

from tests.kernels.cuda_ladder import SEEDS, fill_new_arrays_with_garbage
from tests.kernels.needs import GXX
from tests.kernels.tensor_cores import SOURCES, broken_copy
from tests.kernels.test_attention import draw_case
from tests.kernels.test_cuda_tensor_attention import arrays, forward_agrees

pytestmark = [pytest.mark.emulator, GXX]
SOURCE = SOURCES / "attention_wgmma.cu"


@pytest.fixture(autouse=True)
def garbage(monkeypatch):
    fill_new_arrays_with_garbage(monkeypatch, attention, rounding)


@contextlib.contextmanager
def every_head_by_boxes():
    before, attention.LEAST_BLOCKS = attention.LEAST_BLOCKS, 1
    try:
        yield
    finally:
        attention.LEAST_BLOCKS = before


@given(st.data(), SEEDS)
def test_attention(data, seed):
    (q, k, v, mask), options, _ = draw_case(data, np.float32)
    with every_head_by_boxes():
        forward_agrees("bf16", seed, q, k, v, mask, **options)


@pytest.mark.parametrize("causal", [False, True])
def test_several_blocks_and_more_steps_than_there_is_room_for(causal):
    with every_head_by_boxes():
        wide = arrays((2, 150, 70), (2, 330, 70), (2, 330, 66))
        forward_agrees("bf16", 3, *wide, is_causal=causal)
        narrow = arrays((1, 261, 33), (1, 290, 33), (1, 290, 5))
        forward_agrees("bf16", 4, *narrow, is_causal=causal)
        full = arrays((1, 5, 128), (1, 200, 128), (1, 200, 128))
        forward_agrees("bf16", 5, *full, is_causal=causal)


def test_queries_that_see_nothing_and_large_scores():
    q, k, v = arrays((1, 70, 4), (1, 70, 4), (1, 70, 4))
    allowed = np.random.default_rng(2).random((1, 70, 70)) < 0.5
    allowed[:, 3] = False
    with every_head_by_boxes():
        out, lse = forward_agrees("bf16", 1, q, k, v, allowed)
        assert (out[:, 3] == 0).all() and np.isneginf(lse[:, 3]).all()
        with cuda.emulation(check=True):
            out, lse = attention.attention_4_bf16(300 * q, 300 * k, v)
    assert np.isfinite(out).all() and np.isfinite(lse).all()
    assert np.abs(out).max() <= 1.01 * np.abs(v).max()


def test_an_infinite_value_stays_in_its_head():
    """The rows behind a head's last key are zeros, not the next head's: 0 · inf would be NaN."""
    q, k, v = arrays((2, 20, 8), (2, 70, 8), (2, 70, 8))
    v[1] = np.inf
    with every_head_by_boxes(), cuda.emulation(check=True):
        out, _ = attention.attention_4_bf16(q, k, v)
    assert np.isfinite(out[0]).all() and not np.isfinite(out[1]).any()


# ---------------------------------------------------------------- what holds it together
def attention_wgmma(rows, keys, width, source=SOURCE, **how):
    """(module, out, out of rung 2 in the emulator) of one head of random bfloat16 numbers."""
    q, k, v = arrays((1, rows, width), (1, keys, width), (1, keys, width))
    stored = [(x.view(np.uint32) >> 16).astype(np.uint16) for x in (q, k, v)]
    q, k, v = ((x.astype(np.uint32) << 16).view(np.float32) for x in stored)
    out, lse = np.full_like(q, np.nan), np.full((1, rows), np.nan, np.float32)
    module = emulator.load(source, **how)
    if module.count:
        module.reset_counts()

    def launch(_, kernel, grid, block, *arguments, shared):
        getattr(module, kernel)[grid, block, shared](*arguments)

    end = None, None, out, lse, attention._geometry(q, k, v, None, False), np.float32(0.125)
    with pytest.MonkeyPatch.context() as patch:  # as the package launches it, but of this source
        patch.setattr(attention, "launch", launch)
        attention._launch_boxes(64 if width <= 64 else 128, *stored, *end)
    with cuda.emulation():
        exact, _ = attention.attention_2_bf16(q, k, v, scale=0.125)
    return module, out, exact


def test_no_alarm_under_fifty_schedules():
    """More steps than there is room for."""
    for seed in range(50):
        _, out, exact = attention_wgmma(8, 330, 16, check=True, seed=seed)
        assert np.linalg.norm(out - exact) <= 4e-3 * np.linalg.norm(exact)


@pytest.mark.parametrize("width", [64, 128])
def test_no_bank_conflict_and_no_sector_too_many(width):
    module, out, exact = attention_wgmma(128, 128, width, count=True)
    assert np.linalg.norm(out - exact) <= 4e-3 * np.linalg.norm(exact)
    assert all(s.extra == 0 for s in module.counts())
    written = [s for s in module.counts() if s.space == "global"]
    assert sum(s.transactions for s in written) == 128 * width * 4 // 32 + 128 * 4 // 32


@pytest.mark.parametrize(
    "right, wrong, kinds",
    [
        ("    mbarrier_wait(&memory.full[step % STEPS], step / STEPS % 2);\n", "",
         {"wait", "uninitialised"}),
        ("  mbarrier_wait(&memory.queries_full, 0);\n", "", {"wait", "uninitialised"}),
        ("step / STEPS % 2", "0", {"wait", "uninitialised"}),
        ("    if (round > 0) mbarrier_wait(&memory.empty[place], (round - 1) % 2);\n", "",
         {"wait", "race"}),
        ("sizeof(memory.steps[place]));", "sizeof(memory.steps[place].keys));",
         {"wait", "mbarrier"}),
        ("    wgmma_commit();\n    wgmma_wait<0>();\n    mask", "    wgmma_commit();\n    mask",
         {"wait"}),
        ("    wgmma_commit();\n    wgmma_wait<0>();\n    if", "    wgmma_commit();\n    if",
         {"wait"}),
        ("    wgmma_fence();\n#pragma unroll\n    for (int i = 0; i < KEYS / 16; i++)\n      wgmma",
         "#pragma unroll\n    for (int i = 0; i < KEYS / 16; i++)\n      wgmma", {"fence"}),
        ("    fence_async_proxy();\n", "", {"fence"}),
        ("1ull << 62", "2ull << 62", {"swizzle"}),
    ],
)  # fmt: skip
def test_no_wait_and_no_fence_can_be_left_out(tmp_path, right, wrong, kinds):
    broken = broken_copy(tmp_path, SOURCE, SOURCE.name, right, wrong)
    for seed in range(4):
        with pytest.raises(emulator.KernelError) as caught:
            attention_wgmma(130, 400, 64, source=broken, check=True, seed=seed)
        assert caught.value.kind in kinds, caught.value


@pytest.mark.parametrize(
    "right, wrong",
    [
        ("group_row * COLUMNS + column", "column"),
        ("sizeof(Box<KEYS>) >> 4 << 16", "sizeof(Box<KEYS>) >> 5 << 16"),
        ("numbers[16 * i * COLUMNS]", "numbers[0]"),
        ("v, i * COLUMNS, step * KEYS", "v, 0, step * KEYS"),
        ("weights[i]);\n    wgmma_fence", "weights[0]);\n    wgmma_fence"),
    ],
)
def test_a_wrong_place_gives_a_wrong_result(tmp_path, right, wrong):
    broken = broken_copy(tmp_path, SOURCE, SOURCE.name, right, wrong)
    _, out, exact = attention_wgmma(128, 128, 128, source=broken)
    assert not np.linalg.norm(out - exact) <= 3e-2 * np.linalg.norm(exact)


@pytest.mark.parametrize("batch, queries, keys, d, dv, kernel", [
    (97, 128, 8, 64, 64, "attention_4_wgmma_64"),
    (49, 129, 8, 4, 65, "attention_4_wgmma_128"),
    (96, 128, 8, 64, 64, "attention_2_tensor_bf16"),
    (48, 256, 8, 64, 64, "attention_3_pipeline_64"),
    (97, 128, 8, 129, 4, "attention_2_tensor_bf16"),
    (97, 128, 0, 4, 4, "attention_2_tensor_bf16"),
])  # fmt: skip
def test_which_heads_are_computed_by_boxes(monkeypatch, batch, queries, keys, d, dv, kernel):
    seen: list[str] = []
    for module in (attention, rounding):
        monkeypatch.setattr(module, "launch", lambda source, kernel, *a, **o: seen.append(kernel))
    shapes = (batch, queries, d), (batch, keys, d), (batch, keys, dv)
    attention.attention_4_bf16(*(np.zeros(shape, np.float32) for shape in shapes))
    assert seen == ["round_n"] * (0 if "tensor" in kernel else 3) + [kernel]
