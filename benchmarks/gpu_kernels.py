"""Who computes a case on a GPU: our rungs and tensor cores, numba.cuda's, PyTorch, and our CPU.

Ours are called through backend_of(array), rung by rung. The right answer is PyTorch's in float64,
or, where there is no PyTorch, that of our CPU kernels.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from minigen_kernels import backend_of, use
from minigen_kernels.cuda import LADDERS, OTHER_TENSOR_CORES, TENSOR_CORES

from .gpu_cases import BF16, FLOAT32, TF32, Arrays, KernelCase, Peer
from .gpu_clock import Contestant

TOLERANCES = {"tf32x3": FLOAT32, "tf32": TF32, "bf16": BF16}


def contestants(case: KernelCase, device: Any, sets: int) -> Iterator[Contestant]:
    """Our rungs, the last twice (A/A), by tensor cores, by numba.cuda, and on the CPU."""
    drawn = case.draw(0)
    buffers = [{name: device.array(x) for name, x in drawn.items()}]
    for i in range(1, sets):  # other values at other places, made where they are needed
        buffers.append({name: x if x.dtype.kind != "f" else x * np.float32(1 - 0.01 * i)
                        for name, x in buffers[0].items()})  # fmt: skip
    names = rung_names(case.kernel)
    for rung, name in [*enumerate(names, 1), *[(len(names), "again")][: len(names)]]:
        yield _ours(case, device, buffers, name, rung=rung)
    for name, (precision, rung) in tensor_core_rungs(case.kernel).items():
        made = _ours(case, device, buffers, name, precision=precision, rung=rung)
        yield dataclasses.replace(made, note=precision, tolerance=TOLERANCES[precision])
    for name, kernel in numba_rungs(case.kernel).items():
        kernels = types.SimpleNamespace(**{case.kernel: kernel})
        yield _contestant(case, device, buffers, f"numba.cuda {name}", lambda _, k=kernels: k,
                          "numba")  # fmt: skip
    yield _on_cpu(case)


def rung_names(kernel: str) -> list[str]:
    """The CUDA rungs of a kernel, from 1 up."""
    return [f.__name__ for f in LADDERS[kernel][1:]] if kernel in LADDERS else []


def tensor_core_rungs(kernel: str) -> dict[str, tuple[str, int | None]]:
    """What use(precision=..., rung=...) chooses, by name: the usual rung, and others."""
    found: dict[str, tuple[str, int | None]] = {}
    for precision, usual in TENSOR_CORES.items():
        for rung, other in OTHER_TENSOR_CORES.get(precision, {}).get(kernel, {}).items():
            found[other.__name__] = precision, rung
        if kernel in usual:
            found[usual[kernel].__name__] = precision, None
    return found


def numba_rungs(kernel: str) -> dict[str, Callable[..., Any]]:
    """The rungs in Python, by name."""
    from minigen_kernels.cuda.numba_rungs import LADDERS as in_python

    return {f.__name__: f for f in in_python.get(kernel, ())[1:]}


def _ours(
    case: KernelCase, device: Any, buffers: list[Any], name: str, **chosen: Any
) -> Contestant:
    made = _contestant(case, device, buffers, name, backend_of, "ours")
    return dataclasses.replace(made, settings=lambda: use(**chosen))


def _contestant(
    case: KernelCase, device: Any, buffers: list[Any], name: str,
    kernels_for: Callable[[Any], Any], library: str,
) -> Contestant:  # fmt: skip
    def run(i: int) -> Any:
        arrays = buffers[i]
        return case.ours(kernels_for(next(iter(arrays.values()))), arrays)

    def result() -> list[np.ndarray]:
        drawn = case.draw(0) if case.in_place else {}  # whoever came before has changed them
        buffers[0].update({name: device.array(drawn[name]) for name in case.in_place})
        return [device.host(y) for y in several(run(0))]

    return Contestant(name, library, run, result)


def _on_cpu(case: KernelCase) -> Contestant:
    """The same by minigen on the CPU, with Python's time; slow, so there is one set of buffers."""
    arrays = case.draw(0)

    def run(i: int) -> Any:
        return on_cpu(case, arrays)

    return Contestant("minigen on the CPU", "cpu", run, lambda: several(run(0)))


def on_cpu(case: KernelCase, arrays: Arrays) -> Any:
    """What minigen computes of NumPy arrays."""
    if case.on_cpu is not None:
        return case.on_cpu(arrays)
    return case.ours(backend_of(np.zeros(1)), arrays)


def several(made: Any) -> list[Any]:
    return list(made) if isinstance(made, tuple) else [made]


# ---- PyTorch


def peers(case: KernelCase, device: Any, sets: int) -> Iterator[Contestant]:
    """The peers, on the same random inputs, on the device's own."""
    import torch

    base = {name: torch.from_numpy(x).to(device.torch) for name, x in case.draw(0).items()}
    for peer in case.peers:
        buffers = [_tensors(torch, base, peer, i) for i in range(sets)]

        def run(i: int, peer: Peer = peer, buffers: Any = buffers) -> Any:
            return peer.compute(torch, buffers[i])

        def result(run: Any = run) -> list[np.ndarray]:
            return [y.float().cpu().numpy() for y in several(run(0))]

        settings = functools.partial(flags, torch, peer.settings)
        note = f"{peer.dtype}, {peer.settings}"
        yield Contestant(peer.name, "torch", run, result, settings, note, peer.tolerance)


def _tensors(torch: Any, base: Any, peer: Peer, i: int) -> dict[str, Any]:
    made = {}
    for name, x in base.items():
        if x.dtype.is_floating_point:
            x = (x * (1 - 0.01 * i)).to(getattr(torch, peer.dtype))
            if peer.channels_last and x.ndim == 4:
                x = x.contiguous(memory_format=torch.channels_last)
        made[name] = x
    return made


@contextlib.contextmanager
def flags(torch: Any, settings: str) -> Iterator[None]:
    """TF32 said explicitly, for matmul and cuDNN; cuDNN chooses by trying; SDPA by name."""
    tf32 = settings == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = True
    with torch.no_grad(), contextlib.ExitStack() as stack:
        if settings.endswith("ATTENTION") or settings == "MATH":
            from torch.nn.attention import SDPBackend, sdpa_kernel

            stack.enter_context(sdpa_kernel(getattr(SDPBackend, settings)))
        yield


# ---- the right answer


def right_answer(case: KernelCase, device: Any) -> list[np.ndarray]:
    """The results in float64; of random numbers, the CPU's."""
    if case.on_cpu is not None:
        return several(case.on_cpu(case.draw(0)))
    try:
        return by_torch(case, device.torch)
    except ImportError:
        return several(on_cpu(case, wide(case)))


def wide(case: KernelCase) -> Arrays:
    """The case's arrays in float64."""
    return {n: x.astype(np.float64) if x.dtype.kind == "f" else x for n, x in case.draw(0).items()}


def by_torch(case: KernelCase, where: str) -> list[np.ndarray]:
    """What the first peer computes in float64."""
    import torch

    tensors = {name: torch.from_numpy(x).to(where) for name, x in wide(case).items()}
    with torch.no_grad():
        return [y.cpu().numpy() for y in several(case.peers[0].compute(torch, tensors))]
