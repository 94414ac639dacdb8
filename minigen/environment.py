"""What numbers were computed with: versions, CPU, threads, vector width, git; and its speed."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from .errors import UsageError
from .version import __version__

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
PACKAGES = ("numpy", "numba", "llvmlite", "safetensors", "pillow")


def environment() -> dict[str, Any]:
    """Everything that the bits of a result may depend on, as JSON values."""
    return {
        "minigen": __version__,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
        "system": platform.platform(),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "threads": threads(),
        "vector_bits": vector_bits(),
        "git": git_commit(),
    }


def threads(n: int | None = None) -> int:
    """The number of threads that the kernels use, after setting it to n."""
    from minigen_kernels.cpu import threads as kernel_threads

    if n is not None:
        try:
            kernel_threads.set_threads(n)
        except ValueError as error:
            raise UsageError(f"--threads {n}: {str(error).partition(': ')[2]}") from error
    return kernel_threads.get_threads()


def keep_freed_memory() -> None:
    """Ask the C library to keep what a step frees for the next step, where it can be asked (glibc).

    Otherwise it gives large arrays back to the system, which hands them out again page by page,
    each filled with zeros: thousands of page faults in every step.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):  # another C library has no mallopt
        mallopt = ctypes.CDLL(None).mallopt
        for parameter in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
            mallopt(parameter, 1 << 30)


def vector_bits() -> int:
    """The width of the vectors that the kernels are written in on this CPU."""
    from minigen_kernels.cpu.simd import vector_width

    return 64 * len(vector_width())  # a width is a tuple with one item per 64 bits


def cpu_name() -> str:
    """The processor's name, as its maker prints it where the system tells."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if sys.platform == "darwin":
        name = _output("sysctl", "-n", "machdep.cpu.brand_string")
        if name:
            return name
    return platform.processor() or platform.machine()


def git_commit() -> str | None:
    """The commit of minigen's own sources, with "+" when they were changed; None if installed."""
    source = Path(__file__).parents[1]
    if not (source / ".git").exists():
        return None
    commit = _output("git", "-C", str(source), "rev-parse", "--short=12", "HEAD")
    changed = _output("git", "-C", str(source), "status", "--porcelain", "-uno")
    return commit + "+" * bool(changed) if commit else None


def gemm_gflops(size: int = 256, tries: int = 5) -> float:
    """How many GFLOP/s the float32 matrix product reaches with these threads; best of a few."""
    from minigen_kernels import backend_of

    a = np.full((size, size), 0.5, np.float32)
    backend_of(a).gemm(a, a)  # compiles it
    seconds = []
    for _ in range(tries):
        began = time.perf_counter()
        backend_of(a).gemm(a, a)
        seconds.append(time.perf_counter() - began)
    return 2e-9 * size**3 / min(seconds)


def missing_for_cuda() -> str | None:
    """What keeps --device cuda from working on this machine, with the remedy; None if nothing."""
    if shutil.which("nvidia-smi") is None:
        return (
            "no NVIDIA driver was found (nvidia-smi is not on the PATH): use --device cpu, or "
            "install the driver of your GPU, then pip install 'minigen[cuda13]'"
        )
    major = _cuda_major()
    if importlib.util.find_spec("cupy") is None:
        return f"CuPy is not installed: pip install 'minigen[cuda{major}]'"
    return _unusable_gpu(major) or _missing_kernels()


def _unusable_gpu(major: int) -> str | None:
    """What CuPy or NVRTC has against it, asked by using them."""
    try:
        import cupy
        from minigen_kernels.cuda import compile as nvrtc

        if not cupy.cuda.runtime.getDeviceCount():
            return "the driver knows no GPU: use --device cpu"
        nvrtc.version()
    except Exception as error:  # of CUDA's many kinds; whatever it is, there is no GPU to be had
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        return f"{told}: use --device cpu, or pip install 'minigen[cuda{major}]'"
    return None


def _missing_kernels() -> str | None:
    from minigen_kernels import cpu, cuda

    missing = sorted(set(cpu.LADDERS) - set(cuda.LADDERS))
    if missing:
        return f"this version has no CUDA kernels for {', '.join(missing)}: use --device cpu"
    return None


def _cuda_major() -> int:
    """12 or 13: the newest CUDA that the driver can run."""
    for line in _output("nvidia-smi").splitlines():
        if "CUDA Version:" in line:
            return 12 if line.partition("CUDA Version:")[2].strip().startswith("12") else 13
    return 13


def _output(*command: str) -> str:
    """What a program prints, stripped; "" when it is not there, fails, or hangs."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
