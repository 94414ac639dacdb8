"""The weight gradient of arrays of bfloat16, whose tiles lie by pixels, in the emulator."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from minigen_kernels import emulator, reference
from minigen_kernels.cuda import conv, conv_weight, gemm, rounding

from tests.kernels.cuda_ladder import SEEDS, fill_new_arrays_with_garbage
from tests.kernels.needs import GXX
from tests.kernels.tensor_cores import SOURCES, broken_copy, products_agree, rounded
from tests.kernels.test_conv import arrays_for, cases

pytestmark = [pytest.mark.emulator, GXX]
SOURCE = SOURCES / "conv_weight_bf16.cu"


@pytest.fixture(autouse=True)
def garbage(monkeypatch):
    fill_new_arrays_with_garbage(monkeypatch, conv_weight, rounding)


@contextlib.contextmanager
def settings_of(**settings):
    """Numbers of conv_weight.py, for a block."""
    before = {name: getattr(conv_weight, name) for name in settings}
    try:
        vars(conv_weight).update(settings)
        yield
    finally:
        vars(conv_weight).update(before)


def normal(*shapes):
    rng = np.random.default_rng(sum(map(sum, shapes)))
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


@given(st.data(), SEEDS, cases(), st.sampled_from([1, 4, 300]))
def test_of_any_size_in_many_parts_some_or_one(data, seed, case, shortest):
    x, w, y, how = case
    x, y = arrays_for(data.draw, np.float32, x, y)
    terms = y.shape[0] * y.shape[2] * y.shape[3]
    with settings_of(LEAST_LOADS=0, LEAST_CHANNELS=1, SHORTEST_SPLIT=shortest):
        products_agree("conv2d_weight", "bf16", seed, x, y, w[2:], terms=terms, **how)


@pytest.mark.parametrize("groups", [1, 2])
def test_of_several_tiles(groups):
    """More filters, more taps and channels, and more pixels than a tile and a step have."""
    x, y = normal((2, 18, 9, 11), (2, 66 * groups, 5, 11))
    how = {"stride": (2, 1), "padding": (1, 1), "groups": groups}
    with settings_of(LEAST_LOADS=0, LEAST_CHANNELS=1):
        products_agree("conv2d_weight", "bf16", 1, x, y, (3, 3), terms=110, **how)


@pytest.mark.parametrize("channels, filters, side, kernel", [
    (16, 16, 4, "conv2d_weight_3_pipeline"),
    (16, 16, 2, "conv2d_weight_2_tensor_bf16"),  # each number is loaded a few times only
    (15, 64, 4, "conv2d_weight_2_tensor_bf16"),
    (64, 15, 4, "conv2d_weight_2_tensor_bf16"),
])  # fmt: skip
def test_which_are_rounded_beforehand(monkeypatch, channels, filters, side, kernel):
    seen: list[str] = []
    for module in (conv_weight, rounding):
        monkeypatch.setattr(module, "launch", lambda source, name, *a, **o: seen.append(name))
    x, y = normal((1, channels, 12, 12), (1, filters, 13 - side, 13 - side))
    conv_weight.conv2d_weight_3_bf16(x, y, (side, side))
    assert seen == ["round_t"] * (2 if "pipeline" in kernel else 0) + [kernel]


def computed(x, y, kernel, source=SOURCE, **how):
    """(module, gw, gw in float64 of the rounded factors): one launch, in one part."""
    words = [
        rounding.turned(a.reshape(*a.shape[:2], -1).astype(np.float32)).copy() for a in (x, y)
    ]
    x, y = (rounded(a, "bf16") for a in (x, y))
    gw = np.full((y.shape[1], x.shape[1], *kernel), np.nan, np.float32)
    g = conv.conv_struct(x.shape, gw.shape, y.shape, (1, 1), (1, 1), (1, 1), 1)
    module = emulator.load(source, **how)
    if module.count:
        module.reset_counts()
    widths = [array.shape[2] for array in words]
    grid = -(-widths[0] * kernel[0] * kernel[1] // 64), -(-y.shape[1] // 64), 1
    given = *words, gw, g, 1, *widths
    module.conv2d_weight_3_pipeline[grid, 128, gemm.STAGES_BYTES](*given)
    return module, gw, reference.conv2d_weight(x, y, kernel, padding=(1, 1))


def test_no_bank_conflict_and_no_sector_too_many():
    """64 filters, 64 channels and one tap of 3 × 3 pixels with a border: one tile, of 25 pixels."""
    module, gw, exact = computed(*normal((1, 64, 3, 3), (1, 64, 5, 5)), (1, 1), count=True)
    assert np.linalg.norm(gw - exact) <= 1e-6 * np.linalg.norm(exact)
    assert all(s.extra == 0 for s in module.counts())
    read = [s for s in module.counts() if s.space == "global" and s.operation == "read"]
    # A pixel's 64 channels are 4 sectors. Of x the border is not read.
    assert sum(s.transactions for s in read) == 4 * (9 + 25)


@pytest.mark.parametrize(
    "right, wrong, kinds",
    [
        ("row >= 0 && row < g.H", "row < g.H", {"out-of-bounds"}),
        ("k >= count || filter >= width_gy", "filter >= width_gy", {"out-of-bounds"}),
        ("if (m < per_group && n < taps", "if (n < taps", {"out-of-bounds"}),
    ],
)
def test_what_keeps_it_inside_its_arrays(tmp_path, right, wrong, kinds):
    broken = broken_copy(tmp_path, SOURCE, SOURCE.name, right, wrong)
    for seed in range(3):
        with pytest.raises(emulator.KernelError) as caught:
            arrays = normal((1, 8, 5, 5), (1, 62, 7, 7))
            computed(*arrays, (1, 1), source=broken, check=True, seed=seed)
        assert caught.value.kind in kinds, caught.value


@pytest.mark.parametrize(
    "file, right, wrong",
    [
        ("pipeline.cuh", "k0 + lane / 16 * 8 + lane % 8", "k0 + lane % 16"),
        ("pipeline.cuh", "j % 2 * 2], b[j / 2][j % 2 * 2 + 1]", "j % 2], b[j / 2][j % 2 + 2]"),
        ("conv_weight_bf16.cu", "tap / g.kw * g.dilation_h", "tap % g.kw * g.dilation_h"),
        ("conv_weight_bf16.cu", "n % width) * taps + n / width", "n / taps) * taps + n % taps"),
    ],
)
def test_wrong_places_are_seen(tmp_path, file, right, wrong):
    broken = broken_copy(tmp_path, SOURCE, file, right, wrong)
    arrays = normal((2, 16, 4, 4), (2, 16, 5, 4))
    for source in (SOURCE, broken):
        _, gw, exact = computed(*arrays, (2, 3), source=source)
        error = np.linalg.norm(gw - exact)
        assert (error <= 1e-6 * np.linalg.norm(exact)) == (source is SOURCE)
