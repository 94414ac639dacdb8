"""The ceilings of a GPU as measured: a copy, and what starting a kernel costs the CPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from .gpu_clock import one_line


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
    numbers = np.random.default_rng(0).random(device.copy_bytes // 4, np.float32)
    source, best = device.array(numbers), float("inf")
    target = device.cupy.empty_like(source)
    for _ in range(20):
        start, stop = cuda.Event(), cuda.Event()
        start.record()
        target[...] = source
        stop.record()
        stop.synchronize()
        best = min(best, cuda.get_elapsed_time(start, stop) * 1e-3)
    return f"{2 * device.copy_bytes / best * 1e-12:.2f} TB/s"


def _each(device: Any, run: Callable[[], Any], wait: Callable[[], None]) -> str:
    """Microseconds of the CPU per call; the GPU is far behind only if its work is longer."""
    for _ in range(min(100, device.calls)):
        run()
    wait()
    began = time.perf_counter()
    for _ in range(device.calls):
        run()
    spent = time.perf_counter() - began
    wait()
    return f"{spent / device.calls * 1e6:.1f} µs"


def _our_launch(device: Any) -> str:
    from minigen_kernels.cuda import step

    words = device.cupy.zeros(step.WORDS, np.int64)
    return _each(device, lambda: step.store(words, [1, 2]), device.synchronize)


def _ufunc(device: Any) -> str:
    x = device.cupy.ones(64, np.float32)
    return _each(device, lambda: x + x, device.synchronize)


def _torch_launch(device: Any) -> str:
    import torch

    x = torch.ones(64, device=device.torch)
    return _each(device, lambda: x + x, device.synchronize_torch)


def _eager(device: Any) -> str:
    from minigen import Tensor

    x = Tensor(device.cupy.ones(64, np.float32), requires_grad=True)
    return _each(device, lambda: x + x, device.synchronize)
