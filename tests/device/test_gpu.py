"""On a real GPU: every op, every rung and every model against the CPU, and capture against eager.

Skipped without one; `python -m benchmarks gpu` runs them all. A kernel that has no CUDA rung yet is
a skip that says so. With MINIGEN_REHEARSAL=1 the emulator, behind the stand-in for CuPy, is the
GPU: so does a rehearsal of that command, with some of these tests.
"""

from __future__ import annotations

import contextlib
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from minigen_kernels import backend_of, cuda, use
from minigen_kernels.cuda import attention, device, gemm
from minigen_kernels.random import Generator

from minigen import Tensor
from minigen.capture import captured
from minigen.testing.cases import CASES
from tests.device import strict_cupy
from tests.device.test_strict import check
from tests.device.test_training import CONFIGS, OPTIMISERS, same, trained, training
from tests.kernels.tensor_cores import rounded

pytestmark = pytest.mark.gpu
EXAMPLES = 5
OPS = [case for cases in CASES.values() for case in cases]
# the ops that are one kernel each, for the rungs below the last
KERNEL_OPS = ("matmul", "linear", "conv2d", "conv_transpose2d", "conv2d_weight",
              "scaled_dot_product_attention", "layer_norm", "batch_norm", "cross_entropy",
              "gelu")  # fmt: skip
RUNGS = [
    (case, rung)
    for rung in range(1, max(map(len, cuda.LADDERS.values())) - 1)
    for case in OPS if case.name.partition(" (")[0] in KERNEL_OPS
]  # fmt: skip


@pytest.fixture(scope="module")
def gpu():
    if os.environ.get("MINIGEN_REHEARSAL"):
        with strict_cupy.installed() as standing_in, strict_cupy.driven_by_the_emulator():
            yield standing_in
        return
    cupy = pytest.importorskip("cupy", reason="needs CuPy and a GPU")
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        pytest.skip(f"needs a GPU: {error}")
    if not count:
        pytest.skip("needs a GPU: the driver knows none")
    yield cupy


@contextlib.contextmanager
def skipping_what_is_missing():
    try:
        yield
    except NotImplementedError as error:
        if "has no CUDA rung" not in str(error):
            raise
        pytest.skip(str(error))


def drawn(case, test):
    @settings(
        max_examples=EXAMPLES, derandomize=True, database=None, deadline=None,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case.examples)
    def run(example):
        test(example)

    run()


@pytest.mark.parametrize("case", OPS, ids=lambda case: case.name)
def test_op(case, gpu):
    with skipping_what_is_missing():
        drawn(case, lambda example: check(example, case.order, gpu, rtol=1e-7))


@pytest.mark.parametrize(("case", "rung"), RUNGS, ids=lambda v: getattr(v, "name", v))
def test_lower_rung(case, rung, gpu):
    with skipping_what_is_missing(), use(rung=rung):
        drawn(case, lambda example: check(example, case.order, gpu, rtol=1e-7))


PRODUCTS = {
    "gemm": (lambda f, a, b: f.gemm(a, b, False, True), [(65, 70), (130, 70)]),
    "conv2d": (
        lambda f, x, w: f.conv2d(x, w, None, (2, 1), (1, 1)), [(2, 5, 9, 11), (66, 5, 3, 3)]
    ),
    "conv_transpose2d": (
        lambda f, y, w: f.conv_transpose2d(y, w, None, (2, 1), (1, 1)),
        [(2, 66, 5, 11), (66, 5, 3, 3)],
    ),
    "conv2d_weight": (
        lambda f, x, gy: f.conv2d_weight(x, gy, (3, 3), (2, 1), (1, 1)),
        [(2, 5, 9, 11), (2, 66, 5, 11)],
    ),
    "attention": (
        lambda f, q, k, v: f.attention(q, k, v, None, True)[0],
        [(2, 67, 33), (2, 131, 33), (2, 131, 66)],
    ),
    "attention_backward": (
        lambda f, g, q, k, v: f.attention_backward(g, q, k, v, *f.attention(q, k, v))[1],
        [(2, 67, 66), (2, 67, 33), (2, 131, 33), (2, 131, 66)],
    ),
}


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
@pytest.mark.parametrize("name", PRODUCTS)
def test_products_by_tensor_cores(name, precision, gpu):
    """Off by what rounded factors explain, and by more than float32 would be."""
    compute, shapes = PRODUCTS[name]
    drawn_arrays = [np.random.default_rng(len(s) + s[0]).standard_normal(s) for s in shapes]
    exact = compute(backend_of(np.zeros(1)), *drawn_arrays)
    given = [gpu.asarray(x.astype(np.float32)) for x in drawn_arrays]
    with use(precision=precision):
        got = compute(backend_of(given[0]), *given).get()
    error = np.linalg.norm(got - exact) / np.linalg.norm(exact)
    assert 2e-5 < error < (1.5e-2 if precision == "bf16" else 2e-3)


