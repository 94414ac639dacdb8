"""Every CUDA source compiles for every architecture, within its registers and without spills.

Needs the extra `nvrtc`, no GPU. Where that is missing these tests are skipped, unless
MINIGEN_REQUIRE_NVRTC is set, as in the gates: then they fail.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from minigen_kernels.cuda import compile as nvrtc
from minigen_kernels.emulator.build import preprocessed
from minigen_kernels.emulator.source import kernel_names

from tests.kernels.needs import GXX

pytestmark = pytest.mark.emulator
SOURCES = nvrtc.sources()


@pytest.fixture(scope="module")
def compiler():
    try:
        nvrtc._nvrtc()
    except nvrtc.CompileError as error:
        if os.environ.get("MINIGEN_REQUIRE_NVRTC"):
            raise
        pytest.skip(str(error))
    return nvrtc


def architectures(source):
    own = nvrtc.own_architecture(source)
    return [own] if own else nvrtc.ARCHITECTURES


@pytest.mark.parametrize(
    ("source", "architecture"),
    [(source, architecture) for source in SOURCES for architecture in architectures(source)],
    ids=lambda part: getattr(part, "name", part),
)
def test_compiles_without_spills_within_its_registers(compiler, source, architecture):
    cubin = compiler.compiled(source, architecture)
    assert cubin.code[:4] == b"\x7fELF"
    for kernel in cubin.usage:
        assert kernel.spilled == 0, kernel
        assert 0 < kernel.registers <= compiler.register_budget(source), kernel
        assert kernel.shared <= 48 * 1024, kernel
    # What the assembler says where registers or a call make one wgmma wait for the one before.
    assert "serialized" not in cubin.log


@GXX
def test_the_same_kernels_as_the_emulator_runs(compiler):
    for source in SOURCES:
        emulated = kernel_names(preprocessed(source))
        cubin = compiler.compiled(source, compiler.target(source, "sm_90"))
        assert {u.kernel for u in cubin.usage} == set(emulated)


def test_what_only_hopper_has_is_compiled_for_hopper_alone():
    source = nvrtc.FOLDER / "gemm_wgmma.cu"
    assert nvrtc.target(source, "sm_90") == "sm_90a"
    assert nvrtc.target(nvrtc.FOLDER / "gemm_bf16.cu", "sm_90") == "sm_90"
    for other in ("sm_80", "sm_100"):
        with pytest.raises(nvrtc.CompileError, match=f"for sm_90a alone, and this GPU is {other}"):
            nvrtc.target(source, other)


def test_a_call_between_wgmmas_is_told_in_the_log(compiler, tmp_path, monkeypatch):
    """So that the test above would see it."""
    monkeypatch.setenv("MINIGEN_CACHE", str(tmp_path / "cache"))
    text = (nvrtc.FOLDER / "gemm_wgmma.cu").read_text()
    right = "__device__ __forceinline__ void multiply("
    assert text.count(right) == 1
    source = tmp_path / "gemm_wgmma.cu"
    source.write_text(text.replace(right, "__device__ __noinline__ void multiply("))
    for header in nvrtc.FOLDER.glob("*.cuh"):
        (tmp_path / header.name).write_text(header.read_text())
    assert "serialized" in compiler.compiled(source, "sm_90a").log


def test_a_second_time_comes_from_the_cache(compiler, tmp_path, monkeypatch):
    monkeypatch.setenv("MINIGEN_CACHE", str(tmp_path / "cache"))
    source = tmp_path / "k.cu"
    source.write_text('extern "C" __global__ void k(float* y) { y[threadIdx.x] = 1; }')
    first = compiler.compiled(source, "sm_90")
    monkeypatch.setattr(compiler, "_compile", None)
    assert compiler.compiled(source, "sm_90") == first
    assert [u.kernel for u in first.usage] == ["k"]


def test_what_does_not_compile_is_an_error_with_the_log(compiler, tmp_path, monkeypatch):
    monkeypatch.setenv("MINIGEN_CACHE", str(tmp_path / "cache"))
    source = tmp_path / "k.cu"
    source.write_text('extern "C" __global__ void k(float* y) { y[0] = unknown; }')
    with pytest.raises(compiler.CompileError, match='k.cu does not compile(.|\n)*"unknown"'):
        compiler.compiled(source, "sm_90")
    with pytest.raises(compiler.CompileError):  # tensor cores of this kind came with sm_80
        compiler.compiled(Path(nvrtc.FOLDER) / "gemm_bf16.cu", "sm_75")


def test_spills_are_read_from_the_log():
    log = (
        "ptxas info    : Compiling entry function 'k' for 'sm_90'\n"
        "    96 bytes stack frame, 100 bytes spill stores, 60 bytes spill loads\n"
        "ptxas info    : Used 255 registers, used 1 barriers, 16640 bytes smem\n"
    )
    assert nvrtc.usage(log) == (nvrtc.Usage("k", 255, 160, 16640),)


def test_every_source_says_how_many_registers(tmp_path):
    assert all(nvrtc.register_budget(source) <= 255 for source in SOURCES)
    silent = tmp_path / "silent.cu"
    silent.write_text("")
    with pytest.raises(nvrtc.CompileError, match="silent.cu: say in a comment how many registers"):
        nvrtc.register_budget(silent)


def test_without_nvrtc_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(nvrtc.CompileError, match=r"pip install 'minigen\[nvrtc\]'"):
        nvrtc.compiled(SOURCES[0], "sm_90")
