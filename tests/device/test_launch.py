"""The launcher on a device: arguments as the driver gets them, cubins by content, errors."""

from __future__ import annotations

import inspect
import sys

import numpy as np
import pytest
from minigen_kernels import backend_of, cuda, on_gpu, to_device, use
from minigen_kernels.cpu import LADDERS as CPU_LADDERS
from minigen_kernels.cuda import compile as nvrtc
from minigen_kernels.cuda import device, gemm, launch
from minigen_kernels.emulator import TensorMap

from minigen import Tensor, grad
from minigen import functional as F
from minigen.capture import WARM_UP, captured
from tests.device import strict_cupy
from tests.kernels.needs import GXX

STRUCT = np.dtype([("rows", "i4"), ("columns", "i4")])


@pytest.fixture
def cupy(monkeypatch, tmp_path):
    """The stand-in; a "cubin" is the path of its source, kept in a file by its content."""
    monkeypatch.setattr(nvrtc, "base_folder", lambda: tmp_path)
    asked = []

    def compiled(source, architecture, options=()):
        asked.append((source.name, architecture))
        return nvrtc.Cubin(str(source).encode(), ())

    monkeypatch.setattr(nvrtc, "compiled", compiled)
    with strict_cupy.installed() as made:
        made.asked, made.folder = asked, tmp_path
        yield made


# ---- what the driver gets


def packed(value):
    return device._packed(value, 0, "kernel", 0)


@pytest.mark.parametrize(
    ("value", "raw"),
    [
        (7, np.int32(7).tobytes()), (-1, np.int32(-1).tobytes()),
        (2**32 - 1, np.uint32(2**32 - 1).tobytes()), (0.5, np.float32(0.5).tobytes()),
        (True, np.int32(1).tobytes()), (False, np.int32(0).tobytes()),
        (np.float64(0.1), np.float64(0.1).tobytes()), (np.int64(-5), np.int64(-5).tobytes()),
        (None, bytes(8)),
    ],
)  # fmt: skip
def test_numbers_have_the_width_that_kernels_take(cupy, value, raw):
    assert packed(value).tobytes() == raw


def test_structs_go_as_one_element(cupy):
    both = np.array([(3, 4)], STRUCT)
    for value in (both, both[0]):
        assert isinstance(packed(value), np.ndarray) and packed(value).tobytes() == both.tobytes()


def test_a_tuple_of_arrays_goes_as_their_addresses(cupy):
    x, y = cupy.zeros(3), cupy.zeros((2, 2))
    addresses = packed((x, None, y, cupy.zeros(0)))
    assert addresses.dtype == np.uint64 and addresses.tolist() == [x.data.ptr, 0, y.data.ptr, 0]
    for other in (np.zeros(3), 1.0):
        with pytest.raises(TypeError, match="argument 1 of kernel: a .* among pointers"):
            packed((x, other))
    with pytest.raises(ValueError, match="gaps"):
        packed((cupy.zeros((4, 4))[:, ::2],))


def test_arrays_go_as_they_are_and_empty_ones_as_null(cupy):
    x = cupy.zeros((3, 2))
    assert packed(x) is x and packed(x.T).shape == (2, 3)
    assert packed(cupy.zeros(0)) == 0


@pytest.mark.parametrize("value", [2**32, -(2**31) - 1])
def test_whole_numbers_beyond_32_bits_are_refused(cupy, value):
    with pytest.raises(OverflowError, match="argument 1 of kernel: .* 32 bits"):
        packed(value)


def test_a_cpu_array_among_device_arrays_is_refused(cupy):
    with pytest.raises(TypeError, match="argument 1 of kernel: a ndarray is on the CPU"):
        packed(np.ones(3, np.float32))
    with pytest.raises(TypeError, match="a str is nothing a kernel takes"):
        packed("x")


def test_an_array_with_gaps_or_on_another_gpu_is_refused(cupy):
    with pytest.raises(ValueError, match="gaps"):
        packed(cupy.zeros((4, 4))[:, ::2])
    with pytest.raises(ValueError, match="cuda:0, the first one on cuda:1"):
        device._packed(cupy.zeros(4), 0, "kernel", 1)


# ---- cubins