@pytest.mark.parametrize("shape", [(65, 130, 72), (300, 513, 260), (1, 1, 9)])
def test_wgmma(shape, gpu, monkeypatch):
    """Rung 5 on products too small for it: tails in every direction, a batch, one B for all."""
    if device.architecture(0) != "sm_90":
        pytest.skip(f"wgmma is for compute capability 9.0, and this is {device.architecture(0)}")
    monkeypatch.setattr(gemm, "LEAST_TILES", 1)
    m, n, k = shape
    rng = np.random.default_rng(k)
    for batch_b in ((), (3,)):
        arrays = [rng.standard_normal(s).astype(np.float32)
                  for s in ((3, m, k), (*batch_b, n, k), (n,))]  # fmt: skip
        a, b = (rounded(x, "bf16") for x in arrays[:2])
        exact = a @ b.swapaxes(-1, -2) + arrays[2]
        given = [gpu.asarray(x) for x in arrays]
        with use(precision="bf16"):
            kernels = backend_of(given[0])
            y, before = kernels.gemm_activated(
                *given[:2], False, True, bias=given[2], activation="tanh", keep=True
            )
            plain = kernels.gemm(*given[:2], False, True, bias=given[2]).get()
        assert np.linalg.norm(before.get() - exact) <= 1e-6 * np.linalg.norm(exact)
        assert np.linalg.norm(y.get() - np.tanh(exact)) <= 1e-5 * np.linalg.norm(np.tanh(exact))
        np.testing.assert_array_equal(plain, before.get())


@pytest.mark.parametrize("shape", [(150, 330, 70, 66), (261, 70, 33, 5), (128, 128, 128, 128)])
@pytest.mark.parametrize("causal", [False, True])
def test_attention_by_wgmma(shape, causal, gpu, monkeypatch):
    """Rung 4 on heads too few for it, beside rung 2, whose weights are rounded at other maxima."""
    if device.architecture(0) != "sm_90":
        pytest.skip(f"wgmma is for compute capability 9.0, and this is {device.architecture(0)}")
    monkeypatch.setattr(attention, "LEAST_BLOCKS", 1)
    rows, keys, d, dv = shape
    rng = np.random.default_rng(d)
    drawn_arrays = [rng.standard_normal(s) for s in ((2, rows, d), (2, keys, d), (2, keys, dv))]
    q, k, v = (rounded(x, "bf16") for x in drawn_arrays)
    exact = backend_of(q).attention(q, k, v, None, causal)
    given = [gpu.asarray(x.astype(np.float32)) for x in (q, k, v)]
    with use(precision="bf16"):
        found = backend_of(given[0]).attention(*given, None, causal)
    for got, right, bound in zip(found, exact, (4e-3, 1e-5), strict=True):
        assert np.linalg.norm(got.get() - right) <= bound * np.linalg.norm(right)


@pytest.mark.parametrize("name", CONFIGS)
def test_model(name, gpu):
    with skipping_what_is_missing():
        here, _ = trained(*CONFIGS[name], "cpu")
        there, _ = trained(*CONFIGS[name], "cuda")
        assert there.said == []
        for mine, theirs in zip(there.logs, here.logs, strict=True):
            assert mine == pytest.approx(theirs, rel=2e-3, abs=1e-5)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_capture_against_eager(optimiser, gpu):
    with skipping_what_is_missing():
        make = OPTIMISERS[optimiser]
        eager = training(make, lambda step: step, "cuda")
        replayed = training(make, lambda step: captured(step, "cuda", pytest.fail), "cuda")
        same(replayed, eager)
        same(eager, training(make, lambda step: step, "cpu"))


def test_a_step_that_cannot_be_captured_goes_on(gpu):
    said = []
    with skipping_what_is_missing():
        make = OPTIMISERS["SGD"]
        eager = training(make, lambda step: step, "cuda")
        found = training(
            make, lambda step: captured(step, "cuda", said.append), "cuda", read=True
        )
        same(found, eager)
        assert len(said) == 1 and "\n" not in said[0]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1000), st.integers(0, 3000))
def test_the_same_random_bits_as_on_the_cpu(gpu, seed, counter, n):
    here = Generator(seed, 3)
    here.counter = counter
    there = here.to("cuda")
    np.testing.assert_array_equal(there.words(n).get(), here.words(n))
    np.testing.assert_array_equal(there.uniform(n).get(), here.uniform(n))
    np.testing.assert_allclose(there.normal(n).get(), here.normal(n), rtol=1e-5, atol=1e-6)
    assert there.counter == here.counter


def test_memory_is_shared_with_torch_both_ways(gpu):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")
    theirs = torch.arange(6, dtype=torch.float32, device="cuda").reshape(2, 3)
    ours = Tensor(theirs)
    assert ours.device == "cuda:0" and ours.data.data.ptr == theirs.data_ptr()
    for back in (torch.from_dlpack(ours), torch.as_tensor(ours, device="cuda")):
        assert back.data_ptr() == theirs.data_ptr() and torch.equal(back, theirs)
