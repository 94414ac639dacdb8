"""Rung 5 of GEMM in bfloat16, by wgmma and boxes: its products, what holds it together, and when it
is chosen. It has been run by the emulator only."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from minigen_kernels import backend_of, cuda, emulator, reference, use
from minigen_kernels.activations import ACTIVATIONS
from minigen_kernels.cuda import OTHER_TENSOR_CORES, TENSOR_CORES, gemm, rounding
from minigen_kernels.cuda.activation import NOTHING

from minigen import Tensor
from minigen import functional as F
from tests.kernels.cuda_ladder import SEEDS, fill_new_arrays_with_garbage
from tests.kernels.ladder import close
from tests.kernels.needs import GXX
from tests.kernels.tensor_cores import SOURCES, broken_copy, products_agree, rounded
from tests.kernels.test_gemm import in_type, products

pytestmark = [pytest.mark.emulator, GXX]
SOURCE = SOURCES / "gemm_wgmma.cu"


@pytest.fixture(autouse=True)
def garbage(monkeypatch):
    fill_new_arrays_with_garbage(monkeypatch, gemm, rounding)


@pytest.fixture
def every_product_by_boxes(monkeypatch):
    monkeypatch.setattr(gemm, "LEAST_TILES", 1)


def normal(*shapes):
    rng = np.random.default_rng(sum(map(sum, shapes)))
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


@given(SEEDS, products(st.sampled_from([13, 65, 131])))
def test_gemm(seed, product):
    a, b, options = in_type(np.float32, *product)
    terms = a.shape[-2 if options["transpose_a"] else -1]
    before, gemm.LEAST_TILES = gemm.LEAST_TILES, 1
    try:
        products_agree("gemm", "bf16", seed, a, b, terms=terms, **options)
    finally:
        gemm.LEAST_TILES = before


@pytest.mark.parametrize("batch", [(), (2,)])
@pytest.mark.usefixtures("every_product_by_boxes")
def test_several_blocks_and_more_steps_than_stages(batch):
    """Rung 4's numbers, but for the order of the terms; a matrix's last rows are not the next's."""
    m, k, n = 131, 330, 259
    a, b, bias = normal((*batch, m, k), (k, n), (n,))
    exact = rounded(a, "bf16") @ rounded(b, "bf16") + bias
    sizes = np.abs(a).astype(np.float64) @ np.abs(b)
    for seed in range(4):
        with cuda.emulation(check=True, seed=seed):
            c = gemm.gemm_5_bf16(a, b, bias=bias)
        assert np.linalg.norm(c - exact) <= 1e-6 * np.linalg.norm(exact)
    with cuda.emulation():
        other = gemm.gemm_4_bf16(a, b, bias=bias)
    assert (np.abs(c - other) <= 2 * (k + 8) * 2.0**-23 * sizes).all()


@pytest.mark.usefixtures("every_product_by_boxes")
def test_an_activation_at_the_end():
    a, b, bias = normal((2, 65, 33), (33, 70), (70,))
    with cuda.emulation(check=True, seed=4):
        expected = gemm.gemm_5_bf16(a, b, bias=bias)
        for f in ACTIVATIONS:
            how = {"bias": bias, "activation": f, "slope": 0.25}
            y, before = gemm.gemm_activated_5_bf16(a, b, **how, keep=True)
            np.testing.assert_array_equal(before, expected)
            close(y, reference.activated(expected, f, 0.25), 1, f)