def test_a_cubin_is_kept_under_its_content_and_loaded_once(cupy, monkeypatch):
    source = launch.FOLDER / "gemm.cu"
    path = nvrtc.cubin_file(source, "sm_90")
    assert path.read_bytes() == str(source).encode() and cupy.folder in path.parents
    assert nvrtc.cubin_file(source, "sm_90") == path
    loads = []
    monkeypatch.setattr(
        sys.modules["cupy"], "RawModule", lambda path: loads.append(path) or Functions()
    )
    for kernel in ("a", "b", "a"):
        device.loaded(source, kernel, device.architecture(0), 0)
    assert loads == [str(path)] and cupy.asked[-1] == ("gemm.cu", "sm_90")


class Functions:
    def get_function(self, name):
        return Recorded(name)


class Recorded:
    """A function that notes what it is launched with."""

    calls: list = []

    def __init__(self, name):
        self.name, self.max_dynamic_shared_size_bytes = name, 48 * 1024

    def __call__(self, grid, block, arguments, *, shared_mem):
        self.calls.append((self.name, grid, block, arguments, shared_mem, self))


def test_grid_block_and_shared_memory_reach_the_driver(cupy, monkeypatch):
    monkeypatch.setattr(cupy, "RawModule", lambda path: Functions())
    monkeypatch.setattr(Recorded, "calls", [])
    x = cupy.zeros(4, np.float32)
    launch.launch("gemm.cu", "one", 5, (8, 4), x, 3)
    launch.launch("gemm.cu", "two", (5, np.int64(2)), 32, x, shared=100_000)
    one, two = Recorded.calls
    assert one[:3] == ("one", (5, 1, 1), (8, 4, 1)) and one[3] == (x, 3) and one[4] == 0
    assert one[5].max_dynamic_shared_size_bytes == 48 * 1024
    assert two[:3] == ("two", (5, 2, 1), (32, 1, 1)) and two[4] == 100_000
    assert two[5].max_dynamic_shared_size_bytes == 100_000
    assert all(type(n) is int for call in Recorded.calls for size in call[1:3] for n in size)


# ---- which kernels


def test_the_kernels_of_a_device_array_are_the_cuda_ladders(cupy):
    x = cupy.zeros((2, 2), np.float32)
    assert on_gpu(x) and not on_gpu(np.zeros(2))
    for name, ladder in cuda.LADDERS.items():
        assert getattr(backend_of(x), name) is ladder[-1]
        with use(rung=1):
            assert getattr(backend_of(x), name) is ladder[1]
    with use(gemm=lambda *a: 1):  # one's own kernel is for NumPy arrays
        assert backend_of(x).gemm is cuda.LADDERS["gemm"][-1]
    with use(rung=0), pytest.raises(ValueError, match="rung 0 is the formula on NumPy arrays"):
        backend_of(x)


def test_a_kernel_without_a_cuda_rung_says_so_in_one_line(cupy):
    for name in [*set(CPU_LADDERS) - set(cuda.LADDERS), "no_such_kernel"]:
        with pytest.raises(NotImplementedError, match=f"'{name}' has no CUDA rung.*to.'cpu'.$"):
            getattr(backend_of(cupy.zeros(2)), name)


def test_without_cupy_a_device_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(ImportError, match="pip install 'minigen.cuda13.'"):
        to_device(np.zeros(2), "cuda")


# ---- the whole path, the emulator in the driver's place


@pytest.mark.emulator
@GXX
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_functions_of_minigen_on_device_arrays(cupy, dtype):
    """Forward and backward through the launcher: as on the CPU, and no transfer in between."""
    rng = np.random.default_rng(0)

    def normal(*shape):
        return rng.standard_normal(shape).astype(dtype)

    cases = [
        (lambda a, b: a @ b, normal(3, 5, 17), normal(3, 17, 4)),
        (lambda a, b: a @ b.T, normal(70, 9), normal(66, 9)),
        (lambda x, w, b: F.conv2d(x, w, b, 2, 1), normal(2, 3, 7, 6), normal(4, 3, 3, 2),
         normal(4)),
        (lambda x, w: F.conv_transpose2d(x, w, None, 2, 1), normal(2, 3, 4, 5),
         normal(3, 2, 3, 3)),
        (lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
         normal(2, 7, 5), normal(2, 7, 5), normal(2, 7, 3)),
    ]  # fmt: skip
    for f, *arrays in cases:
        xs = [Tensor(a, requires_grad=True) for a in arrays]
        ds = [Tensor(cupy.asarray(a), requires_grad=True) for a in arrays]
        y, z = f(*xs), f(*ds)
        gy = normal(*y.shape)
        expected = [y, *grad(y, xs, Tensor(gy))]
        on_device = Tensor(cupy.asarray(gy))
        before = strict_cupy.State.transfers
        found = [z, *grad(z, ds, on_device)]
        assert strict_cupy.State.transfers == before
        for e, g in zip(expected, found, strict=True):
            assert g.device == "cuda:0" and g.dtype == dtype
            scale = float(np.abs(e.data).max())
            np.testing.assert_allclose(g.numpy(), e.data, rtol=0, atol=scale * 2e-5)
    names = {name for name, *_ in strict_cupy.State.launches}
    assert any("gemm" in n for n in names) and any("attention_backward" in n for n in names)


