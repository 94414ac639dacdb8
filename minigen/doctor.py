"""What this machine gives minigen: versions, CPU, kernels that compute rightly, cache, GPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from minigen_kernels import backend_of, reference

from . import data, environment


def report() -> list[tuple[str, str]]:
    """(what, finding) of everything that is looked at; a finding that is bad says "FAILED"."""
    env = environment.environment()
    rows = [
        ("minigen", f"{env['minigen']}{' git ' + env['git'] if env['git'] else ''}"),
        ("python", f"{env['python']} on {env['system']}"),
        ("packages", ", ".join(f"{name} {env[name]}" for name in environment.PACKAGES)),
        ("cpu", f"{env['cpu']}, {env['cores']} cores"),
        ("threads", f"{env['threads']} (change with --threads)"),
        ("vectors", f"{env['vector_bits']} bits"),
    ]
    rows += [(f"kernel {name}", finding) for name, finding in check_kernels()]
    rows += [("speed", f"{environment.gemm_gflops():.1f} GFLOP/s (float32 matrix product)")]
    rows += [("cache", cache_finding()), ("data", str(data.data_root()))]
    return [*rows, *check_gpu()]


def check_gpu() -> list[tuple[str, str]]:
    """The GPU, its driver and CuPy, and one kernel checked on it; or what is missing."""
    missing = environment.missing_for_cuda()
    if missing is not None:
        return [("gpu", missing)]
    import cupy

    runtime = cupy.cuda.runtime
    name = runtime.getDeviceProperties(0)["name"].decode()
    version = runtime.driverGetVersion()
    facts = (
        f"{name}, compute capability {cupy.cuda.Device(0).compute_capability}, driver for CUDA "
        f"{version // 1000}.{version % 1000 // 10}, CuPy {cupy.__version__}"
    )

    def on_gpu(*arrays: np.ndarray) -> np.ndarray:
        a, b = (cupy.asarray(x) for x in arrays)
        return backend_of(a).gemm(a, b).get()

    a = np.linspace(-1, 2, 5 * 13, dtype=np.float32).reshape(5, 13)
    return [("gpu", facts), ("gpu gemm", _compared(on_gpu, reference.gemm, (a, a.T.copy())))]


def check_kernels() -> list[tuple[str, str]]:
    """The fast kernels of the main families against the formula, on small arrays."""
    x = np.linspace(-1, 1, 2 * 3 * 7 * 6, dtype=np.float32).reshape(2, 3, 7, 6)
    w = np.linspace(1, -0.5, 4 * 3 * 3 * 2, dtype=np.float32).reshape(4, 3, 3, 2)
    a = np.linspace(-1, 2, 5 * 13, dtype=np.float32).reshape(5, 13)
    kernels = backend_of(a)
    cases: list[tuple[str, Callable[..., Any], Callable[..., Any], tuple[Any, ...]]] = [
        ("gemm", kernels.gemm, reference.gemm, (a, a.T.copy())),
        ("conv2d", kernels.conv2d, reference.conv2d, (x, w, None, (2, 1), (1, 1))),
    ]
    return [(name, _compared(fast, formula, inputs)) for name, fast, formula, inputs in cases]


def _compared(fast: Callable[..., Any], formula: Callable[..., Any], inputs: tuple) -> str:
    began = time.perf_counter()
    try:
        error = float(np.abs(fast(*inputs) - formula(*inputs)).max())
    except Exception as trouble:  # reported, whatever it is: that is what a doctor is for
        return f"FAILED: {type(trouble).__name__}: {trouble}"
    seconds = time.perf_counter() - began
    verdict = "ok" if error < 1e-4 else "FAILED"
    return f"{verdict}: {error:.0e} from the formula, {seconds:.1f} s with loading or compiling"


def cache_finding() -> str:
    """Where the compiled kernels are, how many, how large."""
    from minigen_kernels.cpu import jit

    files = jit.cached_files()
    size = sum(path.stat().st_size for path in files) / 1e6
    return f"{len(files)} compiled kernels, {size:.1f} MB, in {jit.base_folder()}"
