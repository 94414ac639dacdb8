"""The emulator as a product: what load() and a launch promise, and what their errors say."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from minigen_kernels import emulator
from minigen_kernels.emulator import build, source

from tests.kernels.needs import GXX

pytestmark = [pytest.mark.emulator, GXX]
FOLDER = Path(__file__).parent / "emulated"
SOURCE = FOLDER / "api.cu"
MODES = pytest.mark.parametrize("check", [False, True])


def floats(*shape):
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


# ---------------------------------------------------------------- launches
@MODES
def test_a_kernel_changes_its_arrays_in_place(check):
    x, y = floats(100), floats(120)
    before, copy = x.copy(), y.copy()
    emulator.load(SOURCE, check=check).saxpy[4, 32](2.0, x, y, 100)
    np.testing.assert_array_equal(x, before)
    np.testing.assert_allclose(y[:100], 2 * x + copy[:100], rtol=1e-6)
    np.testing.assert_array_equal(y[100:], copy[100:])


def test_what_a_kernel_does_not_write_keeps_its_contents():
    z = np.zeros(64, np.float32)
    z[10:] = np.nan
    emulator.load(SOURCE).saxpy[1, 64](1.0, floats(64), z, 10)
    assert np.isnan(z[10:]).all() and np.isfinite(z[:10]).all()


@MODES
def test_scalars_of_every_type(check):
    out = np.zeros(9)
    s = np.array([(b"A", 0.25)], np.dtype([("c", "S1"), ("d", "f8")], align=True))
    emulator.load(SOURCE, check=check).scalars[1, 1](
        out, True, -5, 2**32 - 1, np.int64(-(2**40)), 1.5, np.float64(0.1), s, np.uint16(65535)
    )
    np.testing.assert_array_equal(out, [1, -5, 2**32 - 1, -(2**40), 1.5, 0.1, 65, 0.25, 65535])


@MODES
def test_a_tuple_of_arrays_is_a_struct_of_pointers(check):
    kernel = emulator.load(SOURCE, check=check).struct_of_pointers[1, 8]
    x, y = floats(8), np.full(8, np.nan, np.float32)
    kernel((y, x), 8)
    np.testing.assert_array_equal(y, x)
    kernel((y, None), 3)
    np.testing.assert_array_equal(y, [-1, -1, -1, *x[3:]])
    with pytest.raises(TypeError, match="3 arrays given, but the struct has 16 bytes, which is 2"):
        kernel((y, x, x), 8)
    with pytest.raises(TypeError, match="argument 1 of struct_of_pointers"):
        kernel(y, 8)
    with pytest.raises(emulator.KernelError, match="out-of-bounds: write") as caught:
        kernel((y[:4].copy(), x), 8)
    assert caught.value.kind == "out-of-bounds"


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((2.0, 0, 0), r"takes 4 arguments \(float, const float\*, float\*, int32_t\), not 3"),
        ((2.0, [1.0], None, 1), r"argument 2 of saxpy \(const float\*\): give a NumPy array"),
        ((np.float64(2), None, None, 1), r"argument 1 of saxpy \(float\): float64 given"),
        ((2, None, None, 1), r"argument 1 of saxpy \(float\): int given; pass np.float32"),
        ((2.0, np.ones(3), None, 1), r"argument 2 .* type float64 does not fit"),
        ((2.0, np.ones(3, np.int32), None, 1), r"argument 2 .* type int32 does not fit"),
        ((2.0, None, None, 1.5), r"argument 4 of saxpy \(int32_t\): float given"),
        ((2.0, None, None, np.int64(1)), r"argument 4 .*: int64 given; pass np.int32"),
        ((None, None, None, 1), r"argument 1 of saxpy \(float\): NoneType given"),
        (([2.0], None, None, 1), r"argument 1 of saxpy \(float\): list given"),
        ((2.0, np.ones(3, ">f4"), None, 1), r"argument 2 .* type >f4 does not fit"),
    ],
)
def test_wrong_arguments_are_type_errors(arguments, message):
    with pytest.raises(TypeError, match=message):
        emulator.load(SOURCE).saxpy[1, 1](*arguments)


def test_arrays_that_a_pointer_cannot_stand_for():
    kernel = emulator.load(SOURCE).saxpy[1, 4]
    with pytest.raises(ValueError, match=r"argument 2 .* gaps; give np.ascontiguousarray"):
        kernel(1.0, floats(8)[::2], floats(4), 4)
    frozen = floats(4)
    frozen.flags.writeable = False
    kernel(1.0, frozen, floats(4), 4)  # const float*: it is only read
    with pytest.raises(ValueError, match="may write to it, but the array is read-only"):
        kernel(1.0, floats(4), frozen, 4)
    with pytest.raises(OverflowError, match="does not fit into 32 bits"):
        kernel(1.0, floats(4), floats(4), 2**31)


def test_grids_and_blocks_are_ints_or_tuples():
    m = emulator.load(SOURCE, check=True)
    for grid, block in [(6, 8), ((2, 3), (2, 4)), ((1, 2, 3), (2, 2, 2)), (np.int64(6), (8,))]:
        out = np.full(48, -1, np.int32)
        m.indices[grid, block](out)
        assert (out // 100 == np.arange(48)).all()
    for bad in [(0, 1), (1, 0), (1, 1025), (1, (32, 33)), (1, (1, 1, 65)), ((1, 65536), 1)]:
        with pytest.raises(ValueError, match="a block has 1 to 1024 threads"):
            m.indices[bad]
    for bad in [1, (1,), (1, 1, 1, 1), ("1", 1), ((1, 1, 1, 1), 1)]:
        with pytest.raises(TypeError):
            m.indices[bad]
    with pytest.raises(ValueError, match="at most 2²⁸ blocks"):
        m.indices[(2**31 - 1, 65535, 65535), 1]
    for bad in (-1, 2**32, 2**32 + 64):  # not the 64 that 32 bits keep of the last
        with pytest.raises(ValueError, match="bytes of dynamic shared memory"):
            m.indices[1, 1, bad]
    for bad in ("8", 8.0, None):
        with pytest.raises(TypeError, match="are an int, not"):
            m.indices[1, 1, bad]


def test_volatile_is_no_part_of_a_pointers_type():
    kernel = emulator.load(SOURCE).volatile_pointers
    assert [p.name for p in kernel.parameters] == ["float*", "const double*", "void*"]
    y = floats(1)
    kernel[1, 1](y, np.full(1, 3.0), None)
    assert y[0] == 3


def test_none_and_empty_arrays_are_null_pointers():
    out = np.zeros(1, np.int32)
    for p, expected in [(None, 1), (np.empty(0, np.float32), 1), (floats(1), 0)]:
        emulator.load(SOURCE).is_null[1, 1](p, out)
        assert out[0] == expected


@MODES
def test_arrays_that_overlap_do_so_on_the_device(check):
    memory = np.arange(10, dtype=np.float32)
    emulator.load(SOURCE, check=check).shift_by_one[1, 32](memory[:9], memory[1:], 9)
    np.testing.assert_array_equal(memory, [0, 0, 1, 2, 3, 4, 5, 6, 7, 8])
    x = floats(32)
    twice = 2 * x
    emulator.load(SOURCE, check=check).saxpy[1, 32](1.0, x, x, 32)
    np.testing.assert_array_equal(x, twice)


def test_an_array_in_fortran_order_is_its_memory():
    x = np.asfortranarray(floats(4, 8))
    y = np.zeros(32, np.float32)
    emulator.load(SOURCE).saxpy[1, 32](1.0, x, y, 32)
    np.testing.assert_array_equal(y, x.T.ravel())


def test_dynamic_shared_memory():
    m, out = emulator.load(SOURCE, check=True), np.zeros(64, np.int32)
    m.fill_dynamic[1, 64, 256](out)
    np.testing.assert_array_equal(out, np.arange(64)[::-1])
    m.fill_dynamic[1, 64, 227 * 1024](out)
    with pytest.raises(emulator.KernelError, match="227 KiB"):
        m.fill_dynamic[1, 64, 228 * 1024](out)
    with pytest.raises(emulator.KernelError) as caught:
        emulator.load(FOLDER / "fragments.cu").conversions[1, 1, 16](*[None] * 6)
    assert "the source declares none" in str(caught.value)


def test_variables_of_the_source_can_be_read_and_filled():
    m, out = emulator.load(SOURCE, check=True), np.zeros(4, np.float32)
    table, visits = m.variable("table", 4, np.float32), m.variable("visits", (), np.int32)
    before = int(visits)
    table[1] = 20
    m.use_variables[1, 4](out)
    table[1] = 2
    np.testing.assert_array_equal(out, [10, 200, 30, 40])
    assert int(visits) == before + 4
    with pytest.raises(ValueError, match="has no variable 'tables' of 8 bytes; .*'table': 16"):
        m.variable("tables", 2, np.float32)


def test_printf_reaches_the_terminal(capfd):
    emulator.load(SOURCE).speak[1, 32](42)
    assert capfd.readouterr().out == "n is 42\n"


def test_kernels_are_listed_and_described():
    m = emulator.load(SOURCE)
    assert {"saxpy", "in_a_block"} <= set(dir(m)) and "not_exported" not in m.kernel_names
    assert repr(m.saxpy) == "<saxpy(float, const float*, float*, int32_t)>"
    out = np.zeros(1, np.int32)
    m.in_a_block[1, 1](out)
    assert out[0] == 10
    with pytest.raises(AttributeError, match='api.cu has no extern "C" kernel \'saxpi\'; .*saxpy'):
        m.saxpi  # noqa: B018
    with pytest.raises(FileNotFoundError, match="no CUDA source"):
        emulator.load(FOLDER / "nowhere.cu")


def test_names_are_found_in_any_declaration():
    text = '''
      extern "C" __global__ void __launch_bounds__(128, 2) a(int n) { if (n) { } }
      extern "C" void __global__ __attribute__((used)) b(void);
      extern "C" { static int x; __global__ void c(float* p) { "}{"; } __device__ void d() {} }
      __global__ void e() {}
      namespace one { namespace two { extern "C" __global__ void g() {} } extern "C" void h(); }
      namespace { extern "C" __global__ void i() {} }
      template <class T> __global__ void f(T* p) {}
    '''
    assert source.kernel_names(text) == ["a", "b", "c", "one::two::g", "i"]


# ---------------------------------------------------------------- order
def order_of(seed):
    out, following = np.zeros(256, np.int32), np.zeros(1, np.int32)
    emulator.load(SOURCE, seed=seed).order[4, 64](out, following)
    assert sorted(out) == list(range(256))
    return out.tolist()


def test_the_seed_decides_the_order_of_blocks_and_threads():
    orders = [order_of(seed) for seed in range(6)]
    assert orders == [order_of(seed) for seed in range(6)]
    assert len({tuple(o) for o in orders}) == 6
    assert len({o[0] // 64 for o in orders}) > 1  # another block is the first


def test_a_seed_is_any_whole_number():
    for seed in (-1, 2**70, np.int64(3)):
        emulator.load(SOURCE, seed=seed).indices[1, 1](np.zeros(1, np.int32))
    for seed in ("3", 3.0, None):
        with pytest.raises(TypeError):
            emulator.load(SOURCE, seed=seed)


def test_threads_of_python_may_launch_at_once():
    m, results = emulator.load(SOURCE, check=True), []

    def work(k):
        y = np.zeros(64, np.float32)
        for _ in range(5):
            m.saxpy[2, 32](1.0, np.full(64, k, np.float32), y, 64)
        results.append((y == 5 * k).all())

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results == [True] * 4


# ---------------------------------------------------------------- errors
def test_a_failed_launch_leaves_the_arrays_as_they_were():
    y = floats(8)
    before = y.copy()
    with pytest.raises(emulator.KernelError) as caught:
        emulator.load(SOURCE, check=True).half_done[1, 8](y)
    assert caught.value.kind == "out-of-bounds" and caught.value.thread == (3, 0, 0)
    np.testing.assert_array_equal(y, before)
    emulator.load(SOURCE, check=True).saxpy[1, 8](0.0, y, y, 8)  # the next launch is none the worse


def test_an_error_survives_pickling():
    with pytest.raises(emulator.KernelError) as caught:
        emulator.load(SOURCE, check=True).half_done[1, 8](floats(8))
    copy = pickle.loads(pickle.dumps(caught.value))
    assert str(copy) == str(caught.value) and vars(copy) == vars(caught.value)


def test_the_fast_mode_survives_wild_pointers_division_and_recursion():
    m = emulator.load(SOURCE)
    with pytest.raises(emulator.KernelError, match="write outside argument 1 of write_at"):
        m.write_at[1, 1](floats(8), np.int64(9))
    with pytest.raises(emulator.KernelError) as caught:
        m.write_at[1, 1](floats(8), np.int64(2**44))
    assert caught.value.kind == "out-of-bounds" and Path(caught.value.file) == SOURCE
    with pytest.raises(emulator.KernelError) as caught:
        m.divide[1, 1](np.ones(1, np.int32), 0)
    assert caught.value.kind == "arithmetic"
    with pytest.raises(emulator.KernelError) as caught:
        m.recurse[1, 1](np.ones(1, np.int32), 1000)
    assert caught.value.kind == "stack"
    y = np.ones(1, np.int32)
    m.divide[1, 1](y, 1)
    assert y[0] == 1


@MODES
def test_locals_of_more_than_a_stack_do_not_reach_what_lies_below_it(check):
    """One untouchable page ends a stack that grows by pages; a large step would pass over it."""
    with pytest.raises(emulator.KernelError) as caught:
        emulator.load(SOURCE, check=check).far_below[1, 2](np.zeros(1, np.int32))
    assert caught.value.kind == "stack"


def test_control_c_ends_an_endless_kernel():
    program = (
        "import numpy as np\nfrom minigen_kernels import emulator\n"
        f"m = emulator.load({str(SOURCE)!r})\nprint('ready', flush=True)\n"
        "m.for_ever[1, 1](np.zeros(1, np.int32))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    emulator.load(SOURCE)
    process = subprocess.Popen(
        [sys.executable, "-c", program], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )
    assert process.stdout.readline() == "ready\n"
    try:
        process.wait(1)
        raise AssertionError("the kernel came to an end")
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert "KeyboardInterrupt" in errors


def test_a_source_that_does_not_compile_says_where(tmp_path):
    bad = tmp_path / "bad.cu"
    bad.write_text('extern "C" __global__ void f(int* x) {\n  *x = unknown;\n}\n')
    with pytest.raises(emulator.KernelError) as caught:
        emulator.load(bad)
    error = caught.value
    assert (error.kind, error.line, Path(error.file)) == ("compile", 2, bad)
    assert "unknown" in error.message


def test_without_a_compiler_the_error_says_what_to_do(monkeypatch, tmp_path):
    build.compiler.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(build, "_built", {})
    try:
        with pytest.raises(emulator.CompilerMissing) as caught:
            emulator.load(SOURCE)
        assert "g++ 12 or newer" in str(caught.value) and "apt install g++" in str(caught.value)
        old = tmp_path / "g++"
        old.write_text("#!/bin/sh\necho 9.4.0\n")
        old.chmod(0o755)
        build.compiler.cache_clear()
        with pytest.raises(emulator.CompilerMissing, match="version 9.4.0"):
            emulator.load(SOURCE)
    finally:
        build.compiler.cache_clear()


# ---------------------------------------------------------------- the cache
def test_a_source_is_built_once_and_again_when_a_header_changes(tmp_path, monkeypatch):
    for name in ("api.cu", "constants.cuh"):
        shutil.copy(FOLDER / name, tmp_path)
    builds, original = [], build._build
    monkeypatch.setattr(build, "_build", lambda *a: (builds.append(1), original(*a)))
    out = np.zeros(1, np.int32)
    for _ in range(2):
        emulator.load(tmp_path / "api.cu").in_a_block[1, 1](out)
        monkeypatch.setattr(build, "_built", {})  # as a new process would find it
    assert len(builds) == 1 and out[0] == 10
    (tmp_path / "constants.cuh").write_text("#define FACTOR 11\n")
    emulator.load(tmp_path / "api.cu").in_a_block[1, 1](out)
    assert len(builds) == 2 and out[0] == 11


def test_two_processes_may_build_at_once(tmp_path):
    (tmp_path / "one.cu").write_text('extern "C" __global__ void one(int* x) { *x = 1; }')
    program = (
        "import numpy as np\nfrom minigen_kernels import emulator\n"
        f"x = np.zeros(1, np.int32)\nemulator.load({str(tmp_path / 'one.cu')!r}).one[1, 1](x)\n"
        "assert x[0] == 1"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "MINIGEN_CACHE": str(tmp_path / "cache"),
    }
    both = [
        subprocess.Popen([sys.executable, "-c", program], env=environment, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    for process in both:
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors.decode()
    left = sorted(p.suffix for p in (tmp_path / "cache" / "jit" / "emulator").iterdir())
    assert left == [".o", ".so"]


# ---------------------------------------------------------------- counters
def counted(run):
    m = emulator.load(SOURCE, count=True)
    m.reset_counts()
    run(m)
    return m.counts()


@pytest.mark.parametrize("stride, sectors", [(1, 4), (2, 8), (8, 32), (16, 32)])
def test_transactions_of_a_strided_read(stride, sectors):
    """32 lanes of 4 bytes fill 4 sectors of 32 bytes side by side, and 32 sectors far apart."""
    found = counted(lambda m: m.strided_copy[1, 32](floats(512), floats(32), stride))
    line = next(
        i for i, text in enumerate(SOURCE.read_text().splitlines(), 1) if "i * stride" in text
        or "threadIdx.x * stride" in text
    )
    (read,) = [s for s in found if s.operation == "read"]
    (write,) = [s for s in found if s.operation == "write"]
    assert (read.space, read.line, Path(read.file)) == ("global", line, SOURCE)
    assert (read.requests, read.transactions, read.ideal) == (1, sectors, 4)
    assert (write.transactions, write.extra) == (4, 0)


@pytest.mark.parametrize("pad, extra", [(0, 31), (1, 0)])
def test_bank_conflicts_of_a_column(pad, extra):
    """A column of a 32 × 32 tile lies in one bank; with one element of padding, in all 32."""
    found = counted(lambda m: m.column_of_a_tile[1, 32](floats(32), pad))
    (read,) = [s for s in found if s.space == "shared" and s.operation == "read"]
    assert (read.requests, read.ideal, read.extra) == (1, 1, extra)
    (write,) = [s for s in found if s.space == "shared" and s.operation == "write"]
    assert (write.requests, write.extra) == (33, 0)


def test_counting_has_to_be_asked_for():
    with pytest.raises(ValueError, match="count=True"):
        emulator.load(SOURCE).counts()