# ---------------------------------------------------------------- what holds it together
def gemm_wgmma(m, n, k, source=SOURCE, **how):
    """(module, C, C in float64) of one product of random bfloat16 matrices."""
    a, b = (rounded(x, "bf16") for x in normal((m, k), (n, k)))
    c = np.full((m, n), np.nan, np.float32)
    module = emulator.load(source, **how)
    if module.count:
        module.reset_counts()
    stored = [(x.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16) for x in (a, b)]
    boxes = gemm.BOX_OF_A, gemm.BOX_OF_B
    maps = [emulator.TensorMap(x[None], box) for x, box in zip(stored, boxes, strict=True)]
    grid, end = (-(-n // 256), -(-m // 128)), (False, False, None, NOTHING.struct(c))
    launch = module.gemm_5_wgmma[grid, gemm.BOXES.threads, gemm.BOXES_BYTES]
    launch(*maps, None, c, m, n, k, *end)
    return module, c, a @ b.T


def test_no_alarm_under_fifty_schedules():
    """More steps than stages; the second column of blocks has few columns."""
    for seed in range(50):
        _, c, exact = gemm_wgmma(8, 264, 328, check=True, seed=seed)
        assert np.linalg.norm(c - exact) <= 1e-6 * np.linalg.norm(exact)


def test_no_bank_conflict_and_no_sector_too_many():
    """Of what threads do themselves: the sums' way out. Boxes and wgmma are not counted."""
    module, _, _ = gemm_wgmma(128, 256, 64, count=True)
    assert {(s.space, s.operation) for s in module.counts()} >= {
        ("shared", "read"), ("shared", "write"), ("global", "write")
    }  # fmt: skip
    assert all(s.extra == 0 for s in module.counts())
    written = [s for s in module.counts() if s.space == "global"]
    assert sum(s.transactions for s in written) == 128 * 256 * 4 // 32


@pytest.mark.parametrize(
    "right, wrong, kinds",
    [
        ("mbarrier_wait(&memory.full[step % STAGES], step / STAGES % 2);", "",
         {"wait", "uninitialised"}),
        ("step / STAGES % 2", "1", {"wait", "uninitialised"}),
        ("step / STAGES % 2", "0", {"wait", "uninitialised"}),
        ("sizeof(Stage));", "sizeof(Stage) / 3);", {"wait", "mbarrier"}),
        ("sizeof(Stage));", "sizeof(Stage) + 128);", {"mbarrier"}),
        ("    if (round > 0) mbarrier_wait(&memory.empty[i], (round - 1) % 2);\n", "",
         {"wait", "race"}),
        ("(round - 1) % 2", "round % 2", {"wait", "race", "mbarrier"}),
        ("MULTIPLYING / 32);", "1);", {"wait", "race"}),
        ("wgmma_wait<1>", "wgmma_wait<2>", {"wait"}),
        ("    if (step > 0) done(step - 1);", "    done(step);", {"wait"}),
        ("    if (step > 0) done(step - 1);", "", {"mbarrier"}),
        ("  wgmma_wait<0>();", "", {"wait"}),
        ("    wgmma_commit();", "", {"wait"}),
        ("    wgmma_fence();\n", "", {"fence"}),
        ("    fence_async_proxy();\n", "", {"fence"}),
        ("1ull << 62", "2ull << 62", {"swizzle"}),
        ("(1024ull >> 4) << 32", "(1024ull + 128 >> 4) << 32", {"wait", "uninitialised"}),
        ("  __syncthreads();  // nobody", "  // nobody", {"wait", "race"}),
        ("  __syncwarp();", "", {"race", "uninitialised"}),
        ("&& row0 + row < M", "", {"out-of-bounds"}),
        ("&& column0 + n < N", "", {"out-of-bounds", "race"}),
    ],
)  # fmt: skip
def test_no_wait_no_fence_and_no_bound_can_be_left_out(tmp_path, right, wrong, kinds):
    """Six steps, so that the stages are filled anew; what is not there lies in the guards of C."""
    broken = broken_copy(tmp_path, SOURCE, "gemm_wgmma.cu", right, wrong)
    for seed in range(5):
        with pytest.raises(emulator.KernelError) as caught:
            gemm_wgmma(127, 128, 384, source=broken, check=True, seed=seed)
        assert caught.value.kind in kinds, caught.value


@pytest.mark.parametrize(
    "right, wrong",
    [
        ("(1024ull >> 4) << 32", "(512ull >> 4) << 32"),
        ("row * BK + k", "k"),
        ("operand(stage.b + k)", "operand(stage.b)"),
        ("a, step * BK, row,", "a, step * BK, 0,"),
        ("b, step * BK, column,", "b, 0, column,"),
        ("j % 2 * 8 + lane / 4", "j % 2 * 4 + lane / 4 * 2"),
        ("j / 2 * 8 + lane % 4 * 2", "j / 2 * 8 + lane % 4"),
    ],
)
def test_a_wrong_place_gives_a_wrong_product(tmp_path, right, wrong):
    broken = broken_copy(tmp_path, SOURCE, "gemm_wgmma.cu", right, wrong)
    _, c, exact = gemm_wgmma(200, 256, 128, source=broken)
    assert not np.linalg.norm(c - exact) <= 1e-2 * np.linalg.norm(exact)


# ---------------------------------------------------------------- when it is chosen
@pytest.mark.parametrize(
    "m, n, kernels",
    [
        (1280, 1280, ["round_n", "round_n", "gemm_5_wgmma"]),  # 50 blocks
        (1152, 1280, ["round_n", "round_n", "gemm_4_pipeline"]),  # 45
        (128, 12800, ["round_n", "round_n", "gemm_5_wgmma"]),
        (64, 64, ["gemm_3_tensor_nt_bf16"]),
    ],
)
def test_which_product_of_a_layer_is_made_by_boxes(monkeypatch, m, n, kernels):
    seen: list[str] = []
    for module in (gemm, rounding):
        monkeypatch.setattr(module, "launch", lambda source, kernel, *a, **o: seen.append(kernel))
    x, w = (Tensor(np.zeros(s, np.float32)) for s in ((m, 8), (n, 8)))
    with use(backend="emulator", precision="bf16", rung=5):
        F.linear(x, w)
    assert seen == kernels


@pytest.mark.usefixtures("every_product_by_boxes")
def test_a_product_of_no_terms_has_no_boxes():
    a, b, bias = np.zeros((5, 0), "f4"), np.zeros((0, 3), "f4"), np.ones(3, "f4")
    with cuda.emulation():
        assert (gemm.gemm_5_bf16(a, b, bias=bias) == 1).all()


def test_rungs_of_tensor_cores_by_their_numbers():
    x = np.eye(3, dtype=np.float32)
    for name, others in OTHER_TENSOR_CORES["bf16"].items():
        usual = TENSOR_CORES["bf16"][name]
        below = max(others) - 1  # what no GPU has run yet has to be asked for
        assert usual.__name__ == f"{name}_{below}_bf16"
        for rung, kernel in {**others, below: usual, 1: usual, None: usual}.items():
            with use(backend="emulator", precision="bf16", rung=rung):
                assert getattr(backend_of(x), name) is kernel
    for rung, kernel in OTHER_TENSOR_CORES["bf16"]["gemm"].items():
        assert kernel.__name__ == f"gemm_{rung}_bf16"
