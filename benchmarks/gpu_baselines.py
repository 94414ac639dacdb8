"""The ceilings of a GPU as measured: a copy, and what starting a kernel costs the CPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from .gpu_clock import one_line

COPY_BYTES = 1 << 30
LAUNCHES = 2000


def measured(device: Any, could_not: Callable[[str, str], None]) -> dict[str, str]:
    """{what: figure with its unit}."""
    found = {}
    for name, measure in (
        ("device copy, read and written", _copy),
        ("CPU time of a launch by minigen_kernels", _our_launch),
        ("CPU time of a CuPy ufunc", _ufunc),
        ("CPU time of a PyTorch add", _torch_launch),
        ("CPU time of minigen's x + y", _eager),
    ):
        try:
            found[name] = measure(device)
        except Exception as error:
            could_not(name, one_line(error))
    return found


def _copy(device: Any) -> str:
    cuda = device.cupy.cuda
    source = device.cupy.random.random(COPY_BYTES // 4, dtype=np.float32)
    target, best = device.cupy.empty_like(source), float("inf")
    for _ in range(20):
        start, stop = cuda.Event(), cuda.Event()
        start.record()
        target[...] = source
        stop.record()
        stop.synchronize()
        best = min(best, cuda.get_elapsed_time(start, stop) * 1e-3)
    return f"{2 * COPY_BYTES / best * 1e-12:.2f} TB/s"


def _each(run: Callable[[], Any], wait: Callable[[], None]) -> str:
    """Microseconds of the CPU per call; the GPU is far behind only if its work is longer."""
    for _ in range(100):
        run()
    wait()
    began = time.perf_counter()
    for _ in range(LAUNCHES):
        run()
    spent = time.perf_counter() - began
    wait()
    return f"{spent / LAUNCHES * 1e6:.1f} µs"


def _our_launch(device: Any) -> str:
    from minigen_kernels.cuda import step

    words = device.cupy.zeros(step.WORDS, np.int64)
    return _each(lambda: step.store(words, [1, 2]), device.synchronize)


def _ufunc(device: Any) -> str:
    x = device.cupy.ones(64, np.float32)
    return _each(lambda: x + x, device.synchronize)


def _torch_launch(device: Any) -> str:
    import torch

    x = torch.ones(64, device="cuda")
    return _each(lambda: x + x, torch.cuda.synchronize)


def _eager(device: Any) -> str:
    from minigen import Tensor

    x = Tensor(device.cupy.ones(64, np.float32), requires_grad=True)
    return _each(lambda: x + x, device.synchronize)