@GXX
@pytest.mark.emulator
@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_products_on_a_device_in_the_precision_asked_for(cupy, precision):
    """Forward and backward by the kernels of tensor cores; parameters and gradients in float32."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(s).astype(np.float32) for s in ((5, 17), (4, 17)))
    ds = [Tensor(cupy.asarray(x), requires_grad=True) for x in (a, b)]
    with use(precision=precision):
        y = F.linear(*ds)
        found = [y, *grad(y.sum(), ds)]
    names = {name for name, *_ in strict_cupy.State.launches if "gemm" in name}
    assert names and all("tensor" in name and name.endswith(precision) for name in names)
    one = np.ones((5, 4))
    for got, exact in zip(found, (a @ b.T, one @ b, one.T @ a), strict=True):
        assert got.dtype == np.float32
        error = np.linalg.norm(got.numpy() - exact) / np.linalg.norm(exact)
        assert 1e-5 < error < 2.0 ** -(7 if precision == "bf16" else 10)


@GXX
@pytest.mark.emulator
@pytest.mark.parametrize("capability, kernel", [("90", "gemm_5_wgmma"), ("80", "gemm_4_pipeline")])
def test_boxes_are_for_hopper_alone(cupy, monkeypatch, capability, kernel):
    """A product with a tensor map for each factor, made for the place and shape of each."""
    monkeypatch.setattr(strict_cupy.Device, "compute_capability", capability)
    monkeypatch.setattr(gemm, "LEAST_TILES", 1)
    monkeypatch.setattr(gemm, "LEAST_ROUNDED", 1)
    rng = np.random.default_rng(2)
    for m in (5, 7):
        a, b = (rng.standard_normal(s).astype(np.float32) for s in ((m, 9), (9, 4)))
        with use(precision="bf16", rung=5):
            c = backend_of(cupy.asarray(a)).gemm(cupy.asarray(a), cupy.asarray(b)).get()
        assert np.linalg.norm(c - a @ b) < 2.0**-7 * np.linalg.norm(a @ b)
    names = [name for name, *_ in strict_cupy.State.launches]
    assert names == ["round_n", "round_t", kernel] * 2
    asked = dict(cupy.asked)
    assert asked["round.cu"] == f"sm_{capability}"
    assert asked.get("gemm_wgmma.cu", "sm_90a") == "sm_90a"


def test_what_the_driver_refuses_is_told(cupy, monkeypatch):
    monkeypatch.setattr(strict_cupy.TensorMaps, "cuTensorMapEncodeTiled", lambda *a: (1, None))
    boxes = TensorMap(cupy.empty((2, 4, 64), np.uint16), (4, 64))
    with pytest.raises(RuntimeError, match="Tiled: error 1 for 2 matrices of 4 × 64"):
        packed(boxes)


@GXX
@pytest.mark.emulator
def test_a_recording_keeps_its_precision(cupy):
    """Made in bfloat16, replayed where float32 is in force: the recorded kernels run."""
    rng = np.random.default_rng(1)
    x, w = (Tensor(cupy.asarray(rng.standard_normal((6, 6)).astype(np.float32))) for _ in range(2))
    step = captured(lambda x: F.linear(x, w), "cuda", pytest.fail)
    with use(precision="bf16"):
        rounded = [step(x).numpy() for _ in range(WARM_UP + 1)][-1]
    np.testing.assert_array_equal(step(x).numpy(), rounded)
    plain = F.linear(x, w).numpy()
    assert np.linalg.norm(plain - rounded) > 1e-4 * np.linalg.norm(plain)


def test_one_signature_for_both_executors():
    """What the launchers call: the kernels' files know nothing else."""
    parameters = list(inspect.signature(launch.launch).parameters)
    assert parameters == ["source", "kernel", "grid", "block", "arguments", "shared"]
